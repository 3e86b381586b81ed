"""What each saving of 04 gains by itself, and what waiting threads cost while another program works.

  .venv/bin/python benchmarks/single_savings.py [--model minilm] [--corpus cola] [--rounds 16] [--steps 8]

04's own loop as train_speed.py times it, beside the same loop on [CLS], with one saving switched off, and with all of them; then
with the OpenMP library's own way of waiting instead of that of helpers.py, on a quiet machine and with a neighbour that
keeps one core busy. Where there is a C++ compiler, also with the layers compiled (torch.compile). Writes
results/speed/<model>-savings.csv and .md. About 5 minutes with `minilm`, 12 at base size.
"""

import shutil
import subprocess
import sys

import common
import loops
import turns

SPINNING = "04, library's spinning"
LOOPS = {
    "04": {},
    **{f"04 with {name}": {"without": [saving]} for name, saving in common.SAVINGS.items()},
    "04 with all of these": {"without": list(common.SAVINGS.values())},
    "04 on [CLS]": {"pooling": "cls"},
    SPINNING: {"environment": {"GOMP_SPINCOUNT": "300000"}},  # libgomp's default where it is not set
    **({"04, layers compiled": {"compiled": True}} if shutil.which("c++") else {}),
}


def measure(options):
    """Seconds a step, a row a round and a column a loop: on a quiet machine, and with a busy neighbour."""
    running, neighbour = [], None
    precision = turns.picked_precision()  # once, so that all loops have the same
    try:
        for name, settings in LOOPS.items():
            running.append(turns.Loop(name, loops.notebook_04, steps=options.steps, precision=precision, **settings))
            running[-1].round()  # warms up
        quiet = turns.take_turns(running, options.rounds)
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        waiting = [loop for loop in running if loop.name in ["04", SPINNING]]
        busy = turns.take_turns(waiting, max(1, options.rounds // 4), "with a busy neighbour, ")
    finally:
        for loop in running:
            loop.end()
        if neighbour:
            neighbour.kill()
    return quiet, busy


def report(quiet, busy, model, facts):
    folder = common.ROOT / "results" / "speed"
    rows = []
    for frame, where in [(quiet, ""), (busy, ", busy neighbour")]:
        ratios = frame.div(frame["04"], axis=0)
        for name in frame:
            seconds, times = common.spread(frame[name], " s"), common.spread(ratios[name], " ×", 0.25, 0.75)
            rows.append([name + where, seconds, times])
    lines = [
        f"# What each saving of 04 gains: {model}",
        "",
        *common.table({"loop": ":--", "seconds a step": "--:", "in times of 04": "--:"}, rows),
        "",
        f"Medians over {len(quiet)} rounds ({len(busy)} with a neighbour that keeps one core busy) in which the loops took "
        "turns on the same batches; in brackets the range of the seconds and the middle half of the ratios, which are taken "
        "within a round. 04 reads what POOLING auto gives; each '04 with' lacks the saving that it names; library's spinning waits as the OpenMP library does "
        "by default (GOMP_SPINCOUNT=300000), where helpers.py sets 10000; layers compiled is torch.compile with one graph "
        "for all lengths, the compiling itself not counted.",
    ]
    frame = quiet.join(busy.add_suffix(", busy neighbour"))
    common.write_results(folder / f"{model}-savings.csv", frame, folder / f"{model}-savings.md", lines, facts)


def main():
    options = turns.options(__doc__)
    with turns.prepared(options) as model:
        quiet, busy = measure(options)
        report(quiet, busy, model, turns.facts(__file__, options, model))


if __name__ == "__main__":
    main()
