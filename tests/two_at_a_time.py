"""The tests, two files at a time: what `setup_and_run.py test`, and so `make test`, calls.

  .venv/bin/python tests/two_at_a_time.py [notebooks] [tests/test_run.py …]

Each file has a process of its own, forked from one that has the libraries in memory already: to import them takes longer
than most files' tests. Where a system cannot fork, each process imports them itself.
"""

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBVAL = "-x --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks".split()
LONGEST = ["notebooks", *(f"tests/test_{name}.py" for name in ["kills", "run", "series", "cells", "benchmarks"])]
UNIX = {
    "tests/test_benchmarks.py",
    "tests/test_colab.py",
    "tests/test_kills.py",
}  # they fork, or need a terminal of Unix
# none of ours: the root's conftest.py decides what they find when they are imported
LIBRARIES = ["pytest", "torch", "transformers.models.bert.modeling_bert", "accelerate", "sklearn.metrics", "seaborn"]


# pytest rewrites the asserts of its plugins, such as anyio's, which transformers has imported by then
QUIET = ["-q", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


def run(name, log=None):
    """Run the tests of a file, or all notebooks, in this process, what they say written to the file `log`."""
    if log:
        with open(log, "wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
    import pytest

    os.chdir(ROOT)
    sys.exit(pytest.main([*QUIET, *(NBVAL if name == "notebooks" else [name])]))


def main(names):
    """Run them, the longest first; a single one in the open. Returns the exit code."""
    if len(names) == 1:
        run(names[0])
    found = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tests/test_*.py"))]
    names = names or [*LONGEST, *[name for name in found if name not in LONGEST]]
    names = [name for name in names if hasattr(os, "fork") or name not in UNIX]
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        context.set_forkserver_preload(LIBRARIES)

    def passes(name):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            process = context.Process(target=run, args=(name, log))
            process.start()
            process.join()
            print(f"{name}:\n{log.read_text(encoding='utf-8', errors='replace')}", end="", flush=True)
        return process.exitcode == 0

    with ThreadPoolExecutor(2) as pool:
        failed = [name for name, passed in zip(names, pool.map(passes, names)) if not passed]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
