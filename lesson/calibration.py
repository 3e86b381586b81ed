"""Are a model's probabilities what they say? Temperature, calibration error, thresholds, and their pictures (05_evaluate)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

import helpers

TEMPERATURES = (0.1, 10.0)  # sought between: a handful of sentences would ask for 0 or infinity
BINS = 10  # of equal width
THRESHOLDS = np.arange(1, 100) / 100

# ---------------------------------------------------------------- temperature


def loss(logits, labels, temperature=1.0):
    """Mean cross-entropy of logits [n, classes] divided by a temperature; labels: [n] (05_evaluate)."""
    return float(-log_softmax(np.asarray(logits) / temperature, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits, labels):
    """The temperature with the lowest `loss` (Guo et al. 2017, "On Calibration of Modern Neural Networks") (05_evaluate).

    It is sought on a logarithmic scale, where the loss has one minimum.
    """
    found = minimize_scalar(
        lambda log: loss(logits, labels, np.exp(log)), bounds=np.log(TEMPERATURES), method="bounded"
    )
    return float(np.exp(found.x))


def bins(probabilities, labels):
    """DataFrame by bin of the highest probability: n, its mean, and the share of right answers; empty bins left out (05_evaluate)."""
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((best * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"bin": place, "probability": best, "right": right}).groupby("bin")
    return table.agg(n=("right", "size"), probability=("probability", "mean"), right=("right", "mean"))


def expected_calibration_error(probabilities, labels):
    """Mean distance of promised and true share of right answers, over ten bins weighed by size (05_evaluate).

    probabilities: [n, classes]. Naeini et al. 2015. A perfect model's is above 0, too, for a bin of few sentences has luck.
    """
    table = bins(np.asarray(probabilities), np.asarray(labels))
    return float(((table["probability"] - table["right"]).abs() * table["n"]).sum() / table["n"].sum())


def figures(logits, labels, temperature):
    """{"loss", "ece"} of logits as they are, and divided by the temperature: "loss_calibrated", "ece_calibrated" (05_evaluate)."""
    found = {}
    for name, divisor in [("", 1.0), ("_calibrated", temperature)]:
        found[f"loss{name}"] = loss(logits, labels, divisor)
        found[f"ece{name}"] = expected_calibration_error(softmax(np.asarray(logits) / divisor, axis=1), labels)
    return found


def reliability(logits, labels, temperature):
    """Picture: what the model promises against how often it is right, before and after the temperature (05_evaluate)."""
    figure, ax = plt.subplots(figsize=(4.5, 3.6))
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as promised")
    errors = []
    for name, divisor, marker in [("as trained", 1.0, "o-"), (f"divided by {temperature:.2f}", temperature, "s--")]:
        probabilities = softmax(np.asarray(logits) / divisor, axis=1)
        table = bins(probabilities, labels)
        errors.append(expected_calibration_error(probabilities, labels))
        ax.plot(table["probability"], table["right"], marker, label=f"{name}: error {errors[-1]:.3f}")
    title = f"Calibration error {errors[0]:.3f}, after the temperature {errors[1]:.3f}"
    ax.set(xlabel="probability of the answer given", ylabel="share of them right", ylim=(0, 1.02), title=title)
    ax.set_xlim(1 / probabilities.shape[1] - 0.02, 1.02)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    return figure, f"Share of right answers against the probability of the answer, in ten bins. {title}."


# ---------------------------------------------------------------- threshold


def scores_by_threshold(labels, probabilities):
    """Array [99]: the MCC where class 1 is said above each of THRESHOLDS; labels 0/1 and probabilities of class 1: [n] (05_evaluate)."""
    said, true = np.asarray(probabilities) > THRESHOLDS[:, None], np.asarray(labels) == 1
    tp, fp = (said & true).sum(axis=1), (said & ~true).sum(axis=1)
    return helpers.mcc(tn=(~true).sum() - fp, fp=fp, fn=true.sum() - tp, tp=tp)


def choose_threshold(scores):
    """The threshold of the highest of scores_by_threshold; of several, the one nearest to one half (05_evaluate)."""
    best = THRESHOLDS[np.isclose(scores, scores.max())]
    return float(best[np.abs(best - 0.5).argmin()])


def thresholds(predictions):
    """{split that chose: {"threshold", its "mcc" there, "test_mcc", "test_mcc_at_half"}}, and {split: scores_by_threshold} (05_evaluate)."""
    curves = {
        split: scores_by_threshold(frame["label"], frame["probability"])
        for split, frame in predictions.groupby("split", sort=False)
    }
    chosen = {}
    for split in [split for split in curves if split != "test"]:
        threshold = choose_threshold(curves[split])
        at = int(np.abs(THRESHOLDS - threshold).argmin())
        scores = {"mcc": curves[split][at], "test_mcc": curves["test"][at], "test_mcc_at_half": curves["test"][49]}
        chosen[split] = {"threshold": threshold} | {name: float(score) for name, score in scores.items()}
    return chosen, curves


def threshold_curves(chosen, curves, name):
    """Picture of MCC over the threshold for class `name`, with the thresholds that were chosen (05_evaluate)."""
    figure, ax = plt.subplots(figsize=(7, 3))
    styles = dict(zip(curves, ["--", ":", "-"] if len(curves) == 3 else ["--", "-"]))
    for number, (split, scores) in enumerate(curves.items()):
        ax.plot(THRESHOLDS, scores, styles[split], color=f"C{number}", label=split)
        if split in chosen:
            ax.axvline(chosen[split]["threshold"], color=f"C{number}", linewidth=1)
    own = chosen["validation"]
    title = f"Threshold {own['threshold']:.2f} of validation: test MCC {own['test_mcc']:.3f}, {own['test_mcc_at_half']:.3f} at one half"
    ax.set(xlabel=f"{name} is said above this probability", ylabel="MCC", title=title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure, f"MCC over the threshold for {' and '.join(curves)}. {title}."
