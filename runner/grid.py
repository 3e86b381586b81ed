"""Which runs a call asks for: their parameters, their folders, and what they share."""

import functools
import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

from bookkeeping import SeriesError
from bookkeeping.parameters import NO_RESULT, READ
from bookkeeping.sums import content_sum
from runner import paths
from runner.notebooks import code_of, short_hash
from runner.state import LARGE

MANY = 1000  # files and folders; what holds more is no corpus and no model


@dataclass(frozen=True)
class Run:
    """A run folder and what makes it: its parent's notebooks, copied, then the rest of `notebooks`."""

    name: str  # of the folder below RUNS
    notebooks: tuple  # from the first on, the parent's included
    asked: dict  # {notebook: {name: value}}, as asked
    values: dict  # {notebook: {name: value}} of what decides the results, the defaults included
    code: dict  # {notebook: hash of its code and of what it imports}
    parent: "Run | None" = None

    @property
    def folder(self):
        return paths.RUNS / self.name

    @property
    def parameters(self):
        return {name: value for own in self.values.values() for name, value in own.items()}


def make_run(name, stems, asked, notebooks, parent=None):
    of = {stem: {p.name: asked[p.name] for p in notebooks[stem].values() if p.name in asked} for stem in stems}
    values = {
        stem: {p.name: asked.get(p.name, p.default) for p in notebooks[stem].values() if p.name not in NO_RESULT}
        for stem in stems
    }
    for own in values.values():
        own |= {f"content of {name}": found for name in READ & own.keys() if (found := content_of_path(own[name]))}
    return Run(name, tuple(stems), of, values, {stem: code_of(stem) for stem in stems}, parent)


def content_of_path(value):
    """A checksum of the file or folder that a parameter names, or None where it is a name of something else."""
    try:
        path = paths.ROOT / value
        if not Path(value).name or not path.exists():
            return None
        inside = list(itertools.islice(path.rglob("*"), MANY))
        return _sum_of(path, max(one.stat().st_mtime_ns for one in [path, *inside])) if len(inside) < MANY else None
    except (OSError, ValueError):  # the notebook will say why it cannot be read
        return None


@functools.cache  # the runs of a sweep name the same
def _sum_of(path, changed):
    return content_sum(path, LARGE)[:12]


def make_grid(sweep, values, stems, notebooks):
    """The runs of a sweep, in order, each with the chain of shared folders that it starts from."""
    names = [name for stem in stems for name in notebooks[stem] if name in values]  # in the notebooks' order
    aside = {name: values[name][0] for name in names if name in NO_RESULT}
    if several := [name for name in aside if len(values[name]) > 1]:
        raise SeriesError(f"{several[0]} takes one value: the results are the same with any")
    names = [name for name in names if name not in aside]
    varying = [name for name in names if len(values[name]) > 1]
    runs = []
    for combination in itertools.product(*(values[name] for name in names)):
        asked = dict(zip(names, combination, strict=True)) | aside
        parent = None
        for position, stem in enumerate(stems):
            if position and any(name in varying for name in notebooks[stem]):
                shared = make_run("", stems[:position], asked, notebooks)
                key = short_hash([shared.values, shared.code])
                parent = replace(shared, name=f"{sweep}/.shared/{stems[position - 1]}-{key}", parent=parent)
        label = ",".join(f"{name}={slug(asked[name])}" for name in varying or names) or "run"
        label = label if len(label) < 150 else f"{label[:140]}-{short_hash(label)}"
        runs.append(make_run(f"{sweep}/{label}", stems, asked, notebooks, parent))
    if len({run.name.casefold() for run in runs}) < len(runs):
        raise SeriesError("two of the values would give folders of one name on some file systems")
    return runs


def slug(value):
    """A value as part of a folder's name, on any file system."""
    text = "none" if value is None else str(value)
    safe = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII)[-40:].strip("-.")
    return safe if safe == (text or None) else f"{safe}-{short_hash(text)[:4]}".lstrip("-")
