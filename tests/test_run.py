"""run.py, on a toy series of notebooks that knows no machine learning either and takes a second each."""

import concurrent.futures
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent

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
    time.sleep(NAP / 10)
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


@pytest.fixture
def toy(tmp_path):
    """A project of its own: run.py with its parts, and the toy notebooks."""
    shutil.copy(ROOT / "run.py", tmp_path)
    shutil.copytree(ROOT / "runner", tmp_path / "runner")
    (tmp_path / "notebooks").mkdir()
    for name, (parameters, code) in TOY.items():
        run = f'RUN = "default"  # name of the run folder\n{parameters}'
        write_toy(tmp_path / f"notebooks/{name}.ipynb", run, [COMMON, code])
    compare = "import os, pathlib\nprint(sorted(p.parent.name for p in (pathlib.Path(os.environ['BERT_RUNS']) / BATCH)"
    compare += ".glob('*/metrics.json')))"
    parameters = 'BATCH = "sweep"  # name of the batch\nCOMPARE: str = None  # a parameter'
    write_toy(tmp_path / "notebooks/07_compare.ipynb", parameters, [compare])
    return tmp_path


@pytest.fixture
def small(toy):
    """The same without 01, 05 and 07, for what does not need them."""
    for name in ("01_setup", "05_evaluate", "07_compare"):
        (toy / f"notebooks/{name}.ipynb").unlink()
    return toy


