"""run.py: one run, and sweeps of them, on a toy series (toy.py)."""

import concurrent.futures
import contextlib
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

import pytest
from test_resume import contents
from toy import PATIENCE, TOY, call, edit, executed, forget, has_begun, kernels, start, wait_until, write_toy

from bookkeeping import SeriesError
from bookkeeping.files import read_json, write_json
from runner import devices, paths, progress, sweep, terminal
from runner.grid import make_grid, slug
from runner.locks import Call
from runner.notebooks import EVALUATION, chosen, code_of, read_notebooks
from runner.state import write_state

# ---------------------------------------------------------------- grids


def test_runs_are_named_by_what_varies_whatever_the_order(run, capsys):
    assert run.main(["-p", "SEED", "1", "2", "1", "-p", "MAX_LEN", "64", "128", "-p", "NAP", "0", "--dry-run"]) == 0
    names = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = ["MAX_LEN=64,SEED=1", "MAX_LEN=64,SEED=2", "MAX_LEN=128,SEED=1", "MAX_LEN=128,SEED=2"]
    assert names == [[str(index), f"sweep/{name}"] for index, name in enumerate(expected)]


def test_what_does_not_depend_on_what_varies_is_shared(run):
    declared = read_notebooks()
    stems = chosen(declared, None, EVALUATION)
    runs = make_grid("b", {"SEED": [1, 2], "MAX_LEN": [64, 128], "CORPUS": ["x"]}, stems, declared)
    assert [one.notebooks[-1] for one in runs] == ["05_evaluate"] * 4
    assert len({one.parent.name for one in runs}) == 2 and runs[0].parent.notebooks[-1] == "03_cut"
    assert len({one.parent.parent.name for one in runs}) == 1 and runs[0].parent.parent.notebooks[-1] == "02_load"
    assert runs[0].parent.parent.parent is None
    other = make_grid("b", {"SEED": [1, 2], "CORPUS": ["y"]}, stems, declared)
    assert other[0].parent.name != runs[0].parent.name  # what is the same for all runs of a sweep counts as well


@pytest.mark.parametrize("value", ["a/b", "../up", "C:\\x", "x" * 300, "", "..", "ä ö", "nul?", 3e-5, None, True, -1])
def test_values_become_folder_names_that_any_file_system_takes(value):
    assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,50}", slug(value))
    assert slug("a/b") != slug("a-b") != slug("a:b")


def test_runs_at_once_have_a_gpu_each_or_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(devices, "GIB_A_RUN", 1e-3)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.shares(None, 1, 3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert devices.shares(None, 1, 100) == [{"OMP_NUM_THREADS": "1"}] * 8
    assert devices.shares(2, 1, 100) == [{"OMP_NUM_THREADS": "4"}] * 2
    assert devices.shares(None, 2, 100) == [{"OMP_NUM_THREADS": "1"}] * 4
    assert devices.shares(5, 1, 2) == [{"OMP_NUM_THREADS": "4"}] * 2  # no more places than runs
    assert devices.check_gpus(2) is None

    def cards(*arguments):
        return [place["CUDA_VISIBLE_DEVICES"] for place in devices.shares(*arguments)]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5,6")
    assert cards(None, 1, 100) == ["0", "3", "5", "6"]
    assert cards(None, 2, 100) == ["0,3", "5,6"]
    assert cards(None, 3, 100) == ["0,3,5"], "a run of three processes cannot do with one GPU"
    assert cards(5, 1, 100) == ["0", "3", "5", "6", "0"]
    assert devices.check_gpus(4) is None
    with pytest.raises(SeriesError, match="--processes 5 needs a GPU for each, and this machine has 4"):
        devices.check_gpus(5)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SeriesError, match="--processes needs Linux or macOS"):
        devices.check_gpus(2)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "yes")
    assert devices.shares(1, 1, 1) == [{"OMP_NUM_THREADS": "8"}]


def test_a_run_is_marked_by_its_code_and_by_what_that_imports(run, toy):
    def codes():
        forget()
        return [code_of(name) for name in ("03_cut", "04_train")]

    notebook = toy / "notebooks/04_train.ipynb"
    notebook.write_text(notebook.read_text().replace("import json,", "import near\\nimport json,"))
    (toy / "near.py").write_text("def load():\n    from far import value\n")
    (toy / "far.py").write_text("import near\nvalue = 1\n")
    before = codes()
    (toy / "unused.py").write_text("value = 1\n")
    assert codes() == before
    (toy / "far.py").write_text("import near\nvalue = 2\n")
    cut, train = codes()
    assert cut == before[0] and train != before[1]


