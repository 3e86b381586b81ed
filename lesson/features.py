"""What the judged sentences have in them, and how often the model is right where they have it (08_error_analysis).

For CoLA its authors' annotations of the two development sets (Warstadt and Bowman 2019, "Linguistic Analysis of Pretrained
Sentence Encoders with Acceptability Judgments", arXiv 1901.03438); for another corpus the sources in its column 1.
"""

import csv
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import binomtest, false_discovery_control, fisher_exact

import helpers
from bookkeeping import SeriesError
from lesson import evaluation, sources
from lesson.intervals import confusion

ANNOTATIONS = "CoLA_grammatical_annotations_1.1.zip"
ANNOTATIONS_SHA256 = "6e439daf49b10eaaeee61cf3a86b5856215db4fe268533cb5c718350dd642f6b"
ANNOTATIONS_ADDRESSES = (  # the second is the site's source, at the commit that adds this version
    f"https://nyu-mll.github.io/CoLA/{ANNOTATIONS}",
    f"https://github.com/nyu-mll/CoLA/raw/888b5a689a0e600c192b247c85032b75732cb155/public/{ANNOTATIONS}",
)
ANNOTATIONS_BYTES = 200_000  # more than the zip has (50,878)
ROWS = {"in_domain_dev": 527, "test": 516}  # in this order in the file
ABOUT = ["Source", "Domain", "Acceptability", "Sentence"]  # its first columns; the rest are features
LEAST = 5  # sentences with a feature, below which nothing is said of it


# ---------------------------------------------------------------- what is read


