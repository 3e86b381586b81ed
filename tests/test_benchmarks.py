"""The benchmarks run and write their results: the smallest settings, on a copy, so that real results stay."""

import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest
import torch

import helpers
from lesson import sources

# a forkserver would import the libraries first
FORKING = """

CONTEXT = multiprocessing.get_context("fork")


def serve(*arguments, serve=serve):
    helpers.RUNS = Path(os.environ["BERT_RUNS"])
    serve(*arguments)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The parts of the project that a benchmark reads, with a small random model as its minilm."""
    from transformers import BertConfig, BertModel

    root = tmp_path_factory.mktemp("project")
    shutil.copy(Path(helpers.ROOT, "helpers.py"), root)
    for folder in ["benchmarks", "bookkeeping", "lesson", "notebooks", "data/practice", "results/variants"]:
        shutil.copytree(Path(helpers.ROOT, folder), root / folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(root / "tiny")
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(root / "tiny")
    with open(root / "lesson" / "sources.py", "a", encoding="utf-8") as file:
        file.write(f"\n\ndef minilm_folder():\n    return {str(root / 'tiny')!r}\n")
    with open(root / "benchmarks" / "turns.py", "a", encoding="utf-8") as file:
        file.write(FORKING)
    return root


def run(root, *arguments):
    """What a Python with these arguments prints; it is a fork of this process, which has the libraries in memory."""
    done = fork(root, arguments, os.environ)
    assert done.returncode == 0, done.stdout
    return done.stdout


def fork(root, arguments, env):
    said = root / f"said-{os.getpid()}.txt"
    process = multiprocessing.get_context("fork").Process(target=be_another, args=(root, arguments, env, said))
    process.start()
    process.join()
    text = said.read_text(encoding="utf-8")
    return subprocess.CompletedProcess(arguments, process.exitcode, text, text)


def be_another(root, arguments, env, said):
    """Be the Python that was called with `arguments` in the folder `root`: it knows the copy there, not this project.

    Where it calls a Python by subprocess.run, this is a fork, too.
    """
    with open(said, "w", encoding="utf-8") as file:
        for number, stream in [(1, "stdout"), (2, "stderr")]:
            os.dup2(file.fileno(), number)
            setattr(sys, stream, open(number, "w", encoding="utf-8", buffering=1, closefd=False))
    torch.set_num_threads(1)  # with more, libgomp does not live through a fork
    real = subprocess.run
    subprocess.run = lambda command, *rest, **options: (
        fork(root, command[1:], options["env"]) if command[0] == sys.executable else real(command, *rest, **options)
    )
    os.environ |= {**env, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "yes", "HF_HUB_OFFLINE": "1"}
    os.chdir(root)
    ours = {path.stem for part in ("*.py", "benchmarks/*.py", "*/__init__.py") for path in helpers.ROOT.glob(part)}
    ours |= {folder.name for folder in root.iterdir()}
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    script, *sys.argv[1:] = arguments
    sys.path[:0] = [str(root / "benchmarks"), str(root)]
    if script == "-c":
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(sys.argv.pop(), vars(sys.modules["__main__"]))
    else:
        runpy.run_path(str(root / script), run_name="__main__")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with some 150 sentences in each of CoLA's files."""
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    folder.mkdir()
    for name in helpers.COLA_FILES.values():
        lines = Path(helpers.ROOT, "data/practice/raw", name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:: len(lines) // 150 or 1]), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    "name",
    [path.name for path in Path(helpers.ROOT, "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")],
)
def test_each_says_its_options(copy, name):
    assert "--help" in run(copy, f"benchmarks/{name}", "--help")


def test_train_speed(copy, corpus):
    small = ["--rounds", "2", "--steps", "2"]
    run(copy, "benchmarks/train_speed.py", "--model", "tiny", "--corpus", corpus, *small)
    results = copy / "results" / "speed"
    table = pd.read_csv(results / "tiny.csv", index_col="round")
    assert table.shape == (2, 5) and (table > 0).all(axis=None)
    text = (results / "tiny.md").read_text(encoding="utf-8")
    assert all(f"| {loop} |" in text for loop in table.columns)
    assert torch.__version__.split("+")[0] in text and "threads: 1" in text
    assert str(Path(corpus).parent) not in text and str(copy) not in text, "no path of a machine in a result"
    assert (results / "tiny.png").read_bytes().startswith(b"\x89PNG")


def test_scale(copy):
    run(copy, "benchmarks/scale.py", "--sizes", "300")
    table = pd.read_csv(copy / "results" / "scale" / "scale.csv")
    assert table["sentences"].tolist() == [300, 300] and (table.filter(regex="0. MiB") > 100).all(axis=None)
    assert (table.filter(regex="seconds") >= 0).all(axis=None) and (table["02 seconds"] > 0).all()  # to a tenth
    page = (copy / "results" / "scale" / "README.md").read_text(encoding="utf-8")
    assert "| 300 | CoLA's files |" in page and "| 300 | a CSV |" in page
    most = int(table.filter(regex="0. MiB").max(axis=None))
    assert f"took: {most:,} MiB" in page and 100 < most < 2048


def test_single_savings(copy, corpus, monkeypatch):
    """Each loop lacks what its name says, and the table says how much slower that is."""
    small = ["--rounds", "1", "--steps", "2", "--corpus", corpus]
    monkeypatch.setattr(torch._dynamo.config, "disable", True)  # no compiler is needed then
    out = run(copy, "benchmarks/single_savings.py", "--model", "tiny", *small)
    table = pd.read_csv(copy / "results" / "speed" / "tiny-savings.csv", index_col="round")
    assert table.shape == (1, 10 if shutil.which("c++") else 9) and (table > 0).all(axis=None)
    text = (copy / "results" / "speed" / "tiny-savings.md").read_text(encoding="utf-8")
    assert text.strip() in out and all(f"| {loop} |" in text for loop in table.columns)
    assert "with a busy neighbour" in out


def test_plain_loop(copy, monkeypatch):
    """Two runs of a sweep are repeated without the savings, once, and compared with their pairs."""
    two_runs = """
import sys; sys.path[:0] = ["benchmarks", "."]
from common import execute
for seed in ["1", "2"]:
    run = {"RUN": f"pairs/SEED={seed}"}
    execute("02_load_cola", CORPUS="practice", **run)
    execute("03_tokenize", MODEL_NAME="tiny", MAX_LEN=8, VALIDATION_FRACTION=0.9, **run)
    execute("04_train", SEED=int(seed), EPOCHS=1, LEARNING_RATE=1e-2, **run)
    execute("05_evaluate", BOOTSTRAP_SAMPLES=100, **run)
"""
    monkeypatch.setenv("BERT_RUNS", str(copy / "runs"))
    run(copy, "-c", two_runs)
    twice = "import sys, plain_loop; sys.argv[1:] = ['pairs', '--jobs', '1']; plain_loop.main(); print('AGAIN'); plain_loop.main()"
    out, again = run(copy, "-c", f"import sys; sys.path.insert(0, 'benchmarks'); {twice}").split("AGAIN")
    assert "pairs-plain/SEED=1" in out and "pairs-plain/SEED=2" in out
    table = pd.read_csv(copy / "results" / "speed" / "tiny-plain.csv", index_col="run")
    assert table.shape == (2, 6) and "2 pairs of runs" in out
    histories = [pd.read_csv(copy / "runs" / batch / "SEED=1" / "history.csv") for batch in ["pairs", "pairs-plain"]]
    assert histories[0]["training_loss"][0] != histories[1]["training_loss"][0], "other draws of dropout"
    assert abs(histories[0]["training_loss"] - histories[1]["training_loss"])[0] < 0.1
    assert "2 pairs of runs" in again and "SEED=1:" not in again, "nothing is repeated"


def test_the_steps_of_04_are_found(monkeypatch):
    """What is timed is the loop over `batches` in the tagged cell, behind all that comes before the first step."""
    monkeypatch.syspath_prepend(Path(helpers.ROOT, "benchmarks"))
    import common

    cell = """
done = []
for epoch in range(3, 5):
    batches = ["a", "b"]
    for step, batch in enumerate(batches, start=1):
        done.append((epoch, step, batch))
    raise RuntimeError("what follows the steps is not theirs")
"""
    before, steps = common.split_at_steps(cell)
    variables = {}
    exec(before, variables)
    assert variables["done"] == [] and variables["batches"] == ["a", "b"]
    variables["batches"] = ["c"]
    exec(steps, variables)
    assert variables["done"] == [(3, 1, "c")]
    with pytest.raises(helpers.SeriesError, match="split_at_steps"):
        common.split_at_steps("for batch in batches:\n    pass")
    with pytest.raises(helpers.SeriesError, match="05_evaluate.ipynb has no code cell tagged 'training-loop'"):
        common.execute("05_evaluate", until="training-loop")
