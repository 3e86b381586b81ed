"""How often do the intervals of 05_evaluate hold the true MCC, and is it right what 07 says of power and single runs?

  OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.coverage [--experiments 2000] [--resamples 1000]

Writes results/coverage/coverage.csv, power.csv, single_runs.csv and README.md. Experiment number i has seed i, so a second call gives the same table.
"""

import argparse
import datetime
import time

import numpy as np
import pandas as pd
import scipy

from benchmarks.simulated_sweeps import HOW_SEEDS_DIFFER, powers, single_runs
from helpers import ROOT, bootstrap_mcc, device_name, mcc_of_classes, pick_device
from lesson.intervals import jackknife

# sentences by source: CoLA's six out-of-domain publications, as many of one size, and as the practice corpus has them
SOURCES = {"six, as in CoLA": [222, 83, 82, 55, 42, 32], "six of one size": [86] * 6, "14 of 17": [17] * 14}
SPREADS = {"alike": 0.0, "unlike": 0.4, "very unlike": 0.8}  # standard deviation of the skill over sources
POSITIVES, BIAS, SKILL = 0.69, 0.7, 1.3  # an MCC of about .6, as at base size
TRUTH = 4000  # sources that make up "all sources"


def source(generator, size, spread, classes=2):
    """Confusion matrix [classes, classes] of `size` sentences of a source that is easier or harder than others.

    A model says the class with the highest evidence: its skill where that is the label, a bias to the last class, and luck.
    """
    skill = SKILL + generator.normal(0, spread)
    share = np.clip(POSITIVES + generator.normal(0, spread / 4), 0.1, 0.9)
    labels = np.where(generator.random(size) < share, classes - 1, generator.integers(classes - 1, size=size))
    evidence = generator.normal(0, 1, (size, classes)) + skill * np.eye(classes)[labels]
    evidence[:, -1] += BIAS
    counts = np.bincount(labels * classes + evidence.argmax(axis=1), minlength=classes**2)
    return counts.reshape(classes, classes)


def over_sentences(counts, resamples, seed):
    return np.quantile(bootstrap_mcc(counts, resamples, seed), [0.025, 0.975])


def over_drawn_sources(each, resamples, seed):
    """The bootstrap that draws whole sources, which 05 does not use."""
    drawn = np.random.default_rng(seed).integers(len(each), size=(resamples, len(each)))
    return np.quantile(mcc_of_classes(each[drawn].sum(axis=1)), [0.025, 0.975])


def experiment(seed, sizes, spread, resamples):
    """{interval: (low, high)} of one simulated test set."""
    generator = np.random.default_rng(seed)
    each = np.array([source(generator, size, spread) for size in sizes])
    return {
        "sentences": over_sentences(each.sum(axis=0), resamples, seed),
        "drawn sources": over_drawn_sources(each, resamples, seed),
        "one source left out": jackknife(each),
    }


