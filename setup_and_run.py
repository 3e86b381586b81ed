#!/usr/bin/env python3
"""Set up .venv and run: what make does, and all that a machine without make (Windows) needs. Nothing but Python is used.

  python setup_and_run.py                      set up .venv, execute the notebooks 01 to 06
  python setup_and_run.py run -p SEED 7        the same with parameters, as run.py takes them
  python setup_and_run.py test                 all tests, some side by side; or a few: test notebooks tests/test_run.py
  python setup_and_run.py lab                  JupyterLab
  python setup_and_run.py setup                only .venv

Before the word may stand: --venv FOLDER, --pip "ARGUMENTS OF PIP", --resolution lowest-direct or highest (tests with the
oldest or newest versions that requirements.txt admits, instead of those of constraints.txt).
A folder wheels/ beside this file, as on the stick of a workshop, is installed from without any network.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
STATED = [ROOT / "requirements.txt", ROOT / "constraints.txt"]
WHEELS = ROOT / "wheels"
DOES = ["run", "test", "lab", "setup"]
NEEDED = 3  # GB; .venv took 2.3 on Linux with a CPU build of torch
# what makes a test the same everywhere: CPU, no network
ALONE = {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def check_python(version):
    if not (3, 11) <= version <= (3, 13):
        raise SystemExit(
            f"Python {version[0]}.{version[1]} found, 3.11 to 3.13 needed: call another one, such as "
            "python3.12 setup_and_run.py (on Windows py -3.12 setup_and_run.py, with make: make PYTHON=python3.12 …)."
        )


def python_of(venv):
    """The Python of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(python, code=""):
    try:
        return not subprocess.run([python, "-c", code], capture_output=True).returncode
    except OSError:  # none there, or that of another system
        return False


def up_to_date(stamp):
    return stamp.exists() and all(stamp.stat().st_mtime >= path.stat().st_mtime for path in STATED)


def make_venv(venv):
    check_python(sys.version_info[:2])
    free = shutil.disk_usage(venv.parent).free / 1e9
    if free < NEEDED and not venv.exists():
        raise SystemExit(f"{free:.1f} GB are free at {venv.parent}, {venv.name} takes about {NEEDED}: make room first.")
    if works(python_of(venv), f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"):
        return  # Windows lets nobody overwrite a python.exe that is at work, such as JupyterLab's
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and (not venv.is_dir() or any(venv.iterdir())):
        raise SystemExit(f"{venv} holds something else than a virtual environment, and stays as it is: name another.")
    # what is there was copied from another machine, or is of another Python, whose packages do not suit
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True)
    if made.returncode:
        said = " ".join((made.stderr + made.stdout).split())[-300:]
        if "ermission" in said or "denied" in said:
            raise SystemExit(f"{venv} cannot be replaced ({said}): close what is at work there, such as JupyterLab.")
        way = f"sudo apt install python3.{sys.version_info[1]}-venv" if os.name == "posix" else "Python of python.org"
        raise SystemExit(f"This Python cannot make a virtual environment ({said}). What helps: {way}.")


def pip(venv, *arguments):
    """Call pip; what it says goes to the screen, and if it fails, our sentence goes after it."""
    command = [python_of(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", cwd=ROOT)
    sys.stderr.write(done.stderr)
    if not done.returncode:
        return
    if "No space left" in done.stderr or "Errno 28" in done.stderr:
        raise SystemExit(f"The disk is full: {venv.name} takes about {NEEDED} GB. Make room, and call again.")
    if "Windows Long Path" in done.stderr:
        raise SystemExit(
            f"The paths in {venv} grow longer than Windows allows: move the project to a short one, C:\\bert."
        )
    if "a different python version" in done.stderr.lower():
        raise SystemExit(
            f"A package of constraints.txt is not for Python {'.'.join(map(str, sys.version_info[:3]))} (see above): update "
            "Python to its newest patch release, or call another one."
        )
    if "--no-index" in arguments:
        raise SystemExit(
            f"The wheels do not suit (see above): they are for one system and one Python version, and this is Python "
            f"{sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}. START.md of the stick says which they are."
        )
    raise SystemExit(
        "The packages could not be had (see above). With a network: call again, what was fetched is kept. Behind a proxy: "
        "set HTTPS_PROXY. Without a network: put the folder wheels/ of the workshop's stick beside setup_and_run.py."
    )


def set_up(options):
    """Make .venv as requirements.txt and constraints.txt say, unless it is."""
    stamp = options.venv / "installed"
    if up_to_date(stamp) and works(python_of(options.venv)):
        return
    arguments = shlex.split(options.pip, posix=os.name == "posix")
    if not arguments and WHEELS.is_dir():
        arguments = ["--no-index", "--find-links", str(WHEELS)]
        print(f"Installing from {WHEELS.name}/, without a network.", flush=True)
    print(f"Setting up {options.venv.name}: about {NEEDED} GB, some minutes …", flush=True)
    stamp.unlink(missing_ok=True)
    make_venv(options.venv)
    stated = ["-r", str(STATED[0])]
    if options.resolution:  # uv finds the oldest or newest versions
        pip(options.venv, *arguments, "uv")
        python = python_of(options.venv)
        uv = [python, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        if subprocess.run([*uv, "--resolution", options.resolution, *stated], cwd=ROOT).returncode:
            raise SystemExit("uv could not install what requirements.txt says (see above).")
    else:
        pip(options.venv, *arguments, *stated, "-c", str(STATED[1]))
    stamp.touch()


def become(command):
    """Go on as another program, which answers Ctrl-C itself."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.exit(subprocess.call(command))


def test(python, names):
    """Run tests, without network or GPU, each process with one thread. Returns the exit code."""
    return subprocess.call([python, "tests/side_by_side.py", *names], cwd=ROOT, env=os.environ | ALONE)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--venv", type=lambda name: (ROOT / name).absolute(), default=".venv", help="its folder (.venv)"
    )
    parser.add_argument("--pip", default="", metavar="ARGUMENTS", help="for pip, such as --pip='--index-url …'")
    parser.add_argument(
        "--resolution", choices=["lowest-direct", "highest"], help="other versions than constraints.txt's"
    )
    parser.add_argument("what", nargs="?", default="run", choices=DOES)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="for run.py, or the tests to run")
    if "-p" in arguments and not set(DOES) & set(arguments):
        parser.error("what is for run.py stands behind the word run: setup_and_run.py run -p …")
    options = parser.parse_args(arguments)
    python = python_of(options.venv)
    if Path(sys.prefix).resolve() != options.venv.resolve():  # else it is .venv's own Python that reads this
        set_up(options)
    if options.what == "run":
        become([str(python), str(ROOT / "run.py"), *options.rest])
    elif options.what == "lab":
        become([str(python), "-m", "jupyter", "lab", str(ROOT / "notebooks"), *options.rest])
    return test(str(python), options.rest) if options.what == "test" else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(
        errors="replace"
    )  # on Windows a pipe or a file knows 200 characters, and an ellipsis may be none
    sys.exit(main(sys.argv[1:]))
