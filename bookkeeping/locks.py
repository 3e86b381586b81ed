"""One owner of a run folder at a time, on this machine or on another that shares the disk. A kill frees the lock."""

import contextlib
import datetime
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from bookkeeping import SeriesError
from bookkeeping.files import read_json, write_json

HELD = "BERT_LOCKED"  # environment: the folder whose lock the process that started this one holds


def lock_of(folder):
    """The FileLock of a run folder; its file lies beside the folder, which may be removed and made anew."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"), poll_interval=0.1)


def acquire(folder, who):
    """Take the lock of a run folder for `who`, in words; returns it, or None where the starter of this process holds it.

    Raises SeriesError that names its owner, if another process has it.
    """
    if os.environ.get(HELD) == str(folder):
        return None
    lock = lock_of(folder)
    about = Path(lock.lock_file).with_suffix(".json")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # a disk that knows no locks, such as Google Drive: work on without
        return None
    except Timeout:
        owner = {"who": "another program", "since": "a moment ago"}
        with contextlib.suppress(ValueError, OSError):
            owner |= read_json(about)
        raise SeriesError(
            f"{owner['who']} is at work in the run {Path(folder).name!r}, since {owner['since']}. Wait until it has "
            "finished, shut it down (a notebook: Kernel → Shut Down Kernel), or take another RUN."
        ) from None
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    try:
        write_json(about, {"who": f"{who} (process {os.getpid()} on {socket.gethostname()})", "since": since})
    except OSError:  # such as of a full disk
        lock.release()  # else this process would keep itself out
        raise
    return lock
