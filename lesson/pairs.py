"""Minimal pairs of the practice corpus: two sentences that differ in one place, one of them acceptable (06_save_and_load)."""

import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from scipy.stats import binomtest

from bookkeeping import SeriesError
from lesson.corpora import COLA_FILES, read_sentences

PRACTICE = Path(__file__).resolve().parent.parent / "data" / "practice"
GRAMMARS = {"in_domain_dev": PRACTICE / "grammar" / "in_domain.txt", "test": PRACTICE / "grammar" / "out_of_domain.txt"}


def minimal_pairs():
    """DataFrame with split, phenomenon, acceptable, unacceptable: the pairs of the two development sets (06_save_and_load).

    An unacceptable sentence stands right below its acceptable twin: so make_corpus.py writes them.
    """
    parts = []
    for split in GRAMMARS:
        sentences = read_sentences(PRACTICE / "raw" / COLA_FILES[split])
        twins = sentences.shift()
        pairs = {"split": split, "phenomenon": sentences["source"]}
        pairs |= {"acceptable": twins["sentence"], "unacceptable": sentences["sentence"]}
        parts.append(pd.DataFrame(pairs)[sentences["label"] == 0])
    return pd.concat(parts, ignore_index=True)


def rules():
    """{code of a phenomenon: its rule in a sentence}, as the grammars say it (06_save_and_load)."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in GRAMMARS.values())
    return dict(re.findall(r"^= (\w+): (.+)$", text, re.M))


def interval(right, n):
    """95 % interval (low, high) of a share, `right` of `n`: exact, of Clopper and Pearson 1934 (06_save_and_load)."""
    return tuple(binomtest(int(right), int(n)).proportion_ci(method="exact"))


def new_pairs(phenomenon, n, seed=0):
    """DataFrame as of minimal_pairs(): `n` more pairs of one phenomenon, none of them in a file (06_save_and_load).

    `n` up to 200, for which the words of every phenomenon suffice.
    """
    known = sorted(set(minimal_pairs()["phenomenon"]))
    if phenomenon not in known or not 1 <= n <= 200:
        raise SeriesError(f"{n} pairs of {phenomenon!r}: expected 1 to 200 of one of {', '.join(known)}.")
    make = runpy.run_path(str(PRACTICE / "make_corpus.py"))
    files = [read_sentences(path) for path in sorted((PRACTICE / "raw").glob("*.tsv"))]
    taken = set(map(make["key"], pd.concat(files)["sentence"]))
    split = next(split for split, path in GRAMMARS.items() if f"\n= {phenomenon}: " in path.read_text(encoding="utf-8"))
    grammar, dice = make["read_grammar"](GRAMMARS[split]), make["Dice"](seed)
    rows = make["sentences"](grammar, phenomenon, n, 0, taken, dice)
    good, bad = [row[3] for row in rows[::2]], [row[3] for row in rows[1::2]]
    return pd.DataFrame({"split": split, "phenomenon": phenomenon, "acceptable": good, "unacceptable": bad})


def scatter(ranked):
    """Picture of pairs, (figure, a sentence for those who cannot see it): a point each, below the diagonal if ranked rightly.

    ranked: DataFrame with split, right, and the probabilities good and bad of the two (06_save_and_load).
    """
    figure, ax = plt.subplots(figsize=(5, 4.6))
    sns.scatterplot(ranked, x="good", y="bad", hue="split", style="split", ax=ax)
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1)
    ax.axvline(0.5, color="grey", linewidth=1, linestyle=":")
    ax.axhline(0.5, color="grey", linewidth=1, linestyle=":")
    title = f"{ranked['right'].sum()} of {len(ranked)} pairs lie below the diagonal"
    ax.set(
        xlabel='acceptable twin: probability of "acceptable"',
        ylabel="unacceptable twin",
        title=title,
        xlim=(0, 1),
        ylim=(0, 1),
    )
    sns.move_legend(ax, "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
    return figure, f"A point for each minimal pair. {title}: there the acceptable twin has the higher probability."
