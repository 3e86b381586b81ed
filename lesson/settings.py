"""Settings of a sweep's runs for 07_compare_runs: which parameters vary, which runs make a pair, tables of runs.

`values` is {run: {parameter: value}}, `sweep` a lesson.sweeps.Sweep, `runs` the DataFrame that `table` returns.
"""

import itertools
import json
from pathlib import Path

import pandas as pd

import helpers
from bookkeeping import SeriesError

BEFORE = {"PADDING": "longest"}  # what runs did that are older than the parameter

# ---------------------------------------------------------------- parameters, settings, pairs


def parameters(metrics):
    """{run: {name: value}}, for every run the same names, the runs ordered by their values, those of SEED last.

    What a run did not record is what runs did before the parameter was there, or else "not recorded".
    """
    names = list(dict.fromkeys(name for figures in metrics.values() for name in figures["parameters"]))
    columns = {}
    for name in names:
        missing = BEFORE.get(name, "not recorded")
        columns[name] = _shown([figures["parameters"].get(name, missing) for figures in metrics.values()])
    values = {run: {name: columns[name][i] for name in names} for i, run in enumerate(metrics)}
    by = [*of_setting(values), "SEED"]
    return dict(sorted(values.items(), key=lambda item: [order(item[1].get(name)) for name in by]))


def repeated(metrics):
    """{run: the first with the same corpus, model and parameters} of runs that stand in a sweep twice.

    A larger sweep under the same name leaves them: where another parameter varies, runs get other names, and are made anew.
    """
    first, again = {}, {}
    for run, own in metrics.items():
        about = json.dumps([own.get("corpus"), own.get("model"), own["parameters"]], sort_keys=True)
        if first.setdefault(about, run) != run:
            again[run] = first[about]
    return again


def _shown(values):
    """Values of one parameter as they are shown: of absolute paths, as few last parts as tell them apart."""
    values = [str(value) if isinstance(value, list | dict) else value for value in values]
    paths = [Path(value) if isinstance(value, str) and Path(value).is_absolute() else None for value in values]
    values = [str(path) if path else value for value, path in zip(values, paths)]
    for parts in itertools.count(1):
        shown = [str(Path(*path.parts[-parts:])) if path else value for value, path in zip(values, paths)]
        if len(set(shown)) == len(set(values)):
            return shown


def order(value):
    """A sort key for None, numbers and words together."""
    return (value is not None, isinstance(value, str), 0 if value is None else value)


def levels(values):
    """{parameter: its values in order} of the parameters that have more than one."""
    found = {}
    for own in values.values():
        for name, value in own.items():
            found.setdefault(name, set()).add(value)
    return {name: sorted(several, key=order) for name, several in found.items() if len(several) > 1}


def of_setting(values):
    """The parameters that vary, but SEED: runs that differ in nothing else are repetitions of one setting."""
    return [name for name in levels(values) if name != "SEED"]


def choose(sweep, compare):
    """The parameter to compare: `compare`, or PADDING or MAX_LEN if it varies, or the first that does, or None (07_compare_runs)."""
    varying = of_setting(sweep.values)
    if compare is not None and compare not in varying:
        raise SeriesError(
            f"COMPARE is {compare!r}, which does not vary in this sweep. These do: {', '.join(varying) or 'none'}."
        )
    return compare or next((name for name in ["PADDING", "MAX_LEN", *varying] if name in varying), None)


def check_current(sweep, name, compared, compare, resampled_for, samples):
    """Raise SeriesError where SWEEP, COMPARE or RESAMPLES say something else than what was compared (07_compare_runs).

    resampled_for: (sweep, number of samples) that the intervals are of.
    """
    same = resampled_for[0] is sweep and resampled_for[1] == samples
    if sweep.name not in (name, None) or compared != choose(sweep, compare) or not same:
        raise SeriesError(
            f"what was compared here is {compared} in the sweep {resampled_for[0].name!r}; SWEEP, COMPARE or RESAMPLES changed "
            "since. Run this notebook from its parameters on."
        )


