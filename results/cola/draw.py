"""Draw the README's picture from runs.csv: .venv/bin/python results/cola/draw.py

Every figure in it, its title included, is computed here; tests/test_readme.py holds the tables of the pages to the same rows.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

FOLDER = Path(__file__).parent
# (model, device) as the tables name them: (its rows of runs.csv, those of them whose times count)
SETTINGS = {
    ("`minilm` (1e-4)", "AMD, bf16"): ("batch == 'minilm_mean'", "seed >= 9"),  # little else was running
    ("`minilm` (1e-4), `[CLS]`", "AMD, bf16"): ("batch == 'minilm'", "seed <= 2"),  # the others had one core each
    ("`minilm` (1e-4), `[CLS]`", "Intel, fp32"): ("batch == 'cola'", None),
    ("`quire` (recipes/quire.yaml)", "AMD, bf16"): ("batch == 'quire'", "seed >= 4"),
    ("all-mpnet-base-v2 (2e-5)", "AMD, bf16"): ("batch == 'base'", "seed > 0"),
    ("all-mpnet-base-v2 (recipes/base.yaml)", "AMD, fp32"): ("batch == 'base_cls'", "seed >= 4"),
    ("all-mpnet-base-v2 (recipes/base.yaml)", "AMD, bf16"): (
        "batch in ('base_rates', 'base_3e-5') and learning_rate == 3e-5",
        "seed > 0",
    ),
    ("all-mpnet-base-v2 (recipes/base.yaml), mean", "AMD, bf16"): ("batch == 'base_mean'", None),
    ("all-mpnet-base-v2 (2e-5)", "Intel, fp32"): ("batch.isna() and model == 'all-mpnet-base-v2'", None),
}
PICTURED = {
    ("`minilm` (1e-4)", "AMD, bf16"): "minilm (6 layers)",
    ("all-mpnet-base-v2 (recipes/base.yaml)", "AMD, fp32"): "all-mpnet-base-v2 (12 layers)",
}


def load():
    """{setting: DataFrame with a row for each of its runs}."""
    runs = pd.read_csv(FOLDER / "runs.csv")
    return {name: runs.query(which).sort_values("seed") for name, (which, _) in SETTINGS.items()}


def draw(runs, path):
    """Write the picture: test MCC of each run with its interval, by setting."""
    sns.set_theme(style="ticks")
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    left, ticks = 0, {}
    for color, (name, label) in zip(sns.color_palette("colorblind"), PICTURED.items()):
        own = runs[name]
        x = [left + i for i in range(len(own))]
        axes.vlines(x, own.test_low, own.test_high, color=color, alpha=0.4, linewidth=5)
        axes.plot(x, own.test_mcc, "o", color=color, markersize=8)
        axes.hlines(own.test_mcc.mean(), x[0] - 0.4, x[-1] + 0.4, color=color, linewidth=1.5)
        text = f"{label}\nmean of {len(own)} seeds {own.test_mcc.mean():.3f}"
        axes.text(sum(x) / len(x), own.test_high.max() + 0.02, text, ha="center", va="bottom")
        ticks |= dict(zip(x, own.seed))
        left += len(own) + 2
    axes.axhline(0, color="0.4", linewidth=1)
    axes.text(left - 1.6, 0.01, 'always "acceptable": 0', ha="right", color="0.3")
    axes.set(xlabel="seed of the run", xticks=list(ticks), xticklabels=list(ticks.values()), xlim=(-0.8, left - 1.4))
    axes.set(ylabel="test MCC on CoLA, 95 % interval", ylim=(-0.03, 0.8))
    sns.despine()
    first = runs[next(iter(PICTURED))].test_mcc
    title = (
        f"One recipe, {len(first)} seeds: test MCC from {first.min():.2f} to {first.max():.2f}. Which would you report?"
    )
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12.5)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    draw(load(), FOLDER / "seeds.png")
