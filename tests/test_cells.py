"""A notebook is a thing whose cells are run again: all cells of all notebooks, and all their parameters.

What a cell leaves is what a fresh kernel leaves, or one sentence says from where to begin. The cases are made from the notebooks:
a new cell or parameter is covered by itself.
"""

import itertools
import json
import random
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from reader import Reader
from tally import tally, tries
from test_compare_runs import answers, make_up, write_run
from test_series import declared, runs, tiny  # noqa: F401

import helpers
from bookkeeping.parameters import typed
from lesson import blimp, card, chance, pairs, simulation, sources

ALL = [*helpers.SERIES, "07_compare_runs", "08_error_analysis"]
CASES = [(notebook, target.id) for notebook in ALL for target in declared(notebook)]
WHERE = re.compile(r"again|from its parameters on|first|as it was|run the training cell|Make it first|These do: ")
TIMES = {"seconds", "finished", "train_seconds", "versions", "device", "decided"}  # and what the machine is like


# ---------------------------------------------------------------- a world with a finished run, and what is different in another


@dataclass
class World:
    """What a reader of a notebook finds, writes into its parameters cell, and has in the end."""

    notebook: str
    given: dict  # parameters
    others: dict  # another value of each parameter
    outcome: dict  # {run: {file: content}}
    before: Path  # the run folders before this notebook
    fresh: dict = field(default_factory=dict)  # {changes: outcome of a fresh kernel with these}

    def open(self, **changes):
        """A fresh kernel, before anything of this notebook was executed."""
        shutil.rmtree(helpers.RUNS)
        shutil.copytree(self.before, helpers.RUNS)
        return Reader(self.notebook, **self.given | changes)

    def is_honest(self, **changes):
        """Whether the run folders are as a fresh kernel leaves them, with the parameters before or after the changes."""
        found = outcome()
        if found == self.outcome:
            return True
        key = repr(changes)
        if key not in self.fresh:
            now = Path(shutil.move(helpers.RUNS, self.before.with_name("now")))
            helpers.RUNS.mkdir()
            self.open(**changes).run()
            self.fresh[key] = outcome()
            shutil.rmtree(helpers.RUNS)
            shutil.move(now, helpers.RUNS)
        return all(found[run] in (self.outcome.get(run), self.fresh[key].get(run)) for run in found)


@pytest.fixture(scope="module")
def worlds(tiny, tmp_path_factory):  # noqa: F811
    """{notebook: World}."""
    other, kept = tmp_path_factory.mktemp("other"), tmp_path_factory.mktemp("kept")
    shutil.copytree(tiny["CORPUS"], other / "corpus")
    lines = (other / "corpus/in_domain_train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (other / "corpus/in_domain_train.tsv").write_text("".join(lines[:-5]), encoding="utf-8")
    shutil.copytree(tiny["MODEL_NAME"], other / "model")
    named = {"CORPUS": other / "corpus", "MODEL_NAME": other / "model", "EXPORT_DIR": other / "export"}
    named = {name: str(path) for name, path in named.items()}
    named |= {"RUN": "another", "TRACK": "tensorboard", "SWEEP": "other", "COMPARE": "EPOCHS", "LEARNING_RATE": 1e-3}
    given = tiny | {"RUN": "base", "SWEEP": "mine", "BOOTSTRAP_SAMPLES": 500, "RESAMPLES": 500}
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "minilm_folder", lambda: tiny["MODEL_NAME"])
        patch.setattr(chance.sentence_noises, "__defaults__", (2, 20))
        patch.setattr(simulation, "make_up", make_up)
        patch.setattr(card, "push", lambda *_: None)  # there is no hub here, and
        patch.setattr(blimp, "blimp", lambda n: pairs.minimal_pairs().assign(paradigm="x").head(n))  # no BLiMP
        for notebook in ALL:
            if notebook == "07_compare_runs":
                write_sweep("mine")
                write_sweep("other")
            keep(kept / notebook)
            names = [target.id for target in declared(notebook)]
            own = {name: given[name] for name in names if name in given}
            reader = Reader(notebook, **own).run()
            others = {name: named.get(name) or another(name, reader.variables[name]) for name in names}
            found[notebook] = World(notebook, own, others, outcome(), kept / notebook)
            if notebook in helpers.SERIES[1:4]:  # the other run, with a model of its own, as far as 05 needs it
                Reader(notebook, **own | {name: named[name] for name in {"RUN", "CORPUS"} & set(own)}).run()
        yield found


