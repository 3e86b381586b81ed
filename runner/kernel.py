"""Execute one notebook with papermill: runner/kernel.py TASK, as run.py calls it, in a process of its own.

TASK is JSON: {"notebook": its path, "parameters", "executed": path of the output, "many": whether torchrun made this
process one of several}. Standard input is a pipe that run.py holds open: this process and its kernel end when it
closes, so also when run.py dies, whatever it dies of.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

sys.modules.setdefault("rfc3987_syntax", None)  # else jsonschema compiles a grammar of web addresses for 2 seconds
sys.modules.setdefault("pyarrow", None)  # papermill imports it for notebooks on Hadoop, a quarter of its time

import papermill
import psutil
from ipykernel.kernelspec import write_kernel_spec
from nbclient.exceptions import DeadKernelError
from traitlets.config import Config


def execute(task):
    """Execute the notebook; returns the exit code. Of several processes, each writes the notebook of its rank."""
    rank = os.environ["RANK"] if task["many"] else "0"
    executed = Path(task["executed"])
    if rank != "0":
        executed = executed.parent / f"rank{rank}" / executed.name
        executed.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"bert-kernel-{os.getpid()}-", ignore_cleanup_errors=True) as scratch:
        threading.Thread(target=end_with_starter, args=[scratch], daemon=True).start()
        # the kernel is this Python, whatever kernels the machine knows; and it shares no file with other kernels
        write_kernel_spec(f"{scratch}/kernels/this_python")
        tempfile.tempdir = scratch
        sockets = Config()
        if os.name == "posix" and len(scratch) < 80:  # sockets of its own, so no race with others for a port
            sockets.KernelManager.update(transport="ipc", ip=f"{scratch}/socket")
        os.environ |= {"JUPYTER_PATH": scratch, "JUPYTER_RUNTIME_DIR": scratch, "IPYTHONDIR": f"{scratch}/ipython"}
        os.environ |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "MPLBACKEND": ""}  # inline plots
        logging.basicConfig(format="%(message)s")
        logging.getLogger("papermill").setLevel(logging.INFO)
        for attempt in (1, 2):
            try:
                papermill.execute_notebook(
                    task["notebook"], executed, task["parameters"], kernel_name="this_python", progress_bar=False,
                    cwd=Path(task["notebook"]).parent, log_output=rank == "0", start_timeout=120, config=sockets,
                )  # fmt: skip
                return 0
            except papermill.PapermillExecutionError as error:
                print(error, file=sys.stderr)
                return 1
            except DeadKernelError:
                print("the kernel was killed, perhaps because the memory was full", file=sys.stderr)
                return 1
            except Exception as error:  # a kernel that did not start, or took another one's port
                if attempt == 2:
                    raise
                print(f"{type(error).__name__}: {error}; once more", file=sys.stderr)


def end_with_starter(scratch):
    """End this process and its kernel as soon as the process that started it closes the pipe, or dies."""
    os.read(0, 1)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(130)


if __name__ == "__main__":
    sys.exit(execute(json.loads(sys.argv[1])))
