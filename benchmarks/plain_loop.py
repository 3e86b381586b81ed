"""Does 04 without its savings learn as well? Repeats the runs of a batch that way, and compares them in pairs.

  run.py -p CORPUS cola -p MODEL_NAME minilm -p SEED 1 2 3 4 5 --batch cola
  .venv/bin/python benchmarks/plain_loop.py cola [--jobs 2] [--runs 5]

Every run of runs/<batch>/, or the first few, is copied to runs/<batch>-plain/ and its 04 and 05 are executed again, with the functions of
savings.py doing nothing: the same tokens, seed, first weights and batches, torch's own dropout. Runs that are there are
not repeated. Writes results/speed/<model>-plain.csv and .md.
"""

import argparse
import concurrent.futures
import datetime
import json
import multiprocessing
import os
import shutil
import sys

from train_speed import ROOT, execute, instruction_sets

SAVINGS = ["shrink_embeddings", "only_cls", "quicken_dropout"]


def train_plainly(run, plain):
    """Fill runs/<plain> with a copy of runs/<run>, trained and evaluated without the savings."""
    sys.path.insert(0, str(ROOT))
    import helpers
    import savings

    for name in SAVINGS:
        getattr(savings, name)  # an error, should it no longer be called that
        setattr(savings, name, lambda *_: None)
    with helpers.replacing(helpers.RUNS / plain) as new:
        shutil.copytree(helpers.RUNS / run, new, ignore=shutil.ignore_patterns("model", "*.html", "metrics.json"))
        records = helpers.read_run(new)["notebooks"]
        name = f"{plain.rpartition('/')[0]}/{new.name}"
        for notebook in ["04_train", "05_evaluate"]:
            execute(notebook, RUN=name, **{k: v for k, v in records[notebook]["parameters"].items() if k != "RUN"})
    return plain


def score(folder):
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {
        "validation": metrics["validation"]["mcc"],
        "test": metrics["test"]["mcc"],
        "seconds": metrics["train_seconds"],
    }


def compare(pairs, options):
    import pandas as pd
    from scipy import stats

    import helpers

    rows = []
    for run, plain in pairs:
        rows.append({"run": run.rpartition("/")[2]})
        for kind, name in [("04", run), ("plain", plain)]:
            rows[-1] |= {f"{kind}, {what}": value for what, value in score(helpers.RUNS / name).items()}
    frame = pd.DataFrame(rows).set_index("run")
    _, about = helpers.load_tokens(helpers.RUNS / pairs[0][0])
    lines = [f"# 04 beside the plain loop: {about['name']}, {len(frame)} pairs of runs", ""]
    lines += ["| MCC | 04, mean | plain, mean | 04 minus plain, mean (95 % interval) | p |", "|:--|--:|--:|--:|--:|"]
    for what in ["validation", "test"]:
        test = stats.ttest_rel(frame[f"04, {what}"], frame[f"plain, {what}"])
        low, high = test.confidence_interval()
        means = [frame[f"{kind}, {what}"].mean() for kind in ("04", "plain")]
        lines += [
            f"| {what} | {means[0]:.3f} | {means[1]:.3f} | {means[0] - means[1]:+.3f} "
            f"({low:+.3f} to {high:+.3f}) | {test.pvalue:.2f} |"
        ]
    lines += [
        "",
        "A pair shares tokens, seed, first weights and batches; the plain loop trains all word embeddings, computes the "
        "last layer whole and uses torch's dropout, which draws other random numbers. Interval and p: paired t-test over "
        f"the pairs. Each run: [{about['name']}-plain.csv]({about['name']}-plain.csv).",
        "",
        f"* command: `.venv/bin/python benchmarks/plain_loop.py {options.batch} --jobs {options.jobs} --runs {len(frame)}`",
        f"* device: {helpers.device_name(helpers.pick_device())}, {instruction_sets()}",
        f"* date: {datetime.date.today().isoformat()}",
        *(f"* {name}: {version}" for name, version in helpers.versions().items()),
    ]
    folder = ROOT / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    frame.round(4).to_csv(folder / f"{about['name']}-plain.csv")
    (folder / f"{about['name']}-plain.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batch", help="name of a finished batch below runs/")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once (default: one a core)")
    parser.add_argument("--runs", type=int, help="how many, from the first on (default: all)")
    options = parser.parse_args()
    os.environ |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": str(max(1, os.cpu_count() // options.jobs))}
    sys.path.insert(0, str(ROOT))
    import helpers

    runs = [path.parent for path in (helpers.RUNS / options.batch).glob("[!.]*/metrics.json")]
    runs = sorted(runs, key=lambda run: (len(run.name), run.name))[: options.runs]  # SEED=2 before SEED=10
    if len(runs) < 2:
        sys.exit(f"{options.batch} has {len(runs)} finished runs below runs/: expected at least 2; see --help.")
    pairs = [(f"{options.batch}/{run.name}", f"{options.batch}-plain/{run.name}") for run in runs]
    (helpers.RUNS / f"{options.batch}-plain").mkdir(exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        missing = [pair for pair in pairs if not (helpers.RUNS / pair[1] / "metrics.json").exists()]
        for done in concurrent.futures.as_completed([pool.submit(train_plainly, *pair) for pair in missing]):
            print(f"{done.result()}: {score(helpers.RUNS / done.result())}", flush=True)
    compare(pairs, options)


if __name__ == "__main__":
    main()