@pytest.mark.parametrize(
    "line",
    [
        "from lesson import words, lines",
        "from lesson import (\n    lines,\n    words,\n)",
        "import os, lesson.words as w",
        "    from lesson.words import count  # in a function",
        "import lesson",
    ],
)
def test_a_run_is_marked_by_the_packages_that_its_notebooks_import(run, toy, line):
    def code():
        forget()
        return code_of("04_train")

    write_toy(toy / "notebooks/04_train.ipynb", 'RUN = "default"', ["%time 1\n!ls", line])
    for folder in ("lesson/deep", "unused"):
        (toy / folder).mkdir(parents=True)
    files = {
        "lesson/__init__.py": "value = 1\n" if "words" in line else "from . import words\n",
        "lesson/lines.py": "",
        "lesson/words.py": "from .deep import base\nimport numpy\n",
        "lesson/deep/base.py": "from unused_not import x\n",
    }
    for name, text in files.items():
        (toy / name).write_text(text)
    (toy / "unused/words.py").write_text("")
    marks = [code()]
    for name in ["lesson/__init__.py", "lesson/words.py", "lesson/deep/base.py"]:
        (toy / name).write_text(files[name] + "more = 1\n")
        marks.append(code())
    assert len(set(marks)) == 4, "each of them counts"
    (toy / "unused/words.py").write_text("more = 1\n")
    (toy / "lesson/other.py").write_text("more = 1\n")
    assert code() == marks[-1]


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
    (row,) = re.findall(r"^notebooks +(.+)$", output, re.MULTILINE)
    assert row == str(folder.relative_to(toy.parent) / "notebooks"), "one row, however many there are"
    assert all((toy.parent / row / f"{name}.ipynb").exists() for name in TOY)
    page = (folder / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in TOY) and 'href="#02_load"' in page
    assert "<title>mine: test MCC 0.042 (0.000 to 0.500)</title>" in page
    assert "<td>0.042  (95 % interval 0.000 to 0.500; accuracy 0.700)</td>" in page
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
    process = start(small, "-p", "NAP", 3600)
    wait_until(has_begun(small, "04"))
    assert kernels(small)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "goes on where this one stood" in output
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
    subprocess.run([sys.executable, "-c", script], cwd=toy, check=True, timeout=PATIENCE)


def test_training_does_not_go_on_with_other_code(quick):
    """Training broke off and left a checkpoint, from which the next call goes on, unless the code was edited."""
    checkpoint = paths.RUNS / "b/SEED=1/checkpoint.pt"
    quick.fail = lambda notebook: "MemoryError: full" if notebook == "04_train" else None
    assert quick.main(["-p", "SEED", "1", "--sweep", "b"]) == 1
    checkpoint.touch()
    assert quick.main(["-p", "SEED", "1", "--sweep", "b"]) == 1 and checkpoint.exists()
    edit("04_train")
    assert quick.main(["-p", "SEED", "1", "--sweep", "b"]) == 1 and not checkpoint.exists()
    assert quick.executed == [f"SEED=1 {number}" for number in ("01", "02", "03", "04", "04", "04")]


def test_files_that_another_process_has_open_are_waited_for(tmp_path, monkeypatch):
    tries = []

    def replace_on_windows(source, target):
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError("in use")
        os.rename(source, target)

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "replace", replace_on_windows)
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_json(tmp_path / "x.json") == {"a": 1} and len(tries) == 3


@pytest.mark.slow
def test_several_processes(small):
    pytest.importorskip("torch", reason="torchrun comes with torch")
    code, output = call(small, "--processes", 2, CUDA_VISIBLE_DEVICES="")
    assert code == 0, output
    notebooks = small / "runs/default/notebooks"
    assert "rank 0 of 2" in (notebooks / "04_train.ipynb").read_text()
    assert "rank 1 of 2" in (notebooks / "rank1/04_train.ipynb").read_text()
    assert executed(small) == {"default": "02 03 04"}


# ---------------------------------------------------------------- sweeps


def test_a_sweep_is_killed_goes_on_and_retries_what_failed(toy):
    grid = ["-p", "SEED", 1, 2, 13, "-p", "NAP", 1.5, "--jobs", 2]
    process = start(toy, *grid)
    wait_until(has_begun(toy, "04"))
    process.kill()
    process.communicate()
    wait_until(lambda: not kernels(toy))  # nothing goes on, although nothing could be tidied up

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
    assert "['SEED=1', 'SEED=13', 'SEED=2']" in compared
    page = (toy / "runs/sweep/report.html").read_text()
    assert "<title>sweep: 3 of 3 runs finished</title>" in page and "<td>SEED=13</td><td>0.013</td>" in page

    before = executed(toy)
    code, output = call(toy, *grid)
    assert code == 0 and "3 of 3 runs are finished already" in output
    assert output[output.index("run  ") :] == table and executed(toy) == before

    code, output = call(toy, *grid[:5], "-p", "NAP", 1)  # the same names for something else
    assert code == 2 and "NAP 1.5 (now 1.0)" in output and "--sweep" in output


