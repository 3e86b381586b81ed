"""Which features and minimal pairs the runs of a sweep have learned: tables over seeds, without a sentence of a corpus.

  python benchmarks/understanding.py minilm/SEED={1..10} --blimp 20 --blimp-runs 3

Reads finished runs on CoLA below runs/ (BERT_RUNS), annotations and BLiMP as 08_error_analysis does; writes
results/understanding/features.csv and blimp.csv. Spread over seeds is the standard deviation.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

import helpers
from bookkeeping.reading import FinishedRun
from lesson import blimp, evaluation, features


def over_seeds(tables, columns):
    """One table of several, a row an index value: mean and standard deviation of `columns` over them."""
    grouped = pd.concat(tables).groupby(level=0, sort=False)[columns]
    return grouped.mean().join(grouped.std().add_suffix("_sd"))


def feature_table(runs):
    """By set and feature: n, accuracy and MCC over runs, and in how many runs the feature survives the correction."""
    parts = []
    for split in [None, *features.ROWS]:
        tables = []
        for run in runs:
            sentences = features.judged(run)
            has = features.features_of(sentences)
            of = (sentences["split"] == (split or sentences["split"])).to_numpy()
            tables.append(features.by_feature(sentences[of], has[of], samples=100))
        table = over_seeds(tables, ["n", "accuracy", "mcc", "rest"]).drop(columns=["n_sd", "rest_sd"])
        together = pd.concat(tables)
        table["survives"] = (together["q"] < 0.05).groupby(together.index).sum()
        parts.append(table.assign(set=split or "both").sort_values("accuracy"))
    table = pd.concat(parts).rename_axis("feature").reset_index()
    return table[["set", *table.columns.drop("set")]].astype({"n": int})


def blimp_table(runs, pairs):
    """By paradigm: share of pairs ranked rightly after and before training, over runs, beside the published ones."""
    drawn, tables = blimp.blimp(pairs), {"trained": [], "before": []}
    for run in runs:
        models = {
            "trained": helpers.load_model(run.folder / "model"),
            "before": blimp.untrained(run, evaluation.classes_of(run)),
        }
        for name, model in models.items():
            answers = blimp.ranked(drawn, blimp.judge_of(model.to(helpers.pick_device()), run))
            tables[name].append(blimp.shares(answers, "paradigm")[["accuracy"]])
            print(f"{run.name}, {name}: {answers['right'].mean():.3f} of {len(answers)} pairs", flush=True)
    table = pd.read_csv(blimp.PUBLISHED, index_col="paradigm")
    for name, own in tables.items():
        spread = over_seeds(own, ["accuracy"])
        table = table.join(spread.set_axis([name, f"{name}_sd"], axis=1))
    return table.sort_values(["phenomenon", "trained"]).reset_index()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="names of finished runs")
    parser.add_argument("--blimp", type=int, default=0, metavar="N", help="pairs of each paradigm; 0: none")
    parser.add_argument("--blimp-runs", type=int, default=3, metavar="K", help="the first K runs judge them")
    parser.add_argument("--out", type=Path, default=Path(helpers.ROOT, "results", "understanding"))
    given = parser.parse_args()
    runs = [FinishedRun({"RUN": name}, helpers.RUNS) for name in given.runs]
    given.out.mkdir(parents=True, exist_ok=True)
    feature_table(runs).round(3).to_csv(given.out / "features.csv", index=False)
    if given.blimp:
        blimp_table(runs[: given.blimp_runs], given.blimp).round(3).to_csv(given.out / "blimp.csv", index=False)


if __name__ == "__main__":
    main()
