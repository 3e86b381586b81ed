"""What 07_compare_runs says about a sweep, whatever there is in it: the verdict, its reservations, the titles of pictures."""

import numpy as np


def verdict(sweep, compared, effects, pairs):
    """One sentence on what a setting does; effects: {value: chance.effect(...)} of the values that have pairs (07_compare_runs)."""
    if compared is None:
        return f"Nothing varies{' but the seed' if sweep.levels else ''}, so there is no setting to compare."
    reference, *others = sweep.levels[compared]
    if not effects:
        unlike = f"its values have different test sets ({sweep.test_sentences} sentences)"
        alone = f"no two finished runs with predictions differ in {compared} alone"
        return f"{compared}: no paired test, because {unlike if len(sweep.test_sets) > 1 else alone}."
    clauses = [_clause(value, effects.get(value), len(pairs.get(value, [])), reference) for value in others]
    return f"{compared}, against {reference}: {'; '.join(clauses)}."


def short_verdict(sweep, compared, effects):
    """The verdict as the title of a picture (07_compare_runs)."""
    reference = sweep.levels[compared][0]
    if len(effects) == 1:
        ((value, own),) = effects.items()
        return f"{compared}: {value} {own['finding']} {reference}"
    clear = sum(own["finding"].startswith("differs beyond") for own in effects.values())
    return f"{compared}: {clear} of {len(effects)} values differ from {reference} beyond chance"


def _clause(value, effect, count, reference):
    if not effect:
        return f"{value} has no pair to compare"
    count = f"{count} {'pair' if count == 1 else 'pairs'}"
    if "same predictions" in effect["finding"]:
        return f"{value} gives identical predictions for every test sentence ({count})"
    ends = "{level:.3g} % interval {low:+.3f} to {high:+.3f}".format(**effect | {"level": 100 * effect["level"]})
    if not np.isnan(effect["here low"]):
        ends += ", on these sentences {here low:+.3f} to {here high:+.3f}".format(**effect)
    return f"{value} scores {effect['mean']:+.3f} MCC ({ends}, {count}): it {effect['finding']} {reference}"


def reservations(sweep, compared, pairs, effects):
    """List of sentences: what empties or weakens the comparison of one parameter (07_compare_runs)."""
    collapsed = {run for run, metrics in sweep.metrics.items() if metrics["test"]["collapsed"]}
    equal = [value for value, own in effects.items() if "same predictions" in own["finding"]]
    tested = {value: pairs[value] for value in effects if value not in equal}
    notes = [_why_identical(sweep, compared, equal, collapsed)] if equal else []
    fewest = min(map(len, tested.values()), default=5)
    if fewest == 1:
        notes += [
            "A single pair cannot say whether the setting or the seed made the difference: its interval holds the chance of "
            "the sentences only."
        ]
    elif fewest < 5:
        notes += ["With fewer than five pairs the intervals are themselves uncertain."]
    runs = [pair for found in tested.values() for pair in found]
    same = sum(sweep.answers[a]["prediction"].equals(sweep.answers[b]["prediction"]) for a, b in runs)
    if same:
        notes += [
            f"{same} of {len(runs)} pairs gave identical predictions, and the mean is over all of them: what the setting does "
            "depends on another parameter, so compare it where that one is fixed."
        ]
    if any(run in collapsed for pair in runs for run in pair):
        notes += [
            "Some pairs hold a collapsed run, and one such run can outweigh what the setting does: look at the medians too."
        ]
    threads = {run: own.get("04_train", {}).get("threads") for run, own in sweep.records.items()}
    if any(len({threads.get(a), threads.get(b)} - {None}) == 2 for a, b in runs):
        notes += [
            "Some pairs trained on different numbers of threads. That changes the order of sums, and in 16 bits their rounding, "
            "which can move a score as another seed does."
        ]
    return notes


def _why_identical(sweep, compared, equal, collapsed):
    longest = max((own.get("03_tokenize", {}).get("longest", np.inf) for own in sweep.records.values()), default=np.inf)
    lengths = [length for length in [sweep.levels[compared][0], *equal] if isinstance(length, int)]
    own_longest = all(own.get("PADDING", "longest") == "longest" for own in sweep.values.values())
    if collapsed == set(sweep.metrics):
        return "Why identical: every run collapsed, and one constant answer is like another. This says nothing about the setting."
    if compared == "MAX_LEN" and own_longest and longest <= min(lengths, default=0):
        return (
            f"Why identical: the longest sentence has {longest} tokens, so nothing is cut at {min(lengths)} or more, and each "
            "batch is padded to its own longest sentence, whatever MAX_LEN is: the same numbers go through the same model. With "
            'PADDING = "max_length" dropout draws for the padding too, and the scores differ as those of two seeds do.'
        )
    return f"Why identical: {compared} reaches neither the training nor the predictions here, or too little to turn one answer."