def _cores():
    import joblib

    return joblib.cpu_count(only_physical_cores=True)


def test_index_by_index_at_once_the_shared_work_is_done_once(toy):
    (toy / "notebooks/01_setup.ipynb").unlink()
    grid = ["-p", "MAX_LEN", 8, 16, "--until", "03", "--sweep", "array"]
    processes = [start(toy, *grid, "--index", index) for index in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=PATIENCE)
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
    assert quick.main([*grid[:3], "10", "--sweep", "other", "--until", "03"]) == 0  # no metrics at all
    assert quick.executed[done + 3 :].count("other 07") == 0


def test_a_sweep_is_not_gone_on_with_without_its_parameters(quick, capsys):
    assert quick.main(["--sweep", "night", "-p", "SEED", "1", "2"]) == 0
    executed = len(quick.executed)
    for again in (["--sweep", "night"], ["--sweep", "night", "--retry-failed"], ["--sweep", "night", "--count"]):
        assert quick.main(again) == 2
        assert (
            "names no parameter, and " in (said := capsys.readouterr().err)
            and "SEED=1, SEED=2: say the same -p" in said
        )
    assert quick.main(["--sweep", "night", "-p", "SEED", "1", "2", "--retry-failed"]) == 0
    assert "none of these runs has failed" in capsys.readouterr().out
    assert [one for one in quick.executed[executed:] if "07" not in one] == []


def test_two_calls_at_once_under_one_name_lose_nothing(quick, capsys, monkeypatch):
    """Another call begins and ends between this one's look at the folders and its first run."""
    real, grid = sweep.look_ahead, ["-p", "SEED", "1", "2", "-p", "NAP"]
    folders = [paths.RUNS / "sweep" / name for name in ("SEED=1", "SEED=2")]

    def meanwhile(*_):
        monkeypatch.setattr(sweep, "look_ahead", real)
        assert quick.main([*grid, "1"]) == 0
        found.append([contents(folder) for folder in folders])

    for again in [], ["--again"]:
        found = []
        monkeypatch.setattr(sweep, "look_ahead", meanwhile)
        assert quick.main([*grid, "2", *again]) == 2
        assert "holds a finished run with NAP 1.0 (now 2.0): choose another --sweep" in capsys.readouterr().err
        assert [contents(folder) for folder in folders] == found[0] and found[0][0]
        shutil.rmtree(paths.RUNS)


def test_a_run_folder_is_not_deleted_for_a_state_that_cannot_be_read(quick, capsys, monkeypatch):
    grid = ["-p", "SEED", "1", "2"]
    folder = paths.RUNS / "sweep/SEED=1"
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
        patched.setattr(time, "sleep", lambda seconds: None)
        patched.setattr("runner.grid.code_of", lambda notebook: "")
        patched.setattr(Path, "read_text", read_text)
        assert quick.main(grid) == 2
    assert "cannot open" in capsys.readouterr().err
    assert (folder / "metrics.json").exists() and quick.main(grid) == 0
    assert quick.executed[executed:] == ["sweep 07"]


def test_a_run_whose_deletion_was_killed_is_made_anew(quick, monkeypatch):
    quick.fail = lambda notebook: "ValueError: no" if notebook == "05_evaluate" else None
    assert quick.main(["--sweep", "b"]) == 1
    edit("01_setup")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda folder, **options: (folder / "state.json").unlink() or 1 / 0)
        assert quick.main(["--sweep", "b"]) == 1
    (paths.RUNS / "b/run/state.json").unlink()
    quick.fail = lambda notebook: None
    assert quick.main(["--sweep", "b"]) == 0
    assert quick.executed[-6:-1] == [f"run {number}" for number in ("01", "02", "03", "04", "05")]


