"""What variants.py has trained, compared seed by seed. No program of its own."""

import pandas as pd
from changes import REFERENCE, VARIANTS, in_precision
from scipy import stats
from trainings import AVERAGES

PRECISIONS = ["bf16", "fp16", "fp32"]


def kept(frame):
    """A row for each training: the epoch that 04 keeps, by validation MCC, of several the one with the lowest loss."""
    ordered = frame.sort_values(["validation_mcc", "validation_loss"], ascending=[False, True])
    return ordered.groupby(["variant", "seed"], as_index=False).first()


def last(frame):
    """A row for each training: its last epoch, whatever that scored."""
    return frame[frame["epoch"] == frame.groupby(["variant", "seed"])["epoch"].transform("max")]


def words(row, split):
    """A row's difference from the reference with its interval; nothing where there is none."""
    figures = [row[f"{split}_{what}"] for what in ["difference", "low", "high"]]
    return "" if pd.isna(figures[0]) else "{:+.3f} ({:+.3f} to {:+.3f})".format(*figures)


def compared(frame):
    """A row for each variant: means over its seeds, and the differences from the reference, seed by seed.

    A training is compared with the reference of its seed in its own precision or, where there is none, in another. A seed
    that was trained in several precisions counts in the first of PRECISIONS. Last, the reference in other precisions, the same seeds.
    """
    of = {name: own.set_index("seed") for name, own in frame.groupby("variant")}

    def trainings(name):
        return {each: of[in_precision(name, each)] for each in PRECISIONS if in_precision(name, each) in of}

    rows = []
    for name in [*VARIANTS, *AVERAGES]:
        reference = "[CLS]" if name.startswith("[CLS]") else REFERENCE
        if own := trainings(name):
            rows.append(row_of(name, own, {} if name == reference else trainings(reference)))
    ways = [*trainings(REFERENCE).items()]
    shared = {each: own[own.index.isin(ways[0][1].index)] for each, own in ways[1:]}
    rows += [
        row_of(in_precision(REFERENCE, each), {each: own}, dict(ways[:1])) for each, own in shared.items() if len(own)
    ]
    return pd.DataFrame(rows)


def row_of(name, own, references):
    """A row of `compared`; both: {precision: DataFrame by seed}. Only pairs count where the precisions share seeds."""
    beside = {each: first_of([references.get(each), *references.values()]) for each in own if references}
    trained = first_of(part.assign(precision=each) for each, part in own.items())
    minutes = next((part["seconds"] * part["epochs"]).mean() / 60 for part in own.values())
    counts = ", ".join(f"{n} {each}" for each, n in trained["precision"].value_counts(sort=False).items())
    row = {"variant": name, "seeds": len(trained), "trained": counts, "minutes": minutes}
    for split in ["validation", "in_domain"]:
        scores = trained[f"{split}_mcc"]
        row |= {split: scores.mean(), f"{split}_spread": scores.std()}
        found = [own[each][[f"{split}_mcc"]] - part[[f"{split}_mcc"]] for each, part in beside.items()]
        difference = first_of(part.dropna() for part in found)[f"{split}_mcc"] if found else scores[:0]
        mean, n = difference.mean(), len(difference)
        half = stats.t.ppf(0.975, n - 1) * difference.std() / n**0.5 if n > 1 else float("nan")
        row |= {f"{split}_difference": mean, f"{split}_low": mean - half, f"{split}_high": mean + half}
        row[f"{split}_probability"] = predictive_probability(difference)
    return row


def predictive_probability(differences, pairs=10, gain=0.01):
    """Chance that the mean of `pairs` differences will be `gain` or more, told by the fewer that there are; nan where they cannot tell.

    Student's prediction of the mean of those to come: both means vary with the same spread.
    """
    n, more = len(differences), pairs - len(differences)
    if n < 2 or more < 1 or not differences.std() > 0:
        return float("nan")
    needed = (pairs * gain - differences.sum()) / more
    return stats.t.sf((needed - differences.mean()) / (differences.std() * (1 / n + 1 / more) ** 0.5), n - 1)


def first_of(frames):
    """The rows of all, of each seed the first."""
    rows = pd.concat(frames)  # leaves out None
    return rows[~rows.index.duplicated()]
