"""One notebook, executed by kernel.py in a process of its own, and the error it ended with.

That process ends, with its kernel, when the process that started it ends, whatever ends that.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

from bookkeeping.locks import HELD
from runner import paths
from runner.devices import cores, gpus
from runner.notebooks import TRAINING
from runner.state import content_of

# Ctrl-C is for run.py alone: papermill ends a notebook that it interrupts as if all were well. start_new_session does
# nothing on Windows, this nothing elsewhere.
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def execute_notebook(notebook, parameters, folder, call):
    """Execute one notebook, its output in folder/notebooks/, whose lock the caller has. Returns its error, or None."""
    executed = folder / "notebooks" / f"{notebook}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    for old in [executed, *executed.parent.glob(f"rank*/{executed.name}")]:
        old.unlink(missing_ok=True)
    many = call.processes > 1 and notebook == TRAINING
    task = {"notebook": str(paths.NOTEBOOKS / f"{notebook}.ipynb"), "parameters": parameters}
    task |= {"executed": str(executed), "many": many}
    launcher, environment = [], os.environ | call.environment | {"BERT_RUNS": str(paths.RUNS), HELD: str(folder)}
    environment["PYTHONIOENCODING"] = "utf-8"  # of the log, on Windows too
    if many:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={call.processes}"]
        if not gpus():
            environment["ACCELERATE_USE_CPU"] = "yes"
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // call.processes)))
    command = [sys.executable, *launcher, str(paths.ROOT / "runner" / "kernel.py"), json.dumps(task)]
    exit_code = execute(command, environment, folder / "run.log", call)
    return error_of(executed, folder / "run.log") if exit_code else None


def execute(command, environment, log, call):
    """Run a command to its end, or to that of the call, what it prints added to `log`. Returns its exit code."""
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment, cwd=paths.NOTEBOOKS,
            start_new_session=True, creationflags=OWN_GROUP,
        )  # fmt: skip
        try:
            while process.poll() is None:
                call.check()
                time.sleep(0.1)
        finally:
            process.stdin.close()  # which ends the process and its kernel, if they are still there
            process.wait()
    return process.returncode


def error_of(executed, log):
    """The error that an executed notebook ends with, or else the last lines of the log."""
    notebooks = [executed, *sorted(executed.parent.glob(f"rank*/{executed.name}"))]
    cells = [cell for notebook in notebooks for cell in content_of(notebook).get("cells", [])]
    for output in [output for cell in cells for output in cell.get("outputs", [])]:
        if output["output_type"] == "error":
            return "\n".join(f"{output['ename']}: {output['evalue']}".splitlines()[:20])
    lines = [line for line in text_of(log).splitlines() if line.strip()] or ["no output"]
    return "\n".join([lines[-1], *lines[-5:-1]])


def text_of(log):
    with contextlib.suppress(OSError):
        return re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    return ""
