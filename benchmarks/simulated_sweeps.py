"""What 07_compare_runs says of sweeps, beside what comes: the simulations of coverage.py on it. No program of its own."""

import numpy as np
import pandas as pd
from scipy import stats

from lesson import chance, power, simulation

# gain in skill, runs a side, sentences
SWEEPS = [(0.1, 5, 516), (0.1, 10, 516), (0.1, 20, 516), (0.2, 5, 516), (0.1, 10, 2064)]
# standard deviation of the skill over seeds
HOW_SEEDS_DIFFER = {0.0: "not at all", simulation.SPREAD: "as `minilm`'s", 4 * simulation.SPREAD: "four times as much"}
SEEDS = [(spread, runs) for spread in HOW_SEEDS_DIFFER for runs in [3, 5, 10]]


def powers(experiments):
    """DataFrame: how often Student's interval of 07 finds a true difference, and what lesson/power.py foretells."""
    rows = []
    for effect, runs, sentences in SWEEPS:
        found, scores = [], []
        for seed in range(experiments):
            generator = np.random.default_rng(seed)
            labels, said = simulation.answers(simulation.skills(effect, runs, generator), sentences, generator)
            scores.append(chance.mccs(labels, said, np.ones((1, sentences)))[0].reshape(2, runs))
            low, high = chance.student_interval(scores[-1][1] - scores[-1][0])
            found.append(low > 0 or high < 0)
        spread = np.sqrt(np.var(scores, axis=2, ddof=1).mean())
        gain = np.diff(np.mean(scores, axis=(0, 2)))[0]
        row = {"sentences": sentences, "runs": runs, "spread": spread, "difference": gain}
        rows.append(row | {"found": np.mean(found), "foretold": float(power.power(runs, gain, spread))})
    return pd.DataFrame(rows)


def single_runs(experiments):
    """DataFrame: how often what 07 says of a single run holds the mean over seeds and test sets, and how wide it is."""
    rows = []
    for spread, runs in SEEDS:
        scores, both, reach, factor = [], [], [], stats.t.ppf(0.975, runs - 1)
        for seed in range(experiments):
            generator = np.random.default_rng(seed)
            skills = simulation.skills(0, runs, generator, spread)[:runs]
            labels, said = simulation.answers(skills, generator=generator)
            resampled = chance.resampled_mccs(labels, said, 200)
            scores.append(chance.mccs(labels, said, np.ones((1, len(labels))))[0])
            seeds, sentences = scores[-1].std(ddof=1), np.sqrt(resampled.var(axis=0).mean())
            luck = chance.luck_with_sentences(dict(enumerate(resampled.T)), [range(runs)])
            both.append(chance.both_noises(seeds, sentences, luck))
            reach.append(chance.both_noises(factor * seeds, 1.96 * sentences, 1.96**2 * luck))
        held = (abs(scores - np.mean(scores)) < np.array(reach)[:, None]).mean()
        row = {"spread of the skill": spread, "runs": runs, "deviation": np.std(scores)}
        rows.append(row | {"said": np.sqrt(np.mean(np.square(both))), "holds": held, "reach": np.mean(reach)})
    return pd.DataFrame(rows)
