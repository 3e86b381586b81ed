"""How often does the verdict of 07_compare_runs err? Simulated sweeps, whose true effect is known, judged by 07's own functions.

  OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.verdict [--experiments 2000] [--resamples 1000] [--coverage 400]

Writes results/verdict/verdict.csv and README.md. Experiment number i has seed i, so a second call gives the same table.
"""

import argparse
import datetime
import time

import numpy as np
import pandas as pd
import scipy

from helpers import ROOT, device_name, pick_device
from lesson import chance, simulation

PAIRS = [2, 3, 5, 10]
SPREADS = {"none": 0.0, "like minilm": simulation.SPREAD, "large": 0.4}
EFFECTS = [0.0, 0.1, 0.2, 0.3]
VERDICT = chance.FINDINGS[True, True]


def mcc(labels, predictions):
    return chance.mccs(labels, predictions, np.ones((1, len(labels))))[0]


def experiment(seed, pairs, spread, effect, resamples):
    """(does the bootstrap's interval leave out 0, does Student's, the verdict does, difference of MCC, spread of MCC)."""
    generator = np.random.default_rng(seed)
    skills = simulation.skills(effect, pairs, generator, spread)
    labels, predictions = simulation.answers(skills, generator=generator)
    scores = mcc(labels, predictions)
    columns = chance.resampled_mccs(labels, predictions, resamples, seed)
    own = chance.effect(columns[:, pairs:] - columns[:, :pairs], scores[pairs:] - scores[:pairs], 0.95)
    bootstrap, student = own["low"] > 0 or own["high"] < 0, own["here low"] > 0 or own["here high"] < 0
    return bootstrap, student, own["finding"] == VERDICT, own["mean"], scores[:pairs].std(ddof=1)


def table(experiments, resamples):
    rows = []
    for words, spread in SPREADS.items():
        for pairs in PAIRS:
            row = {"chance of the seed": words, "pairs": pairs}
            for effect in EFFECTS if words == "like minilm" else [0.0]:
                seen = np.array([experiment(seed, pairs, spread, effect, resamples) for seed in range(experiments)])
                bootstrap, student, both, difference, within = seen.mean(axis=0)
                if not effect:
                    row |= {"spread over seeds": np.sqrt((seen[:, 4] ** 2).mean()), "bootstrap alone": bootstrap}
                    row |= {"Student alone": student, "verdict": both}
                else:
                    row |= {f"difference {effect}": difference, f"power {effect}": both}
            print(row, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def intervals(experiments):
    """{interval of 07: how often it holds the true value}, ten runs of one setting in each experiment."""
    held, error = [], true_error()
    for seed in range(experiments):
        generator = np.random.default_rng(seed)
        skills = simulation.skills(0.0, 205, generator)
        labels, predictions = simulation.answers(skills, generator=generator)
        test, validation = mcc(labels, predictions), mcc(*simulation.answers(skills, 856, generator))
        spread = test[:10].std(ddof=1) * chance.spread_factors(9)
        row = {"spread over ten seeds": (spread, test[10:].std())}
        for name, score in [("validation", validation), ("test", test)]:
            curve = chance.best_of_curve(validation[:10], score[:10])
            for n in [2, 5]:
                row[f"best of {n}, {name}"] = curve[n - 1, 1:], chance.best_of(n, validation[10:], score[10:])
        noises = chance.sentence_noises(labels, predictions[:, :10], rounds=100)
        row["standard error from the test sentences"] = np.quantile(noises, [0.025, 0.975]), error
        held.append({name: low <= true <= high for name, ((low, high), true) in row.items()})
    return pd.DataFrame(held).mean()


def true_error():
    """Standard deviation of a simulated run's MCC over 20,000 test sets."""
    generator = np.random.default_rng(0)
    return np.std([mcc(*simulation.answers([simulation.SKILL], generator=generator)) for _ in range(20000)])


def percent(share):
    return "" if pd.isna(share) else f"{share:.1%}".replace("%", " %")


def report(rows, held, options, seconds):
    like = rows[rows["chance of the seed"] == "like minilm"].set_index("pairs")
    false = ["| chance of the seed | pairs | spread of the test MCC | bootstrap alone | Student alone | **verdict** |"]
    false += ["|---|--:|--:|--:|--:|--:|"]
    for row in rows.to_dict("records"):
        shares = " | ".join(percent(row[name]) for name in ["bootstrap alone", "Student alone", "verdict"])
        false += [f"| {row['chance of the seed']} | {row['pairs']} | {row['spread over seeds']:.3f} | {shares} |"]
    gains = [f"+{like[f'difference {effect}'].mean():.3f}" for effect in EFFECTS[1:]]
    power = [f"| pairs | {' | '.join(gains)} |", "|--:|" + "--:|" * len(gains)]
    power += [
        f"| {pairs} | " + " | ".join(percent(row[f"power {effect}"]) for effect in EFFECTS[1:]) + " |"
        for pairs, row in like.iterrows()
    ]
    return f"""# How often does the verdict of 07 err?

07 says that a setting "differs beyond chance" where two intervals leave out 0: the bootstrap's over sentences and pairs, and
Student's over pairs. Here it judges {options.experiments:,} simulated comparisons for each row, of 516 test sentences, {options.resamples:,} resamples each.
`lesson/simulation.py` makes the runs; labels, answers, agreement and spread are like those of `minilm` on CoLA.

**False alarms**: the setting does nothing, and is called different all the same. (5 % would be what the intervals' 95 % promises.)

{chr(10).join(false)}

**Power**: the setting raises the test MCC by so much, and is called different. (Seeds like those of `minilm`.)

{chr(10).join(power)}

**Intervals of 07**: how often they hold the true value, ten runs of one setting, {options.coverage:,} experiments.

| interval | holds the true value |
|---|--:|
{chr(10).join(f"| {name} | {percent(share)} |" for name, share in held.items())}

`OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.verdict --experiments {options.experiments} --resamples {options.resamples} --coverage {options.coverage}`: experiment i has seed i. {datetime.date.today()},
numpy {np.__version__}, scipy {scipy.__version__}, {device_name(pick_device())}, {seconds / 60:.0f} minutes.
"""


def main(arguments=None, folder=ROOT / "results" / "verdict"):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, help="for each row")
    parser.add_argument("--resamples", type=int, default=1000, help="test sets drawn in each experiment")
    parser.add_argument("--coverage", type=int, default=400, help="experiments on the intervals")
    options = parser.parse_args(arguments)
    start = time.time()
    rows = table(options.experiments, options.resamples)
    held = intervals(options.coverage)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "verdict.csv", index=False, float_format="%.4f")
    text = report(rows, held, options, time.time() - start)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