def table(experiments, resamples):
    rows = []
    for how, spread in SPREADS.items():
        generator = np.random.default_rng(10**6)
        true = mcc_of_classes(sum(source(generator, 300, spread) for _ in range(TRUTH)))
        for words, sizes in SOURCES.items():
            found = [experiment(seed, sizes, spread, resamples) for seed in range(experiments)]
            row = {"sources are": how, "sources": words, "true MCC": float(true)}
            for name in found[0]:
                ends = np.array([one[name] for one in found])
                row[name] = ((ends[:, 0] <= true) & (true <= ends[:, 1])).mean()
                row[f"{name}, width"] = np.ptp(ends, axis=1).mean() / 2
            print(row, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def many_classes(experiments, resamples):
    """{number of classes: how often the bootstrap over sentences holds the true value}, sources alike, 516 sentences."""
    held = {}
    for classes in [2, 3, 6]:
        true = mcc_of_classes(source(np.random.default_rng(10**6), TRUTH * 300, 0.0, classes))
        seen = []
        for seed in range(experiments):
            counts = source(np.random.default_rng(seed), 516, 0.0, classes)
            low, high = over_sentences(counts, resamples, seed)
            seen.append(low <= true <= high)
        held[classes] = float(np.mean(seen))
    return held


def percent(share):
    return f"{100 * share:.1f} %"


def report(rows, held, told, alone, options, seconds):
    names = ["sentences", "drawn sources", "one source left out"]
    lines = ["| sources | are | sentences | whole sources drawn | **one source left out** |", "|---|---|--:|--:|--:|"]
    for row in rows.to_dict("records"):
        cells = " | ".join(f"{percent(row[name])} (±{row[f'{name}, width']:.2f})" for name in names)
        lines += [f"| {row['sources']} | {row['sources are']} | {cells} |"]
    power_lines = [
        "| test sentences | runs a side | spread | true difference | found | foretold |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for row in told.to_dict("records"):
        shares = f"{percent(row['found'])} | {percent(row['foretold'])}"
        power_lines += [
            f"| {row['sentences']:,} | {row['runs']} | {row['spread']:.3f} | +{row['difference']:.3f} | {shares} |"
        ]
    single = ["| seeds differ | runs | true deviation | as 07 says it | interval of a run holds | half its width |"]
    single += ["|---|--:|--:|--:|--:|--:|"]
    for row in alone.to_dict("records"):
        cells = f"{row['deviation']:.3f} | {row['said']:.3f} | {percent(row['holds'])} | {row['reach']:.2f}"
        single += [f"| {HOW_SEEDS_DIFFER[row['spread of the skill']]} | {row['runs']:.0f} | {cells} |"]
    return f"""# How often do the intervals of 05 hold the true MCC?

An interval of 95 % should hold it in 95 of 100 test sets. Here {options.experiments:,} simulated test sets for each row, {options.resamples:,} resamples each; the true
MCC is that of {TRUTH:,} sources, {rows["true MCC"].min():.2f} to {rows["true MCC"].max():.2f}. Sources that are unlike differ in how hard their sentences are and in how many are
acceptable (standard deviation of the skill {", ".join(str(s) for s in SPREADS.values())}). In brackets: half the interval's width, on average.

{chr(10).join(lines)}

* **sentences**: the bootstrap of 05 over sentences. Right where sources are alike; too narrow for other sources where they are not.
* **whole sources drawn**: the bootstrap over sources. With six of them it is too narrow, whatever they are like; 05 does not use it.
* **one source left out**: the jackknife of 05, with Student's t. Where one source holds as many sentences as in CoLA, a little too narrow.

With more classes, the bootstrap over sentences, 516 of them, sources alike: {"; ".join(f"{k} classes {percent(share)}" for k, share in held.items())}.

## Is the power that 07 foretells what comes?

07 says how many runs a side it takes to see a difference (`lesson/power.py`: Student's t, noncentral). Here are simulated sweeps like
those of `minilm`, {options.experiments:,} for each row, and how often Student's interval left out 0. Four times the sentences is the same gain with
a smaller spread, for part of the spread over seeds is luck with the sentences.

{chr(10).join(power_lines)}

## Is it right what 07 says of a single run?

From some runs of a setting 07 says how far one of them may lie from the mean over seeds and test sets ("both" kinds of chance). Here are
simulated settings, 516 test sentences. From few runs the interval is wider than it need be: Student's t is taken for the whole spread
over seeds, the luck with sentences in it included.

{chr(10).join(single)}

`OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.coverage --experiments {options.experiments} --resamples {options.resamples}`: experiment i has seed i. {datetime.date.today()},
numpy {np.__version__}, scipy {scipy.__version__}, {device_name(pick_device())}, {seconds / 60:.0f} minutes beside other work.
"""


def main(arguments=None, folder=ROOT / "results" / "coverage"):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, help="for each row")
    parser.add_argument("--resamples", type=int, default=1000, help="test sets drawn in each experiment")
    options = parser.parse_args(arguments)
    start = time.time()
    rows, held = table(options.experiments, options.resamples), many_classes(options.experiments, options.resamples)
    told, alone = powers(options.experiments), single_runs(options.experiments)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "coverage.csv", index=False, float_format="%.4f")
    told.to_csv(folder / "power.csv", index=False, float_format="%.4f")
    alone.to_csv(folder / "single_runs.csv", index=False, float_format="%.4f")
    text = report(rows, held, told, alone, options, time.time() - start)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
