"""What calls left behind that were killed: cleared by the next one, and never what a living one needs."""

import contextlib
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path

import psutil

SCRATCH = "bert-kernel-"  # and the number of the process that made the folder
OLD = 7 * 24 * 3600  # seconds after which the file of a call of another machine is taken for dead


def clear(calls):
    """Remove the files of dead calls in the folder `calls`, and the scratch folders of dead kernels of this machine."""
    for path in calls.iterdir():
        host, _, rest = path.name.partition(",")
        here = host == socket.gethostname()
        with contextlib.suppress(OSError):
            if not _lives(rest) if here else time.time() - path.stat().st_mtime > OLD:
                path.unlink()
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        if not _lives(path.name.removeprefix(SCRATCH)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(name):
    """Whether the process lives whose number `name` begins with."""
    number = re.match(r"\d+", name)
    return bool(number) and psutil.pid_exists(int(number[0]))
