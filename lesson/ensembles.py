"""The seeds of a setting as one model: the mean of their probabilities (07_compare_runs)."""

import numpy as np
import pandas as pd
from sklearn.metrics import matthews_corrcoef

from lesson import chance


def probabilities(answers):
    """Array [sentences, classes] of a run's predictions.csv, or None where it holds none (07_compare_runs)."""
    each = answers.filter(regex="^probability_").to_numpy()
    if each.shape[1]:
        return each
    if "probability" not in answers:
        return None
    return np.stack([1 - answers["probability"], answers["probability"]], axis=1)


def members(sweep, runs):
    """The most of `runs` that gave probabilities for the same test sentences; fewer than two are no ensemble: [] (07_compare_runs)."""
    able = [run for run in runs if run in sweep.answers and probabilities(sweep.answers[run]) is not None]
    sets = [[run for run in own if run in able] for own in sweep.test_sets]
    most = max(sets, key=len, default=[])
    return most if len(most) > 1 else []


def vote(sweep, runs):
    """Predictions [sentences] of the mean of the runs' probabilities (07_compare_runs)."""
    return np.mean([probabilities(sweep.answers[run]) for run in runs], axis=0).argmax(axis=1)


def compare(sweep, runs, samples):
    """(DataFrame, words): the ensemble, the mean of its runs and their difference, with intervals; a paired test (07_compare_runs).

    Test sentences are drawn, the same for all; the runs are as they are. McNemar's test is against the run in the middle.
    """
    if not runs:
        return pd.DataFrame(), "no ensemble: no two runs of one setting gave probabilities for the same test sentences"
    labels, alone = sweep.arrays(runs)
    voted = vote(sweep, runs)
    scores = np.array([matthews_corrcoef(labels, own) for own in [voted, *alone.T]])
    drawn = chance.resampled_mccs(labels, np.column_stack([voted, alone]), samples)
    columns = {
        f"ensemble of {len(runs)}": (scores[0], drawn[:, 0]),
        "a run alone, mean": (scores[1:].mean(), drawn[:, 1:].mean(axis=1)),
        "difference": (scores[0] - scores[1:].mean(), drawn[:, 0] - drawn[:, 1:].mean(axis=1)),
    }
    rows = {name: [score, *np.quantile(own, [0.025, 0.975])] for name, (score, own) in columns.items()}
    middle = runs[int(np.argsort(scores[1:], kind="stable")[(len(runs) - 1) // 2])]
    both = [pd.DataFrame({"label": labels, "prediction": own}) for own in [sweep.answers[middle]["prediction"], voted]]
    only_run, only_ensemble, p = chance.mcnemar(*both)
    words = f"only the ensemble right: {only_ensemble}, only the middle run: {only_run} (McNemar p {p:.3f})"
    return pd.DataFrame.from_dict(rows, orient="index", columns=["test MCC", "low", "high"]), words
