"""run.py, on a toy series of notebooks that knows no machine learning either and takes a second each."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
    """A project of its own: run.py and the toy notebooks."""
    shutil.copy(ROOT / "run.py", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for name, (parameters, code) in TOY.items():
        run = f'RUN = "default"  # name of the run folder\n{parameters}'
        write_toy(tmp_path / f"notebooks/{name}.ipynb", run, [COMMON, code])
    compare = "import os, pathlib\nprint(sorted(p.parent.name for p in (pathlib.Path(os.environ['BERT_RUNS']) / BATCH)"
    compare += ".glob('*/metrics.json')))"
    write_toy(tmp_path / "notebooks/07_compare.ipynb", 'BATCH = "sweep"  # name of the batch', [compare])
    return tmp_path


@pytest.fixture
def small(toy):
    """The same without 01, 05 and 07, for what does not need them."""
    for name in ("01_setup", "05_evaluate", "07_compare"):
        (toy / f"notebooks/{name}.ipynb").unlink()
    return toy


@pytest.fixture
def run(toy):
    """run.py of the toy project as a module."""
    spec = importlib.util.spec_from_file_location("toy_run", toy / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_run"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["toy_run"]


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
    ],
)
def test_values_have_the_type_that_the_notebook_declares(run, name, text, value):
    (converted,) = run.typed({name: [text]}, run.read_notebooks())[name]
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("SEED", "1.5", "a whole number"),
        ("SEED", "none", "a whole number"),
        ("NAP", "none", "a number"),
        ("NAP", "nan", "a number"),
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
        (["-p", "SEED", "1", "2", "-p", "RUN", "mine"], "--batch NAME"),
        (["-p", "SEED", "1", "--until", "03"], "leaves out"),
        (["--until", "09"], "There are: 01_setup, 02_load"),
        (["-p", "SEED", "1", "2", "--index", "2"], "from 0 to 1"),
        (["-p", "SEED", "1", "2", "--batch", "a b"], "plain name"),
        (["--file", "missing.yaml"], "cannot read missing.yaml"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(run, toy, capsys, arguments, message):
    assert run.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (toy / "executed.txt").exists()


def test_help_lists_the_parameters_as_the_notebooks_declare_them(run, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert re.search(
        r"04_train\n.*RUN.*\n +SEED +42 +of everything\n +LEARNING_RATE +None +None: the recipe",
        text,
    )


def test_a_file_keeps_numbers_numbers_and_words_words(run, toy, capsys):
    grid = toy / "grid.yaml"
    grid.write_text("LEARNING_RATE: [3e-5, 1e-4, null]\nCORPUS: no\nMAX_LEN: 64\nEXACT: yes\nSEED: [1, 2]\n")
    values = run.typed(run.read_grid(grid), run.read_notebooks())
    assert values.pop("LEARNING_RATE") == [3e-5, 1e-4, None]
    assert values == {"CORPUS": ["no"], "MAX_LEN": [64], "EXACT": [True], "SEED": [1, 2]}
    assert run.main(["--file", str(grid), "-p", "LEARNING_RATE", "5e-5", "--count"]) == 0
    assert capsys.readouterr().out == "2\n"  # -p overrides the file
    for wrong in ("- SEED", "SEED: {a: 1}", "SEED: []", "SEED: [[1]]", "SEED: [1"):
        grid.write_text(wrong)
        assert run.main(["--file", str(grid), "--count"]) == 2


# ---------------------------------------------------------------- grids


def test_runs_are_named_by_what_varies_whatever_the_order(run, capsys):
    assert (
        run.main(
            [
                "-p",
                "SEED",
                "1",
                "2",
                "1",
                "-p",
                "MAX_LEN",
                "64",
                "128",
                "-p",
                "NAP",
                "0",
                "--dry-run",
            ]
        )
        == 0
    )
    names = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = [
        "MAX_LEN=64,SEED=1",
        "MAX_LEN=64,SEED=2",
        "MAX_LEN=128,SEED=1",
        "MAX_LEN=128,SEED=2",
    ]
    assert names == [[str(index), f"sweep/{name}"] for index, name in enumerate(expected)]


def test_what_does_not_depend_on_what_varies_is_shared(run):
    notebooks = run.read_notebooks()
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
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run.places(None, 1, 3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert run.places(None, 1, 100) == [{"OMP_NUM_THREADS": "1"}] * 8
    assert run.places(2, 1, 100) == [{"OMP_NUM_THREADS": "4"}] * 2
    assert run.places(None, 2, 100) == [{"OMP_NUM_THREADS": "1"}] * 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5,6")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in run.places(None, 1, 100)] == [
        "0",
        "3",
        "5",
        "6",
    ]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in run.places(None, 2, 100)] == ["0,3", "5,6"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in run.places(5, 1, 100)] == [
        "0",
        "3",
        "5",
        "6",
        "0",
    ]


def test_dask_without_its_package_or_scheduler_says_so(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run.main(["-p", "SEED", "1", "2", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "pip install" in capsys.readouterr().err
    assert run.main(["-p", "SEED", "1", "2", "--backend", "dask"]) == 2
    assert "--scheduler" in capsys.readouterr().err


# ---------------------------------------------------------------- one run


def test_the_series_once(toy):
    elsewhere = toy / "share/kernels/python3"  # a kernel of the same name that belongs to another Python
    elsewhere.mkdir(parents=True)
    elsewhere.joinpath("kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "python"}')
    confusing = {"JUPYTER_PATH": str(toy / "share"), "MPLBACKEND": "Agg"}
    code, output = call(toy, "-p", "LEARNING_RATE", "3e-5", "-p", "RUN", "mine", **confusing)
    assert code == 0, output
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
    assert process.returncode == 130 and "Stopped." in output
    assert not kernels(small)


def test_a_kernel_that_does_not_start_is_started_once_more(toy):
    script = """
