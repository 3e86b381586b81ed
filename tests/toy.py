"""A toy series of notebooks that knows no machine learning and takes a second each, and calls of run.py on it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil

from runner import paths
from runner.notebooks import cells_of, code_of

PATIENCE = 600  # seconds until a test gives up on what hangs; no measure, for others may have the cores

# Every toy notebook adds its name and its run to a common list, so that executions can be counted.
COMMON = """
import json, os, pathlib, time
folder = pathlib.Path(os.environ["BERT_RUNS"]) / RUN
folder.mkdir(parents=True, exist_ok=True)
def executed(what):
    with open("../executed.txt", "a") as file:
        file.write(f"{what} {RUN}\\n")
def put(name, content):
    (folder / (name + ".new")).write_text(json.dumps(content))
    os.replace(folder / (name + ".new"), folder / name)
def get(name):
    return json.loads((folder / name).read_text())
"""
TOY = {
    "01_setup": ("", "executed('01')\nprint('device: toy')"),
    "02_load": (
        'CORPUS = "auto"  # auto, or a name',
        """executed('02')
if CORPUS == 'deadly':
    os._exit(9)
put('corpus.json', CORPUS)
put('run.json', {'run': RUN, 'corpus': CORPUS})""",
    ),
    "03_cut": (
        "MAX_LEN = 64  # longest, in tokens\nEXACT = False  # a switch",
        "executed('03')\nput('tokens.json', [get('corpus.json'), MAX_LEN, EXACT])",
    ),
    "04_train": (
        "SEED = 42  # of everything\nLEARNING_RATE: float = None  # None: the recipe's own\nNAP = 0.0  # seconds",
        """if int(os.environ.get("RANK", 0)) == 0:
    executed('04')
for epoch in range(10):
    end = time.time() + NAP / 10
    while time.time() < end and not pathlib.Path("../awake").exists():
        time.sleep(0.02)
    print("epoch", epoch, flush=True)
if SEED == 13 and not pathlib.Path("../mended").exists():
    raise ValueError("the seed 13\\nbrings bad luck")
assert LEARNING_RATE is None or isinstance(LEARNING_RATE, float), LEARNING_RATE
if int(os.environ.get("RANK", 0)) == 0:
    put("model.json", [*get("tokens.json"), SEED, LEARNING_RATE, os.environ.get("OMP_NUM_THREADS")])
print("rank", os.environ.get("RANK"), "of", os.environ.get("WORLD_SIZE"))""",
    ),
    "05_evaluate": (
        "SAMPLES = 100  # of the bootstrap",
        """executed('05')
corpus, length, exact, seed, rate, threads = get("model.json")
side = {"n": 500, "positives": 350, "mcc": seed / 1000, "mcc_interval": [0.0, 0.5], "accuracy": 0.7}
put("metrics.json", {"run": RUN, "model": "toy", "corpus": corpus, "device": "cpu", "threads": threads,
    "parameters": {"MAX_LEN": length, "SEED": seed, "LEARNING_RATE": rate, "EXACT": exact},
    "validation": side, "test": side})
from IPython.display import SVG
SVG('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="4"/></svg>')""",
    ),
}


def write_toy(path, parameters, code):
    cells = [
        nbformat.v4.new_markdown_cell(f"# {path.stem}\n\nNext is [the next](02_load.ipynb)."),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(part) for part in code),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


def edit(notebook):
    """Change a notebook's code, as if between two calls."""
    path = paths.NOTEBOOKS / f"{notebook}.ipynb"
    path.write_text(path.read_text().replace("executed(", "executed('edited'), executed("))
    forget()


def forget():
    """What is remembered of the notebooks within a call."""
    cells_of.cache_clear()
    code_of.cache_clear()


def start(toy, *arguments, **environment):
    environment = {**os.environ, "TERM": "dumb", **environment}
    for name in ("BERT_RUNS", "OMP_NUM_THREADS"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, str(toy / "run.py"), *map(str, arguments)],
        cwd=toy.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def call(toy, *arguments, **environment):
    """(exit code, what it printed) of one call of run.py, from another folder."""
    process = start(toy, *arguments, **environment)
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


def executed(toy):
    """{run: "01 02 …"}, the notebooks as often and in the order they were begun."""
    counts = {}
    for line in (toy / "executed.txt").read_text().splitlines():
        notebook, name = line.split(maxsplit=1)
        counts[name] = f"{counts.get(name, '')} {notebook}".strip()
    return counts


def wait_until(condition):
    end = time.time() + PATIENCE
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.1)


def has_begun(toy, what):
    """Whether a line of what was executed begins so: a notebook's number, a run. The names of runs may hold such digits, too."""
    return lambda: (toy / "executed.txt").exists() and f"\n{what}" in "\n" + (toy / "executed.txt").read_text()


def kernels(toy):
    """The processes that work in the toy project's folder."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(toy):
            found += [process] if process.info["status"] != psutil.STATUS_ZOMBIE else []
    return found
