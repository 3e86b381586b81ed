#!/usr/bin/env python
"""Copies of the notebooks for a class: `make student` writes student/, without solutions; `make solutions` writes solutions/.

An exercise is three cells in a notebook, known by their tags: `exercise`, a stub with `...` for the answer; `solution`, which
answers where the stub is still open (`if answer is ...:`), so that a notebook that is run as a whole runs through; and
`check`, which says right, nearly, or what to look at. A student's copy has no solutions, neither as cells nor in <details>;
in the other the solution stands in the stub. Both come without outputs, and lie beside notebooks/, where they find helpers.
"""

import argparse
import re
import shutil
import sys
import textwrap
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = re.compile(r"<details><summary>Solution</summary>.*?</details>\n*", re.S)
GUARD = re.compile(r"if \w+ is \.\.\.:.*\n")


def has(cell, tag):
    return tag in cell.metadata.get("tags", [])


def filled(cell):
    """The source of a solution without the line that asks whether the stub is open."""
    return textwrap.dedent(GUARD.sub("", cell.source, count=1))


def copy(notebook, solutions):
    """A notebook with its exercises open, or with their solutions in the stubs; without outputs."""
    cells, stub = [], None
    for cell in notebook.cells:
        if has(cell, "solution"):
            if solutions:
                stub.source = filled(cell)
            continue
        stub = cell if has(cell, "exercise") else stub
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif not solutions:
            cell.source = HIDDEN.sub("", cell.source)
        cells.append(cell)
    notebook.cells = cells
    return notebook


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["student", "solutions"])
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="their folder")
    parser.add_argument("--out", type=Path, help="the folder to write to (student or solutions, beside notebooks/)")
    options = parser.parse_args()
    out = options.out or ROOT / options.what
    out.mkdir(parents=True, exist_ok=True)
    for picture in options.notebooks.glob("*.svg"):
        shutil.copy(picture, out)
    for path in sorted(options.notebooks.glob("[0-9][0-9]_*.ipynb")):
        notebook = copy(nbformat.read(path, as_version=4), options.what == "solutions")
        nbformat.write(notebook, out / path.name)
        print(f"{out.name}/{path.name}: {sum(has(cell, 'exercise') for cell in notebook.cells)} exercises with a check")


if __name__ == "__main__":
    sys.exit(main())
