"""04's training with one thing changed, over seeds: what earns a place in a recipe, and the questions that a tutorial leaves open.

  .venv/bin/python benchmarks/variants.py [--model minilm] [--seeds 1 2 3 4 5] [--only NAME …] [--jobs 2]
  .venv/bin/python benchmarks/variants.py --report

Each training is the notebook's own code, on real CoLA, with the parameters of recipes/<model>.yaml and the change of its
name below. Scores are of the validation sentences and of the in-domain dev set; the test set is not looked at. What
results/variants/<model>.csv has is not trained again, so a call that was stopped goes on. Where `PRECISION` `auto`
takes fp32, lines say so, `04, fp32`. Two to five minutes a training of `minilm` in bf16, on one core each; ten in fp32
with AVX2 alone, for MPNet's own recipe 33.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import common
import pandas as pd
from changes import REFERENCE, VARIANTS, in_precision
from seed_pairs import compared, kept, last, words
from trainings import prepare, recipe_of, train

import helpers
from lesson import drawing

FOLDER = common.ROOT / "results" / "variants"
SCORES = [f"{split}_{score}" for split in ("validation", "in_domain") for score in ("loss", "accuracy", "mcc")]
COLUMNS = ["variant", "seed", "epoch", "training_loss", *SCORES, "seconds", "device"]

# ---------------------------------------------------------------- all of them, and what came of it


def train_all(options, path):
    """Train what `path` does not have, `--jobs` at a time, and append each training's rows to it as it ends."""
    names = options.only or list(VARIANTS)
    if unknown := set(names) - set(VARIANTS):
        raise SystemExit(f"--only {sorted(unknown)}: expected one of {list(VARIANTS)}")
    there = set(pd.read_csv(path)[["variant", "seed"]].itertuples(index=False, name=None)) if path.exists() else set()
    context = multiprocessing.get_context("spawn")  # each training in a fresh process: what is patched ends with it
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        with context.Pool(1) as pool:
            precision = pool.apply(prepare, (folder, options.model))
        wanted = [(name, seed) for name in names for seed in options.seeds]
        todo = [(name, seed) for name, seed in wanted if (in_precision(name, precision), seed) not in there]
        with context.Pool(options.jobs, maxtasksperchild=1) as pool:
            waiting = [pool.apply_async(train, (folder, options.model, precision, *each)) for each in todo]
            for i, result in enumerate(waiting, start=1):
                frame = pd.DataFrame(result.get()).reindex(columns=COLUMNS)
                frame.round(5).to_csv(path, mode="a", header=not path.exists(), index=False)
                print(f"{i} of {len(todo)}: {frame.iloc[-1].to_dict()}", flush=True)


def draw(table, path):
    """Differences from the reference with their intervals, on both sets."""
    import matplotlib.pyplot as plt

    helpers.set_theme()
    table = table[table["validation_difference"].notna()]
    fig, axes = plt.subplots(1, 2, figsize=(10, 1 + 0.3 * len(table)), sharey=True, layout="constrained")
    for ax, (split, title) in zip(
        axes, [("validation", "validation (chose the epoch)"), ("in_domain", "in-domain dev")]
    ):
        centre = table[f"{split}_difference"]
        arms = [centre - table[f"{split}_low"], table[f"{split}_high"] - centre]
        ax.errorbar(centre, table["variant"], xerr=arms, fmt="o", capsize=3)
        ax.axvline(0, color="grey", linestyle="--")
        ax.set(xlabel="difference of MCC, 95 % over seeds", title=title)
    axes[0].invert_yaxis()
    fig.savefig(path, dpi=120)
    plt.close(fig)


def draw_curves(best, path):
    """What 04 shows: the score against the share of the training sentences and against the epochs."""
    helpers.set_theme()
    figure, _ = drawing.how_much(best)
    figure.savefig(path, dpi=120)


def report(options, path):
    """The table and the pictures, from the figures in `path`."""
    frame = pd.read_csv(path)
    epochs = frame.groupby(["variant", "seed"])["epoch"].max().rename("epochs").reset_index()
    best = kept(frame).merge(epochs)
    table = compared(best)
    draw(table, path.with_suffix(".png"))
    draw_curves(best, path.with_name(f"{options.model}_curves.png"))
    cells = []
    for row in table.to_dict("records"):
        cells.append([row["variant"], row["trained"], f"{row['minutes']:.1f}"])
        for split in ["validation", "in_domain"]:
            cells[-1].append(f"{row[split]:.3f} ± {row[f'{split}_spread']:.3f}")
            cells[-1].append(words(row, split))
        chance, name = row["validation_probability"], row["variant"]
        of_a_recipe = not name.startswith("[CLS]") and not name.startswith(f"{REFERENCE},") and not pd.isna(chance)
        cells[-1].append(f"{100 * chance:.0f} %" if of_a_recipe else "")
    unchosen = compared(last(frame).merge(epochs)).set_index("variant").filter(regex=r"^\d+ epochs?$", axis=0)
    told = [
        f"{i}: {words(row, 'validation')}, in-domain dev {words(row, 'in_domain')}" for i, row in unchosen.iterrows()
    ]
    headings = [
        "one thing changed",
        "seeds",
        "CPU min",
        "validation MCC",
        "difference",
        "in-domain dev MCC",
        "difference ",
    ]
    headings.append("predictive probability")
    lines = [
        f"# 04 with one thing changed: {options.model} on CoLA",
        "",
        "Mean and standard deviation over seeds of the epoch that 04 keeps (the best by validation MCC), and the mean "
        "difference from the reference, seed by seed, with Student's 95 % interval over seeds. The reference is 04 with "
        f"recipes/{options.model}.yaml; lines that begin with [CLS] are compared with the line [CLS]. A training in fp32 is "
        "compared with the reference's in fp32 where that has its seed; CPU minutes are of the precision named first "
        "(README.md says on what machines). The validation sentences choose the epoch, and a variant with more epochs "
        "chooses among more: the in-domain dev set does not. "
        "Half of the validation sentences, too, is scored on their other half. "
        "The test set was not looked at. With so many lines, one in twenty intervals leaves out 0 by chance. The predictive "
        "probability is that of ten pairs gaining 0.01 on validation, which would earn a change its place, as far as the "
        "fewer that there are can tell (Student's prediction).",
        "",
        *common.table(dict(zip(headings, [":--", *["--:"] * 7])), cells),
        "",
        "Last epoch against last epoch, so that none chooses among more: " + "; ".join(told) + ".",
        "",
        f"![Differences from the reference with their intervals]({options.model}.png)",
        "",
        f"![MCC by the share of the training sentences, and by epochs]({options.model}_curves.png)",
    ]
    facts = common.facts(f"variants.py --model {options.model}")
    common.write_results(path, frame.set_index("variant"), path.with_suffix(".md"), lines, facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="a recipe of recipes/ that names its model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these: " + "; ".join(VARIANTS).replace("%", "%%"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at once, a core each")
    parser.add_argument("--report", action="store_true", help="only write table and picture of what is there")
    options = parser.parse_args()
    path = FOLDER / f"{options.model}.csv"
    if "MODEL_NAME" not in recipe_of(options.model):
        parser.error(f"recipes/{options.model}.yaml names no MODEL_NAME: expected one that does, such as minilm")
    if options.report and not path.exists():
        parser.error(f"--report: {path.relative_to(common.ROOT)} is not there yet: call it without --report first")
    FOLDER.mkdir(exist_ok=True)
    if not options.report:
        train_all(options, path)
    report(options, path)


if __name__ == "__main__":
    try:
        main()
    except helpers.SeriesError as error:
        sys.exit(str(error))
