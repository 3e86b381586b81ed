"""A training step of 04 beside the loop that everybody copies, the HF Trainer, and the bare arithmetic.

  .venv/bin/python benchmarks/train_speed.py [--model minilm] [--corpus cola] [--rounds 16] [--steps 8]

Every loop lives in a process of its own; they take turns in short rounds, on the same sentences, and only one works at
a time. 04 is the notebook's own code: its cells are executed up to the loop over the steps, and that loop is timed.
Writes results/speed/<model>.csv, .md and .png. About 4 minutes with `minilm`, 7 at base size (which needs 10 GB of
memory) on two CPU cores.
"""

import common
import loops
import matrix_products
import turns
from loops import BATCH_SIZE

import helpers

BEST = "HF Trainer, best flags"
LOOPS = {  # name → its function, and what it is; "{}" is the precision that it ran in
    "HF Trainer, defaults": (
        loops.trainer_defaults,
        "padded to 128 as run_glue does; batch 32, no evaluation, saving or logging; {}",
    ),
    "tutorial": (loops.tutorial, "padded to 64, for-loop AdamW, `.item()` every step; {}"),
    BEST: (
        loops.trainer_best,
        "the model of 04; like lengths together, padded to the batch, fused AdamW, no loader processes; {}",
    ),
    "04": (loops.notebook_04, "the loop of notebook 04; {}"),
    "arithmetic bound": (matrix_products.bound, "only the matrix products of all layers, on the real tokens; {}"),
}
PADDED = ["HF Trainer, defaults", "tutorial"]  # every step costs the same, and much: fewer steps a round


def start_loops(rounds, steps):
    """All loops, warm."""
    running = []
    for name, (function, _) in LOOPS.items():
        options = {"rounds": rounds, "steps": max(1, steps // 4) if name in PADDED else steps}
        choices = [{"precision": precision} for precision in precisions()] if name == BEST else [{}]
        candidates = [turns.Loop(name, function, **options, **choice) for choice in choices]
        running.append(fastest(candidates, warm_ups=1 if name in PADDED else 2))
    return running


def precisions():
    """What may be the fastest here; the HF Trainer's best flags are tried in each."""
    return sorted({"fp32", turns.picked_precision()} | ({"bf16"} if helpers.pick_device().type == "cpu" else set()))


def fastest(candidates, warm_ups):
    """Warm the loops up, and end all but the one with the shortest last round."""
    for _ in range(warm_ups):
        times = {loop: loop.round() for loop in candidates}
    best = min(times, key=times.get)
    for loop in candidates:
        if loop is not best:
            loop.end()
    print(f"{best.name}: {times[best]:.3g} s a step while warming up, {best.precision}", flush=True)
    return best


def draw(path, model, seconds, middle, finding):
    """The picture, 04 in colour."""
    common.draw_bars(
        path,
        seconds,
        [f"{s:.3g} s" + ("" if middle[name] == 1 else f"  ({middle[name]:.2g} × 04)") for name, s in seconds.items()],
        ["#33658a" if name == "04" else "#f6ae2d" if "bound" in name else "#a9b8c4" for name in seconds.index],
        f"seconds for a step of {BATCH_SIZE} sentences, {model}",
        finding,
    )


def report(frame, precision, model, facts):
    """Write the table, the figures behind it, and the picture. `precision`: of each loop."""
    folder = common.ROOT / "results" / "speed"
    ratios = frame.div(frame["04"], axis=0)
    middle = ratios.median()
    finding = (
        f"{model}: 04 is {middle['tutorial']:.2g} times as fast as the tutorial's loop, "
        f"{middle[BEST]:.2g} times as fast as the HF Trainer at its best"
    )
    draw(folder / f"{model}.png", model, frame.median(), middle, finding)
    rows = [
        [name, what.format(precision[name]), common.spread(frame[name]), common.spread(ratios[name], " ×")]
        for name, (_, what) in LOOPS.items()
    ]
    lines = [
        f"# Seconds for a training step of {BATCH_SIZE} sentences: {model}",
        "",
        f"04 is {middle['tutorial']:.3g} times as fast as the tutorial's loop, {middle['HF Trainer, defaults']:.3g} times as "
        f"fast as the HF Trainer at its defaults and {middle[BEST]:.3g} times as fast as at its best "
        f"flags. It takes {1 / middle['arithmetic bound']:.3g} times the arithmetic bound.",
        "",
        *common.table({"loop": ":--", "what it is": ":--", "seconds a step": "--:", "in times of 04": "--:"}, rows),
        "",
        f"Medians (min–max) over {len(frame)} round{'s' * (len(frame) > 1)} in which the loops took turns; ratios are taken within a round. A step "
        f"is {BATCH_SIZE} sentences; loops whose batches differ in length are timed on a systematic sample of an epoch's "
        "batches. The bound counts every layer for every real token; 04 leaves out the last layer's feed-forward block but "
        "for [CLS]. All loops run with the thread settings of helpers.py.",
        "",
        f"![{finding}]({model}.png)",
    ]
    common.write_results(folder / f"{model}.csv", frame, folder / f"{model}.md", lines, facts)


def main():
    options = turns.options(__doc__)
    with turns.prepared(options) as model:
        running = start_loops(options.rounds, options.steps)
        try:
            frame = turns.take_turns(running, options.rounds)
        finally:
            for loop in running:
                loop.end()
        report(frame, {loop.name: loop.precision for loop in running}, model, turns.facts(__file__, options, model))


if __name__ == "__main__":
    main()
