"""What runs that differ in the seed alone have in common: the sentences that all get wrong, a feature's spread (08_error_analysis)."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from bookkeeping.files import read_json
from lesson import evaluation, features, sources, sweeps

KEYS = ["split", "row"]


@dataclass(frozen=True)
class Seeds:
    """Verdicts of runs of one setting on the same sentences; all parts have the same index, split and row."""

    what: str  # in words
    labels: pd.Series
    right: pd.DataFrame  # bool [sentences, runs]
    sure: pd.DataFrame  # probability of what each run says [sentences, runs]


# ---------------------------------------------------------------- what is read


def of(run):
    """Seeds of a bookkeeping.reading.FinishedRun and the runs beside it that differ in the seed alone (08_error_analysis).

    Where there are none, of the runs that come with the project: verdicts without a text.
    """
    own, place = read_json(run.folder / "metrics.json"), run.folder.parent
    own["parameters"] = sweeps.as_found(own, run.records["04_train"])
    alike = [
        name for name, other in _beside(run).items() if _setting(other) == _setting(own) and _seed(other) != _seed(own)
    ]
    if alike:
        what = f"{run.name} and {len(alike)} beside it that differ in the seed alone"
        return read(place, [run.folder.name, *alike], what)
    found = sweeps.read(zipfile.Path(sweeps.SHIPPED), "", "").metrics
    groups = pd.Series({name: str(_setting(other)) for name, other in found.items()})
    names = groups.index[groups == groups.mode()[0]].tolist()
    what = (
        f"{len(names)} runs of minilm on CoLA that come with the project (beside {run.name} is none with another seed)"
    )
    return read(zipfile.Path(sweeps.SHIPPED), names, what)


def read(place, names, what):
    """Seeds of the run folders `names` in `place`, a Path or zipfile.Path; runs on other sentences than the first are left out."""
    found = {name: _answers(place / name) for name in names}
    first = found[names[0]]["label"]
    found = {name: own for name, own in found.items() if own["label"].equals(first)}
    if left := len(names) - len(found):
        what += f"; left out: {left} that judged other sentences"
    right = pd.DataFrame({name: own["label"] == own["prediction"] for name, own in found.items()})
    return Seeds(what, first, right, pd.DataFrame({name: own["sure"] for name, own in found.items()}))


def _beside(run):
    """{name: metrics.json} of the finished runs in the same folder; none where that folder cannot be searched."""
    try:
        return sweeps.read(run.folder.parent, "", "").metrics
    except OSError:
        return {}


def _seed(metrics):
    return metrics["parameters"].get("SEED")


def _setting(metrics):
    """What decides over a run's verdicts but the seed."""
    about = {name: metrics.get(name) for name in ("corpus", "model", "classes")}
    return about | {
        name: value for name, value in metrics["parameters"].items() if name not in ("SEED", "BOOTSTRAP_SAMPLES")
    }


def _answers(folder):
    with (folder / "predictions.csv").open("r", encoding="utf-8") as file:
        frame = pd.read_csv(file).query("split != 'validation'").set_index(KEYS).sort_index()
    classes = [name.removeprefix("probability_") for name in frame if name.startswith("probability_")] or sweeps.TWO
    return frame.assign(sure=evaluation.probabilities(frame, classes).max(axis=1))


def features_of(seeds, sentences, has):
    """(DataFrame bool [sentences, features] for `seeds`, what they are in words) (08_error_analysis).

    sentences, has: a run's, as of lesson.features; they hold for its own seeds. For runs that come with the project CoLA's
    annotations where they lie in data/; else set and label, which any run knows.
    """
    if same(seeds, sentences):
        return has.set_axis(pd.MultiIndex.from_frame(sentences[KEYS])).reindex(seeds.labels.index), "the features above"
    if Path(sources.DATA, features.ANNOTATIONS).exists():
        known = features.annotations().set_index(KEYS).drop(columns="sentence")
        return known.reindex(seeds.labels.index), "CoLA's annotated features"
    kinds = [f"{split}, label {label}" for (split, _), label in seeds.labels.items()]
    return pd.get_dummies(pd.Series(kinds, seeds.labels.index)), "set and label (CoLA's annotations are not in data/)"


def same(seeds, sentences):
    """Whether judged sentences are those of `seeds`, row for row with the same labels."""
    own = sentences.set_index(KEYS)["label"].sort_index()
    return own.index.equals(seeds.labels.index) and (own.to_numpy() == seeds.labels.to_numpy()).all()


# ---------------------------------------------------------------- what is computed


def by_count(seeds):
    """DataFrame by the number of runs that err, 0 to all: sentences, and how many by chance (08_error_analysis).

    By chance: each run dealt its errors anew among the sentences of the same label, independently of the other runs. Within
    a label the number of runs that err on a sentence is then Poisson-binomial.
    """
    runs = seeds.right.shape[1]
    expected = np.zeros(runs + 1)
    for _, own in seeds.right.groupby(seeds.labels):
        chances = np.ones(1)
        for share in 1 - own.mean():
            chances = np.convolve(chances, [1 - share, share])
        expected += len(own) * chances
    found = (~seeds.right).sum(axis=1).value_counts().reindex(range(runs + 1), fill_value=0)
    return pd.DataFrame({"sentences": found, "by chance": expected}).rename_axis("runs that err")


def never_right(seeds, sentences):
    """DataFrame of the sentences that every run gets wrong, those they are surest of on top (08_error_analysis).

    label; sure: mean probability of what the runs say; source and sentence where `sentences` are the same.
    """
    frame = pd.DataFrame({"label": seeds.labels, "sure": seeds.sure.mean(axis=1)})
    if same(seeds, sentences):
        frame = frame.join(sentences.set_index(KEYS)[["source", "sentence"]])
    return frame[~seeds.right.any(axis=1)].sort_values("sure", ascending=False, kind="stable")


def by_feature(seeds, has):
    """DataFrame by feature, lowest accuracy first: n; accuracy, mean over runs; spread (their standard deviation), lowest, highest (08_error_analysis)."""
    rows = {}
    for name in has:
        own = seeds.right[has[name].to_numpy(dtype=bool)]
        if len(own) >= features.LEAST:
            scores = own.mean()
            rows[name] = [len(own), scores.mean(), scores.std(), scores.min(), scores.max()]
    columns = ["n", "accuracy", "spread", "lowest", "highest"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"n": int}).sort_values("accuracy")


def bars(table):
    """Picture of `by_count`, (figure, a sentence for those who cannot see it) (08_error_analysis)."""
    runs, (found, chance) = table.index[-1], table.iloc[-1]
    figure, ax = plt.subplots(figsize=(7, 3))
    rows = table.reset_index().melt("runs that err", var_name="dealt", value_name="count")
    sns.barplot(rows, x="runs that err", y="count", hue="dealt", ax=ax)
    title = f"All {runs} runs err on {found:.0f} sentences; by chance {chance:.1f} would be so hard"
    ax.set(xlabel=f"runs of {runs} that err on a sentence", ylabel="sentences", title=title)
    ax.get_legend().set_title(None)
    return figure, f"Sentences by the number of runs that err on them, beside what chance gives. {title}."
