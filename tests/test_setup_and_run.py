"""setup_and_run.py, on a small project with a package of its own: what a machine without make needs, and make calls."""

import ast
import collections
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

import setup_and_run
from helpers import ROOT

WHEEL = {
    "tiny_package.py": "",
    "tiny_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n",
    "tiny_package-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_package-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def project(tmp_path):
    """Its requirement is a package that only wheels/ has; its run.py says what it was called with."""
    shutil.copy(ROOT / "setup_and_run.py", tmp_path)
    (tmp_path / "requirements.txt").write_text("tiny-package\n")
    (tmp_path / "constraints.txt").write_text("tiny-package==1.0\n")
    (tmp_path / "run.py").write_text("import sys, tiny_package; print('run.py', sys.argv[1:]); sys.exit(3)")
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels/tiny_package-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in WHEEL.items():
            wheel.writestr(name, content)
    return tmp_path


def call(project, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "setup_and_run.py", *arguments],
        cwd=project,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"} | environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_it_sets_up_once_from_the_wheels_beside_it_and_runs(project):
    code, said = call(project, "run", "-p", "SEED", "7", "--again")
    assert code == 3 and "Installing from wheels/, without a network" in said, said
    assert said.endswith("run.py ['-p', 'SEED', '7', '--again']\n")
    stamp = project / ".venv/installed"
    made = stamp.stat().st_mtime_ns
    assert call(project) == (3, "run.py []\n") and stamp.stat().st_mtime_ns == made
    os.utime(project / "requirements.txt", ns=(made + 10**9, made + 10**9))
    assert "Setting up" in call(project, "setup")[1]
    python = setup_and_run.python_of(project / ".venv")
    python.unlink()  # a .venv that was copied from another machine
    python.write_text("no program")
    os.utime(project / "requirements.txt", ns=(made, made))
    assert call(project, "run")[1].endswith("run.py []\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ([], {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}, "The packages could not be had"),
        (["--pip=--no-index --find-links nowhere"], {}, "The wheels do not suit"),
    ],
    ids=["no network", "wheels for others"],
)
def test_packages_that_cannot_be_had_are_one_sentence_with_the_way_out(project, arguments, environment, sentence):
    shutil.rmtree(project / "wheels")
    code, said = call(project, *arguments, **environment)
    assert code == 1 and said.splitlines()[-1].startswith(sentence), said
    assert not (project / ".venv/installed").exists(), "the next call tries again"


def test_a_parameter_without_the_word_run_is_told_how_it_goes(capsys):
    with pytest.raises(SystemExit) as ended:
        setup_and_run.main(["-p", "SEED", "7"])
    assert ended.value.code == 2 and "setup_and_run.py run -p" in capsys.readouterr().err


def test_a_full_disk_is_said_before_anything_is_made(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1.2e9))
    with pytest.raises(SystemExit, match="1.2 GB are free .* takes about 3: make room first"):
        setup_and_run.make_venv(tmp_path / ".venv")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_is_one_sentence(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, None, "ERROR: [Errno 28] No space left on device\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="The disk is full"):
        setup_and_run.pip(tmp_path / ".venv", "x")


def test_a_python_without_venv_says_what_to_install(tmp_path, monkeypatch):
    """As on Debian and Ubuntu, where python3-venv is a package of its own."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho The virtual environment was not created: ensurepip is not available; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(SystemExit, match=r"ensurepip is not available.*What helps: sudo apt install python3\.\d+-venv"):
        setup_and_run.make_venv(tmp_path / ".venv")


def test_a_folder_of_something_else_is_never_emptied(tmp_path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(SystemExit, match="holds something else than a virtual environment, and stays as it is"):
        setup_and_run.make_venv(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_environment_of_this_python_is_kept_and_one_of_another_is_made_anew(tmp_path, monkeypatch):
    """So on Windows nothing overwrites the python.exe that JupyterLab runs on, or mixes packages of two Pythons."""
    calls, python = [], setup_and_run.python_of(tmp_path / ".venv")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / ".venv"], check=True)
    made = python.lstat().st_mtime_ns
    setup_and_run.make_venv(tmp_path / ".venv")
    assert python.lstat().st_mtime_ns == made

    def busy(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "Error: [WinError 5] Access is denied: 'python.exe'\n")

    monkeypatch.setattr(subprocess, "run", busy)  # neither is it this Python's, nor can it be made anew
    with pytest.raises(SystemExit, match="cannot be replaced .*Access is denied.* close what is at work there"):
        setup_and_run.make_venv(tmp_path / ".venv")
    assert "--clear" in calls[-1]


def test_paths_too_long_for_windows_are_one_sentence(tmp_path, monkeypatch):
    said = "OSError: No such file. HINT: this system does not have Windows Long Path support enabled.\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, None, said))
    with pytest.raises(SystemExit, match="move the project to a short one"):
        setup_and_run.pip(tmp_path / ".venv", "x")


@pytest.mark.parametrize(
    "program", ["setup_and_run.py", "run.py", "predict.py", "workshop/check.py", "workshop/bundle.py"]
)
def test_what_is_printed_needs_no_unicode(program):
    """Into a pipe or a file Windows writes the 200 characters of its code page, and not all of ours are in each."""
    alone = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, ROOT / program, "--help"], env=alone, capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout and "Error" not in done.stderr, done.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no clone")
def test_git_for_windows_keeps_line_ends():
    """Its default, core.autocrlf, would put a carriage return at the end of every sentence of the corpora."""
    names = ["data/practice/raw/in_domain_dev.tsv", "Makefile", "notebooks/01_setup.ipynb"]
    said = subprocess.run(["git", "check-attr", "text", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [f"{name}: text: unset" for name in names]


def test_tests_are_counted(project):
    (project / "tests").mkdir()
    shutil.copy(ROOT / "tests/side_by_side.py", project / "tests")
    for name, truth in [("good", True), ("bad", False)]:
        (project / f"tests/test_{name}.py").write_text(f"def test_{name}():\n    assert {truth}\n")
    names = ["tests/test_good.py", "tests/test_bad.py"]
    script = f"import pathlib, sys, setup_and_run as s; s.ROOT = pathlib.Path('.'); sys.exit(s.test(sys.executable, {names}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("failed: tests/test_bad.py\n"), done.stdout
    assert "tests/test_good.py:" in done.stdout and "1 passed" in done.stdout and "1 failed" in done.stdout


def test_an_old_python_can_read_as_far_as_the_sentence():
    ast.parse((ROOT / "setup_and_run.py").read_text(encoding="utf-8"), feature_version=(3, 7))


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make_hands_its_variables_on():
    def made(*arguments):
        alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        call = ["make", "-n", *arguments]
        return subprocess.run(call, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout

    setup = made("-W", "requirements.txt", "VENV=.v", "PYTHON=python3.12", "PIP_ARGS=--no-index --find-links wheels", "PARAMS=-p SEED 7")  # fmt: skip
    assert setup.splitlines() == [
        "python3.12 setup_and_run.py --venv .v --pip='--no-index --find-links wheels'  setup",
        ".v/bin/python setup_and_run.py --venv .v run -p SEED 7",
    ]
    assert "--resolution lowest-direct setup" in made("-W", "requirements.txt", "VENV=.v", "RESOLUTION=lowest-direct")
    assert ".venv/Scripts/python setup_and_run.py" in made("-o", ".venv/installed", "OS=Windows_NT")
    assert made("-o", ".venv/installed", "tests/test_run.py").endswith("test tests/test_run.py\n")
