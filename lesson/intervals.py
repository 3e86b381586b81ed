"""The interval of an MCC that holds for other sources, such as other publications (05_evaluate).

Sentences of one source are alike, so a resampling of sentences takes them for more than they are (Miller 2024, "Adding Error
Bars to Evals", arXiv 2411.00640). benchmarks/coverage.py measures how often each interval holds the true value.
"""

import numpy as np
from scipy import stats
from sklearn.metrics import confusion_matrix

import helpers


def confusion(frame, classes):
    """Confusion matrix int64 [classes, classes] of the columns label, by row, and prediction (05_evaluate)."""
    return confusion_matrix(frame["label"], frame["prediction"], labels=range(len(classes)))


def over_sources(frame, classes, level=0.95):
    """{"sources", "mcc_interval", "why_none"} of judged sentences with label, prediction and source (05_evaluate).

    mcc_interval is None, and why_none a sentence, where the sentences name no source, or a single one.
    """
    known = frame["source"].fillna("").astype(str)
    sources, empty = known.nunique(), (known == "").any()
    if empty or sources < 2:
        found = "sentences without a source" if empty else "a single source"
        why = f"No interval for other sources: this set has {found}, and what differs between sources cannot be seen in it."
        return {"sources": 0 if empty else sources, "mcc_interval": None, "why_none": why}
    k, shape = len(classes), (sources, len(classes), len(classes))
    cells = (known.factorize()[0] * k + frame["label"].to_numpy()) * k + frame["prediction"].to_numpy()
    each = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    return {"sources": sources, "mcc_interval": jackknife(each, level).tolist(), "why_none": None}


def jackknife(confusions, level=0.95):
    """Interval [2] of the MCC of all sources, from the confusion matrix of each [sources, classes, classes] (05_evaluate).

    Each source is left out once; how far the MCC moves gives its standard error (Quenouille 1949, Tukey 1958). Student's t with
    a degree of freedom fewer than there are sources, cut at -1 and 1.
    """
    everything, g = confusions.sum(axis=0), len(confusions)
    without = helpers.mcc_of_classes(everything - confusions)
    error = np.sqrt((g - 1) / g * ((without - without.mean()) ** 2).sum())
    reach = stats.t.ppf((1 + level) / 2, g - 1) * error
    return np.clip(helpers.mcc_of_classes(everything) + reach * np.array([-1, 1]), -1, 1)
