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

import numpy as np
import pandas as pd
from scipy import stats

import helpers
from benchmarks import understanding_page
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
    understanding_page.draw(given.name, given.out)
    print(f"\nFor the page:\n\n{understanding_page.page(given.name, given.out)}")


if __name__ == "__main__":
    try:
        main()
    except SeriesError as error:
        sys.exit(str(error))
