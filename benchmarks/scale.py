"""How time and memory of 02, 03 and the first 200 steps of 04 grow with the corpus.

  .venv/bin/python benchmarks/scale.py [--sizes 10000 100000 1000000] [--formats cola csv]

Makes synthetic corpora of words from the practice corpus, as CoLA's three files and as one CSV that 02 splits, and executes
the notebooks' own cells, each notebook in a process of its own, on the CPU. Prints a table, and writes it with device and
versions to results/scale/. About 10 minutes with one thread (OMP_NUM_THREADS=1).
"""

import argparse
import csv
import itertools
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

STEPS = 200
SIZES = [10_000, 100_000, 1_000_000]


def sentences(size, rng=None):
    """`size` sentences of 2 to 25 words."""
    text = (common.ROOT / "data" / "practice" / "raw" / "in_domain_train.tsv").read_text(encoding="utf-8")
    words, rng = sorted(set(re.findall(r"[a-z]+", text))), rng or random.Random(0)
    return (" ".join(rng.choices(words, k=2 + min(23, int(rng.expovariate(1 / 6))))) + "." for _ in range(size))


def write_cola(folder, size):
    """A training file of `size` sentences, and two files of 100. Returns what CORPUS is then."""
    folder.mkdir()
    rng = random.Random(0)
    for name, n in [("in_domain_train", size), ("in_domain_dev", 100), ("out_of_domain_dev", 100)]:
        with open(folder / f"{name}.tsv", "w", encoding="utf-8") as file:
            for i, sentence in enumerate(sentences(n, rng)):
                file.write(f"synthetic\t{i % 2}\t\t{sentence}\n")
    return folder


def write_csv(folder, size):
    """One table of `size` rows with the traps of a real one: quotes, commas, line breaks, emoji. Returns what CORPUS is then."""
    folder.mkdir()
    traps = ['He said: "{}"', "Hello,\n\n{}\nBye", "{} 🙂", "{}"]
    with open(folder / "own.csv", "w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "topic"])
        rows.writerows((i, traps[i % 4].format(text), f"topic {i % 3}") for i, text in enumerate(sentences(size)))
    return folder / "own.csv"


FORMATS = {"cola": ("CoLA's files", write_cola), "csv": ("a CSV", write_csv)}


def execute(notebook, parameters):
    """Execute a notebook's cells in this process, 04 up to its 200th step; print seconds and peak memory as JSON.

    The seconds of 04 are those of its steps alone.
    """
    if notebook == "04_train":
        variables, steps = common.training_steps()
        variables["batches"] = variables["batches"][:STEPS]
        began = time.perf_counter()
        exec(steps, variables)
    else:
        began = time.perf_counter()
        common.execute(notebook, **parameters)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print("\n" + json.dumps({"seconds": seconds, "MiB": peak}))


def measure(size, kind):
    """A row of the table: size and format, and seconds and MiB of each part."""
    name, write = FORMATS[kind]
    row = {"sentences": size, "from": name}
    with tempfile.TemporaryDirectory() as temporary:
        corpus = write(Path(temporary) / "corpus", size)
        for notebook, parameters in [
            ("02_load_cola", {"CORPUS": str(corpus)}),
            ("03_tokenize", {"MODEL_NAME": "minilm", "VALIDATION_FRACTION": 200 / size}),
            ("04_train", {}),
        ]:
            call = [sys.executable, __file__, "--execute", notebook, json.dumps(parameters)]
            environment = os.environ | {"BERT_RUNS": f"{temporary}/runs"}
            done = subprocess.run(call, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{notebook} failed with {size} sentences from {name}:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            row |= {f"{notebook[:2]} seconds": round(result["seconds"], 1), f"{notebook[:2]} MiB": round(result["MiB"])}
        row["token file MiB"] = round((Path(temporary) / "runs/default/tokens.safetensors").stat().st_size / 2**20, 1)
    return row


def report(rows, call):
    import pandas as pd

    folder = common.ROOT / "results" / "scale"
    lines = ["# Growth with the corpus", "", f"04: the first {STEPS} steps of 32 sentences, `minilm`.", ""]
    most = max(value for row in rows for name, value in row.items() if name.endswith(" MiB") and name[0] == "0")
    lines += [f"The most memory that any of these processes took: {most:,} MiB, of 2,048 that are meant to do.", ""]
    cells = [[f"{value:,}" if isinstance(value, int | float) else value for value in row.values()] for row in rows]
    lines += common.table(dict.fromkeys(rows[0], "--:"), cells)
    frame = pd.DataFrame(rows).set_index("sentences")
    common.write_results(folder / "scale.csv", frame, folder / "README.md", lines, common.facts(call))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--formats", choices=FORMATS, nargs="+", default=list(FORMATS))
    parser.add_argument("--execute", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.execute:
        return execute(options.execute[0], json.loads(options.execute[1]))
    os.environ |= {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes"}
    rows = []
    for size, kind in itertools.product(options.sizes, options.formats):
        rows.append(measure(size, kind))
        print(rows[-1], flush=True)
    asked = "" if options.sizes == SIZES else f" --sizes {' '.join(map(str, options.sizes))}"
    asked += "" if options.formats == list(FORMATS) else f" --formats {' '.join(options.formats)}"
    report(rows, f"scale.py{asked}")


if __name__ == "__main__":
    main()
