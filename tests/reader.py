"""A reader at a notebook: its cells executed in this process, in any order, as often as asked."""

import contextlib
import io
import json

import nbformat
import pytest
from accelerate.state import AcceleratorState
from matplotlib import pyplot

import helpers

NOTEBOOKS = helpers.ROOT / "notebooks"
SETUP = {"bootstrap", "colab-setup"}


class Reader:
    """One kernel with one notebook open; `parameters` are what the reader wrote into the parameters cell."""

    def __init__(self, notebook, **parameters):
        AcceleratorState._reset_state(True)  # accelerate keeps one state per process, and a kernel is a process
        cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
        self.cells = [cell for cell in cells if cell.cell_type == "code" and not SETUP & set(self.tags(cell))]
        self.notebook, self.parameters, self.variables = notebook, parameters, {"__name__": "__main__"}

    @staticmethod
    def tags(cell):
        return cell.metadata.get("tags", [])

    def place(self, text):
        """Position of the one cell that has this tag, or this text in its source."""
        tagged = [i for i, cell in enumerate(self.cells) if text in self.tags(cell)]
        found = tagged or [i for i, cell in enumerate(self.cells) if text in cell.source]
        assert len(found) == 1, f"{len(found)} cells of {self.notebook} hold {text!r}"
        return found[0]

    def run(self, *places, times=1):
        """Execute the cells at these places, or all of them, each `times` times in place."""
        for cell in [self.cells[i if isinstance(i, int) else self.place(i)] for i in places or range(len(self.cells))]:
            for _ in range(times):
                exec(compile(cell.source, f"{self.notebook}.ipynb", "exec"), self.variables)
                if "parameters" in self.tags(cell):
                    assert set(self.parameters) <= set(self.variables)
                    self.variables.update(self.parameters)
        pyplot.close("all")
        return self

    def until(self, text):
        """Execute all cells before the one with this tag or text."""
        return self.run(*range(self.place(text)))

    def onward(self, text):
        """Execute the cell with this tag or text, and all after it."""
        return self.run(*range(self.place(text), len(self.cells)))


def record(run, notebook):
    """What run.json says of a notebook, without its times."""
    found = json.loads((helpers.RUNS / run / "run.json").read_text())["notebooks"].get(notebook)
    return found and {name: value for name, value in found.items() if "seconds" not in name and name != "finished"}


def in_this_process(program, question):
    """export.fresh_process without a process: what 06 asks a fresh one, which takes seconds to import torch."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as answer:
        patch.setattr("sys.stdin", io.StringIO(json.dumps(question)))
        exec(program, {})
    return json.loads(answer.getvalue())
