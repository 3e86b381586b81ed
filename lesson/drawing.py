"""The parts of 07_compare_runs' pictures that depend on what there is in a sweep."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns


def tidy_legend(ax):
    """Put the legend beside the plot, or leave it out where it would say nothing or fill the page (07_compare_runs)."""
    if legend := ax.get_legend():
        entries = [text.get_text() for text in legend.get_texts()]
        legend.remove()
        if 1 < len(entries) <= 12:
            ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))


def row_labels(runs):
    """What stands beside each run: its seed, or its setting where none is repeated; nothing where there are too many (07_compare_runs)."""
    if len(runs) > 60:
        return [""] * len(runs)
    return runs["seed" if runs["setting"].duplicated().any() else "setting"]


def differences(differences, effects):
    """Picture of the pairs, a dot each, and below them the mean with both intervals, a row for each value (07_compare_runs).

    differences: {value: [pairs]}, effects: {value: chance.effect(...)}. Returns (figure, axes).
    """
    fig, ax = plt.subplots(figsize=(7, min(14, 1.4 + 0.9 * len(effects))))
    for row, (value, own) in enumerate(effects.items()):
        x = differences[value]
        sns.scatterplot(x=x, y=np.full(len(x), row - 0.1), s=60, color="C0", label="a pair", ax=ax)
        ends = [own["low"], own["high"]], [own["here low"], own["here high"]]
        ax.plot(ends[0], [row + 0.15] * 2, "C1", linewidth=4, label="mean, other sentences too")
        ax.plot(ends[1], [row + 0.32] * 2, "C2:", linewidth=4, label="mean, these sentences")
        ax.plot([own["mean"]] * 2, [row + 0.15, row + 0.32], "kD", markersize=5)
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set_yticks(range(len(effects)), [str(value) for value in effects])
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:3], labels[:3], frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    ax.set_ylim(len(effects) - 0.5, -0.4)
    return fig, ax