def louder(noises):
    """Which kind of chance moves the score more, as the title of a picture of `noise_table` (07_compare_runs)."""
    seed, sentences, both = noises.to_dict("records")
    if np.isnan(both["noise"]):
        return "Too few runs to compare the two"
    if seed["low"] > sentences["high"]:
        return "The seed moves the score more than the test sentences do"
    if seed["high"] < sentences["low"]:
        return "The test sentences move the score more than the seed does"
    return "Which moves the score more is open: the intervals overlap"


def single_run(runs, alive, seed_noise, sentence_noise, of_mean, apart):
    """Lines on what one run of this kind can tell (07_compare_runs).

    of_mean: how far the recipe's mean may lie from one run; apart: how far two runs on the same sentences may lie apart.
    """
    collapsed = int(runs["collapsed"].sum())
    risk = [f"Besides, {collapsed} of {len(runs)} runs collapsed: that risk comes on top."]
    if collapsed == len(runs):
        return [
            f"All {len(runs)} runs collapsed: a single run of this kind says nothing, except that its recipe fails.",
            "Try a lower LEARNING_RATE, or WARMUP_FRACTION 0.1.",
        ]
    if not len(alive):
        return ["Without predictions.csv, this sweep does not say what a single run may tell."]
    if np.isnan(seed_noise):
        return [
            f"For other sentences, a single run's test MCC holds to within ±{1.96 * sentence_noise:.2f};",
            "what the seed adds is unknown until a setting is repeated: run.py -p SEED 1 2 3",
        ] + risk * (collapsed > 0)
    middle = alive["test"].median()
    return [
        f"A single run with a test MCC of {middle:.2f}, the median of this sweep, says:",
        f"the recipe's mean over seeds and sentences of this kind is {middle - of_mean:.2f} to {middle + of_mean:.2f} (95 %).",
        f"Two runs, each on other sentences, differ by less than {np.sqrt(2) * of_mean:.3f} in 95 % of cases;",
        f"two on the same sentences, by the seed alone, differ by less than {apart:.3f}.",
    ] + risk * (collapsed > 0)


def chosen(runs, group, left_out):
    """What picking by validation gives, beside how many were tried and what they score on average (07_compare_runs)."""
    tried = f"{len(runs)} tried" + (f" and {left_out} left out" if left_out else "")
    best, pick = runs["validation"].idxmax(), group["validation"].idxmax()
    lines = [f"best by validation of {len(group)} runs of one setting: test MCC {group['test'][pick]:.3f}"]
    if len(group) < len(runs):
        lines += [f"best by validation of all, {tried}: test MCC {runs['test'][best]:.3f}"]
    return [*lines, f"mean of the {len(group)} runs of one setting: test MCC {group['test'].mean():.3f}"]


def headline(runs):
    """How far apart the runs of one setting lie, as the title of a picture of `settings.table` (07_compare_runs)."""
    if runs["collapsed"].all():
        return f"Collapsed: {len(runs)} of {len(runs)} runs"
    low, high = f"{runs['test'].min():.2f}", f"{runs['test'].max():.2f}"
    groups = [group["test"] for _, group in runs.groupby("setting", sort=False) if len(group) > 1]
    if not groups:
        return f"Test MCC {low if low == high else f'{low} to {high}'}, no setting repeated"
    widest = max(groups, key=np.ptp)
    return f"{len(widest)} seeds of one setting: test MCC from {widest.min():.2f} to {widest.max():.2f}"


def rising(curves):
    """How many runs were best after their last epoch, as the title of a picture of `settings.curves` (07_compare_runs)."""
    runs = [own.set_index("epoch")["validation_mcc"] for _, own in curves.groupby("run")]
    still = sum(len(own) > 1 and own.idxmax() == own.index[-1] for own in runs)
    return f"Best after the last epoch: {still} of {len(runs)} runs"