def annotations(kind="major", folder=None):
    """DataFrame [1043] of CoLA's annotated rows: split, row, sentence, then 15 major or 63 minor features, bool (08_error_analysis).

    The zip is fetched as CoLA is, or lies in `folder` (default: data/). Raises SeriesError where it cannot be had, or has
    not the rows of CoLA's two development sets.
    """
    known = (ANNOTATIONS_SHA256, ANNOTATIONS_BYTES, ANNOTATIONS_ADDRESSES)
    zipped = sources.fetch("CoLA's annotations", ANNOTATIONS, known, "analyse a run on CORPUS = 'practice'", folder)
    with zipfile.ZipFile(zipped).open(f"CoLA_grammatical_annotations_{kind}_features.tsv") as file:
        frame = pd.read_csv(file, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
    found, expected = len(frame), sum(ROWS.values())
    if list(frame.columns[:4]) != ABOUT or found != expected:
        raise SeriesError(
            f"{ANNOTATIONS} has {found} annotated rows in the columns {', '.join(frame.columns[:4])}, …: expected {expected} in "
            f"{', '.join(ABOUT)}, …. Fetch the version of 2022 again."
        )
    place = {
        "split": np.repeat(list(ROWS), list(ROWS.values())),
        "row": np.concatenate([range(n) for n in ROWS.values()]),
    }
    return pd.DataFrame(place | {"sentence": frame["Sentence"]}).join(frame.iloc[:, 4:].astype(bool))


def judged(run):
    """DataFrame of what 05 judged besides validation, a row a sentence (08_error_analysis).

    Columns: split, row, label, prediction, probability, source, sentence, of CoLA's format the author's mark; right; sure, the
    probability of what it says.
    """
    frame = pd.read_csv(run.folder / "predictions.csv").query("split != 'validation'").reset_index(drop=True)
    parts = []
    for split, own in frame.groupby("split", sort=False):
        corpus = helpers.read_split(run.folder, split).iloc[own["row"]]
        parts.append(own.assign(**corpus.drop(columns="label").to_dict("list")))
    frame = pd.concat(parts)
    sure = evaluation.probabilities(frame, evaluation.classes_of(run)).max(axis=1)
    return frame.assign(right=frame["label"] == frame["prediction"], sure=sure)


def is_cola(sentences):
    """Whether judged sentences are as many as CoLA's in both sets, under whatever name the corpus came (08_error_analysis)."""
    return sentences["split"].value_counts().to_dict() == ROWS


def features_of(sentences, kind="major", folder=None):
    """DataFrame bool [sentences, features], in the order of `sentences` (08_error_analysis).

    sentences: as of `judged`. On CoLA the authors' annotations, joined by row; elsewhere a feature for each source.
    Raises SeriesError where a row's annotation is of another sentence.
    """
    if not is_cola(sentences):
        return pd.get_dummies(sentences["source"].replace("", "no source")).reset_index(drop=True)
    keys = pd.MultiIndex.from_frame(sentences[["split", "row"]])
    own = annotations(kind, folder).set_index(["split", "row"]).reindex(keys)
    other = own.pop("sentence").to_numpy() != sentences["sentence"].to_numpy()
    if other.any():
        split, row = keys[other][0]
        raise SeriesError(
            f"{other.sum()} of {len(keys)} annotations are of another sentence than this run's, the first in row {row} of {split}: "
            "expected CoLA 1.1, row for row. Run 02_load_cola again with CORPUS = 'cola', and what follows."
        )
    return own.reset_index(drop=True).astype(bool)


def marks_of(sentences):
    """DataFrame bool [sentences, marks]: how the sentence's author marked it; none where the corpus has no marks (08_error_analysis)."""
    if "mark" not in sentences:
        return pd.DataFrame(index=range(len(sentences)))
    return pd.get_dummies(sentences["mark"].str.strip().replace("", "no mark")).reset_index(drop=True)


def about(run, sentences):
    """One sentence: where the features come from, and what is left out (08_error_analysis)."""
    corpus = run.records["02_load_cola"]["corpus"]
    if is_cola(sentences):
        return "Features: what CoLA's authors annotated in the two development sets."
    if corpus == "practice":
        return "Features: the phenomena of the practice corpus, its column 1."
    return (
        f"Features: the sources of {corpus}, its column 1. Left out for a corpus of your own: annotations, of which it has none; "
        f"and pairs and changes ask for {evaluation.classes_of(run)[-1]!r}, which means something only if it means acceptable."
    )


# ---------------------------------------------------------------- what is computed


def by_feature(sentences, features, samples=2000):
    """DataFrame, a row a feature: how the model does on the sentences that have it, lowest accuracy first (08_error_analysis).

    n; accuracy with its interval low, high (Wilson 1927); mcc with mcc_low, mcc_high (bootstrap; nan where all or none are right,
    or one label or answer stands alone, of which resampling can say nothing); rest: accuracy of the sentences without it; p of
    Fisher's exact test of the two; q: the same after Benjamini and Hochberg (1995), for all features together.
    """
    classes, rows = range(max(2, int(sentences[["label", "prediction"]].max().max()) + 1)), {}
    for name in features:
        has = features[name].to_numpy()
        own, rest = sentences[has], sentences[~has]["right"]
        if len(own) < LEAST or len(rest) < LEAST:
            continue
        right = int(own["right"].sum())
        low, high = binomtest(right, len(own)).proportion_ci(method="wilson")
        counts = confusion(own, classes)
        ends = np.quantile(helpers.bootstrap_mcc(counts, samples), [0.025, 0.975])
        if right in (0, len(own)) or min(np.count_nonzero(counts.sum(axis=axis)) for axis in (0, 1)) < 2:
            ends = [np.nan, np.nan]
        rows[name] = {"n": len(own), "accuracy": right / len(own), "low": low, "high": high}
        rows[name] |= {"mcc": float(helpers.mcc_of_classes(counts)), "mcc_low": ends[0], "mcc_high": ends[1]}
        odds = [[right, len(own) - right], [rest.sum(), (~rest).sum()]]
        rows[name] |= {"rest": rest.mean(), "p": fisher_exact(odds).pvalue}
    columns = ["n", "accuracy", "low", "high", "mcc", "mcc_low", "mcc_high", "rest", "p"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = table.index.astype(str)  # of an empty table, too
    table["q"] = false_discovery_control(table["p"]) if len(table) else []
    return table.sort_values(["accuracy", "n"])


def by_length(sentences, parts=4):
    """DataFrame: n, accuracy and its Wilson interval, by number of words, in up to `parts` parts of like size (08_error_analysis)."""
    words = sentences["sentence"].str.split().str.len()
    part = pd.qcut(words, parts, labels=False, duplicates="drop").fillna(0)  # nan where all have as many words
    rows = sentences.groupby(part)["right"]
    table = rows.agg(n="size", accuracy="mean")
    ends = [binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson") for _, right in rows]
    table[["low", "high"]] = [tuple(each) for each in ends]
    ends = words.groupby(part).agg(["min", "max"]).to_numpy()
    table.index = [f"{low} to {high} words" if low < high else f"{high} words" for low, high in ends]
    return table


# ---------------------------------------------------------------- pictures


def points(table, everything, of="sentences"):
    """Picture of shares with intervals, (figure, a sentence for those who cannot see it) (08_error_analysis).

    table: a row a point, with n, accuracy, low, high, and q where it was tested; everything: the share of all.
    """
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.22 * len(table)))
    places = np.arange(len(table))
    ax.hlines(places, table["low"], table["high"], color="C0", linewidth=2)
    if "q" in table:
        survives = (table["q"] < 0.05).to_numpy()
        hue = np.where(survives, "differs from the rest", "may be chance")
        title = f"{survives.sum()} of {len(table)} differ from the rest of the {of}"
        look = {name: ["may be chance", "differs from the rest"] for name in ("hue_order", "style_order")}
    else:
        hue, look = None, {}
        title = f"{(table['low'] > 0.5).sum()} of {len(table)} lie above one half with their whole interval"
    if len(table):
        sns.scatterplot(x=table["accuracy"], y=places, hue=hue, style=hue, **look, s=55, ax=ax, zorder=3)
    ax.axvline(everything, color="grey", linestyle="--")
    ax.set_yticks(places, [f"{name:.30} ({n})" for name, n in zip(table.index, table["n"])])
    ax.invert_yaxis()
    ax.set(xlabel=f"share right, 95 % interval; dashed: all {of}, {everything:.2f}", ylabel="", title=title)
    if ax.get_legend():
        below = (0.5, -0.7 / figure.get_figheight())
        sns.move_legend(ax, "upper center", bbox_to_anchor=below, ncols=2, frameon=False)
    return figure, f"A point with an interval for each of {len(table)} kinds of {of}, the lowest on top. {title}."
