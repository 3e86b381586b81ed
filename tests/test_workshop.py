"""The workshop's programs: the stick, the check of a laptop, slides; and how a page becomes one of the site."""

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import nbformat
import pytest

from helpers import ROOT

bundle, slides, site = (
    SimpleNamespace(**runpy.run_path(str(ROOT / name)))
    for name in ("workshop/bundle.py", "workshop/slides.py", "site/build.py")
)


# ---------------------------------------------------------------- the stick


@pytest.mark.parametrize("text", ["linux", "linux:3.10", "amiga:3.12", "windows:", ""])
def test_a_system_that_there_is_no_stick_for_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected linux|windows|macos:3.11|3.12|3.13"):
        bundle.target(text)
    assert bundle.target(bundle.HERE) == tuple(bundle.HERE.split(":"))


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no clone")
def test_the_stick_holds_project_wheels_and_a_page_to_begin_with(tmp_path):
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    out = tmp_path / "bert.zip"
    assert bundle.write(out, [("windows", "3.12"), ("linux", "3.11")], tmp_path) == 1
    with zipfile.ZipFile(out) as made:
        names = set(made.namelist())
        start = made.read("bert/START.md").decode()
        notebook = made.read("bert/notebooks/01_setup.ipynb")
    assert {f"bert/{name}" for name in ("setup_and_run.py", "Makefile", "helpers.py", "data/practice/raw/in_domain_dev.tsv", "workshop/check.py", "wheels/tiny-1.0-py3-none-any.whl")} <= names  # fmt: skip
    assert not [name for name in names if "/runs/" in name or "/.venv" in name or "/build/" in name]
    assert (
        "* Windows (64 bit), Python 3.12\n* Linux (x86-64), Python 3.11" in start
        and "@" not in start
        and "installs 1 packages" in start
    )
    assert notebook == (ROOT / "notebooks/01_setup.ipynb").read_bytes() and not out.with_suffix(".part").exists()


# ---------------------------------------------------------------- a laptop


def checked(*arguments, root=ROOT):
    done = subprocess.run([sys.executable, root / "workshop/check.py", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="tests run in another environment")
def test_a_laptop_that_is_ready_is_said_to_be():
    code, said = checked()
    assert code == 0 and said.endswith("0 problems: ready\n") and re.search(r"^ok +model +minilm$", said, re.M), said


def test_what_a_laptop_lacks_is_said_with_what_helps(tmp_path):
    (tmp_path / "workshop").mkdir()
    shutil.copy(ROOT / "workshop/check.py", tmp_path / "workshop")
    code, said = checked(root=tmp_path)
    assert code == 1 and "PROBLEM  .venv        not there: call setup_and_run.py setup\n1 problem\n" in said
    python = tmp_path / (".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python")
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named torch' >&2; exit 1\n")
    python.chmod(0o755)
    code, said = checked(root=tmp_path)
    assert code == 1 and "No module named torch: call setup_and_run.py setup" in said


def teaching(notebook):
    """(words of prose, lines of code, questions) before a notebook's exercises, without the set-up for Colab."""
    words = lines = questions = 0
    for cell in notebook.cells:
        text, exercises, _ = cell.source.partition("## Exercises")
        if cell.cell_type == "markdown":
            words, questions = words + len(re.findall(r"\S*\w\S*", text)), questions + text.count("?")
        elif "colab-setup" not in cell.metadata.get("tags", []):
            lines += sum(bool(line.strip()) for line in text.splitlines())
        if exercises:
            break
    return words, lines, questions


def test_the_minutes_are_those_of_the_notebooks():
    """Words and lines in the table are off by an eighth at most, and the minutes follow from them as the text says."""
    text = (ROOT / "workshop/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) [^|]+\| ([\d,]+) \| (\d+) \| (\d+) \| (\d+) \|", text, re.M)
    assert [number for number, *_ in rows] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    for number, *given in rows:
        words, lines, questions, minutes = (int(figure.replace(",", "")) for figure in given)
        (path,) = ROOT.glob(f"notebooks/{number}_*.ipynb")
        true = teaching(nbformat.read(path, as_version=4))
        assert (words, lines) == pytest.approx(true[:2], rel=0.125) and abs(questions - true[2]) <= 2, (path.stem, true)
        assert minutes == pytest.approx(words / 100 + lines / 8 + questions, abs=4), path.stem


def test_the_days_add_up():
    """In each plan a part begins when the one before ends."""
    text = (ROOT / "workshop/README.md").read_text(encoding="utf-8")
    for day, least in [("Half a day", 210), ("A full day", 400)]:
        rows = re.findall(r"^\| (\d+):(\d\d) \| (\d+) \|", text.split(f"## {day}\n")[1].split("\n## ")[0], re.M)
        begin = [int(hour) * 60 + int(minute) for hour, minute, _ in rows]
        assert len(rows) > 8 and [b + int(m) for b, (_, _, m) in zip(begin, rows)][:-1] == begin[1:]
        assert sum(int(minutes) for _, _, minutes in rows) >= least


# ---------------------------------------------------------------- slides and site


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_slides_keep_the_figures_and_leave_out_set_up_and_exercises(path):
    notebook = nbformat.read(path, as_version=4)
    figures = sum(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    )
    deck = slides.deck(notebook)
    nbformat.validate(deck)
    text = json.dumps(deck)
    assert text.count('"image/png"') >= figures > 0 and "colab" not in text and "## Set-up" not in text
    assert "<details>" not in text and "**1.**" not in text
    assert sum(cell.metadata.slideshow.slide_type == "slide" for cell in deck.cells) > 10


def test_a_link_holds_in_a_book():
    page = ROOT / "docs/teaching.md"
    text = "[a](../README.md#the-series) [b](../helpers.py) [c](https://x.org/y.py) [d](../results/cola) [e](#here)"
    kept = "[a](../README.md#the-series) {} [c](https://x.org/y.py) [d](../results/cola/README.md) [e](#here)"
    assert site.mended(text, page, None, None) == kept.format("b")
    assert site.mended(text, page, "https://g.org/o/r", "main") == kept.format(
        "[b](https://g.org/o/r/blob/main/helpers.py)"
    )


def test_pictures_keep_their_words_and_solutions_fold():
    notebook = nbformat.read(ROOT / "notebooks/01_setup.ipynb", as_version=4)
    alts = [output.metadata["image/png"]["alt"] for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]  # fmt: skip
    made = site.heading_first(notebook)
    html = "".join(
        output.get("data", {}).get("text/html", "") for cell in made.cells for output in cell.get("outputs", [])
    )
    assert (
        len(alts) == 2 and all(f'<img alt="{alt}"' in html for alt in alts) and made.cells[0].source.startswith("# 01")
    )
    assert [cell.metadata.tags for cell in made.cells if "solution" in cell.metadata.get("tags", [])] == [
        ["solution", "hide-cell"]
    ] * 3


def test_an_empty_cell_is_no_heading():
    assert site.finished('<th class="head"><p></p></th><th>a</th>') == '<td class="head"></td><th>a</th>'
