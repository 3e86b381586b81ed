"""The rooms of the code: who imports whom, what the runner does without, and how much stands in one place."""

import ast
import graphlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("*.py", "runner/*.py", "bookkeeping/*.py", "lesson/*.py")
FILES = {path.relative_to(ROOT): path for pattern in ROOMS for path in ROOT.glob(pattern) if path.name != "conftest.py"}
MODULES = {".".join(name.with_suffix("").parts).removesuffix(".__init__"): path for name, path in FILES.items()}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    """The modules that a file imports, inside functions as well: with their packages, and ours by their own names."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.rsplit(".", above)[0] for name in names for above in range(name.count(".") + 1)}


IMPORTS = {module: imported(path) for module, path in MODULES.items()}
OURS = {module: (names & MODULES.keys()) - {module} for module, names in IMPORTS.items()}


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_imports_run_one_way():
    everything = {"run", "helpers", "runner.resume", "bookkeeping.files"}
    assert everything <= MODULES.keys() and "runner.resume" in OURS["runner.progress"]
    graphlib.TopologicalSorter(OURS).prepare()  # raises CycleError


def test_the_runner_and_the_bookkeeping_know_no_machine_learning():
    reached = [module for module in MODULES if module.split(".")[0] in {"run", "runner", "bookkeeping"}]
    for module in reached:  # which grows
        reached += OURS[module] - set(reached)
        assert not IMPORTS[module] & {"torch", "transformers"}, module
    assert {"run", "runner.kernel", "bookkeeping.runs"} <= set(reached) and not {"helpers", "sources"} & set(reached)


def test_a_room_has_no_more_than_one_can_oversee():
    rooms = [path for name, path in FILES.items() if name.parts[0] in {"runner", "bookkeeping"}]
    assert [path for path in rooms if lines(path) > 200] == []
    functions = [(path, node) for path in rooms for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    assert [(path, f.name) for path, f in functions if f.end_lineno - f.lineno >= 40] == [] and len(functions) > 50


@pytest.mark.parametrize(
    ("pattern", "most"), [("run.py", 59), ("helpers.py", 349), ("benchmarks/*.py", 199)], ids=lambda value: str(value)
)
def test_files_at_the_top_are_thin_and_benchmarks_short(pattern, most):
    found = {path.name: lines(path) for path in ROOT.glob(pattern)}
    assert found and {name: count for name, count in found.items() if count > most} == {}


def test_the_plan_in_the_runner_names_every_room_from_the_top_down():
    plan = ast.get_docstring(tree(ROOT / "runner/__init__.py"))
    floors = re.findall(r"^  ([a-z_]+(?:, [a-z_]+)*)  ", plan, re.MULTILINE)
    level = {room: -floor for floor, names in enumerate(floors) for room in names.split(", ")}
    rooms = {path.stem: path for path in (ROOT / "runner").glob("[a-z]*.py")}
    assert rooms.keys() == level.keys() | {"kernel"} and all(ast.get_docstring(tree(path)) for path in rooms.values())
    arrows = [(room, name.removeprefix("runner.")) for room in level for name in OURS[f"runner.{room}"] - {"runner"}]
    assert [(a, b) for a, b in arrows if b in level and level[b] > level[a]] == [] and len(arrows) > 50
    assert not OURS["runner.kernel"] and not any("kernel" in arrow for arrow in arrows)


def test_kernel_py_meets_no_room_under_the_name_of_a_library():
    """It is started as a script, so that its folder stands first where Python looks for modules."""
    for path in (ROOT / "runner").glob("[a-z]*.py"):
        spec = importlib.util.find_spec(path.stem)
        assert spec is None or spec.origin is None, f"{path.stem} is also {spec.origin}"  # no origin: a folder