def write_sweep(name):
    for i, (padding, epochs) in enumerate([("longest", 1), ("max_length", 1), ("longest", 2), ("max_length", 2)]):
        write_run(helpers.RUNS / name, f"run{i}", {"PADDING": padding, "EPOCHS": epochs, "SEED": 1}, answers(0.2, i))


def another(name, now):
    """A value that a parameter takes and has not now."""
    for value in (0.3, 1, 8, 200, "max_length", "bf16", "mean"):
        try:
            if typed(name, value) != now:
                return typed(name, value)
        except helpers.SeriesError:
            pass
    pytest.fail(f"say another value of {name} in the fixture `world`")


def keep(folder):
    shutil.copytree(helpers.RUNS, folder)


def outcome():
    """{run or sweep: {file: content}} of all run folders that vouch for something, but for times, checkpoints and trackers' logs."""
    found = {}
    for path in sorted(helpers.RUNS.rglob("*")):
        top, *inside = path.relative_to(helpers.RUNS).parts
        apart = path.name == "checkpoint.pt" or "tracking" in inside or any(part[0] == "." for part in [top, *inside])
        if path.is_file() and not apart:
            found.setdefault(top, {})["/".join(inside)] = content_of(path)
    return {run: files for run, files in found.items() if files.get("run.json", {}).get("notebooks") != {}}


def content_of(path):
    if path.name in {"run.json", "metrics.json"}:
        return without_times(json.loads(path.read_text(encoding="utf-8")))
    return pd.read_csv(path).drop(columns="seconds").to_csv() if path.name == "history.csv" else path.read_bytes()


def without_times(content):
    if not isinstance(content, dict):
        return content
    left = {name: value for name, value in content.items() if name not in TIMES | {"files", "checksum"}}
    return {name: without_times(value) for name, value in left.items()}


# ---------------------------------------------------------------- cells run again


@pytest.mark.parametrize("notebook", ALL)
def test_each_cell_twice_in_place_and_all_again_leave_what_once_leaves(worlds, notebook):
    world = worlds[notebook]
    reader = world.open().run(times=2)
    with tally("each cell of each notebook run twice in place", "what a fresh kernel leaves") as came:
        assert outcome() == world.outcome
        for _ in reader.cells:
            came("what a fresh kernel leaves")
    with tally("all cells run again in the same kernel", "what a fresh kernel leaves") as came:
        reader.run()
        assert outcome() == world.outcome
        came("what a fresh kernel leaves")


@pytest.mark.parametrize(("notebook", "name"), CASES)
def test_a_parameter_changed_before_one_cell_is_used_or_refused(worlds, notebook, name):
    """A reader edits the parameters cell, runs it and then one later cell; then the same with the next cell."""
    world = worlds[notebook]
    reader = world.open().run()
    old, new = reader.variables[name], world.others[name]
    promised = "what a fresh kernel leaves before or after the change, or one sentence that says from where to begin"
    first = (
        reader.place("parameters") + 1
    )  # the cell that begins: last, for with it all others would follow the new value
    with tally("a parameter changed, then one later cell run", promised) as came:
        for place in [*range(first + 1, len(reader.cells)), first]:
            reader.variables[name] = new
            came(run_or_refused(reader, place))
            reader.variables[name] = old
            assert world.is_honest(**{name: new}), f"cell {place}: {reader.cells[place].source}"
        came(run_or_refused(reader, *range(first + 1, len(reader.cells))))
        assert world.is_honest(**{name: new})
        reader.run()
        assert world.is_honest(**{name: new})


