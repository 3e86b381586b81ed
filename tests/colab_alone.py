#!/usr/bin/env python
"""Open each notebook alone in an empty folder, with Colab's versions, and run it from top to bottom: `make test-colab`.

Makes a virtual environment with the packages of tests/colab_versions.txt (5 GB with torch's CUDA libraries; a CPU build
will do), lends it a stub google.colab, a sessions service on loopback that answers as Colab's does, and this working tree as
the repository at GitHub. Where a notebook says that another has to run first, the one call that it offers is made in a cell,
and the cell is run again. Then 02 and 03 are opened in two sessions that share nothing but a run folder in "Drive". At the
end stands what pip changed in the environment, which is what Colab's image lacks.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import colab_stub
import nbformat
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bookkeeping.home import NOT_IN_COLAB  # noqa: E402

VERSIONS = ROOT / "tests/colab_versions.txt"
HOME, BRANCH = "you/fork", "feature/colab"


class Environment:
    """A virtual environment with Colab's versions."""

    def __init__(self, folder, python, pip_arguments):
        self.python = folder / "bin/python"
        if not (folder / "installed").exists():
            print(f"installing {VERSIONS.name} into {folder} …", flush=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            self.pip("install", "--quiet", *pip_arguments, "-r", VERSIONS)
            (folder / "installed").touch()
        self.pip("uninstall", "--quiet", "--yes", *NOT_IN_COLAB)

    def pip(self, *arguments):
        call = [self.python, "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(call, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def packages(self):
        """{(name, version)} of what is installed."""
        return {(one["name"].lower(), one["version"]) for one in json.loads(self.pip("list", "--format=json"))}


class Kernel:
    """A kernel of the environment, in a folder; like Colab's, it has loaded google.colab."""

    def __init__(self, environment, folder, variables):
        paths = f"{environment.python.parent}:{variables['PATH']}"
        self.manager = KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = str(environment.python)
        quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONWARNINGS": "ignore"}
        self.manager.start_kernel(cwd=str(folder), env=variables | {"PATH": paths} | quiet)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.run("import google.colab")

    def run(self, code):
        """Execute a cell. Returns (its error as the reader sees it, or "", and what it printed)."""
        error, printed = [], []

        def see(message):
            if message["msg_type"] == "error":
                error.append("\n".join(message["content"]["traceback"]))
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, output_hook=see, allow_stdin=False, timeout=1800)["content"]
        if reply["status"] == "error" and not error:
            error.append(f"{reply['ename']}: {reply['evalue']}")
        if reply["status"] == "aborted":  # so a kernel answers what was sent just after an error
            time.sleep(0.2)
            return self.run(code)
        return "".join(error), "".join(printed)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def cells(path, content, run):
    """Sources of a notebook's code cells, /content in the first being the folder `content`, RUN being `run` if it is given."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            yield cell.source.replace("/content", str(content)) if "colab-setup" in tags else cell.source
            if "parameters" in tags and run and "RUN =" in cell.source:
                yield f"RUN = {str(run)!r}"


def open_alone(path, content, environment, variables, run=None):
    """Run one notebook from top to bottom in `content`. Returns (calls that it offered and that were made, error or "")."""
    kernel, calls = Kernel(environment, content, variables), []
    try:
        for source in cells(path, content, run):
            error, printed = kernel.run(source)
            if found := re.search(r"!python \S+/run\.py --until \w+ -p RUN .+", error):
                if "Traceback" in error:
                    return calls, f"a traceback instead of one sentence:\n{error}"
                calls.append(found[0])
                error, printed = kernel.run(found[0])
                error, printed = (error, printed) if error else kernel.run(source)
            if error:
                return calls, f"{source[:200]}\n…\n{printed[-2000:]}\n{error[-3000:]}"
        return calls, ""
    finally:
        kernel.close()


def github(folder):
    """This working tree, with stamped notebooks, at `folder`/you/fork."""
    tree = folder / "tree"
    junk = (".git", ".venv*", "runs", "__pycache__", "wheels", "cola_public*.zip", ".*_cache")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*junk))
    subprocess.run([sys.executable, tree / "notebooks/stamp.py"], check=True, stdout=subprocess.DEVNULL)
    colab_stub.publish(tree, folder, HOME, BRANCH)
    return tree / "notebooks"


def session(path, work, environment, run=None):
    """Open a notebook alone in a session of its own and report. Returns whether it ran, without a call if `run` is given."""
    environment.pip("uninstall", "--quiet", "--yes", *NOT_IN_COLAB)
    content = Path(tempfile.mkdtemp(dir=work))
    began = time.monotonic()
    with colab_stub.sessions(colab_stub.from_github(HOME, BRANCH, path.name)) as service:
        variables = colab_stub.environment(content, f"file://{work}/github", **service.environment)
        variables["PYTHONPATH"] = str(work / "stub")
        calls, error = open_alone(path, content, environment, variables, run)
    if run and calls:
        error = error or "what the session before made is not there"
    name = path.stem + (", RUN in Drive" if run else "")
    print(
        f"{name:<28} {'failed' if error else 'ok':<7} {time.monotonic() - began:5.0f} s   {' '.join(calls) or '-'}",
        flush=True,
    )
    if error:
        print(error)
    return not error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--environment", type=Path, default=ROOT / ".venv-colab", help="where it is made, or lies already"
    )
    parser.add_argument("--python", default="python3.13", help="Colab's, or the nearest")
    parser.add_argument("--pip", default="", metavar="ARGUMENTS", help="for pip, such as an index of CPU builds")
    parser.add_argument("notebooks", nargs="*", help="such as 04, or drive; all, if none is named")
    options = parser.parse_args()
    environment = Environment(options.environment.absolute(), options.python, shlex.split(options.pip))
    before = environment.packages()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        (work / "stub/google/colab").mkdir(parents=True)
        (work / "stub/google/colab/__init__.py").touch()
        paths = {path.stem[:2]: path for path in sorted(github(work / "github").glob("[0-9][0-9]_*.ipynb"))}
        jobs = [(number, path, None) for number, path in paths.items()]
        jobs += [("drive", paths[number], work / "My Drive/bert/run1") for number in ("02", "03")]
        wanted = [(path, run) for name, path, run in jobs if not options.notebooks or name in options.notebooks]
        well = [session(path, work, environment, run) for path, run in wanted]
    touched = {name for name, _ in environment.packages() ^ before}
    print(
        f"{sum(well)} passed, {len(well) - sum(well)} failed; packages that pip touched: {', '.join(sorted(touched)) or 'none'}"
    )
    sys.exit(0 if all(well) and touched <= NOT_IN_COLAB else 1)


if __name__ == "__main__":
    main()
