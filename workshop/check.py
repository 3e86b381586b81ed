#!/usr/bin/env python3
"""Is this laptop ready for the workshop? `python3 workshop/check.py`, a day before, and again on the day.

Needs nothing but Python, says what is wrong and what to do about it, and ends with the number of problems. With --run it also
executes the first two notebooks, which takes half a minute.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOOK = """
import json, sys
sys.path.insert(0, ".")
import torch, transformers
from lesson import sources
found = {"torch": torch.__version__, "transformers": transformers.__version__, "gpu": torch.cuda.is_available()}
found["model"] = str(sources.find_model("minilm")[0])
found["corpus"] = sources.find_corpus("auto")[0]
print(json.dumps(found))
"""


def gigabytes(size):
    return f"{size / 1e9:.1f} GB"


def machine():
    """[(what, what was found, what to do if that will not do, else None)], without .venv."""
    version, free = sys.version_info[:2], shutil.disk_usage(ROOT).free
    good = (3, 11) <= version <= (3, 13)
    room = 1e9 if PYTHON.exists() else 3e9
    yield (
        "Python",
        platform.python_version(),
        None if good else "take 3.11, 3.12 or 3.13, of python.org (Windows: py -3.12 …)",
    )
    yield "bits", platform.machine(), None if sys.maxsize > 2**32 else "install the 64-bit Python"
    yield "free disk", gigabytes(free), None if free >= room else f"make room: {gigabytes(room)} are needed"
    yield "processors", str(os.cpu_count()), None
    # of Windows' 260 characters torch takes 171, and .venv/Lib/site-packages 25
    short = os.name != "nt" or len(str(ROOT)) <= 60
    yield "folder", ROOT.name, None if short else "copy the folder to a path of 60 characters at most, such as C:\\bert"


def installation():
    """The same of what .venv holds."""
    if not PYTHON.exists():
        yield ".venv", "not there", "call setup_and_run.py setup"
        return
    done = subprocess.run([PYTHON, "-c", LOOK], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        yield (
            ".venv",
            done.stderr.strip().splitlines()[-1][:200],
            "call setup_and_run.py setup; else delete .venv and call it again",
        )
        return
    found = json.loads(done.stdout.splitlines()[-1])
    for what in ("torch", "transformers", "model"):
        yield what, found[what], None
    yield "GPU", "yes" if found["gpu"] else "no, and none is needed", None
    yield "corpus", found["corpus"], None


def first_notebooks():
    done = subprocess.run(
        [PYTHON, "run.py", "--until", "02_load_cola", "-p", "RUN", "check"], cwd=ROOT, capture_output=True, text=True
    )
    said = (done.stderr + done.stdout).strip().splitlines()
    yield (
        "01 and 02",
        "executed" if not done.returncode else said[-1],
        "show this to the helper" if done.returncode else None,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="execute 01 and 02 too")
    options = parser.parse_args()
    problems = 0
    for part in [machine, installation, *([first_notebooks] if options.run else [])]:
        for what, found, to_do in part():
            print(f"{'PROBLEM' if to_do else 'ok':8} {what:12} {found}" + (f": {to_do}" if to_do else ""), flush=True)
            problems += bool(to_do)
        if problems:
            break
    print(f"{problems} problem{'' if problems == 1 else 's'}" + ("" if problems else ": ready"))
    return bool(problems)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # on Windows a pipe or a file knows 200 characters
    sys.exit(main())
