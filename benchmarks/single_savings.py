"""What each saving of 04 gains by itself, and what waiting threads cost while another program works.

  .venv/bin/python benchmarks/single_savings.py [--model minilm] [--corpus cola] [--rounds 16] [--steps 8]

04's own loop as train_speed.py times it, beside the same loop with one saving switched off, and with all of them; then
with the OpenMP library's own way of waiting instead of that of helpers.py, on a quiet machine and with a neighbour that
keeps one core busy. Where there is a C++ compiler, also with the layers compiled (torch.compile). Writes
results/speed/<model>-savings.csv and .md. About 5 minutes with `minilm`, 12 at base size.
"""

import argparse
import shutil
from multiprocessing import get_context

import train_speed
from train_speed import ROOT, Loop, take_turns

THREE = {
    "all word embeddings": "shrink_embeddings",
    "the whole last layer": "only_cls",
    "torch's dropout": "quicken_dropout",
}
LOOPS = {
    "04": {},
    **{f"04 with {name}": {"without": [saving]} for name, saving in THREE.items()},
    "04 with all of these": {"without": list(THREE.values())},
    "04, library's spinning": {"spins": 300_000},  # libgomp's default where GOMP_SPINCOUNT is not set
    **({"04, layers compiled": {"compiled": True}} if shutil.which("c++") else {}),
}
SPINNING = ["04", "04, library's spinning"]


def spin():
    while True:
        pass


def measure(options):
    """Seconds a step, a row a round and a column a loop: on a quiet machine, and with a busy neighbour."""
    loops = []
    neighbour = get_context("spawn").Process(target=spin, daemon=True)
    try:
        for name, settings in LOOPS.items():
            loops.append(Loop("04", steps=options.steps, **settings))
            loops[-1].name = name
            loops[-1].round()  # warms up
        quiet = take_turns(loops, options.rounds)
        neighbour.start()
        loops_that_wait = [loop for loop in loops if loop.name in SPINNING]
        busy = take_turns(loops_that_wait, max(1, options.rounds // 4), "with a busy neighbour, ")
    finally:
        for loop in loops:
            loop.end()
        if neighbour.pid:
            neighbour.terminate()
    return quiet, busy


def report(quiet, busy, name, facts):
    folder = ROOT / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    wide = quiet.join(busy.add_suffix(", busy neighbour"))
    wide.round(4).to_csv(folder / f"{name}-savings.csv", index_label="round")

    def row(column, against):
        ratio = column / against
        return (
            f"{column.median():.3g} s ({column.min():.3g}–{column.max():.3g}) | "
            f"{ratio.median():.3g} × ({ratio.quantile(0.25):.3g}–{ratio.quantile(0.75):.3g}) |"
        )

    lines = [f"# What each saving of 04 gains: {name}", ""]
    lines += ["| loop | seconds a step | in times of 04 |", "|:--|--:|--:|"]
    lines += [f"| {loop} | {row(quiet[loop], quiet['04'])}" for loop in quiet]
    lines += [f"| {loop}, busy neighbour | {row(busy[loop], busy['04'])}" for loop in busy]
    lines += [
        "",
        f"Medians over {len(quiet)} rounds ({len(busy)} with a neighbour that keeps one core busy) in which the loops took "
        "turns on the same batches; in brackets the range of the seconds and the middle half of the ratios, which are taken "
        "within a round. Each '04 with' lacks the saving that it names; library's spinning waits as the OpenMP library does "
        "by default (GOMP_SPINCOUNT=300000), where helpers.py sets 10000; layers compiled is torch.compile with one graph "
        "for all lengths, the compiling itself not counted.",
        "",
        *(f"* {key}: {value}" for key, value in facts.items()),
    ]
    (folder / f"{name}-savings.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    train_speed.add_options(parser)
    options, load = parser.parse_args(), train_speed.load_average()
    with train_speed.prepared(options) as about:
        name = about["name"].split("/")[-1]
        quiet, busy = measure(options)
        report(quiet, busy, name, train_speed.facts("single_savings.py", options, name, load))


if __name__ == "__main__":
    main()
