"""Pictures of 03_tokenize, 04_train and 07_compare_runs, or the parts of them that depend on what there is."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

LIGHT, DARK = "#f6e0b5", "#2f6690"  # padding, tokens


def batch(words, mask):
    """Picture of a batch, a sentence a row: its tokens dark, padding light; (figure, a sentence for those who cannot see it).

    words: [sentence][position]; mask: [sentence, position], 1 for a token. A column is as wide as its longest word; many make
    the letters smaller, and too many leave them out (03_tokenize).
    """
    mask = np.asarray(mask)
    font = FontProperties(size=1)
    widths = [
        max(text_to_path.get_text_width_height_descent(word, font, False)[0] for word in column)
        for column in zip(*words)
    ]
    edges = np.cumsum([0, *np.add(widths, 0.75)])  # in the letters' size
    figure, ax = plt.subplots(figsize=(9, 0.8 + 0.3 * len(mask)))
    look = {"cmap": ListedColormap([LIGHT, DARK]), "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": 1}
    ax.pcolormesh(edges, np.arange(len(mask) + 1), mask, **look)
    middles, size = (edges[1:] + edges[:-1]) / 2, min(8, 500 / edges[-1])  # points
    for (row, column), token in np.ndenumerate(mask) if size > 4 else ():
        color = "white" if token else "black"
        ax.text(middles[column], row + 0.5, words[row][column], ha="center", va="center", size=size, color=color)
    every = -(-len(middles) // 24)
    ax.set_xticks(middles[::every], range(0, len(middles), every), size=9)
    ax.set_yticks(np.arange(len(mask)) + 0.5, range(len(mask)))
    ax.set(xlabel="position", ylabel="sentence", title=f"{1 - mask.mean():.0%} of this batch is padding (light)")
    ax.invert_yaxis()
    ax.grid(False)
    return figure, "A batch, a sentence a row: its tokens dark, the padding behind it light."


def steps(losses):
    """Picture of the loss, step by step, beside that of a guess; (figure, a sentence for those who cannot see it) (04_train)."""
    figure, ax = plt.subplots(figsize=(6, 2.2))
    sns.lineplot(x=range(1, len(losses) + 1), y=losses, marker="o", ax=ax)
    ax.axhline(np.log(2), color="C1", linestyle="--", label="a guess (0.69)")
    title = f"From {losses[0]:.2f} to {np.mean(losses[-5:]):.2f}, the mean of the last five"
    ax.set(xlabel="step", ylabel="loss of the batch", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return figure, f"The loss over the first steps. {title}."


def how_much(trainings):
    """Picture of scores by the share of the sentences and by the epochs trained; (figure, a sentence for those who cannot see it) (04_train).

    trainings: a row a training, of results/variants/: `variant`, `validation_mcc`, `in_domain_mcc`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    told = []
    for ax, pattern, all_of, what in [
        (axes[0], r"^(\d+) % of the training", 100, "percent of CoLA's training sentences"),
        (axes[1], r"^(\d+) epochs?$", 4, "epochs"),
    ]:
        number = trainings["variant"].str.extract(pattern)[0].astype(float).mask(trainings["variant"] == "04", all_of)
        long = (
            trainings.assign(number=number)
            .dropna(subset="number")
            .rename(columns={"validation_mcc": "validation", "in_domain_mcc": "in-domain dev"})
        )
        long = long.melt("number", ["validation", "in-domain dev"], "sentences", "MCC")
        ticks = sorted(long["number"].unique())
        sns.lineplot(long, x="number", y="MCC", hue="sentences", style="sentences", markers=True, errorbar="sd", ax=ax)
        ax.set(xscale="log", xlabel=what)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.legend(title=None)
        first, last = long[long["sentences"] == "validation"].groupby("number")["MCC"].mean().iloc[[0, -1]]
        told.append(f"{first:.2f} at {ticks[0]:g}, {last:.2f} at {ticks[-1]:g} {what}")
    return figure, f"Validation MCC, the mean over seeds with a band of one standard deviation: {'; '.join(told)}."


def tidy_legend(ax):
    """Put the legend below the plot, where a phone has room, or leave it out if it would say nothing or fill the page (07_compare_runs)."""
    handles, labels = ax.get_legend_handles_labels()
    named = dict(zip(labels, handles))
    if ax.get_legend():
        ax.get_legend().remove()
    if 1 < len(named) <= 12:
        ax.figure.set_layout_engine("constrained")
        ax.figure.legend(named.values(), named, loc="outside lower center", ncols=2, frameon=False)


def row_labels(runs):
    """What stands beside each run: its seed, or its setting where none is repeated; nothing where there are too many (07_compare_runs)."""
    if len(runs) > 60:
        return [""] * len(runs)
    return runs["seed" if runs["setting"].duplicated().any() else "setting"]


def differences(differences, effects):
    """Picture of the pairs, a dot each, and below them the mean with both intervals, a row for each value (07_compare_runs).

    differences: {value: [pairs]}, effects: {value: chance.effect(...)}. Returns (figure, axes).
    """
    fig, ax = plt.subplots(figsize=(6, min(14, 1.9 + 0.9 * len(effects))))
    for row, (value, own) in enumerate(effects.items()):
        x = differences[value]
        sns.scatterplot(x=x, y=np.full(len(x), row - 0.1), s=60, color="C0", label="a pair", ax=ax)
        ends = [own["low"], own["high"]], [own["here low"], own["here high"]]
        ax.plot(ends[0], [row + 0.15] * 2, "C1", linewidth=4, label="mean, other sentences too")
        ax.plot(ends[1], [row + 0.32] * 2, "C2:", linewidth=4, label="mean, these sentences")
        ax.plot([own["mean"]] * 2, [row + 0.15, row + 0.32], "kD", markersize=5)
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set_yticks(range(len(effects)), [str(value) for value in effects])
    tidy_legend(ax)
    ax.set_ylim(len(effects) - 0.5, -0.4)
    return fig, ax
