"""bookkeeping/: whole files, kinds and ranges of parameters, run folders and their records."""

import json
import subprocess
import sys

import pytest
import torch

import helpers
from bookkeeping import SeriesError, locks
from bookkeeping.files import read_json, replacing, write_json
from bookkeeping.parameters import DECLARED, typed


def raises(*words):
    return pytest.raises(SeriesError, match="(?s)" + "".join(f"(?=.*{word})" for word in words))


# ---------------------------------------------------------------- files


def test_replacing_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as new:
        new.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as new:
        new.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_json_comes_back_and_a_missing_file_is_not_a_damaged_one(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) == {}
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]} and list(tmp_path.iterdir()) == [path]
    path.write_text("{")
    with pytest.raises(ValueError):
        read_json(path)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("LEARNING_RATE", "5e-5", 5e-5),
        ("LEARNING_RATE", "none", None),
        ("LEARNING_RATE", None, None),
        ("LEARNING_RATE", 1, 1.0),
        ("SEED", "7", 7),
        ("EPOCHS", 1.0, 1),
        ("RUN", 7, "7"),
        ("RUN", "a/b,SEED=1", "a/b,SEED=1"),
        ("RUN", "sweep/.shared/03_tokenize-1", "sweep/.shared/03_tokenize-1"),
        ("EXPORT_DIR", "", None),
        ("EXPORT_DIR", "none", None),
        ("SEED", 2**32 - 1, 2**32 - 1),
    ],
)
def test_a_value_means_what_it_says_however_it_came(name, value, meant):
    assert typed(name, value) == meant and type(typed(name, value)) is type(meant)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EPOCHS", 0, "expected 1 or more, and at most 10,000"),
        ("EPOCHS", 1.5, "expected a whole number, 1 or more"),
        ("EPOCHS", True, "expected a whole number"),
        ("EPOCHS", None, "expected a whole number"),
        ("EPOCHS", 10**9, "at most 10,000"),
        ("SEED", -1, "0 or more"),
        ("SEED", 2**32, "at most 4,294,967,295"),
        ("SPLIT_SEED", 2**63, "at most 4,294,967,295"),
        ("BATCH_SIZE", 2**63, "at most"),
        ("LEARNING_RATE", "fast", "a number or none, more than 0"),
        ("LEARNING_RATE", 0, "more than 0, or none"),
        ("LEARNING_RATE", float("nan"), "a number"),
        ("VALIDATION_FRACTION", 1, "between 0 and 1"),
        ("WARMUP_FRACTION", 1.0, "less than 1"),
        ("PADDING", "longer", "longest or max_length"),
        ("PADDING", ["longest"], "a name or a path"),
        ("PRECISION", "fp64", "auto, fp32, bf16 or fp16"),
        ("MAX_LEN", 2, "3 "),
        ("BOOTSTRAP_SAMPLES", 10**12, "at most"),
        ("RUN", "../x", "a plain name"),
        ("RUN", "/etc", "a plain name"),
        ("RUN", ".hidden", "a plain name"),
        ("RUN", "a" * 300, "a plain name of at most 200 letters"),
        ("RUN", "", "a name or a path"),
        ("EXPORT_DIR", 7.5, "a name or a path or none"),
        ("EXPORT_DIR", True, "a name or a path or none"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_was_found_and_expected(name, value, words):
    with raises(f"{name} is ", words.replace(".", r"\.")):
        typed(name, value)


def test_an_undeclared_parameter_is_like_its_default():
    assert typed("MINE", "3", 1) == 3 and typed("MINE", "x", None) == "x" and typed("MINE", "yes", False) is True
    with raises("MINE is 'x': expected a number"):
        typed("MINE", "x", 0.5)


# ---------------------------------------------------------------- run folders


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(helpers, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def begin(notebook, **parameters):
    return helpers.begin(notebook, {"RUN": "run"} | parameters)


def finish(*notebooks, run="run"):
    for notebook in notebooks:
        begin(notebook, RUN=run).finish()


def test_a_missing_run_folder_names_the_notebook_and_the_call(runs):
    with raises("04_train.ipynb", "'nowhere'", "python run.py --until 04_train -p RUN nowhere"):
        begin("05_evaluate", RUN="nowhere")
    assert not runs.exists(), "asking makes nothing"


def test_a_rerun_makes_the_later_notebooks_stale_and_01_does_not(runs):
    finish("02_load_cola", "03_tokenize", "04_train", "01_setup", run="a/b")
    begin("05_evaluate", RUN="a/b")
    finish("02_load_cola", run="a/b")
    begin("03_tokenize", RUN="a/b")
    for notebook, stale in [("04_train", "03_tokenize"), ("05_evaluate", "04_train"), ("06_save_and_load", "04_train")]:
        with raises(stale):
            begin(notebook, RUN="a/b")


def test_a_notebook_knows_the_records_of_those_before_it_alone(runs):
    finish("02_load_cola", "03_tokenize", "04_train", "05_evaluate", "06_save_and_load", run="a")
    assert list(begin("05_evaluate", RUN="a").records) == ["02_load_cola", "03_tokenize", "04_train"]
    assert not begin("02_load_cola", RUN="a").records


def test_no_run_lies_in_another(runs):
    finish("02_load_cola", run="a")
    with raises("'a/b'|a.b and the run in .*a lie one within the other"):
        begin("02_load_cola", RUN="a/b")
    assert [path.name for path in (runs / "a").iterdir()] == ["run.json"]


def test_a_notebook_that_dies_while_writing_is_not_finished(runs):
    def killed(path):
        raise KeyboardInterrupt

    finish("02_load_cola", "03_tokenize")
    with pytest.raises(KeyboardInterrupt):
        begin("03_tokenize").finish(files={"tokens.safetensors": killed})
    assert list(helpers.read_run(runs / "run")["notebooks"]) == ["02_load_cola"]


def test_leftovers_of_a_killed_process_are_removed_and_a_damaged_record_is_said(runs):
    run = begin("02_load_cola")
    (run.folder / ".model.4711").mkdir()
    (run.folder / ".checkpoint.pt.4711").write_bytes(b"half")
    run.finish()
    assert [path.name for path in run.folder.iterdir()] == ["run.json"]
    (run.folder / "run.json").write_text("{")
    with raises("run.json", "'run'", "damaged", "delete"):
        begin("03_tokenize")


def test_records_say_what_was_asked_and_with_which_versions(runs):
    run = begin("02_load_cola", CORPUS="auto")
    run.finish(files={"a.txt": lambda path: path.write_text("a")}, corpus="practice")
    content = json.loads((run.folder / "run.json").read_text())
    record = content["notebooks"]["02_load_cola"]
    assert record["parameters"] == {"CORPUS": "auto"} and record["corpus"] == "practice" and record["finished"]
    assert torch.__version__.startswith(content["versions"]["torch"]) and content["device"]
    assert (run.folder / "a.txt").read_text() == "a"


def test_values_are_typed_in_place_and_a_bad_one_touches_nothing(runs):
    namespace = {"RUN": 7, "SEED": "3", "LEARNING_RATE": "5e-5", "something": "else"}
    finish("02_load_cola", "03_tokenize", run="7")
    run = helpers.begin("04_train", namespace)
    assert run.name == "7" and run.parameters == {"SEED": 3, "LEARNING_RATE": 5e-5}
    assert namespace == {"RUN": "7", "SEED": 3, "LEARNING_RATE": 5e-5, "something": "else"}
    with raises("SEED is -1"):
        helpers.begin("02_load_cola", {"RUN": "new", "SEED": -1})
    assert not (runs / "new").exists()


def test_a_parameter_changed_on_the_way_is_not_recorded(runs):
    namespace = {"RUN": "run", "MAX_LEN": 64}
    finish("02_load_cola")
    run = helpers.begin("03_tokenize", namespace)
    namespace["MAX_LEN"] = 16
    with raises("MAX_LEN was 64", "is 16 now", "from its parameters on"):
        run.finish()
    assert "03_tokenize" not in helpers.read_run(run.folder)["notebooks"]


def test_an_earlier_notebook_run_again_meanwhile_is_noticed(runs):
    finish("02_load_cola")
    run = begin("03_tokenize")
    begin("02_load_cola").finish(corpus="another")
    with raises("02_load_cola was run again"):
        run.finish()


def test_every_parameter_of_the_notebooks_is_declared():
    import papermill

    for path in sorted((helpers.ROOT / "notebooks").glob("[0-9]*.ipynb")):
        for name, seen in papermill.inspect_notebook(path).items():
            assert name in DECLARED, f"{name} of {path.name} has no line in bookkeeping/parameters.py"
            typed(name, eval(seen["default"]))


def test_what_was_decided_once_stays_decided(runs):
    run = begin("01_setup")
    assert run.decided("precision", lambda: "bf16") == "bf16"
    run.finish()
    assert begin("02_load_cola").decided("precision", lambda: 1 / 0) == "bf16"


OTHER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from bookkeeping.runs import Run
Run("02_load_cola", {{"RUN": "run"}}, Path({runs!r}), "CPU")
print("owned", flush=True)
time.sleep(60)
"""


def test_a_second_notebook_says_who_is_at_work_and_a_kill_frees_the_folder(runs):
    code = OTHER.format(root=str(helpers.ROOT), runs=str(runs))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "owned\n"
        with raises("02_load_cola.ipynb", f"process {other.pid}", "since 20", "another RUN"):
            begin("01_setup")
        begin("01_setup", RUN="another").finish()
        other.kill()
    begin("01_setup").finish()


def test_a_process_that_a_lock_owner_started_works_in_its_folder(runs, monkeypatch):
    lock = locks.acquire(runs / "run", "run.py")
    with raises("run.py .process"):
        begin("01_setup")
    monkeypatch.setenv(locks.HELD, str(runs / "run"))
    begin("01_setup").finish()
    lock.release()
