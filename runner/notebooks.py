"""The notebooks: what each declares, which of them a call executes, and whether their code has changed."""

import ast
import functools
import hashlib
import importlib.util
import itertools
import json
import logging
import re
from typing import NamedTuple

import nbformat
import papermill

from bookkeeping import SeriesError
from bookkeeping.parameters import KINDS
from runner import paths

TRAINING = "04_train"  # what --processes executes under torchrun, and what leaves a checkpoint
EVALUATION = "05_evaluate"  # what writes metrics.json, and where the runs of a sweep end
LAST = "06_save_and_load"  # where a single run ends
IMPORT = re.compile(r"^[ \t]*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+(.*))", re.MULTILINE)


class Parameter(NamedTuple):
    name: str
    kind: type
    default: object
    remark: str


def read_notebooks():
    """{notebook: {name: Parameter}}, in order, of the notebooks that declare RUN or SWEEP."""
    logging.getLogger("papermill").setLevel(logging.WARNING)
    kinds = {kind.__name__: kind for kind in KINDS}
    notebooks = {}
    for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        declared = {}
        for name, seen in papermill.inspect_notebook(path).items():
            try:
                default = ast.literal_eval(seen["default"])
            except (SyntaxError, ValueError):
                raise SeriesError(
                    f"{path.name}: the default of {name} is {seen['default']}: expected a plain literal."
                ) from None
            kind = kinds.get(seen["inferred_type_name"], str if default is None else type(default))
            declared[name] = Parameter(name, kind, default, seen["help"])
        if "RUN" in declared or "SWEEP" in declared:
            notebooks[path.stem] = declared
    return notebooks


def chosen(notebooks, until, default):
    """The notebooks of a run: those that declare RUN, up to the one that --until names."""
    series = [name for name, declared in notebooks.items() if "RUN" in declared]
    ends = [name for name in series if name.startswith(until)] if until else [default]
    if not ends:
        raise SeriesError(f"--until {until}: no such notebook. There are: {', '.join(series)}")
    return [name for name in series if name <= ends[0]]


@functools.cache
def cells_of(notebook):
    return nbformat.read(paths.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells


@functools.cache
def code_of(notebook):
    """A hash of a notebook's code, and of the project's modules that it imports, itself or through others."""
    code = ["\n".join(cell.source for cell in cells_of(notebook) if cell.cell_type == "code")]
    waiting, seen = list(modules_in(code[0])), set()
    for path in waiting:  # which grows
        if path not in seen:
            seen.add(path)
            code.append(path.read_text(encoding="utf-8"))
            waiting += modules_in(code[-1], ".".join(path.relative_to(paths.ROOT).parent.parts))
    return short_hash(sorted(code))


def modules_in(text, package=""):
    """The files below the project's folder that Python code of `package` imports. Code of a notebook may hold magics."""
    for base, members, modules in IMPORT.findall(text):
        if base.startswith("."):
            base = importlib.util.resolve_name(base, package) if package else ""
        names = [f"{base}.{member}" for member in re.findall(r"\w+", members) if base]
        names += [part.split()[0] for part in modules.split(",") if part.strip()]
        for name in names:
            for parts in itertools.accumulate(name.split("."), lambda above, own: f"{above}/{own}"):
                for path in (paths.ROOT / f"{parts}.py", paths.ROOT / parts / "__init__.py"):
                    if path.is_file():
                        yield path


def short_hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
