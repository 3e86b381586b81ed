"""What chance does to the scores of runs: resampling, tests, the best of n, and the verdict on a setting (07_compare_runs).

benchmarks/verdict.py takes the same functions to find out how often the verdict errs.
"""

import numpy as np
import pandas as pd
from scipy import special, stats

# ---------------------------------------------------------------- resampling


def resampled_mccs(labels, predictions, samples, seed=0):
    """Array [samples, runs]: MCCs on test sets drawn with replacement, each the same for all runs (07_compare_runs).

    labels: [sentences], predictions: [sentences, runs].
    """
    n, generator, parts = len(labels), np.random.default_rng(seed), []
    step = max(1, 2_000_000 // n)  # test sets at once: as many as memory holds easily
    for size in np.diff([*range(0, samples, step), samples]):
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        parts.append(mccs(labels, predictions, times))
    return np.concatenate(parts)


def mccs(labels, predictions, times):
    """Array [test sets, runs]: MCCs where each sentence counts `times` times [test sets, sentences] (07_compare_runs).

    Counts are matrix products; any number of classes (Gorodkin 2004). 0 where all labels or all answers are one.
    """
    times = times.astype(float)
    n, classes = times.sum(axis=1, keepdims=True), np.union1d(labels, predictions)
    right = times @ (predictions == labels[:, None])
    true = [times @ (labels[:, None] == label) for label in classes]
    said = [times @ (predictions == label) for label in classes]
    above = n * right - sum(a * b for a, b in zip(true, said))
    below = (n**2 - sum(a**2 for a in true)) * (n**2 - sum(b**2 for b in said))
    return np.divide(above, np.sqrt(below), out=np.zeros_like(above), where=below > 0)


def interval_of_mean(columns, level=0.95, seed=1):
    """Interval [2] of the mean over runs, from their resampled MCCs [samples, runs]: each resample draws runs too (07_compare_runs).

    The bootstrap of Owen (2007), which Sellam et al. (2022) call multi-bootstrap, with one run fewer than there are (McCarthy and
    Snowden 1985).
    """
    samples, runs = columns.shape
    drawn = np.random.default_rng(seed).integers(runs, size=(samples, max(1, runs - 1)))
    means = np.take_along_axis(columns, drawn, axis=1).mean(axis=1)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


def sentence_noises(labels, predictions, rounds=200, samples=200):
    """Array [rounds]: the standard error of an MCC, root mean square over runs, had the test set been another (07_compare_runs).

    A bootstrap within a bootstrap: each round draws the test set and the runs, and then measures as one does on the real ones.
    """
    generator = np.random.default_rng(2)
    noises = []
    for seed in range(rounds):
        sentences = generator.integers(len(labels), size=len(labels))
        runs = generator.integers(predictions.shape[1], size=predictions.shape[1])
        columns = resampled_mccs(labels[sentences], predictions[sentences][:, runs], samples, seed)
        noises.append(np.sqrt(columns.var(axis=0).mean()))
    return np.array(noises)


# ---------------------------------------------------------------- Student, chi-squared, McNemar


def student_interval(differences, level=0.95):
    """Student's interval [2] of the mean of differences [pairs]; nan for a single pair (07_compare_runs)."""
    n = len(differences)
    error = np.std(differences, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return np.mean(differences) + stats.t.ppf((1 + level) / 2, max(1, n - 1)) * error * np.array([-1, 1])


def spread_factors(freedom, level=0.95):
    """How many times a measured standard deviation the true one may be: lowest, highest [2] (07_compare_runs).

    For normal scores; `freedom` is the number of runs less the number of settings.
    """
    return np.sqrt(freedom / stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], freedom))


def mcnemar(a, b):
    """(only a right, only b right, exact two-sided p) of two runs' answers to the same sentences (07_compare_runs)."""
    right_a, right_b = a["prediction"] == a["label"], b["prediction"] == b["label"]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return only_a, only_b, stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


# ---------------------------------------------------------------- the best of n


def best_of(n, by, score):
    """Expected `score` of the run with the highest `by` among n of these runs, all different (07_compare_runs).

    by, score: [runs], or [sets, runs] for many sets of runs at once. Unbiased (Tang et al. 2020), unlike the estimate of
    Dodge et al. (2019), which may draw a run twice.
    """
    upto, below = (
        stats.rankdata(by, "max", axis=-1),
        stats.rankdata(by, "min", axis=-1) - 1,
    )  # how many are no better, worse
    chances = (special.comb(upto, n) - special.comb(below, n)) / (upto - below)  # runs of equal rank share theirs
    return (chances * score).sum(axis=-1) / special.comb(np.shape(by)[-1], n)


