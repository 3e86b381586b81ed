"""How many runs and test sentences does it take to see a difference? Before a sweep is ordered (07_compare_runs)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

DIFFERENCES = (0.01, 0.03, 0.05)
WANTED = 0.8  # how often a true difference is to be found
MOST = 2_000  # runs a side


def power(runs, difference, spread, level=0.95):
    """How often Student's interval of `runs` pairs leaves out 0, if the true mean difference is `difference` (07_compare_runs).

    spread: standard deviation of a score over seeds, so that a pair's difference has √2 times as much. The noncentral t
    distribution; arrays welcome. Half of what a two-sided test may err is counted in: it also finds the wrong sign.
    """
    runs = np.asarray(runs)
    edge, shift = stats.t.ppf((1 + level) / 2, runs - 1), difference / (spread * np.sqrt(2 / runs))
    wrong_sign = np.nan_to_num(stats.nct.cdf(-edge, runs - 1, shift))  # where it is next to 0, scipy may say nan
    return stats.nct.sf(edge, runs - 1, shift) + wrong_sign


def runs_needed(difference, spread):
    """The fewest runs a side with a `power` of 80 %; nan where more than 2,000, or where the spread is unknown (07_compare_runs)."""
    if not spread > 0:
        return np.nan
    runs = np.arange(2, MOST + 1)
    rough = int(2 * (2.8 * spread / difference) ** 2)  # of the normal distribution; t asks for a few more
    runs = runs[(runs > rough // 2) & (runs < rough + 20)]
    enough = runs[power(runs, difference, spread) >= WANTED]
    return float(enough[0]) if len(enough) else np.nan


def spread_with(times, spread, luck):
    """The spread over seeds on `times` as many test sentences; luck: see chance.luck_with_sentences (07_compare_runs).

    What is left with endless sentences is how good the seeds really are.
    """
    return np.sqrt(max(0.0, spread**2 - luck) + min(luck, spread**2) / times)


def table(spread, ends, luck):
    """DataFrame by difference: runs a side with the spread, with the ends of its interval, and on more sentences (07_compare_runs)."""
    rows = {}
    for difference in DIFFERENCES:
        needed = {"runs a side": spread, "if the spread is": ends[0], "or": ends[1]}
        needed |= {f"{times} × the sentences": spread_with(times, spread, luck) for times in (2, 4)}
        rows[f"+{difference:.2f}"] = {name: runs_needed(difference, own) for name, own in needed.items()}
    found = pd.DataFrame.from_dict(rows, orient="index").astype("Int64")
    names = {"if the spread is": f"if the spread is {ends[0]:.3f}", "or": f"or {ends[1]:.3f}"}
    return found.rename(columns=names).rename_axis("to see")


def curve(spread, most=60):
    """Picture of power over runs a side, a line for each difference (07_compare_runs)."""
    fig, ax = plt.subplots(figsize=(6, 2.8))
    runs = np.arange(2, most + 1)
    for difference, style in zip(DIFFERENCES, [":", "--", "-"]):
        ax.plot(runs, power(runs, difference, spread), style, label=f"+{difference:.2f}")
    ax.axhline(WANTED, color="grey", linewidth=1)
    needed = [runs_needed(difference, spread) for difference in DIFFERENCES]
    told = ["more than 2,000" if np.isnan(n) else f"{n:.0f}" for n in needed]
    title = f"Runs a side for four cases in five: {', '.join(told)}"
    ax.set(xlabel="runs a side", ylabel="power", ylim=(0, 1.02), title=title)
    ax.legend(title="difference", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return fig, f"Power over runs a side for differences of .01, .03 and .05. {title}."
