"""Pictures of 05_evaluate, each as (figure, a sentence for those who cannot see it), and what metrics.json holds."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns


def confusion(counts):
    """Heat map of the four counts tn, fp, fn, tp (05_evaluate)."""
    tn, fp, fn, tp = map(int, counts)
    figure, ax = plt.subplots(figsize=(5, 3.2))
    cells, names = [[f"tn {tn}", f"fp {fp}"], [f"fn {fn}", f"tp {tp}"]], ["unacceptable", "acceptable"]
    sns.heatmap([[tn, fp], [fn, tp]], annot=cells, fmt="", cmap="Blues", cbar=False, ax=ax, xticklabels=names)
    ax.set_yticklabels(names, va="center")
    title = f"{tn} of {tn + fp} unacceptable sentences are found"
    ax.set(xlabel="the model says", ylabel="the linguist says", title=title)
    return (
        figure,
        f"Confusion matrix: {tn} true negatives, {fp} false positives, {fn} false negatives, {tp} true positives.",
    )


def batch_by_batch(batches, score):
    """Bars of the MCC of each batch, beside `score`, the MCC of all sentences (05_evaluate)."""
    figure, ax = plt.subplots()
    sns.barplot(x=np.arange(1, len(batches) + 1), y=batches, color="C0", ax=ax)
    ax.axhline(score, color="C3", linestyle="--", label=f"all sentences: {score:.3f}")
    ax.axhline(np.mean(batches), color="C1", label=f"mean of the bars: {np.mean(batches):.3f}")
    ax.set(xlabel="batch, in the order of the file", ylabel="MCC", title="The mean of the bars is not the score")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    spread = f"from {min(batches):.2f} to {max(batches):.2f}"
    return (
        figure,
        f"{len(batches)} bars {spread}, their mean {np.mean(batches):.3f}, the score of all sentences {score:.3f}.",
    )


def resampled_scores(resampled, score, interval):
    """Histogram of the MCCs of resampled test sets, with the score and its interval (05_evaluate)."""
    figure, ax = plt.subplots()
    sns.histplot(resampled, bins=50, ax=ax)
    ax.axvspan(*interval, color="C1", alpha=0.25)
    ax.axvline(score, color="C3", linestyle="--")
    title = f"Test MCC {score:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    ax.set(xlabel="MCC of a resampled test set", ylabel="resampled test sets", title=title)
    return figure, f"Histogram of the MCCs of resampled test sets. {title}."


def sets_and_sources(sets, sources):
    """Points with intervals: {name: figures} of the sets, and below them of the test set's sources (05_evaluate)."""
    rows = pd.DataFrame([*sets.values(), *sources.values()])
    places = [*range(len(sets)), *range(len(sets) + 1, len(rows) + 1)]  # a gap between sets and sources
    figure, ax = plt.subplots(figsize=(7, 1.2 + 0.25 * len(rows)))
    ax.hlines(places, *zip(*rows["mcc_interval"]), color="C0", linewidth=2)
    ax.plot(rows["mcc"], places, "o", color="C3")
    ax.axvline(0, color="grey", linewidth=1)
    ax.set_yticks(places, [f"{name:.30} ({n})" for name, n in zip([*sets, *sources], rows["n"])])
    ax.invert_yaxis()
    title = f"In-domain {sets['in_domain_dev']['mcc']:.2f}, out-of-domain {sets['test']['mcc']:.2f}"
    ax.set(xlabel="MCC, 95 % interval", title=f"{title}; below, the sources of the test set")
    return figure, f"Points with intervals for {len(sets)} sets and {len(sources)} sources of the test set. {title}."


def metrics(run, model, sets):
    """What metrics.json holds; other people's scripts read it: keys are added, never renamed (05_evaluate).

    run: bookkeeping.runs.Run; model: its name; sets: {name: figures}.
    """
    parameters = {}
    for record in run.records.values():
        parameters |= record["parameters"]
    return {
        "run": run.name,
        "model": model,
        "corpus": run.records["02_load_cola"]["corpus"],
        "device": run.device,
        "parameters": parameters | run.parameters,
        "train_seconds": run.records["04_train"]["train_seconds"],
        **sets,
        "test": {"name": "out_of_domain_dev", **sets["test"]},
    }