@pytest.fixture
def run(toy, monkeypatch):
    """run.py of the toy project as a module."""
    monkeypatch.delenv("BERT_RUNS")
    spec = importlib.util.spec_from_file_location("toy_run", toy / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_run"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["toy_run"]


@pytest.fixture
def quick(run, monkeypatch):
    """run.py as a module whose notebooks do next to nothing: executed is what they were, fail(NOTEBOOK) may be set."""

    def execute(notebook, parameters, folder, call):
        run.executed.append(f"{folder.name} {notebook[:2]}")
        run.calls.append(call)
        if error := run.fail(notebook):
            return error
        (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        (folder / f"notebooks/{notebook}.ipynb").touch()
        if notebook != "01_setup":
            (folder / "run.json").write_text("{}")
        if notebook == run.EVALUATION:
            side = {"n": 10, "positives": 7, "mcc": 0.1, "mcc_interval": [0, 0.2], "accuracy": 0.7}
            (folder / "metrics.json").write_text(json.dumps({"test": side}))

    run.executed, run.calls, run.fail = [], [], lambda notebook: None
    monkeypatch.setattr(run, "execute_notebook", execute)
    monkeypatch.setattr("runner.page.write_page", lambda folder, *_: folder / "report.html")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return run


def edit(run, notebook):
    """Change a notebook's code, as if between two calls."""
    path = run.NOTEBOOKS / f"{notebook}.ipynb"
    path.write_text(path.read_text().replace("executed(", "executed('edited'), executed("))
    run.cells_of.cache_clear()
    run.code_of.cache_clear()


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
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def executed(toy):
    """{run: "01 02 …"}, the notebooks as often and in the order they were begun."""
    counts = {}
    for line in (toy / "executed.txt").read_text().splitlines():
        notebook, name = line.split(maxsplit=1)
        counts[name] = f"{counts.get(name, '')} {notebook}".strip()
    return counts


def wait_until(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.1)


def has_begun(toy, notebook):
    return lambda: (toy / "executed.txt").exists() and notebook in (toy / "executed.txt").read_text()


def kernels(toy):
    """The processes that work in the toy project's folder."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(toy):
            found += [process] if process.info["status"] != psutil.STATUS_ZOMBIE else []
    return found


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SEED", "7", 7),
        ("SEED", "-1", -1),
        ("LEARNING_RATE", "3e-5", 3e-5),
        ("LEARNING_RATE", "1e-4", 1e-4),
        ("LEARNING_RATE", "5", 5.0),
        ("LEARNING_RATE", "none", None),
        ("LEARNING_RATE", "null", None),
        ("NAP", "1", 1.0),
        ("EXACT", "true", True),
        ("EXACT", "off", False),
        ("CORPUS", "no", "no"),
        ("CORPUS", "none", "none"),
        ("CORPUS", "12", "12"),
        ("CORPUS", "google/model", "google/model"),
        ("COMPARE", "~", None),
    ],
)
def test_values_have_the_type_that_the_notebook_declares(run, name, text, value):
    (converted,) = run.typed({name: [text]}, run.read_notebooks(run.NOTEBOOKS))[name]
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("SEED", "1.5", "a whole number"),
        ("SEED", "none", "a whole number"),
        ("NAP", "none", "a number"),
        ("NAP", "nan", "a number"),
        ("NAP", "1e999", "a number"),
        ("SEED", "9" * 400, "a whole number"),
        ("SEED", "9" * 5000, "a whole number"),
        ("CORPUS", "", "a name or a path"),
        ("CORPUS", "~", "a name or a path"),
        ("CORPUS", "null", "a name or a path"),
        ("CORPUS", "~no-such-user/corpus", "a name or a path"),
        ("LEARNING_RATE", "fast", "a number or none"),
        ("EXACT", "2", "true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_right_one(run, capsys, name, text, wanted):
    assert run.main(["-p", name, text]) == 2
    message = capsys.readouterr().err
    assert f"{name} must be {wanted}" in message and repr(text) in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "SEEDS", "1"], "Did you mean SEED?"),
        (["-p", "learning_rate", "1"], "Did you mean LEARNING_RATE?"),
        (["-p", "COLOUR", "1"], "CORPUS, EXACT, LEARNING_RATE"),
        (["-p", "SEED"], "-p SEED needs a value"),
        (["-p", "SEED", "1", "-p", "SEED", "2"], "-p SEED VALUE VALUE"),
        (["-p", "RUN", "../elsewhere"], "plain name"),
        (["-p", "RUN", "/elsewhere"], "plain name"),
        (["-p", "RUN", ".locks"], "plain name"),
        (["--batch", ".calls"], "plain name"),
        (["-p", "SEED", "1", "2", "-p", "RUN", "mine"], "--batch NAME"),
        (["-p", "SEED", "1", "--until", "03"], "leaves out"),
        (["--until", "09"], "There are: 01_setup, 02_load"),
        (["-p", "SEED", "1", "2", "--index", "2"], "from 0 to 1"),
        (["-p", "SEED", "1", "-p", "COMPARE", "SEED", "NAP"], "COMPARE takes one value"),
        (["-p", "MAX_LEN", "8", "9", "-p", "COMPARE", "SEED", "--until", "03"], "COMPARE belongs to a notebook"),
        (["-p", "SEED", "1", "2", "--scheduler", "tcp://host:8786"], "--backend dask"),
        (["-p", "SEED", "1", "2", "--backend", "dask"], "--scheduler ADDRESS"),
        (["-p", "SEED", "1", "--backend", "dask", "--scheduler", "tcp://host:8786"], "for batches"),
        (["-p", "SEED", "1", "--jobs", "2"], "for batches"),
        (["-p", "SEED", "1", "2", "--index", "0", "--jobs", "2"], "not with --backend dask or --index"),
        (
            ["-p", "SEED", "1", "2", "--jobs", "2", "--backend", "dask", "--scheduler", "tcp://host:8786"],
            "not with --backend dask",
        ),
        (["-p", "SEED", "1", "2", "--batch", "a b"], "plain name"),
        (["--file", "missing.yaml"], "cannot read missing.yaml"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(run, toy, capsys, arguments, message):
    assert run.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (toy / "executed.txt").exists()


@pytest.mark.parametrize("option", [["--jobs", "-1"], ["--jobs", "0"], ["--processes", "0"], ["--processes", "two"]])
def test_a_number_of_processes_is_one_or_more(run, capsys, option):
    with pytest.raises(SystemExit) as end:
        run.main(["-p", "SEED", "1", "2", *option])
    assert end.value.code == 2 and f"argument {option[0]}" in capsys.readouterr().err


def test_help_lists_the_parameters_as_the_notebooks_declare_them(run, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"04_train\n.*RUN.*\n +SEED +42 +of everything\n +LEARNING_RATE +None +None: the recipe", text)


def test_a_file_keeps_numbers_numbers_and_words_words(run, toy, capsys):
    grid = toy / "grid.yaml"
    grid.write_text("LEARNING_RATE: [3e-5, 1e-4, null]\nCORPUS: no\nMAX_LEN: 64\nEXACT: yes\nSEED: [1, 2]\n")
    values = run.typed(run.read_grid(grid), run.read_notebooks(run.NOTEBOOKS))
    assert values.pop("LEARNING_RATE") == [3e-5, 1e-4, None]
    assert values == {"CORPUS": ["no"], "MAX_LEN": [64], "EXACT": [True], "SEED": [1, 2]}
    assert run.main(["--file", str(grid), "-p", "LEARNING_RATE", "5e-5", "--count"]) == 0
    assert capsys.readouterr().out == "2\n"  # -p overrides the file
    grid.write_text("SEED: [1, 2]\nNAP: 0\n", encoding="utf-8-sig")
    assert run.read_grid(grid) == {"SEED": ["1", "2"], "NAP": ["0"]}, "the byte order mark of Windows is passed over"
    for wrong in ("- SEED", "SEED: {a: 1}", "SEED: []", "SEED: [[1]]", "SEED: [1", "[SEED]: 1", "CORPUS: ~", "CORPUS:"):
        grid.write_text(wrong)
        assert run.main(["--file", str(grid), "--count"]) == 2
    capsys.readouterr()
    grid.write_text("SEED: 1\nNAP: 0\nSEED: 2\n")
    assert run.main(["--file", str(grid), "--count"]) == 2
    assert "gives SEED twice" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_fits_the_notebooks(recipe):
    from runner.parameters import read_grid, read_notebooks, typed

    values = typed(read_grid(recipe), read_notebooks(ROOT / "notebooks"))
    assert values["CORPUS"] == ["cola"] and all(len(own) == 1 for own in values.values())
    assert values["LEARNING_RATE"][0] < 1e-3 and not {"SEED", "RUN"} & values.keys()


# ---------------------------------------------------------------- grids


def test_runs_are_named_by_what_varies_whatever_the_order(run, capsys):
    assert run.main(["-p", "SEED", "1", "2", "1", "-p", "MAX_LEN", "64", "128", "-p", "NAP", "0", "--dry-run"]) == 0
    names = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = ["MAX_LEN=64,SEED=1", "MAX_LEN=64,SEED=2", "MAX_LEN=128,SEED=1", "MAX_LEN=128,SEED=2"]
    assert names == [[str(index), f"sweep/{name}"] for index, name in enumerate(expected)]


def test_what_does_not_depend_on_what_varies_is_shared(run):
    notebooks = run.read_notebooks(run.NOTEBOOKS)
    stems = run.chosen(notebooks, None, run.EVALUATION)
    runs = run.make_grid("b", {"SEED": [1, 2], "MAX_LEN": [64, 128], "CORPUS": ["x"]}, stems, notebooks)
    assert [one.notebooks[-1] for one in runs] == ["05_evaluate"] * 4
    assert len({one.parent.name for one in runs}) == 2 and runs[0].parent.notebooks[-1] == "03_cut"
    assert len({one.parent.parent.name for one in runs}) == 1 and runs[0].parent.parent.notebooks[-1] == "02_load"
    assert runs[0].parent.parent.parent is None
    other = run.make_grid("b", {"SEED": [1, 2], "CORPUS": ["y"]}, stems, notebooks)
    assert other[0].parent.name != runs[0].parent.name  # what is the same for all runs of a batch counts as well


@pytest.mark.parametrize("value", ["a/b", "../up", "C:\\x", "x" * 300, "", "..", "ä ö", "nul?", 3e-5, None, True, -1])
def test_values_become_folder_names_that_any_file_system_takes(run, value):
    assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,50}", run.slug(value))
    assert run.slug("a/b") != run.slug("a-b") != run.slug("a:b")


def test_places_are_one_a_gpu_or_share_the_cores(run, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(run, "cores", lambda: 8)
    monkeypatch.setattr(run, "GIB_A_RUN", 1e-3)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run.places(None, 1, 3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert run.places(None, 1, 100) == [{"OMP_NUM_THREADS": "1"}] * 8
    assert run.places(2, 1, 100) == [{"OMP_NUM_THREADS": "4"}] * 2
    assert run.places(None, 2, 100) == [{"OMP_NUM_THREADS": "1"}] * 4
    assert run.places(5, 1, 2) == [{"OMP_NUM_THREADS": "4"}] * 2  # no more places than runs
    assert run.check_gpus(2) is None

    def cards(*arguments):
        return [place["CUDA_VISIBLE_DEVICES"] for place in run.places(*arguments)]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5,6")
    assert cards(None, 1, 100) == ["0", "3", "5", "6"]
    assert cards(None, 2, 100) == ["0,3", "5,6"]
    assert cards(None, 3, 100) == ["0,3,5"], "a run of three processes cannot do with one GPU"
    assert cards(5, 1, 100) == ["0", "3", "5", "6", "0"]
    assert run.check_gpus(4) is None
    with pytest.raises(run.Refused, match="--processes 5 needs a GPU for each, and this machine has 4"):
        run.check_gpus(5)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "yes")
    assert run.places(1, 1, 1) == [{"OMP_NUM_THREADS": "8"}]


def test_a_run_is_marked_by_its_code_and_by_what_that_imports(run, toy):
    def codes():
        run.code_of.cache_clear()
        return [run.code_of(name) for name in ("03_cut", "04_train")]

    notebook = toy / "notebooks/04_train.ipynb"
    notebook.write_text(notebook.read_text().replace("import json,", "import near\\nimport json,"))
    run.cells_of.cache_clear()
    (toy / "near.py").write_text("def load():\n    from far import value\n")
    (toy / "far.py").write_text("import near\nvalue = 1\n")
    before = codes()
    (toy / "unused.py").write_text("value = 1\n")
    assert codes() == before
    (toy / "far.py").write_text("import near\nvalue = 2\n")
    cut, train = codes()
    assert cut == before[0] and train != before[1]


def test_dask_without_its_package_says_so(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run.main(["-p", "SEED", "1", "2", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "pip install" in capsys.readouterr().err


# ---------------------------------------------------------------- one run


def test_the_series_once(toy):
    elsewhere = toy / "share/kernels/python3"  # a kernel of the same name that belongs to another Python
    elsewhere.mkdir(parents=True)
    elsewhere.joinpath("kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "python"}')
    confusing = {"JUPYTER_PATH": str(toy / "share"), "MPLBACKEND": "Agg"}
    code, output = call(toy, "-p", "LEARNING_RATE", "3e-5", "-p", "RUN", "mine", **confusing)
    assert code == 0, output
    assert output.startswith("01_setup to 05_evaluate, into ")
    assert executed(toy) == {"mine": "01 02 03 04 05"}
    folder = toy / "runs/mine"
    assert json.loads((folder / "metrics.json").read_text())["parameters"]["LEARNING_RATE"] == 3e-5
    assert re.search(r"test MCC +0.042  \(95 % interval 0.000 to 0.500; accuracy 0.700\)", output)
    assert re.search(r"majority class +0.000  \(accuracy 0.700\)", output)
    for name in TOY:
        assert str(folder.relative_to(toy.parent) / f"notebooks/{name}.ipynb") in output
    page = (folder / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in TOY) and 'href="#02_load"' in page
    assert "data:image/svg+xml" in page and "epoch 9" in page
    scripts = re.findall(r"<script[^>]*src=[^>]*>", page)
    assert all("async" in script for script in scripts), "the page would wait for the network"
    assert not list(toy.glob("notebooks/*socket*")) and not kernels(toy)


def test_an_error_in_a_notebook_ends_the_series(small):
    code, output = call(small, "-p", "SEED", "13")
    assert code == 1
    assert "default failed in 04_train:\n  ValueError: the seed 13\n  brings bad luck\n" in output
    assert "runs/default/notebooks/04_train.ipynb" in output and "runs/default/run.log" in output
    assert "brings bad luck" in (small / "runs/default/run.log").read_text()
    code, output = call(small, "-p", "CORPUS", "deadly", "--until", "02")
    assert code == 1 and "the kernel was killed" in output


def test_ctrl_c_leaves_no_kernel(small):
    process = start(small, "-p", "NAP", 60)
    wait_until(has_begun(small, "04"))
    assert kernels(small)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130 and "a single run repeats 01 to 03" in output
    assert not kernels(small)


def test_a_kernel_that_does_not_start_is_started_once_more(toy):
    script = """
import papermill
from runner import kernel
kernel.end_with_starter = lambda scratch: None
calls = []
def execute(*arguments, **options):
    calls.append(1)
    if len(calls) == 1:
        raise RuntimeError("Kernel died before replying to kernel_info")
papermill.execute_notebook = execute
task = {"notebook": "notebooks/01_setup.ipynb", "parameters": {}, "executed": "x.ipynb", "many": False}
assert kernel.execute(task) == 0 and len(calls) == 2
"""
    subprocess.run([sys.executable, "-c", script], cwd=toy, check=True, timeout=60)


def test_a_run_made_anew_keeps_nothing_stale(quick, monkeypatch):
    folder = quick.RUNS / "default"
    assert quick.main([]) == 0
    for name in ("report.html", "checkpoint.pt"):
        (folder / name).touch()
    quick.fail = lambda notebook: "ValueError: no" if notebook == "02_load" else None
    assert quick.main([]) == 1
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["checkpoint.pt", "notebooks/01_setup.ipynb", "run.json", "state.json"]
    edit(quick, "05_evaluate")
    assert quick.main([]) == 1 and (folder / "checkpoint.pt").exists()
    edit(quick, "04_train")
    assert quick.main(["--until", "03"]) == 1  # which does not know 04, and does not forget it
    assert quick.main([]) == 1 and not (folder / "checkpoint.pt").exists()


def test_training_does_not_go_on_with_other_code(quick):
    """Training broke off and left a checkpoint, from which the next call goes on, unless the code was edited."""
    checkpoint = quick.RUNS / "b/SEED=1/checkpoint.pt"
    quick.fail = lambda notebook: "MemoryError: full" if notebook == "04_train" else None
    assert quick.main(["-p", "SEED", "1", "--batch", "b"]) == 1
    checkpoint.touch()
    assert quick.main(["-p", "SEED", "1", "--batch", "b"]) == 1 and checkpoint.exists()
    edit(quick, "04_train")
    assert quick.main(["-p", "SEED", "1", "--batch", "b"]) == 1 and not checkpoint.exists()
    assert quick.executed == [f"SEED=1 {number}" for number in ("01", "02", "03", "04", "04", "04")]


def test_files_that_another_process_has_open_are_waited_for(run, toy, monkeypatch):
    tries = []

    def replace_on_windows(source, target):
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError("in use")
        os.rename(source, target)

    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(run.os, "replace", replace_on_windows)
    run.write_json(toy / "x.json", {"a": 1})
    assert run.read_json(toy / "x.json") == {"a": 1} and len(tries) == 3


@pytest.mark.slow
def test_several_processes(small):
    pytest.importorskip("torch", reason="torchrun comes with torch")
    code, output = call(small, "--processes", 2, CUDA_VISIBLE_DEVICES="")
    assert code == 0, output
    notebooks = small / "runs/default/notebooks"
    assert "rank 0 of 2" in (notebooks / "04_train.ipynb").read_text()
    assert "rank 1 of 2" in (notebooks / "rank1/04_train.ipynb").read_text()
    assert executed(small) == {"default": "02 03 04"}


# ---------------------------------------------------------------- batches


def test_a_batch_is_killed_goes_on_and_retries_what_failed(toy):
    grid = ["-p", "SEED", 1, 2, 13, "-p", "NAP", 1.5, "--jobs", 2]
    process = start(toy, *grid)
    wait_until(has_begun(toy, "04"))
    process.kill()
    process.communicate()
    wait_until(lambda: not kernels(toy), seconds=5)  # nothing goes on, although nothing could be tidied up

    code, output = call(toy, *grid)
    assert code == 1, output
    assert "1 of 3 runs failed" in output and "brings bad luck" in output and "--retry-failed" in output
    assert "sweep/SEED=13/notebooks/04_train.ipynb" in output and "SEED=1: test MCC 0.001" in output
    counts = executed(toy)
    (shared,) = (name for name in counts if "/.shared/" in name)
    assert counts[shared] == "01 02 03"
    assert counts["sweep/SEED=1"].endswith("04 05") and counts["sweep/SEED=2"].endswith("04 05")
    metrics = json.loads((toy / "runs/sweep/SEED=2/metrics.json").read_text())
    assert metrics["run"] == "sweep/SEED=2" and metrics["threads"] == str(max(1, _cores() // 2))

    (toy / "mended").touch()
    before = executed(toy)
    code, output = call(toy, *grid, "--retry-failed")
    assert code == 0, output
    assert executed(toy) == before | {"sweep/SEED=13": before["sweep/SEED=13"] + " 04 05"}
    table = output[output.index("run  ") :]
    assert len(re.findall(r"SEED=\d+ +0\.0\d+ +0\.000 to 0\.500", table)) == 3
    compared = (toy / "runs/sweep/notebooks/07_compare.ipynb").read_text()
    assert "['SEED=1', 'SEED=13', 'SEED=2']" in compared and (toy / "runs/sweep/report.html").exists()

    before = executed(toy)
    code, output = call(toy, *grid)
    assert code == 0 and "3 of 3 runs are finished already" in output
    assert output[output.index("run  ") :] == table and executed(toy) == before

    code, output = call(toy, *grid[:5], "-p", "NAP", 1)  # the same names for something else
    assert code == 2 and "NAP 1.5 (now 1.0)" in output and "--batch" in output


def _cores():
    import joblib

    return joblib.cpu_count(only_physical_cores=True)


def test_index_by_index_at_once_the_shared_work_is_done_once(toy):
    (toy / "notebooks/01_setup.ipynb").unlink()
    grid = ["-p", "MAX_LEN", 8, 16, "--until", "03", "--batch", "array"]
    processes = [start(toy, *grid, "--index", index) for index in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    counts = executed(toy)
    (shared,) = (name for name in counts if "/.shared/" in name)
    assert counts == {shared: "02", "array/MAX_LEN=8": "03", "array/MAX_LEN=16": "03"}
    assert json.loads((toy / "runs/array/MAX_LEN=16/run.json").read_text())["run"] == "array/MAX_LEN=16"


def test_a_shorter_until_forgets_nothing(quick, capsys):
    grid = ["-p", "MAX_LEN", "8", "9", "--jobs", "1"]
    quick.fail = lambda notebook: "ValueError: no" if notebook == "05_evaluate" else None
    assert quick.main(grid) == 1
    done, quick.fail = len(quick.executed), lambda notebook: None
    for until in ("03", "04"):
        assert quick.main([*grid, "--until", until]) == 0, "nothing to compare, so nothing that fails"
    assert quick.executed[done:] == []
    capsys.readouterr()
    assert quick.main([*grid, "-p", "NAP", "2"]) == 2 and "NAP 0.0 (now 2.0)" in capsys.readouterr().err
    assert quick.main(grid) == 0
    assert quick.executed[done:] == ["MAX_LEN=8 05", "MAX_LEN=9 05", "sweep 07"]
    assert "2 runs to do, into " in capsys.readouterr().out
    assert quick.main([*grid, "--until", "03"]) == 0
    assert quick.main([*grid[:3], "10", "--batch", "other", "--until", "03"]) == 0  # no metrics at all
    assert quick.executed[done + 3 :].count("other 07") == 0


def test_a_run_folder_is_not_deleted_for_a_state_that_cannot_be_read(quick, capsys, monkeypatch):
    grid = ["-p", "SEED", "1", "2"]
    folder = quick.RUNS / "sweep/SEED=1"
    assert quick.main(grid) == 0
    kept, executed = (folder / "state.json").read_text(), len(quick.executed)
    for damage in (lambda: (folder / "state.json").write_text("{"), lambda: (folder / "state.json").unlink()):
        damage()  # the latter is what a run made by hand looks like
        assert quick.main(grid) == 2
        assert "SEED=1 holds a run made by hand, or its state.json is damaged" in capsys.readouterr().err
    (folder / "state.json").write_text(kept)

    def read_text(path, **options):
        raise PermissionError(f"cannot open {path}")

    with monkeypatch.context() as patched:
        patched.setattr(quick.time, "sleep", lambda seconds: None)
        patched.setattr(quick, "cells_of", lambda notebook: [])
        patched.setattr(quick, "code_of", lambda notebook: "")
        patched.setattr(Path, "read_text", read_text)
        assert quick.main(grid) == 2
    assert "cannot open" in capsys.readouterr().err
    assert (folder / "metrics.json").exists() and quick.main(grid) == 0
    assert quick.executed[executed:] == ["sweep 07"]


def test_a_run_whose_deletion_was_killed_is_made_anew(quick, monkeypatch):
    quick.fail = lambda notebook: "ValueError: no" if notebook == "05_evaluate" else None
    assert quick.main(["--batch", "b"]) == 1
    edit(quick, "02_load")
    with monkeypatch.context() as patched:
        patched.setattr(quick.shutil, "rmtree", lambda folder, **options: (folder / "state.json").unlink() or 1 / 0)
        assert quick.main(["--batch", "b"]) == 1
    (quick.RUNS / "b/run/state.json").unlink()
    quick.fail = lambda notebook: None
    assert quick.main(["--batch", "b"]) == 0
    assert quick.executed[-6:-1] == [f"run {number}" for number in ("01", "02", "03", "04", "05")]


def test_finished_runs_of_other_calls_are_named(quick, capsys):
    assert quick.main(["-p", "SEED", "1", "2"]) == 0
    assert "not of this call" not in capsys.readouterr().out
    assert quick.main(["-p", "SEED", "2", "3"]) == 0
    assert "(1 of them not of this call, such as SEED=1: --batch NAME" in capsys.readouterr().out


def test_like_failures_are_told_once(quick, capsys):
    quick.fail = lambda notebook: "ValueError: no corpus" if notebook == "02_load" else None
    assert quick.main(["-p", "SEED", "1", "2", "3"]) == 1
    output = capsys.readouterr().out
    assert output.count("failed in 02_load:\n  ValueError: no corpus\n  and so did 2 more, for the same reason") == 1
    assert "3 of 3 runs failed" in output and "executed notebook" not in output  # there is none
    assert quick.executed == [f"{name} {number}" for name, number in zip([quick.executed[0][:-3]] * 2, ("01", "02"))]


def test_an_error_of_our_own_leaves_its_traceback_in_the_log(quick, capsys, monkeypatch):
    def fail(notebook):
        if notebook == "03_cut":
            raise OSError("disk full")

    quick.fail = fail
    assert quick.main(["--batch", "b"]) == 1
    output = capsys.readouterr().out
    assert "b/run failed in 03_cut:\n  OSError: disk full\n  log: " in output
    log = (quick.RUNS / "b/run/run.log").read_text()
    assert "Traceback" in log and "in fail" in log
    quick.fail = lambda notebook: None
    monkeypatch.setattr(quick.shutil, "copytree", lambda *_, **options: 1 / 0)
    assert quick.main(["-p", "SEED", "1", "2", "--jobs", "1"]) == 1
    assert "sweep/SEED=1 failed:\n  ZeroDivisionError: division by zero\n  log: " in capsys.readouterr().out


def test_the_processes_of_notebooks_are_told_what_this_call_was_told(quick, monkeypatch):
    """Those of a cluster have another environment."""
    told = {"BERT_DATA": "/data", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert quick.main(["--batch", "b"]) == 0
    assert quick.calls[0].environment == told | {"OMP_NUM_THREADS": "1"} and quick.calls[0].processes == 1


class AtOnce(concurrent.futures.Executor):
    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize(
    ("status", "counts"), [("finished", "1 done, 1 running, 0"), ("failed", "0 done, 1 running, 1")]
)
def test_a_line_on_a_terminal_says_where_a_batch_stands(quick, monkeypatch, status, counts):
    clock, lines, shown = [0], [], []

    def execute(run, call):
        clock[0] += 60
        quick.write_json(run.folder / "state.json", {"call": "me", "status": status, "error": "x", "notebooks": {}})
        if run.name == "b/SEED=4":
            quick.write_json(run.folder / "state.json", {"call": "me", "status": "running", "notebook": "04_train"})
        return {"status": status, "error": "x"}

    monkeypatch.setattr(quick, "time", types.SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(quick, "showing", lambda line: lines.append(line) or contextlib.nullcontext())
    monkeypatch.setattr(quick.console, "print", lambda text: shown.append(lines[0]()))
    notebooks = quick.read_notebooks(quick.NOTEBOOKS)
    runs = quick.make_grid("b", {"SEED": [1, 2, 3, 4]}, quick.chosen(notebooks, None, quick.EVALUATION), notebooks)
    for run in runs:
        run.folder.mkdir(parents=True)
    quick.run_batch(runs, quick.Call(Path("me")), AtOnce(), execute)
    assert (
        shown[0]
        == f"━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 1/4  {counts} failed  4 min 0 s gone, about 6 min 40 s left  SEED=4 04_train"
    )
    assert shown[-1].startswith("━" * 24 + " 4/4")


def test_a_line_on_a_terminal_says_where_a_run_stands(quick, monkeypatch):
    lines, shown = [], []
    monkeypatch.setattr(quick, "showing", lambda line: lines.append(line) or contextlib.nullcontext())
    log = quick.RUNS / "default/run.log"

    def fail(notebook):
        log.write_text(
            "Executing Cell 1---\nEnding Cell 1---\n" * 5
            + "\x1b[1mepoch\x1b[0m 3\nExecuting Cell 6---\n\n[IPKernelApp] x"
        )
        shown.append(lines[0]())

    quick.fail = fail
    assert quick.main([]) == 0
    assert re.fullmatch(r"04_train  ━{4}╌{20} 5/25  \d s  epoch 3", shown[3])


def test_a_live_line_is_one_line(run, monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(run, "console", run.Console(file=output, force_terminal=True, width=20))
    with run.showing(lambda: "[bold] " + "x" * 99):
        pass
    assert "[bold] xxxxxxxxxxxx…" in output.getvalue() and "x" * 13 not in output.getvalue()


@pytest.mark.slow
def test_a_dask_cluster_loses_a_worker_and_no_run(small):
    """And before that it has no worker and is interrupted, and in the end it loses its scheduler."""
    scheduler_file = small.parent / "scheduler.json"
    where = ["--scheduler-file", scheduler_file, "--no-dashboard"]
    started = [dask(small, "scheduler", "--host", "127.0.0.1", "--port", 0, *where)]
    try:
        wait_until(scheduler_file.exists)
        address = json.loads(scheduler_file.read_text())["address"]
        call = ["-p", "SEED", 1, 2, "--until", "04", "--backend", "dask", "--scheduler", address, "-p", "NAP"]

        started += [process := start(small, *call, 60)]
        assert "no worker has joined" in process.stdout.readline() and "2 runs to do" in process.stdout.readline()
        time.sleep(1)  # until the runs are submitted
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 130 and "Traceback" not in output

        worker = ["worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", small.parent]
        started += (workers := [dask(small, *worker), dask(small, *worker)])
        started += [process := start(small, *call, 3)]
        wait_until(has_begun(small, "04"))
        time.sleep(0.5)
        workers[0].kill()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and "[2/2]" in output, output
        counts = executed(small)
        (shared,) = (name for name in counts if "/.shared/" in name)
        assert counts[shared] == "02 03"
        for seed in (1, 2):
            assert json.loads((small / f"runs/sweep/SEED={seed}/model.json").read_text())[3] == seed

        started += [process := start(small, *call, 60, "--batch", "lost")]
        wait_until(has_begun(small, "04 lost"))
        started[0].kill()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 2 and "went away" in output and "Traceback" not in output, output
        wait_until(lambda: len(kernels(small)) == 0)
    finally:
        for process in started:
            process.kill()


def dask(toy, *arguments):
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    return subprocess.Popen(command, cwd=toy.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
