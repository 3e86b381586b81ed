"""What 05_evaluate reads, computes beside the MCC, and draws. Pictures come as (figure, a sentence for those who cannot see it)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

import helpers
from lesson.intervals import confusion

# what the cells of 05 make of one model
MADE = "logits predictions test told train usual counts score resampled interval wide sets sources largest".split()
MADE += "rivalry chosen temperature calibrated beside".split()

# ---------------------------------------------------------------- what is read


def forget(namespace):
    """Drop from a notebook's variables what its cells made of the model before (05_evaluate).

    Else a cell left out, when another run is evaluated in the same kernel, would go unnoticed.
    """
    for name in MADE:
        namespace.pop(name, None)


def sentences_of(run, tokens, split):
    """DataFrame of a split's sentences in the order of helpers.rows_of: source, sentence, label (05_evaluate)."""
    rows = helpers.rows_of(tokens, split)
    frame = helpers.read_split(run.folder, split).iloc[tokens["row"][rows].numpy()]
    return frame[["source", "sentence", "label"]].reset_index(drop=True)


def classes_of(run):
    """Names of the classes of a run's corpus, in the order of their ids (05_evaluate)."""
    return run.records["02_load_cola"]["classes"]


def table(split, tokens, logits, classes):
    """DataFrame of a split's judged sentences: split, row, label, prediction, probability (05_evaluate).

    logits: float32 [n, classes]. Of two classes, probability is that of the second; of more, that of the prediction, and
    probability_NAME those of all.
    """
    rows, chances = helpers.rows_of(tokens, split), logits.softmax(dim=1)
    columns = {"row": tokens["row"][rows], "label": tokens["labels"][rows], "prediction": logits.argmax(dim=1)}
    columns["probability"] = chances[:, 1] if len(classes) == 2 else chances.amax(dim=1)
    if len(classes) > 2:
        columns |= {f"probability_{name}": chances[:, number] for number, name in enumerate(classes)}
    return pd.DataFrame({"split": split} | {name: column.numpy() for name, column in columns.items()})


def probabilities(frame, classes):
    """Array [n, classes] of the probabilities in a frame as `table` makes it (05_evaluate)."""
    if len(classes) == 2:
        return np.stack([1 - frame["probability"], frame["probability"]], axis=1)
    return frame[[f"probability_{name}" for name in classes]].to_numpy()


# ---------------------------------------------------------------- scores beside the MCC


def auroc(labels, chances):
    """Chance that a sentence of a class gets a higher probability of it than another, mean over classes (05_evaluate).

    labels: [n], chances: [n, classes]. None where all labels are the same. Of two classes the usual area under the curve.
    """
    labels = np.asarray(labels)
    kinds = [number for number in np.unique(labels) if len(np.unique(labels)) > 1]
    return float(np.mean([roc_auc_score(labels == number, chances[:, number]) for number in kinds])) if kinds else None


def other_scores(labels, chances):
    """{"accuracy", "balanced_accuracy", "f1", "macro_f1", "auroc"} of probabilities [n, classes] (05_evaluate).

    f1: of the second class, where there are two. Balanced accuracy is the mean share of right answers over the classes.
    """
    labels, said = np.asarray(labels), chances.argmax(axis=1)
    scores = {"accuracy": (labels == said).mean()}
    scores["balanced_accuracy"] = np.mean([(said[labels == number] == number).mean() for number in np.unique(labels)])
    if chances.shape[1] == 2:
        scores["f1"] = f1_score(labels, said, zero_division=0)
    scores["macro_f1"] = f1_score(labels, said, average="macro", zero_division=0)
    return {name: float(score) for name, score in scores.items()} | {"auroc": auroc(labels, chances)}


def by_class(frame, classes):
    """{class: {"n", "precision", "recall", "f1"}} of judged sentences (05_evaluate)."""
    of = {"labels": range(len(classes)), "zero_division": 0}
    precision, recall, f1, n = precision_recall_fscore_support(frame["label"], frame["prediction"], **of)
    rows = zip(classes, n.tolist(), precision.tolist(), recall.tolist(), f1.tolist())
    return {name: dict(zip(["n", "precision", "recall", "f1"], row)) for name, *row in rows}


def named(counts, classes):
    """A confusion matrix for metrics.json: tn, fp, fn, tp, or of more classes {label: {prediction: count}} (05_evaluate)."""
    if len(classes) == 2:
        return dict(zip(["tn", "fp", "fn", "tp"], counts.ravel().tolist()))
    return {name: dict(zip(classes, row)) for name, row in zip(classes, counts.tolist())}


def further(frame, classes, usual):
    """What metrics.json says of a set besides its MCC; usual: the class that is most frequent in training (05_evaluate).

    positives are the sentences of the second of two classes; of more classes, those of `usual`.
    """
    positive = 1 if len(classes) == 2 else usual
    return {
        "positives": int((frame["label"] == positive).sum()),
        "predicted_positives": int((frame["prediction"] == positive).sum()),
        "positive_class": classes[positive],
        "majority": {"class": classes[usual], "accuracy": float((frame["label"] == usual).mean())},
        "scores": other_scores(frame["label"], probabilities(frame, classes)),
        "by_class": by_class(frame, classes),
    }


