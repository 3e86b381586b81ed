"""Which features and minimal pairs the runs of a sweep have learned: tables and a picture over seeds, without a sentence of a corpus.

  python benchmarks/understanding.py --runs runs/minilm --name minilm --blimp 20

Reads the finished runs of that sweep, on CoLA; annotations and BLiMP as 08_error_analysis does. Writes NAME_features.csv,
NAME_errors.csv, NAME_blimp.csv, NAME_phenomena.csv and NAME.png into results/understanding/. Spread over seeds is the standard deviation;
intervals (95 %) are for other sentences and other seeds (the two-way bootstrap of 07), q is the false discovery rate
(Benjamini and Hochberg) at which a row of its table differs from chance. Without --runs it draws NAME.png again.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy import stats

import helpers
from bookkeeping import SeriesError
from bookkeeping.reading import FinishedRun
from lesson import blimp, chance, evaluation, features, seeds

SAMPLES = 2000  # resampled sets behind an interval
FOLDER = Path(helpers.ROOT, "results", "understanding")


def finished(sweep):
    """FinishedRuns of the folder of a sweep, by seed; the others are named."""
    runs = []
    for path in sorted(sweep.resolve().glob("[!.]*/run.json")):
        try:
            runs.append(FinishedRun({"RUN": str(path.parent)}, helpers.RUNS))
        except SeriesError as why:
            print(f"left out: {path.parent.name}: {str(why).splitlines()[0]}")
    if not runs:
        raise SeriesError(f"{sweep} holds no finished run: expected the folder of a sweep of run.py.")
    return sorted(runs, key=lambda run: run.records["04_train"]["parameters"]["SEED"])


def over_seeds(tables, columns):
    """One table of several, a row an index value: mean and standard deviation of `columns` over them."""
    grouped = pd.concat(tables).groupby(level=0, sort=False)[columns]
    return grouped.mean().join(grouped.std().add_suffix("_sd"))


def beside_chance(columns, value):
    """Of resampled scores [samples, runs]: both ends of the mean's interval, and the p-value of its being `value`.

    The p-value is what the widest interval that leaves `value` out lacks to 1.
    """
    levels = np.linspace(0, 1, SAMPLES + 1)[:-1]
    low, high = chance.interval_of_mean(columns, levels)
    return *chance.interval_of_mean(columns), 1 - levels[(low > value) | (value > high)].max(initial=0)


def feature_table(runs):
    """By set and feature: n, accuracy and MCC over runs, and in how many runs the feature survives the correction."""
    judged, parts = [features.judged(run) for run in runs], []
    for run, own in zip(runs, judged):
        if not own[["split", "row", "label"]].equals(judged[0][["split", "row", "label"]]):
            raise SeriesError(
                f"{run.name} judged other sentences than {runs[0].name}: expected one corpus for all runs."
            )
    has = features.features_of(judged[0])
    for split in [None, *features.ROWS]:
        of = (judged[0]["split"] == (split or judged[0]["split"])).to_numpy()
        tables = [features.by_feature(sentences[of], has[of], samples=100) for sentences in judged]
        table = over_seeds(tables, ["n", "accuracy", "mcc", "rest"]).drop(columns=["n_sd", "rest_sd"])
        together = pd.concat(tables)
        table["survives"] = (together["q"] < 0.05).groupby(together.index).sum()
        said = np.column_stack([sentences["prediction"] for sentences in judged])
        for name in table.index:
            own = of & has[name].to_numpy()
            drawn = chance.resampled_mccs(judged[0]["label"].to_numpy()[own], said[own], SAMPLES)
            table.loc[name, ["mcc_low", "mcc_high", "mcc_q"]] = beside_chance(drawn, 0)
            table.loc[name, "acceptable"] = judged[0]["label"].to_numpy()[own].mean()
        table["mcc_q"] = stats.false_discovery_control(table["mcc_q"])
        parts.append(table.assign(set=split or "both").sort_values("accuracy"))
    table = pd.concat(parts).rename_axis("feature").reset_index()
    return table[["set", *table.columns.drop("set")]].astype({"n": int})


def judge_pairs(runs, pairs):
    """(pairs drawn from BLiMP, {"trained", "before": bool [pairs, runs]}): which are ranked rightly after and before training."""
    drawn, right = blimp.blimp(pairs), {"trained": [], "before": []}
    for run in runs:
        models = {
            "trained": helpers.load_model(run.folder / "model"),
            "before": blimp.untrained(run, evaluation.classes_of(run)),
        }
        for name, model in models.items():
            own = blimp.ranked(drawn, blimp.judge_of(model.to(helpers.pick_device()), run))["right"]
            right[name].append(own)
            print(f"{run.name}, {name}: {own.mean():.3f} of {len(own)} pairs", flush=True)
    return drawn, {name: np.column_stack(own) for name, own in right.items()}


def pair_table(drawn, right, by):
    """By paradigm or phenomenon: pairs, share ranked rightly, its spread and interval, beside the published ones."""
    kinds = drawn.groupby(by, sort=False).indices
    table = blimp.published(by).loc[list(kinds)]
    if by == "paradigm":
        table.insert(0, "phenomenon", drawn.groupby(by)["phenomenon"].first())
    for name, own in right.items():
        for kind, rows in kinds.items():
            shares, n = own[rows].mean(axis=0), len(rows)
            times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=SAMPLES)
            found = beside_chance(times @ own[rows] / n, 0.5)
            columns = ["pairs", name, f"{name}_sd", f"{name}_low", f"{name}_high", f"{name}_q"]
            table.loc[kind, columns] = [n, shares.mean(), pd.Series(shares).std(), *found]
        table[f"{name}_q"] = stats.false_discovery_control(table[f"{name}_q"])
    order = ["phenomenon", "trained"] if by == "paradigm" else "trained"
    return table.sort_values(order).reset_index().astype({"pairs": int})


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="of a sweep of run.py; without it: only the picture"
    )
    parser.add_argument("--name", required=True, help="of the model, in the files' names")
    parser.add_argument("--blimp", type=int, default=0, metavar="N", help="pairs of each paradigm; 0: none")
    parser.add_argument("--blimp-runs", type=int, default=5, metavar="K", help="the first K runs judge them")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.runs:
        runs = finished(given.runs)
        print(f"{len(runs)} finished runs: {', '.join(run.folder.name for run in runs)}")
        feature_table(runs).round(3).to_csv(given.out / f"{given.name}_features.csv", index=False)
        verdicts = seeds.read(given.runs, [run.folder.name for run in runs], "")
        seeds.by_count(verdicts).round(1).to_csv(given.out / f"{given.name}_errors.csv")
        if given.blimp:
            judged = judge_pairs(runs[: given.blimp_runs], given.blimp)
            for by, what in [("paradigm", "blimp"), ("phenomenon", "phenomena")]:
                pair_table(*judged, by).round(3).to_csv(given.out / f"{given.name}_{what}.csv", index=False)
    draw(given.name, given.out)
    print(f"\nFor the page:\n\n{page(given.name, given.out)}")


if __name__ == "__main__":
    try:
        main()
    except SeriesError as error:
        sys.exit(str(error))