def best_of_curve(by, score, level=0.95):
    """Array [n, 3]: best_of 1, 2, … up to half of the runs, and the ends of its interval (07_compare_runs).

    Student's interval on the jackknife's standard error: how far the estimate moves when one run is left out (Tukey 1958).
    """
    by, score = np.asarray(by), np.asarray(score)
    runs, rows = len(by), []
    others = np.array([np.delete(np.arange(runs), i) for i in range(runs)], dtype=int)
    for n in range(1, max(1, runs // 2) + 1):
        expected, without = best_of(n, by, score), best_of(n, by[others], score[others]) if runs > 1 else np.nan
        error = np.sqrt((runs - 1) * np.var(without))
        reach = stats.t.ppf((1 + level) / 2, max(1, runs - 1)) * error
        rows.append([expected, expected - reach, expected + reach])
    return np.array(rows)


# ---------------------------------------------------------------- two kinds of chance


def pooled_spread(runs):
    """(standard deviation of the test MCC over the seeds of a setting, degrees of freedom) (07_compare_runs).

    runs: DataFrame with setting and test. The variances of all settings are pooled; nan where no setting was repeated.
    """
    groups = runs.groupby("setting")["test"]
    freedom = len(runs) - groups.ngroups
    squares = ((runs["test"] - groups.transform("mean")) ** 2).sum()
    return (np.sqrt(squares / freedom) if freedom else np.nan), freedom


def luck_with_sentences(resampled, groups):
    """The part of the variance over seeds that is luck with these test sentences, and shrinks with more of them (07_compare_runs).

    resampled: {run: its MCCs on resampled test sets}; groups: lists of runs of one setting. Half the variance of the difference
    of two runs over test sets, mean over neighbours; nan where no setting has two.
    """
    pairs = [pair for runs in groups for pair in zip(runs, runs[1:])]
    return np.mean([(resampled[a] - resampled[b]).var() / 2 for a, b in pairs]) if pairs else np.nan


def both_noises(seed_noise, sentence_noise, luck):
    """Standard deviation of an MCC by the seed and by the test sentences together; arrays welcome (07_compare_runs).

    luck: the variance that lies in both, a seed's luck with these sentences, and counts once (see luck_with_sentences). It is
    part of either, so that both together are no less than one of them.
    """
    seeds, sentences = seed_noise**2, sentence_noise**2
    return np.sqrt(seeds + sentences - np.minimum(luck, np.minimum(seeds, sentences)))


def noise_table(sweep, alive, seed_noise, freedom, sentence_noise, luck):
    """DataFrame of each kind of chance and of both: standard deviation of a test MCC, low and high of its interval (07_compare_runs).

    alive: the runs that both were measured on; freedom: degrees of freedom of seed_noise; luck: see both_noises. What is unknown
    is nan.
    """
    generator, kinds = np.random.default_rng(4), ["another seed", "other test sentences", "both"]
    of_sets = [[run for run in members if run in alive.index] for members in sweep.test_sets]
    squares = [len(runs) * sentence_noises(*sweep.arrays(runs)) ** 2 for runs in of_sets if runs]
    sentences = np.sqrt(sum(squares) / len(alive)) if squares else np.full(200, np.nan)
    seeds = seed_noise * np.sqrt(freedom / generator.chisquare(freedom, 20_000)) if freedom else np.full(20_000, np.nan)
    drawn = [seeds, sentences, both_noises(seeds, generator.choice(sentences, len(seeds)), luck)]
    noises = [seed_noise, sentence_noise, both_noises(seed_noise, sentence_noise, luck)]
    ends = [np.quantile(own, [0.025, 0.975]) for own in drawn]
    return pd.DataFrame(ends, columns=["low", "high"], index=kinds).assign(noise=noises)


# ---------------------------------------------------------------- the verdict on a setting

FINDINGS = {  # does the bootstrap's interval leave out 0, does Student's?
    (True, True): "differs beyond chance from",
    (False, True): "differs on these sentences, perhaps not on others, from",
    (True, False): "has too few or too unlike pairs to be told from",
    (False, False): "cannot be told from",
}


def finding(bootstrap, student):
    """What two intervals of a mean difference say, in words that stand between a value and the reference (07_compare_runs)."""
    return FINDINGS[tuple(bool(low > 0 or high < 0) for low, high in (bootstrap, student))]


def effect(columns, differences, level):
    """{"mean", "low", "high", "here low", "here high", "level", "finding"} of the pairs of one value (07_compare_runs).

    columns: the pairs' resampled differences [samples, pairs]; differences: those on the test set as it is [pairs].
    """
    bootstrap, student = interval_of_mean(columns, level), student_interval(differences, level)
    # runs with the same predictions, and only they, have the same MCC on every resampled test set
    words = finding(bootstrap, student) if columns.any() else "gives the same predictions as"
    names = ["low", "high", "here low", "here high"]
    return (
        {"mean": np.mean(differences)} | dict(zip(names, [*bootstrap, *student])) | {"level": level, "finding": words}
    )
