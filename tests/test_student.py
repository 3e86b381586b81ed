"""Exercises that check themselves, and the copies of the notebooks for a class (notebooks/student.py)."""

import json
import os
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat import v4 as new

from helpers import ROOT
from lesson.exercises import verdict

student = SimpleNamespace(**runpy.run_path(str(ROOT / "notebooks/student.py")))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))}
OPEN = [name for name, notebook in NOTEBOOKS.items() if any(student.has(cell, "exercise") for cell in notebook.cells)]
KINDS = ("exercise", "solution", "check")


def code(source, *tags):
    return new.new_code_cell(source, metadata={"tags": list(tags)})


@pytest.fixture
def small(tmp_path):
    """A folder with a notebook of one exercise of each fashion."""
    cells = [
        new.new_markdown_cell("**1.** Six times seven?\n\n<details><summary>Hint</summary>\n\nNot 41.\n\n</details>"),
        code("answer = ...", "exercise"),
        code("if answer is ...:  # a solution\n    answer = 6\n    answer *= 7", "solution"),
        code('from lesson import exercises\n\nexercises.check(answer, 42, "count again.")', "check"),
        new.new_markdown_cell(
            "**2.** More?\n\n<details><summary>Solution</summary>\n\nNo.\n\n</details>\n\n**Next:** more."
        ),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new.new_notebook(cells=cells), tmp_path / "notebooks/01_small.ipynb")
    return tmp_path


def copies(folder, what, notebooks=None):
    command = [sys.executable, ROOT / "notebooks/student.py", what, "--out", folder / what]
    command += ["--notebooks", notebooks] if notebooks else []
    subprocess.run(command, check=True, capture_output=True)
    return {path.stem: nbformat.read(path, as_version=4) for path in (folder / what).glob("*.ipynb")}


def said(notebook, capsys):
    """What the code of a notebook prints, run from its first cell to its last."""
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    return capsys.readouterr().out


def test_a_students_copy_is_open_and_the_other_is_right(small, capsys):
    given, solved = (copies(small, what, small / "notebooks")["01_small"] for what in ("student", "solutions"))
    assert said(given, capsys).startswith("Still open") and said(solved, capsys) == "Right.\n"
    text, whole = (json.dumps(notebook) for notebook in (given, solved))
    assert "answer = 6" not in text and "More?" in text and "No." not in text and "Not 41" in text and "Next" in text
    assert "answer = 6\\nanswer *= 7" in whole and "is ...:" not in whole and "No." in whole


def test_the_notebook_itself_runs_through_and_keeps_the_readers_answer(small, capsys):
    notebook = nbformat.read(small / "notebooks/01_small.ipynb", as_version=4)
    assert said(notebook, capsys) == "Right.\n"
    notebook.cells[1].source = "answer = 41"
    assert said(notebook, capsys) == "Nearly: count again.\n"


@pytest.mark.parametrize(
    ("given", "right", "begins"),
    [
        (..., 1, "Still open"),
        (0.1000001, 0.1, "Right"),
        (12, 12, "Right"),
        (0.09, 0.1, "Nearly"),
        (0.05, 0.1, "Not yet, 0.05"),
        (0, 0, "Right"),
        (None, 0.1, "Not yet, None"),
        ("many", 3, "Not yet, 'many'"),
        (float("nan"), 3, "Not yet, nan"),
    ],
)
def test_verdicts(given, right, begins):
    assert verdict(given, right, "look").startswith(begins)


@pytest.mark.parametrize("given", [..., 0.1, float("nan")])
def test_what_cannot_be_asked_is_said_so(given):
    assert verdict(given, None, "look", unknown="no seeds.") == "This cannot be asked here: no seeds."


@pytest.mark.parametrize("name", OPEN)
def test_an_exercise_is_stub_solution_check_and_the_copies_are_whole(name, tmp_path):
    cells = [cell for cell in NOTEBOOKS[name].cells if any(student.has(cell, kind) for kind in KINDS)]
    assert [cell.metadata.tags for cell in cells] == [[kind] for kind in KINDS] * (len(cells) // 3) and 9 <= len(
        cells
    ) <= 15
    for stub, solution, check in zip(cells[::3], cells[1::3], cells[2::3]):
        answer = re.fullmatch(r"(\w+) = \.\.\.", stub.source)[1]
        assert solution.source.startswith(f"if {answer} is ...:") and re.search(rf"check\(\s*{answer},", check.source)
        assert solution.metadata.get("jupyter", {}).get("source_hidden") is True, "folded in JupyterLab"
        assert check.outputs[0].text.strip() == "Right."
    given, solved = (copies(tmp_path, what)[name] for what in ("student", "solutions"))
    assert sum(cell.source.endswith("= ...") for cell in given.cells) == len(cells) // 3
    assert "is ...:" not in json.dumps([given, solved]) and "Solution</summary>" not in json.dumps(given)
    assert not any(cell.get("outputs") for cell in given.cells + solved.cells)


def test_every_notebook_has_exercises():
    assert set(NOTEBOOKS) == set(OPEN)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "begins"), [("student", "Still open"), ("solutions", "Right.")])
def test_a_copy_is_run_from_end_to_end(what, begins, tmp_path):
    """02, by Jupyter's own program, in a folder beside notebooks/ as make student makes it."""
    notebook = copies(tmp_path, what)["02_load_cola"]
    for cell in notebook.cells:
        if student.has(cell, "colab-setup"):
            cell.source = f"import sys; sys.path.insert(0, {str(ROOT)!r})"  # the copy lies in a folder of this test
    path = tmp_path / "02.ipynb"
    nbformat.write(notebook, path)
    own = {"BERT_RUNS": str(tmp_path / "runs"), "BERT_DATA": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython"), "HF_HUB_OFFLINE": "1"}  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
        "--inplace",
        "--log-level=ERROR",
        path,
    ]
    subprocess.run(command, check=True, env=os.environ | own)
    done = nbformat.read(path, as_version=4)
    checks = [cell.outputs[0].text for cell in done.cells if student.has(cell, "check")]
    assert len(checks) == 3 and all(text.startswith(begins) for text in checks), checks
