"""The toy project, and run.py at work on it."""

import json
import shutil
import types

import pytest
from toy import COMMON, TOY, forget, write_toy

import run as door
from runner import paths
from runner.notebooks import EVALUATION


@pytest.fixture
def toy(tmp_path):
    """A project of its own: run.py with its parts, and the toy notebooks."""
    shutil.copy(paths.ROOT / "run.py", tmp_path)
    for package in ("runner", "bookkeeping"):
        shutil.copytree(paths.ROOT / package, tmp_path / package)
    (tmp_path / "notebooks").mkdir()
    for name, (parameters, code) in TOY.items():
        run = f'RUN = "default"  # name of the run folder\n{parameters}'
        write_toy(tmp_path / f"notebooks/{name}.ipynb", run, [COMMON, code])
    compare = "import os, pathlib\nprint(sorted(p.parent.name for p in (pathlib.Path(os.environ['BERT_RUNS']) / SWEEP)"
    compare += ".glob('*/metrics.json')))"
    parameters = 'SWEEP = "sweep"  # name of the sweep\nCOMPARE: str = None  # a parameter'
    write_toy(tmp_path / "notebooks/07_compare.ipynb", parameters, [compare])
    return tmp_path


@pytest.fixture
def small(toy):
    """The same without 01, 05 and 07, for what does not need them."""
    for name in ("01_setup", "05_evaluate", "07_compare"):
        (toy / f"notebooks/{name}.ipynb").unlink()
    return toy


@pytest.fixture
def run(toy, monkeypatch):
    """run.py, at work on the toy project."""
    for name, path in [("ROOT", toy), ("NOTEBOOKS", toy / "notebooks"), ("RUNS", toy / "runs")]:
        monkeypatch.setattr(paths, name, path)
    forget()
    yield door
    forget()


@pytest.fixture
def quick(run, monkeypatch):
    """run.py with notebooks that do next to nothing: executed is what they were, fail(NOTEBOOK) may be set."""
    quick = types.SimpleNamespace(main=run.main, executed=[], given=[], calls=[], fail=lambda notebook: None)

    def execute(notebook, parameters, folder, call):
        quick.executed.append(f"{folder.name} {notebook[:2]}")
        quick.given.append(parameters)
        quick.calls.append(call)
        if error := quick.fail(notebook):
            return error
        (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        (folder / f"notebooks/{notebook}.ipynb").touch()
        if notebook[:2] not in {"01", "07"}:
            (folder / "run.json").write_text("{}")
        if notebook == EVALUATION:
            side = {"n": 10, "positives": 7, "mcc": 0.1, "mcc_interval": [0, 0.2], "accuracy": 0.7}
            (folder / "metrics.json").write_text(json.dumps({"test": side}))

    for room in ("resume", "comparison"):
        monkeypatch.setattr(f"runner.{room}.execute_notebook", execute)
    monkeypatch.setattr("runner.page.write_page", lambda folder, *_, **options: folder / "report.html")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return quick
