"""The tests, some files at a time: what `setup_and_run.py test`, and so `make test`, calls.

  .venv/bin/python tests/side_by_side.py [notebooks] [tests/test_run.py …]

Each file has a process of its own, forked from one that has the libraries in memory already (warm.py): to import them
takes longer than most files' tests. So have the notebooks' kernels; test_kills.py has some that import them. Where a system
cannot fork, each process imports them itself.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBVAL = "-x --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg".split()
LONGEST = ["notebooks", *(f"tests/test_{name}.py" for name in ["kills", "cells", "run", "series", "benchmarks"])]
UNIX = {f"tests/test_{name}.py" for name in ["benchmarks", "colab", "kills"]}  # they fork, or need a terminal of Unix
AT_ONCE = min(os.cpu_count() + 1, 4)  # one more than cores, for some tests wait; and not more than a small memory holds
# pytest rewrites the asserts of its plugins, such as anyio's, which are imported by then
QUIET = ["-q", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


class ForkedKernel:
    """A notebook's kernel, forked as the tests are, with the methods of a subprocess.Popen that jupyter_client calls."""

    stdin = stdout = stderr = None

    def __init__(self, command, env=None, cwd=None, **_):
        self.process = multiprocessing.get_context("forkserver").Process(target=be_kernel, args=(command, env, cwd))
        self.process.start()
        while os.getpgid(self.process.pid) != self.process.pid:
            time.sleep(0.01)  # jupyter_client kills the whole group, which must be the kernel's own
        self.pid, self.kill, self.terminate = self.process.pid, self.process.kill, self.process.terminate

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


def be_kernel(command, env, cwd):
    """Be `python -m ipykernel_launcher …`."""
    import matplotlib.pyplot
    import pandas
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    os.chdir(cwd)
    os.environ |= env | {"JPY_PARENT_PID": str(os.getppid())}
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    pandas.options.display.max_columns = 20  # as where pandas finds a kernel when it is imported
    matplotlib.use("module://matplotlib_inline.backend_inline")
    IPKernelApp.launch_instance(command[command.index("-f") :])


def run(name, log=None):
    """Run the tests of a file, or all notebooks, in this process, what they say written to the file `log`."""
    if log:
        with open(log, "wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
    import pytest

    os.chdir(ROOT)
    notebooks = name.startswith("notebooks")
    if log and notebooks and hasattr(os, "fork"):
        multiprocessing.set_forkserver_preload(["tests.warm"])  # a server of its own: that of its parent it may not ask
        from jupyter_client.provisioning import local_provisioner

        local_provisioner.launch_kernel = ForkedKernel
    sys.exit(pytest.main([*QUIET, *(NBVAL if notebooks else []), name]))


def main(names):
    """Run them, the longest first; a single one in the open. Returns the exit code."""
    if len(names) == 1:
        run(names[0])
    found = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tests/test_*.py"))]
    names = names or [*LONGEST, *[name for name in found if name not in LONGEST]]
    names = [name for name in names if hasattr(os, "fork") or name not in UNIX]
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        context.set_forkserver_preload(["tests.warm"])

    def passes(name):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            process = context.Process(target=run, args=(name, log))
            process.start()
            process.join()
            print(f"{name}:\n{log.read_text(encoding='utf-8', errors='replace')}", end="", flush=True)
        return process.exitcode == 0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [name for name, passed in zip(names, pool.map(passes, names)) if not passed]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
