"""Picture and section of a page of what understanding.py found. No program of its own."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns


def told(table, value, chance_is):
    """Which rows lie above chance, Benjamini and Hochberg's false discovery rate over them all at 5 %: bool [rows]."""
    return ((table[f"{value}_q"] < 0.05) & (table[value] > chance_is)).to_numpy()


def _points(ax, table, value, chance_is, also=()):
    """A row of points with an interval for each row of `table`; also: {legend: column} to compare. Returns how many lie above chance."""
    places, known = np.arange(len(table)), told(table, value, chance_is)
    kinds = [("C0", "o", known, "above chance"), ("C1", "s", ~known, "cannot be told from chance")]
    for color, marker, which, label in kinds:
        own = table[which]
        ax.hlines(places[which], own[f"{value}_low"], own[f"{value}_high"], color=color, linewidth=2)
        ax.plot(own[value], places[which], marker, color=color, label=label)
    for marker, (label, column) in zip("Dx", dict(also).items()):
        ax.plot(table[column], places, marker, color="0.35", fillstyle="none", label=label, zorder=1)
    ax.axvline(chance_is, color="0.4", linestyle="--")
    ax.set_yticks(places, [f"{kind.replace('_', ' ')} ({n})" for kind, n in zip(table.iloc[:, 0], table["n"])])
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=2, frameon=False, fontsize=9)
    return f"{known.sum()} of {len(known)}"


def draw(name, folder):
    """Write NAME.png from the tables: MCC by CoLA's features, and, where they were judged, BLiMP's phenomena."""
    table = pd.read_csv(folder / f"{name}_features.csv").query("set == 'both'").drop(columns="set").sort_values("mcc")
    path = folder / f"{name}_phenomena.csv"
    sns.set_theme(style="whitegrid", palette="colorblind")
    size = (12, 5.6) if path.exists() else (6.5, 5.6)
    figure, axes = plt.subplots(1, 1 + path.exists(), figsize=size, layout="constrained", squeeze=False)
    above = _points(axes[0, 0], table, "mcc", 0)
    axes[0, 0].set(xlabel="MCC, CoLA's two development sets", title=f"{above} features of CoLA above chance")
    if path.exists():
        table = pd.read_csv(path).rename(columns={"pairs": "n"}).sort_values("trained")
        above = _points(axes[0, 1], table, "trained", 0.5, {"before training": "before", "people": "people"})
        axes[0, 1].set(xlabel="share of pairs ranked rightly", title=f"{above} phenomena of BLiMP above chance")
    figure.suptitle(f"What {name} has learned from CoLA, with 95 % intervals (in brackets: sentences, pairs)")
    figure.savefig(folder / f"{name}.png", dpi=110)
    plt.close(figure)


def page(name, folder):
    """A section for results/understanding/README.md: the picture with its alt text, features at both ends, what all runs miss."""

    def row(*cells):
        return f"| {' | '.join(f'{cell:.3f}'.replace('0.', '.', 1) if isinstance(cell, float) else str(cell) for cell in cells)} |"

    table, lines = pd.read_csv(folder / f"{name}_features.csv").query("set == 'both'"), []
    alt = f"Points with intervals. MCC of {len(table)} features of CoLA, {told(table, 'mcc', 0).sum()} above chance"
    for _, own in pd.concat([table.head(4), table.tail(3)]).drop_duplicates().iterrows():
        accuracy = row(own["accuracy"])[2:-2] + " ± " + row(own["accuracy_sd"])[2:-2]
        lines.append(row(own["feature"], own["n"], accuracy, own["mcc"], own["rest"], own["survives"]))
    runs, errors, by_chance = pd.read_csv(folder / f"{name}_errors.csv").iloc[-1]
    lines += [
        "",
        f"In both sets all {runs:.0f} runs err on {errors:.0f} sentences, where chance would give {by_chance:.1f}.",
    ]
    if (path := folder / f"{name}_phenomena.csv").exists():
        kinds, who = pd.read_csv(path), ["trained", "before", "ngram", "lstm", "txl", "gpt2", "people"]
        alt += f"; share of BLiMP's pairs, {told(kinds, 'trained', 0.5).sum()} of {len(kinds)} phenomena above one half"
        lines += ["", row("", *who), "|---" + "|--:" * len(who) + "|"]
        lines += [row("all 67 paradigms", *pd.read_csv(folder / f"{name}_blimp.csv")[who].mean().tolist())]
    head = [row("feature", "n", "accuracy", "MCC", "rest", "survives"), "|---" + "|--:" * 5 + "|"]
    return "\n".join([f"## `{name}`", "", f"![{alt}.]({name}.png)", "", *head, *lines])
