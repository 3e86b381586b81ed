"""Sentences a second that a trained model judges: predict.py, transformers' pipeline, ONNX Runtime and int8, side by side.

  .venv/bin/python benchmarks/predict_speed.py runs/default/model [--corpus cola] [--rounds 8] [--packages FOLDER]

Every way lives in a process of its own; they take turns on the same sentences of the training file. Before that each judges
the two dev files, and the verdicts that differ from the pipeline's in fp32 are counted. ONNX Runtime is no part of the
project: for its rows put it into a folder of its own, and name that,

  .venv/bin/pip install --no-deps --target FOLDER onnx onnxscript onnx_ir ml_dtypes protobuf flatbuffers onnxruntime

Writes results/speed/predict-<model>.csv and .md. About 10 minutes with `minilm` on two CPU cores.
"""

import argparse
import itertools
import sys
import tempfile
from importlib.machinery import PathFinder
from pathlib import Path

import common
import judges
import numpy as np
import torch
import turns

import helpers
from lesson import sources

SIZES = [8, 16, 32, 64, 128]  # of the pipeline's batches, each as the sentences come and sorted
ONE_BY_ONE, BEST, IN_BF16, OURS = ("pipeline, one by one", "pipeline, best batches", "pipeline, bf16", "predict.py")

WAYS = {  # name: how it is built, and what it is
    ONE_BY_ONE: (judges.pipeline, {"size": 1}, "one sentence after the other, fp32"),
    BEST: (judges.pipeline, {}, "the pipeline at the fastest of its tried batches: {about}; fp32"),
    IN_BF16: (judges.pipeline, {"dtype": torch.bfloat16}, "the same batches in bf16"),
    "int8 of torch": (judges.int8_torch, {}, "predict.py's batches; linear layers by torch's quantize_dynamic"),
    "ONNX Runtime": (judges.onnx, {}, "predict.py's batches in fp32; exported by torch.onnx; {about}"),
    "ONNX Runtime, int8": (judges.onnx, {"int8": True}, "the same after its own quantize_dynamic"),
    "predict.py, fp32": (judges.ours, {"precision": "fp32"}, "`--precision fp32`"),
    "predict.py, no second look": (judges.ours, {"doubt": -1}, "{about}, without the second look of fp32 at near ties"),
    OURS: (judges.ours, {}, "as it is: {about}, near ties in fp32"),
}


def start(name, shared, **chosen):
    """A way in its process, after a first round."""
    build, own, _ = WAYS[name]
    with tempfile.NamedTemporaryFile(suffix=".npy") as verdicts:
        steps = max(1, shared["steps"] // (8 if name == ONE_BY_ONE else 1))
        options = shared | own | chosen | {"build": build, "verdicts": verdicts.name, "steps": steps}
        loop = turns.Loop(name, judges.way, **options)
        loop.warm = loop.round()
        loop.verdicts = np.load(verdicts.name)
    print(f"{name}: {1 / loop.warm:,.0f} a second while warming up, {loop.precision}", flush=True)
    return loop


def start_fastest(shared):
    """The pipeline at its fastest batches, how it makes them, and {batches: sentences a second} of all that were tried."""
    best, how, tried = None, None, {}
    for size, arranged in itertools.product(SIZES, ["as they come", "sorted"]):
        loop = start(BEST, shared, size=size, arranged=arranged)
        tried[loop.precision] = 1 / loop.warm
        if best is None or loop.warm < best.warm:
            best, loop, how = loop, best, {"size": size, "arranged": arranged}
        if loop:
            loop.end()
    return best, how, tried


def start_all(shared):
    """All ways that can be measured here, and what start_fastest tried."""
    best, how, tried = start_fastest(shared)
    loops = [start(ONE_BY_ONE, shared), best, start(IN_BF16, shared, **how)]
    for name in [*WAYS][3:]:
        if "ONNX" in name and not PathFinder.find_spec("onnxruntime", [shared["packages"] or "", *sys.path]):
            print(f"{name} is left out: there is no onnxruntime here; --help says how it is measured.", flush=True)
        else:
            loops.append(start(name, shared))
    return loops, tried


def report(speed, loops, tried, model, facts):
    """Write the table and the figures behind it. `speed`: sentences a second, a row a round."""
    ratios = speed.div(speed[BEST], axis=0)
    reference = loops[0].verdicts
    rows = []
    for loop in loops:
        other = int((loop.verdicts != reference).sum())
        share = f"{other} ({other / len(reference):.1%})"
        what = WAYS[loop.name][2].format(about=loop.precision)
        rows.append([loop.name, what, common.spread(speed[loop.name]), common.spread(ratios[loop.name], " ×"), share])
    columns = {"way": ":--", "what it is": ":--", "sentences a second": "--:", "in times of the pipeline's best": "--:"}
    finding = f"{model}: predict.py judges {ratios[OURS].median():.2g} times as many sentences a second as the pipeline at its best"
    lines = [
        f"# Sentences judged in a second: {model}",
        "",
        f"{finding}, with {rows[-1][-1]} other verdicts.",
        "",
        *common.table(columns | {f"other verdicts of {len(reference):,}": "--:"}, rows),
        "",
        f"Medians (min–max) over {len(speed)} rounds in which the ways took turns on {loops[-1].steps:,} sentences (one by one: "
        f"{loops[0].steps:,}); ratios are taken within a round. Other verdicts: those on the two dev files that differ from the "
        "pipeline's on one sentence after the other. Loading, exporting and quantizing are not counted; tokenizing is. What the "
        "pipeline did while it was tried, in sentences a second: "
        + ", ".join(f"{batches} {figure:,.0f}" for batches, figure in tried.items())
        + ".",
    ]
    folder = common.ROOT / "results" / "speed"
    common.write_results(folder / f"predict-{model}.csv", speed, folder / f"predict-{model}.md", lines, facts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="FOLDER", help="of a trained model, such as runs/default/model")
    parser.add_argument("--corpus", default="cola", help="cola, practice, or a folder or zip with CoLA's three files")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--sentences", type=int, default=4000, help="judged in a round")
    parser.add_argument("--packages", metavar="FOLDER", help="where onnxruntime lies")
    options = parser.parse_args()
    folder = Path(options.model).resolve()
    record = helpers.read_run(folder.parent)["notebooks"].get("03_tokenize", {})
    model = record.get("model", folder.name).split("/")[-1]
    _, files, _ = sources.find_corpus(options.corpus)
    texts = {split: helpers.read_sentences(path)["sentence"].tolist() for split, path in files.items()}
    steps = min(options.sentences, len(texts["train"]))
    shared = {"folder": str(folder), "texts": texts["train"], "dev": texts["in_domain_dev"] + texts["test"]}
    loops, tried = start_all(shared | {"packages": options.packages, "steps": steps})
    try:
        speed = 1 / turns.take_turns(loops, options.rounds)
    finally:
        for loop in loops:
            loop.end()
    call = f"predict_speed.py runs/NAME/model --rounds {options.rounds} --sentences {steps}"
    call += "" if options.corpus == "cola" else f" --corpus {Path(options.corpus).name}"
    call += " --packages FOLDER" if options.packages else ""
    report(speed, loops, tried, model, common.facts(call))


if __name__ == "__main__":
    main()