def find_pairs(sweep, compared):
    """Pairs of runs that differ in `compared` alone, on the same test sentences (07_compare_runs).

    Returns {value: [(run of the reference, run of the value), ...]} of the values that have pairs; the first value is the
    reference, which stands in no key. Pairs of one seed that give the same answers count once.
    """
    reference, *others = sweep.levels.get(compared, [None])
    test_set = {run: number for number, members in enumerate(sweep.test_sets) for run in members}
    run_of = {tuple(own.items()): run for run, own in sweep.values.items()}
    pairs = {value: [] for value in others}
    for b in [run for run in test_set if sweep.values[run].get(compared) in pairs]:
        a = run_of.get(tuple((sweep.values[b] | {compared: reference}).items()))
        if a in test_set and test_set[a] == test_set[b]:
            pairs[sweep.values[b][compared]].append((a, b))
    return {value: _once(sweep, found) for value, found in pairs.items() if found}


def _once(sweep, pairs):
    """Pairs of runs without copies: of one seed with the same answers, as where a parameter that varies too does nothing."""
    first = {}
    for pair in pairs:
        about = [(sweep.values[run].get("SEED"), sweep.answers[run]["prediction"].to_numpy().tobytes()) for run in pair]
        first.setdefault(tuple(about), pair)
    return list(first.values())


def twins(sweep, runs):
    """Pairs of runs of one setting, on the same test sentences; no run stands in two, so that the pairs are independent (07_compare_runs)."""
    groups = [
        [run for run in own if runs["setting"][run] == setting]
        for own in sweep.test_sets
        for setting in runs["setting"].unique()
    ]
    return _once(sweep, [pair for group in groups for pair in zip(group[::2], group[1::2])])


# ---------------------------------------------------------------- tables


def scores(metrics):
    test = metrics["test"]
    low, high = test["mcc_interval"]
    row = {"validation": metrics["validation"]["mcc"], "test": test["mcc"], "low": low, "high": high}
    row = {name: float(score) for name, score in row.items()}
    return row | {"collapsed": bool(test["collapsed"]), "minutes": float(metrics["train_seconds"]) / 60}


def table(sweep):
    """DataFrame by run: setting, seed, MCC on validation and test, low and high of the test interval, collapsed, minutes (07_compare_runs).

    A setting is what the runs share that differ in nothing but the seed. Minutes are those of the training.
    """
    names = of_setting(sweep.values)
    rows = []
    for run, own in sweep.values.items():
        setting = ", ".join(f"{name} {own[name]}" for name in names) or "one setting"
        rows.append({"setting": setting, "seed": str(own.get("SEED", "–"))} | scores(sweep.metrics[run]))
    return pd.DataFrame(rows, index=pd.Index(sweep.values, name="run"))


def curves(sweep, runs):
    """DataFrame with a row for each epoch of each run: setting, epoch, validation MCC (07_compare_runs)."""
    parts = [own.reset_index().assign(setting=runs["setting"][run], run=run) for run, own in sweep.histories.items()]
    columns = ["setting", "run", "epoch", "validation_mcc"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def distinct(sweep, runs):
    """The rows of `runs` that have predictions and did not collapse, those with the same answers once (07_compare_runs)."""
    alive = runs[~runs["collapsed"] & runs.index.isin(list(sweep.answers))]
    given = pd.Series({run: sweep.answers[run]["prediction"].to_numpy().tobytes() for run in alive.index}, dtype=object)
    return alive[~given.duplicated().to_numpy()]


def hours(sweep):
    """Hours of all notebooks of all runs; what runs share, such as tokenizing, counts once (07_compare_runs)."""
    seconds = {
        (notebook, record.get("finished"), json.dumps(record.get("parameters"))): record.get("seconds", 0)
        for own in sweep.records.values()
        for notebook, record in own.items()
    }
    return sum(seconds.values()) / 3600


def summary(sweep, resampled):
    """DataFrame by run: its parameters, model, corpus, device, figures of each split, seconds of all notebooks (07_compare_runs).

    resampled: {run: its MCCs on resampled test sets}, whose standard deviation is the standard error.
    """
    rows = []
    for run, metrics in sweep.metrics.items():
        row = sweep.values[run] | {what: metrics.get(what) for what in ["model", "corpus", "device"]}
        for split in [split for split in helpers.SPLITS if split in metrics]:
            figures = metrics[split]
            row |= {f"{split}_{what}": figures.get(what) for what in ["n", "accuracy", "mcc"]}
            row |= dict(zip([f"{split}_low", f"{split}_high"], figures["mcc_interval"]))
        row["test_standard_error"] = resampled[run].std() if run in resampled else None
        row |= {"collapsed": metrics["test"]["collapsed"], "train_seconds": metrics["train_seconds"]}
        row["seconds"] = sum(record.get("seconds", 0) for record in sweep.records.get(run, {}).values()) or None
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(sweep.metrics, name="run"))