def test_finished_runs_of_other_calls_are_named(quick, capsys):
    assert quick.main(["-p", "SEED", "1", "2"]) == 0
    assert "not of this call" not in capsys.readouterr().out
    assert quick.main(["-p", "SEED", "2", "3"]) == 0
    assert "(1 of them not of this call, such as SEED=1: --sweep NAME" in capsys.readouterr().out


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
    assert quick.main(["--sweep", "b"]) == 1
    output = capsys.readouterr().out
    assert "b/run failed in 03_cut:\n  OSError: disk full\n  log: " in output
    log = (paths.RUNS / "b/run/run.log").read_text()
    assert "Traceback" in log and "in fail" in log
    quick.fail = lambda notebook: None
    monkeypatch.setattr(shutil, "copytree", lambda *_, **options: 1 / 0)
    assert quick.main(["-p", "SEED", "1", "2", "--jobs", "1"]) == 1
    assert "sweep/SEED=1 failed:\n  ZeroDivisionError: division by zero\n  log: " in capsys.readouterr().out


def test_the_processes_of_notebooks_are_told_what_this_call_was_told(quick, monkeypatch):
    """Those of a cluster have another environment."""
    told = {"BERT_DATA": "/data", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert quick.main(["--sweep", "b"]) == 0
    assert quick.calls[0].environment == told | {"OMP_NUM_THREADS": "1"} and quick.calls[0].processes == 1


@pytest.mark.parametrize(
    ("status", "counts"), [("finished", "1 done, 1 running, 0"), ("failed", "0 done, 1 running, 1")]
)
def test_a_line_on_a_terminal_says_where_a_sweep_stands(quick, monkeypatch, status, counts):
    clock, lines, shown = [0], [], []

    def submit(run, call):
        clock[0] += 60
        write_state(run, {"call": "me", "status": status, "error": "x", "notebooks": {}})
        if run.name == "b/SEED=4":
            write_state(run, {"call": "me", "status": "running", "notebook": "04_train"})
        future = concurrent.futures.Future()
        future.set_result({"status": status, "error": "x"})
        return future

    monkeypatch.setattr(progress, "time", types.SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(progress, "showing", lambda line: lines.append(line) or contextlib.nullcontext())
    monkeypatch.setattr(terminal.console, "print", lambda text: shown.append(lines[0]()))
    declared = read_notebooks()
    runs = make_grid("b", {"SEED": [1, 2, 3, 4]}, chosen(declared, None, EVALUATION), declared)
    for run in runs:
        run.folder.mkdir(parents=True)
    progress.run_sweep(runs, Call(Path("me")), submit)
    assert (
        shown[0]
        == f"━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 1/4  {counts} failed  4 min 0 s gone, about 6 min 40 s left  SEED=4 04_train"
    )
    assert shown[-1].startswith("━" * 24 + " 4/4")


def test_a_line_on_a_terminal_says_where_a_run_stands(quick, monkeypatch):
    lines, shown = [], []
    monkeypatch.setattr(progress, "showing", lambda line: lines.append(line) or contextlib.nullcontext())
    log = paths.RUNS / "default/run.log"

    def fail(notebook):
        log.write_text(
            "Executing Cell 1---\nEnding Cell 1---\n" * 5
            + "\x1b[1mepoch\x1b[0m 3\nExecuting Cell 6---\n\n[IPKernelApp] x"
        )
        shown.append(lines[0]())

    quick.fail = fail
    assert quick.main([]) == 0
    assert re.fullmatch(r"04_train  ━{4}╌{20} 5/25  \d s  epoch 3", shown[3])


def test_a_live_line_is_one_line(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(terminal, "console", terminal.Console(file=output, force_terminal=True, width=20))
    with terminal.showing(lambda: "[bold] " + "x" * 99):
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

        started += [process := start(small, *call, 3600)]
        assert "no worker has joined" in process.stdout.readline() and "2 runs to do" in process.stdout.readline()
        time.sleep(1)  # until the runs are submitted
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130 and "Traceback" not in output

        worker = ["worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", small.parent]
        started += (workers := [dask(small, *worker), dask(small, *worker)])
        started += [process := start(small, *call, 3600)]
        wait_until(has_begun(small, "04"))
        workers[0].kill()
        (small / "awake").touch()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0 and "[2/2]" in output, output
        counts = executed(small)
        (shared,) = (name for name in counts if "/.shared/" in name)
        assert counts[shared] == "02 03"
        for seed in (1, 2):
            assert json.loads((small / f"runs/sweep/SEED={seed}/model.json").read_text())[3] == seed

        (small / "awake").unlink()
        started += [process := start(small, *call, 3600, "--sweep", "lost")]
        wait_until(has_begun(small, "04 lost"))
        started[0].kill()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2 and "went away" in output and "Traceback" not in output, output
        wait_until(lambda: len(kernels(small)) == 0)
    finally:
        for process in started:
            process.kill()


def dask(toy, *arguments):
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    return subprocess.Popen(command, cwd=toy.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
