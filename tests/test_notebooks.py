"""What the notebooks look like as files: tags, counts, ids, no errors, nothing of a machine."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest

import helpers

PATHS = sorted(Path(helpers.ROOT, "notebooks").glob("[0-9][0-9]_*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def tagged(name, tag):
    return [cell for cell in code_cells(name) if tag in cell.metadata.get("tags", [])]


def test_the_series_is_complete():
    assert list(NOTEBOOKS)[: len(helpers.SERIES)] == helpers.SERIES


@every_notebook
def test_the_file_is_valid_and_normalised(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [str(i) for i in range(len(notebook.cells))], "run make refresh"
    assert (
        set(notebook.metadata) <= {"kernelspec", "language_info"} and "version" not in notebook.metadata.language_info
    )
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@every_notebook
def test_it_is_committed_executed_in_order_without_errors(name):
    assert [cell.execution_count for cell in code_cells(name)] == list(range(1, len(code_cells(name)) + 1))
    for cell in code_cells(name):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source


@every_notebook
def test_nothing_of_a_machine_is_in_it(name):
    text = PATHS[list(NOTEBOOKS).index(name)].read_text(encoding="utf-8")
    assert not re.search(r"(/home/|/root/|/Users/|/tmp/|/work/|/private/var|[A-Z]:\\\\)", text)
    assert "application/vnd.jupyter.widget-view+json" not in text


@every_notebook
def test_parameters_are_plain_literals_with_a_remark(name):
    (cell,) = tagged(name, "parameters")
    statements = ast.parse(cell.source).body
    lines = cell.source.splitlines()
    assert len(statements) == len(lines), "one parameter a line"
    for statement, line in zip(statements, lines):
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        assert re.search(r"  # \w", line), "each with a remark"
    seen = papermill.inspect_notebook(PATHS[list(NOTEBOOKS).index(name)])
    assert len(seen) == len(lines), "papermill drops lines that it cannot read, such as those with a second ="


def test_a_parameter_lives_in_one_notebook_and_run_in_all():
    declared = {name: set(re.findall(r"^([A-Z_]+)", tagged(name, "parameters")[0].source, re.M)) for name in NOTEBOOKS}
    for name in helpers.SERIES:
        assert "RUN" in declared[name]
    rest = [parameter for own in declared.values() for parameter in own - {"RUN", "BATCH"}]
    assert len(rest) == len(set(rest))


def test_the_bootstrap_is_the_same_everywhere_and_imports_nothing_of_colab():
    sources = {tagged(name, "bootstrap")[0].source for name in NOTEBOOKS}
    assert len(sources) == 1
    assert '"google.colab" in sys.modules' in sources.pop()


@every_notebook
def test_it_reads_as_a_lesson(name):
    cells = NOTEBOOKS[name].cells
    first = cells[0].source
    assert re.search(rf"^# {name[:2]} · ", first, re.M) and f"notebooks/{name}.ipynb" in first
    for promise in ["What you will do", "What you need", "How long it takes"]:
        assert promise in first
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in ["## Summary", "## Exercises", "<details>"]:
        assert part in prose
    assert prose.count("<details>") == prose.count("</details>") >= 2
    for target in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", prose):
        assert Path(helpers.ROOT, "notebooks", target).exists(), target
    kinds = "".join("m" if cell.cell_type == "markdown" else "c" for cell in cells)
    assert "ccc" not in kinds, "three code cells in a row"
    assert not any(cell.source.rstrip().endswith(";") for cell in code_cells(name))


@every_notebook
def test_what_can_be_compared_is_compared(name):
    outputs = [cell for cell in code_cells(name) if cell.outputs]
    compared = [cell for cell in outputs if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert len(compared) >= 3, "nbval compares too little to notice anything"
    for cell in compared:
        for output in cell.outputs:
            text = output.get("text", "")
            assert not re.search(r"\d+\.\d+ ?(s|seconds|ms|milliseconds)\b", text), "times differ from run to run"


def test_every_helper_is_used_and_documented():
    import inspect

    used = "\n".join(cell.source for name in NOTEBOOKS for cell in code_cells(name)) + inspect.getsource(helpers)
    for name, function in inspect.getmembers(helpers, inspect.isfunction):
        if function.__module__ == "helpers" and not name.startswith("_"):
            assert len(re.findall(rf"\b{name}\b", used)) >= 2, f"{name} is used nowhere"
            assert re.search(r"\(\d\d_?\w*(, \d\d)*\)", function.__doc__), f"{name}: the notebook that introduces it"