import papermill, run
run.end_with_starter = lambda scratch: None
calls = []
def execute(*arguments, **options):
    calls.append(1)
    if len(calls) == 1:
        raise RuntimeError("Kernel died before replying to kernel_info")
papermill.execute_notebook = execute
task = {"notebook": "01_setup", "parameters": {}, "executed": "x.ipynb", "many": False}
assert run.notebook_process(task) == 0 and len(calls) == 2
"""
    subprocess.run([sys.executable, "-c", script], cwd=toy, check=True, timeout=60)


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


@pytest.mark.slow
def test_a_dask_cluster_loses_a_worker_and_no_run(small):
    daemons = []
    try:
        scheduler_file = small.parent / "scheduler.json"
        where = ["--scheduler-file", scheduler_file, "--no-dashboard"]
        daemons += [dask(small, "scheduler", "--host", "127.0.0.1", "--port", 0, *where)]
        wait_until(scheduler_file.exists)
        address = json.loads(scheduler_file.read_text())["address"]
        worker = [
            "worker",
            address,
            "--nthreads",
            1,
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            small.parent,
        ]
        daemons += [dask(small, *worker), dask(small, *worker)]
        process = start(small, "-p", "SEED", 1, 2, "-p", "NAP", 3, "--until", "04", "--backend", "dask",
                        "--scheduler", address)  # fmt: skip
        wait_until(has_begun(small, "04"))
        time.sleep(0.5)
        daemons[1].kill()
        output, _ = process.communicate(timeout=60)
    finally:
        for daemon in daemons:
            daemon.kill()
    assert process.returncode == 0, output
    assert "[2/2]" in output
    counts = executed(small)
    (shared,) = (name for name in counts if "/.shared/" in name)
    assert counts[shared] == "02 03"
    for seed in (1, 2):
        assert json.loads((small / f"runs/sweep/SEED={seed}/model.json").read_text())[3] == seed


def dask(toy, *arguments):
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    return subprocess.Popen(command, cwd=toy.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