def compared(labels, answers, samples):
    """DataFrame of several answerers of the same sentences: other_scores, MCC and its interval (05_evaluate).

    answers: {name: probabilities [n, classes]}.
    """
    rows = {}
    for name, chances in answers.items():
        given = pd.DataFrame({"label": np.asarray(labels), "prediction": chances.argmax(axis=1)})
        counts = confusion(given, range(chances.shape[1]))
        low, high = np.quantile(helpers.bootstrap_mcc(counts, samples), [0.025, 0.975])
        rows[name] = other_scores(labels, chances)
        rows[name] |= {"mcc": float(helpers.mcc_of_classes(counts)), "low": float(low), "high": float(high)}
    return pd.DataFrame.from_dict(rows, orient="index")


# ---------------------------------------------------------------- pictures


def confusion_map(counts, classes):
    """Heat map of a confusion matrix [classes, classes], labels by row (05_evaluate)."""
    counts, k = np.asarray(counts), len(classes)
    wrong = counts - np.diag(np.diag(counts))
    label, said = np.unravel_index(wrong.argmax(), wrong.shape)
    title = f"Most often taken for another: {classes[label]:.20} for {classes[said]:.20} ({wrong.max()})"
    title = title if wrong.any() else "No sentence is taken for another class"
    cells = counts if k <= 20 else False
    if k == 2:
        (tn, fp), (fn, tp) = counts
        cells = [[f"tn {tn}", f"fp {fp}"], [f"fn {fn}", f"tp {tp}"]]
        title = f"{tn} of {tn + fp} {classes[0]} sentences are found"
    figure, ax = plt.subplots(figsize=(min(12, 4 + 0.5 * k), min(11, 2.6 + 0.3 * k)))
    names = [f"{name:.20}" for name in classes] if k <= 40 else False
    sns.heatmap(counts, annot=cells, fmt="", cmap="Blues", cbar=False, ax=ax, xticklabels=names, yticklabels=names)
    if k <= 40:
        ax.set_yticklabels(names, va="center", rotation=0)
    ax.set(xlabel="the model says", ylabel="the label says", title=title)
    said = f"tn {tn}, fp {fp}, fn {fn}, tp {tp}" if k == 2 else f"{np.trace(counts)} of {counts.sum()} right"
    return figure, f"Confusion matrix of {k} classes: {said}. {title}."


def batch_by_batch(batches, score):
    """Bars of the MCC of each batch, beside `score`, the MCC of all sentences (05_evaluate)."""
    figure, ax = plt.subplots()
    sns.barplot(x=np.arange(1, len(batches) + 1), y=batches, color="C0", ax=ax)
    ax.axhline(score, color="C3", linestyle="--", label=f"all sentences: {score:.3f}")
    ax.axhline(np.mean(batches), color="C1", label=f"mean of the bars: {np.mean(batches):.3f}")
    ax.set(xlabel="batch, in the order of the file", ylabel="MCC", title="The mean of the bars is not the score")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, frameon=False)
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


def sets_and_sources(sets, sources, wide=None):
    """Points with intervals: {name: figures} of the sets, and below them of the test set's sources (05_evaluate).

    wide: the interval of the test score for other sources, drawn behind it, or None.
    """
    rows = pd.DataFrame([*sets.values(), *sources.values()])
    places = [*range(len(sets)), *range(len(sets) + 1, len(rows) + 1)]  # a gap between sets and sources
    figure, ax = plt.subplots(figsize=(7, 1.2 + 0.25 * len(rows)))
    if wide:
        ax.hlines(list(sets).index("test"), *wide, color="C1", linewidth=6, alpha=0.5, label="for other sources")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.9 / figure.get_figheight()), frameon=False)
    ax.hlines(places, *zip(*rows["mcc_interval"]), color="C0", linewidth=2)
    ax.plot(rows["mcc"], places, "o", color="C3")
    ax.axvline(0, color="grey", linewidth=1)
    ax.set_yticks(places, [f"{name:.30} ({n})" for name, n in zip([*sets, *sources], rows["n"])])
    ax.invert_yaxis()
    others = [f"{name} {own['mcc']:.2f}" for name, own in sets.items() if name != "test"]
    title = f"Test {sets['test']['mcc']:.2f}, {', '.join(others)}"
    if sources:
        of = [own["mcc"] for own in sources.values()]
        title += f"; its sources {min(of):.2f} to {max(of):.2f}"
    ax.set(xlabel="MCC, 95 % interval", title=title)
    return figure, f"Points with intervals for {len(sets)} sets and {len(sources)} sources of the test set. {title}."


# ---------------------------------------------------------------- metrics.json


def metrics(run, model, sets, analysis):
    """What metrics.json holds; other people's scripts read it: keys are added, never renamed (05_evaluate).

    run: bookkeeping.runs.Run; model: its name; sets: {name: figures}; analysis: {what goes beyond one set's scores: a dict, or a
    DataFrame, whose rows become dicts}.
    """
    parameters = {}
    for record in run.records.values():
        parameters |= record["parameters"]
    classes = classes_of(run)
    return {
        "run": run.name,
        "model": model,
        "corpus": run.records["02_load_cola"]["corpus"],
        "classes": classes,
        "device": run.device,
        "parameters": parameters | run.parameters,
        "train_seconds": run.records["04_train"]["train_seconds"],
        **sets,
        "test": {"name": "out_of_domain_dev" if "in_domain_dev" in sets else "test", **sets["test"]},
        "analysis": {name: _plain(part) for name, part in analysis.items()},
    }


def _plain(part):
    if not isinstance(part, pd.DataFrame):
        return part
    return part.astype(object).where(part.notna(), None).to_dict(orient="index")
