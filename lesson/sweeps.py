"""Bookkeeping for 07_compare_runs: made-up batches, reading run folders, order, pairs, tables.

A batch is a folder below runs/ with a run folder for each combination of parameters, as run.py makes it.
What that notebook teaches (resampling, tests, the best of n, the two kinds of chance) stands in its cells.
Scores are MCC, times are seconds, `run` is the name of a run folder.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

import helpers
from bookkeeping.files import read_json, write_json

BEFORE = {"PADDING": "longest"}  # what runs did that are older than the parameter


# ---------------------------------------------------------------- a made-up batch


def make_up(folder, effect=0.0, seeds=5, sentences=400):
    """Write a batch of simulated runs, `seeds` for each value of PADDING (07_compare_runs).

    An answer is right where the sentence's easiness, the run's skill and chance add up to more than 0.
    `effect` is added to the skill of the runs with PADDING=max_length. Both splits have `sentences` rows.
    """
    generator = np.random.default_rng(0)
    label = generator.random(2 * sentences) < 0.7
    easiness = generator.normal(1, 1, 2 * sentences)
    split, row = np.repeat(["validation", "test"], sentences), np.tile(np.arange(sentences), 2)
    for seed, padding in itertools.product(range(1, seeds + 1), ["longest", "max_length"]):
        skill = generator.normal(0, 0.05) + effect * (padding == "max_length")
        right = easiness + skill + generator.normal(0, 0.5, 2 * sentences) > 0
        frame = pd.DataFrame({"split": split, "row": row, "label": label * 1, "prediction": (label == right) * 1})
        metrics = dict.fromkeys(["model", "corpus", "device"], "made up") | {"train_seconds": 60.0}
        metrics |= {"parameters": {"PADDING": padding, "SEED": seed}}
        metrics |= {name: _figures(part) for name, part in frame.groupby("split")}
        curve = metrics["validation"]["mcc"] * np.array([0.6, 1.0, 0.97])
        history = pd.DataFrame({"epoch": [1, 2, 3], "validation_mcc": curve, "seconds": 20.0})
        run = folder / f"SEED={seed},PADDING={padding}"
        run.mkdir()
        write_json(run / "metrics.json", metrics)
        frame.to_csv(run / "predictions.csv", index=False)
        history.to_csv(run / "history.csv", index=False)


def _figures(part):
    """The figures of one split as 05_evaluate writes them, as far as 07_compare_runs reads them."""
    label, prediction = part["label"], part["prediction"]
    counts = np.bincount(2 * label + prediction, minlength=4)  # tn, fp, fn, tp
    return {
        "n": len(part),
        "mcc": float(helpers.mcc(*counts)),
        "mcc_interval": np.quantile(helpers.bootstrap_mcc(counts, 1000), [0.025, 0.975]).tolist(),
        "accuracy": float((label == prediction).mean()),
        "collapsed": prediction.nunique() == 1,
    }


# ---------------------------------------------------------------- reading run folders


def finished_runs(folder):
    """({run: metrics.json}, {run: why it was left out}) of a batch folder (07_compare_runs).

    A run made by hand has no state.json: it has finished if there is a metrics.json.
    """
    metrics, left_out = {}, {}
    for path in sorted(folder.iterdir()):
        begun = any((path / name).exists() for name in ["state.json", "metrics.json"])
        if path.name.startswith(".") or not begun:
            continue
        status = read_json(path / "state.json").get("status", "finished")
        if status != "finished":
            left_out[path.name] = status
        elif not (path / "metrics.json").exists():
            left_out[path.name] = "finished without 05_evaluate"
        else:
            metrics[path.name] = read_json(path / "metrics.json")
    return metrics, left_out


def histories(folder, runs):
    """{run: history.csv, a row an epoch} of the runs that have one (07_compare_runs)."""
    paths = {run: folder / run / "history.csv" for run in runs}
    return {run: pd.read_csv(path).set_index("epoch") for run, path in paths.items() if path.exists()}


def read_answers(folder, runs):
    """{run: DataFrame of label and prediction by row, test sentences only} where predictions.csv is (07_compare_runs)."""
    paths = {run: folder / run / "predictions.csv" for run in runs}
    frames = {run: pd.read_csv(path) for run, path in paths.items() if path.exists()}
    return {run: frame[frame["split"] == "test"].set_index("row").sort_index() for run, frame in frames.items()}


def same_sentences(answers):
    """Lists of runs whose answers name the same rows with the same labels: one test set each (07_compare_runs)."""
    members = {}
    for run, frame in answers.items():
        members.setdefault((tuple(frame.index), tuple(frame["label"])), []).append(run)
    return list(members.values())


def records(folder, runs):
    """{run: {notebook: its record in run.json}} (07_compare_runs)."""
    return {run: read_json(folder / run / "run.json").get("notebooks", {}) for run in runs}


# ---------------------------------------------------------------- parameters, settings, pairs


def parameters(metrics):
    """{run: {name: value}}, for every run the same names in the same order (07_compare_runs).

    What a run did not record is what runs did before the parameter was there, or else "not recorded".
    """
    names = list(dict.fromkeys(name for figures in metrics.values() for name in figures["parameters"]))
    columns = {}
    for name in names:
        missing = BEFORE.get(name, "not recorded")
        columns[name] = _shown([figures["parameters"].get(name, missing) for figures in metrics.values()])
    return {run: {name: columns[name][i] for name in names} for i, run in enumerate(metrics)}


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
    """A sort key for None, numbers and words together (07_compare_runs)."""
    return (value is not None, isinstance(value, str), 0 if value is None else value)


def levels(values):
    """{name: its values in order} of the parameters that have more than one in the batch (07_compare_runs)."""
    found = {}
    for own in values.values():
        for name, value in own.items():
            found.setdefault(name, set()).add(value)
    return {name: sorted(several, key=order) for name, several in found.items() if len(several) > 1}


def in_order(values, names):
    """`values` with the runs sorted by the values of the parameters `names` (07_compare_runs)."""
    return dict(sorted(values.items(), key=lambda item: [order(item[1].get(name)) for name in names]))


def find_pairs(values, compared, several, test_set_of):
    """Pairs of runs that differ in `compared` alone, on the same test sentences (07_compare_runs).

    several: the values of `compared`, the reference first; test_set_of: {run: number of its test set} of the
    runs that have predictions. Returns ({value: [(run of the reference, run of the value), ...]}, how many
    pairs were left out because their test sentences are not the same).
    """
    reference, *others = several
    run_of = {tuple(own.items()): run for run, own in values.items()}
    pairs, unlike = {value: [] for value in others}, 0
    for b in [run for run in values if values[run][compared] != reference and run in test_set_of]:
        a = run_of.get(tuple((values[b] | {compared: reference}).items()))
        if a in test_set_of and test_set_of[a] == test_set_of[b]:
            pairs[values[b][compared]].append((a, b))
        elif a in test_set_of:
            unlike += 1
    return pairs, unlike


def reservations(compared, reference, pairs, same, collapsed, values, longest, threads):
    """List of sentences: what empties or weakens the comparison of one parameter (07_compare_runs).

    same: {value: whether all its pairs gave identical predictions}; collapsed: set of runs;
    longest: ids of the longest sentence, infinite if unknown; threads: {run: number, None if unknown}.
    """
    equal = [value for value in same if same[value]]
    tested = [found for value, found in pairs.items() if found and not same[value]]
    fewest = min(map(len, tested), default=5)
    lengths = [length for length in [reference, *equal] if isinstance(length, int)]
    own_longest = all(own.get("PADDING", "longest") == "longest" for own in values.values())
    notes = []
    if equal and collapsed == set(values):
        notes += [
            "Why identical: every run collapsed, and one constant answer is like another. "
            "This says nothing about the setting."
        ]
    elif equal and compared == "MAX_LEN" and own_longest and longest <= min(lengths, default=0):
        notes += [
            f"Why identical: the longest sentence has {longest} tokens, so nothing is cut at {min(lengths)} or more, "
            "and each batch is padded to its own longest sentence, whatever MAX_LEN is: the same numbers go through "
            'the same model. With PADDING = "max_length" dropout draws for the padding too, and the scores differ as '
            "those of two seeds do."
        ]
    elif equal:
        notes += [
            f"Why identical: {compared} reaches neither the training nor the predictions here, "
            "or too little to turn one answer."
        ]
    if fewest == 1:
        notes += [
            "A single pair cannot say whether the setting or the seed made the difference: "
            "its interval holds the chance of the sentences only."
        ]
    elif fewest < 5:
        notes += ["With fewer than five pairs the intervals are themselves uncertain."]
    if any(run in collapsed for found in tested for pair in found for run in pair):
        notes += [
            "Some pairs hold a collapsed run, and one such run can outweigh what the setting does: "
            "look at the medians too."
        ]
    if any(len({threads[a], threads[b]} - {None}) == 2 for found in tested for a, b in found):
        notes += [
            "Some pairs trained on different numbers of threads. That changes the order of sums, and in 16 bits "
            "their rounding, which can move a score as another seed does."
        ]
    return notes


# ---------------------------------------------------------------- tables


def scores(metrics, runs):
    """DataFrame by run: MCC on validation and test, low and high of the test interval, collapsed, train_seconds (07_compare_runs)."""
    rows = []
    for run in runs:
        test = metrics[run]["test"]
        low, high = test["mcc_interval"]
        row = {"validation": metrics[run]["validation"]["mcc"], "test": test["mcc"], "low": low, "high": high}
        rows.append(row | {"collapsed": bool(test["collapsed"]), "train_seconds": metrics[run]["train_seconds"]})
    return pd.DataFrame(rows, index=pd.Index(runs, name="run"))


def distinct_seconds(of_runs):
    """{(notebook, when it finished, its parameters): seconds}: what runs share stands there once (07_compare_runs)."""
    return {
        (notebook, record.get("finished"), json.dumps(record.get("parameters"))): record.get("seconds", 0)
        for own in of_runs.values()
        for notebook, record in own.items()
    }


def summary(metrics, values, of_runs):
    """DataFrame by run: its parameters, model, corpus, device, figures of each split, seconds of all notebooks (07_compare_runs).

    `values` and `of_runs` as `parameters` and `records` return them; the rows are in the order of `of_runs`.
    """
    rows = []
    for run, own in of_runs.items():
        row = values[run] | {what: metrics[run][what] for what in ["model", "corpus", "device"]}
        for split in [split for split in helpers.SPLITS if split in metrics[run]]:
            figures = metrics[run][split]
            row |= {f"{split}_{what}": figures[what] for what in ["n", "accuracy", "mcc"]}
            row |= dict(zip([f"{split}_low", f"{split}_high"], figures["mcc_interval"]))
        row["seconds"] = sum(record.get("seconds", 0) for record in own.values()) or None
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(of_runs, name="run"))
