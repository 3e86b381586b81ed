"""Does 04 without its savings learn as well? Repeats the runs of a sweep that way, and compares them in pairs.

  run.py -p CORPUS cola -p MODEL_NAME minilm -p SEED 1 2 3 4 5 --sweep cola
  .venv/bin/python benchmarks/plain_loop.py cola [--jobs 2] [--runs 5]

Every run of runs/<sweep>/, or the first few, is copied to runs/<sweep>-plain/ and its 04 and 05 are executed again, with
the functions of lesson/savings.py doing nothing: the same tokens, seed, first weights and batches, torch's own dropout.
Runs that are there are not repeated. Writes results/speed/<model>-plain.csv and .md.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import shutil
import sys

import common

import helpers
from bookkeeping import locks
from bookkeeping.files import read_json, remove, write_json


def train_plainly(run, plain):
    """Fill runs/<plain> with a copy of runs/<run>, trained and evaluated without the savings. Its metrics.json comes last."""
    common.switch_off(common.SAVINGS.values())
    folder = helpers.RUNS / plain
    _lock = locks.acquire(folder, "plain_loop.py")  # until this process ends, which does nothing else
    os.environ[locks.HELD] = str(folder)
    remove(folder)  # what was begun in a process that was killed
    shutil.copytree(helpers.RUNS / run, folder, ignore=shutil.ignore_patterns(".*", "model", "*.html", "metrics.json"))
    content = helpers.read_run(folder)
    records = content["notebooks"]
    content["notebooks"] = {name: record for name, record in records.items() if name < "04"}
    write_json(folder / "run.json", content)
    for notebook in ["04_train", "05_evaluate"]:
        common.execute(notebook, **records[notebook]["parameters"] | {"RUN": plain})
    return plain


def score(run):
    metrics = read_json(helpers.RUNS / run / "metrics.json")
    return {
        "validation": metrics["validation"]["mcc"],
        "test": metrics["test"]["mcc"],
        "seconds": metrics["train_seconds"],
    }


def scores(pairs):
    """Scores and seconds of each pair of runs: a row a pair, a column a kind and figure."""
    import pandas as pd

    rows = []
    for pair in pairs:
        rows.append({"run": pair[0].rpartition("/")[2]})
        for kind, run in zip(["04", "plain"], pair):
            rows[-1] |= {f"{kind}, {what}": value for what, value in score(run).items()}
    return pd.DataFrame(rows).set_index("run")


def report(frame, model, facts):
    from scipy import stats

    folder = common.ROOT / "results" / "speed"
    rows = []
    for what in ["validation", "test"]:
        test = stats.ttest_rel(frame[f"04, {what}"], frame[f"plain, {what}"])
        low, high = test.confidence_interval()
        ours, plain = (frame[f"{kind}, {what}"].mean() for kind in ("04", "plain"))
        difference = f"{ours - plain:+.3f} ({low:+.3f} to {high:+.3f})"
        rows.append([what, f"{ours:.3f}", f"{plain:.3f}", difference, f"{test.pvalue:.2f}"])
    headings = ["04, mean", "plain, mean", "04 minus plain, mean (95 % interval)", "p"]
    lines = [
        f"# 04 beside the plain loop: {model}, {len(frame)} pairs of runs",
        "",
        *common.table({"MCC": ":--"} | dict.fromkeys(headings, "--:"), rows),
        "",
        "A pair shares tokens, seed, first weights and batches; the plain loop trains all word embeddings, computes the "
        "last layer whole and uses torch's dropout, which draws other random numbers. Interval and p: paired t-test over "
        f"the pairs. Each run: [{model}-plain.csv]({model}-plain.csv).",
    ]
    common.write_results(folder / f"{model}-plain.csv", frame, folder / f"{model}-plain.md", lines, facts)


def command_line():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="name of a finished sweep below runs/")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once (default: one a core)")
    parser.add_argument("--runs", type=int, help="how many, from the first on (default: all)")
    return parser.parse_args()


def main():
    import torch

    options = command_line()
    threads = max(1, os.cpu_count() // options.jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes that train
    torch.set_num_threads(threads)  # of this one, which says how many they were
    runs = [path.parent for path in (helpers.RUNS / options.sweep).glob("[!.]*/metrics.json")]
    runs = sorted(runs, key=lambda run: (len(run.name), run.name))[: options.runs]  # SEED=2 before SEED=10
    if len(runs) < 2:
        sys.exit(f"{options.sweep} has {len(runs)} finished runs below runs/: expected at least 2; see --help.")
    pairs = [(f"{options.sweep}/{run.name}", f"{options.sweep}-plain/{run.name}") for run in runs]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        missing = [pair for pair in pairs if not (helpers.RUNS / pair[1] / "metrics.json").exists()]
        for done in concurrent.futures.as_completed([pool.submit(train_plainly, *pair) for pair in missing]):
            print(f"{done.result()}: {score(done.result())}", flush=True)
    model = helpers.load_tokens(runs[0])[1]["name"]
    call = f"plain_loop.py {options.sweep} --jobs {options.jobs} --runs {len(runs)}"
    report(scores(pairs), model, common.facts(call))


if __name__ == "__main__":
    main()
