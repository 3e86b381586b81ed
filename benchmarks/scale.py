"""How time and memory of 02, 03 and the first 200 steps of 04 grow with the corpus.

  .venv/bin/python benchmarks/scale.py [--sizes 10000 100000 1000000]

Makes synthetic corpora of words from the practice corpus, and executes the notebooks' own cells, each notebook in a
process of its own. Prints a table, and writes it with device and versions to results/scale/.
"""

import argparse
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

ROOT = Path(__file__).resolve().parent.parent
STEPS = 200


def write_corpus(folder, size):
    """A training file of `size` sentences of 2 to 25 words, and two files of 100."""
    text = (ROOT / "data" / "practice" / "raw" / "in_domain_train.tsv").read_text(encoding="utf-8")
    words = sorted(set(re.findall(r"[a-z]+", text)))
    rng = random.Random(0)
    folder.mkdir()
    for name, n in [("in_domain_train", size), ("in_domain_dev", 100), ("out_of_domain_dev", 100)]:
        with open(folder / f"{name}.tsv", "w", encoding="utf-8") as file:
            for i in range(n):
                sentence = " ".join(rng.choices(words, k=2 + min(23, int(rng.expovariate(1 / 6)))))
                file.write(f"synthetic\t{i % 2}\t\t{sentence}.\n")


def execute(notebook, parameters):
    """Execute a notebook's cells in this process; print seconds and peak memory in MiB as JSON."""
    import matplotlib
    import nbformat

    matplotlib.use("agg")
    sys.path.insert(0, str(ROOT))
    import helpers

    steps, make_batch = [], helpers.make_batch

    class Enough(Exception):
        pass

    def counted(*args, **options):
        if sys._getframe(1).f_code.co_name == "<module>" and "batch_rows" in sys._getframe(1).f_globals:
            steps.append(time.perf_counter())  # a step of the training loop, not of an evaluation
            if len(steps) > STEPS:
                raise Enough
        return make_batch(*args, **options)

    helpers.make_batch = counted
    start, variables = time.perf_counter(), {}
    try:
        for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells:
            tags = cell.metadata.get("tags", [])
            if cell.cell_type == "code" and "bootstrap" not in tags:
                exec(compile(cell.source, notebook, "exec"), variables)
                if "parameters" in tags:
                    variables.update(parameters)
    except Enough:
        pass
    seconds = steps[-1] - steps[0] if steps else time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print("\n" + json.dumps({"seconds": seconds, "MiB": peak}))


def measure(size):
    """A row of the table: size, and seconds and MiB of each part."""
    row = {"sentences": size}
    with tempfile.TemporaryDirectory() as temporary:
        write_corpus(Path(temporary) / "corpus", size)
        environment = os.environ | {
            "BERT_RUNS": f"{temporary}/runs",
            "HF_HUB_OFFLINE": "1",
            "ACCELERATE_USE_CPU": "yes",
        }
        for notebook, parameters in [
            ("02_load_cola", {"CORPUS": f"{temporary}/corpus"}),
            ("03_tokenize", {"MODEL_NAME": "minilm", "VALIDATION_FRACTION": 200 / size}),
            ("04_train", {}),
        ]:
            call = [sys.executable, __file__, "--execute", notebook, json.dumps(parameters)]
            done = subprocess.run(call, env=environment, cwd=ROOT / "notebooks", capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{notebook} failed with {size} sentences:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            row |= {f"{notebook[:2]} seconds": round(result["seconds"], 1), f"{notebook[:2]} MiB": round(result["MiB"])}
        row["token file MiB"] = round((Path(temporary) / "runs/default/tokens.safetensors").stat().st_size / 2**20, 1)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--execute", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.execute:
        return execute(options.execute[0], json.loads(options.execute[1]))
    sys.path.insert(0, str(ROOT))
    import pandas as pd

    import helpers

    rows = []
    for size in options.sizes:
        rows.append(measure(size))
        print(rows[-1], flush=True)
    folder = ROOT / "results" / "scale"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "scale.csv", index=False)
    cells = [list(map(str, table.columns)), ["--:"] * len(table.columns)]
    cells += [[f"{value:,}" for value in row.values()] for row in rows]
    about = {
        "command": "`.venv/bin/python benchmarks/scale.py`",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "device": helpers.device_name(helpers.pick_device()),
    }
    about |= helpers.versions()
    lines = ["# Growth with the corpus", "", f"04: the first {STEPS} steps of 32 sentences, `minilm`.", ""]
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    lines += ["", *(f"* {name}: {value}" for name, value in about.items())]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