@pytest.mark.parametrize("notebook", helpers.SERIES)
def test_a_notebook_begun_anew_records_nothing_of_what_was_made_before(worlds, notebook):
    """A reader edits the parameters cell, runs it and the cell that begins, and then one that writes; or a few, then that one."""
    world = worlds[notebook]
    reader, dice = world.open(), random.Random(random.randrange(10**9))
    first = reader.place("parameters") + 1
    reader.run(*range(first + 1))
    writing = []
    for place in range(first + 1, len(reader.cells)):
        before = outcome()
        reader.run(place)
        writing += [place] if outcome() != before else []
    assert writing, "no cell writes"
    variables, after = dict(reader.variables), world.before.with_name(f"{notebook} after")
    keep(after)
    promised = "what a fresh kernel leaves before or after the change, or one sentence that says from where to begin"
    with tally("a parameter changed, the notebook begun anew, then one later cell run", promised) as came:
        for (name, new), place in itertools.product(world.others.items(), writing):
            for few in [[], range(first + 1, dice.randrange(first + 1, place + 1))]:
                shutil.rmtree(helpers.RUNS)
                shutil.copytree(after, helpers.RUNS)
                reader.variables.clear()
                reader.variables.update(variables | {name: new})
                came(run_or_refused(reader, first, *few, place))
                assert world.is_honest(**{name: new}), f"{name}, then {few}: {reader.cells[place].source}"


@pytest.mark.parametrize("notebook", helpers.SERIES)
def test_a_cell_left_out_after_a_notebook_was_begun_anew_records_nothing_of_the_run_before(worlds, notebook):
    """A reader edits a parameter and runs all cells again, but for one: a name is missing then, or it was of no account."""
    world = worlds[notebook]
    reader = world.open().run()
    first, after = reader.place("parameters") + 1, world.before.with_name(f"{notebook} complete")
    variables, places = dict(reader.variables), range(first + 1, len(reader.cells))
    keep(after)
    promised = "what a fresh kernel leaves, or an error before anything is recorded"
    with tally("a parameter changed, the notebook begun anew, one cell left out", promised) as came:
        for _ in range(tries(3)):
            left_out, name = random.choice(places), random.choice(list(world.others))
            new = {name: world.others[name]}
            shutil.rmtree(helpers.RUNS)
            shutil.copytree(after, helpers.RUNS)
            reader.variables.clear()
            reader.variables.update(variables | new)
            try:
                came(run_or_refused(reader, first, *[place for place in places if place != left_out]))
            except (NameError, AssertionError) as error:  # an assertion of the lesson's own
                came(type(error).__name__)
            assert world.is_honest(**new), f"{name}, without {reader.cells[left_out].source}"


def run_or_refused(reader, *places):
    try:
        reader.run(*places)
        return "as a fresh kernel"
    except helpers.SeriesError as error:
        assert WHERE.search(str(error)), error
        return "refused with where to begin"


@pytest.mark.parametrize("notebook", ALL)
def test_parameters_changed_and_a_notebook_run_on_from_any_cell(worlds, notebook):
    world = worlds[notebook]
    changes = {name: value for name, value in world.others.items() if name not in {"RUN", "SWEEP"}}
    promised = "what a fresh kernel leaves before or after the change, or one sentence that says from where to begin"
    with tally("all parameters changed, then all cells run from a later one on", promised) as came:
        for _ in range(tries(1)):
            reader, seed = world.open().run(), random.randrange(10**9)
            first = reader.place("parameters") + 1
            place = random.Random(seed).randrange(first, len(reader.cells))
            print("from cell", place)
            reader.variables |= changes
            came(run_or_refused(reader, *range(place, len(reader.cells))))
            assert world.is_honest(**changes)
