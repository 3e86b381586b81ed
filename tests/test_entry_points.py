"""Bad things, through the doors that people use: run.py, papermill, the notebooks, make. No traceback, and nothing is lost.

FAULTS is the list of what was once found, and of the test that tries it through its door.
"""

import collections
import contextlib
import errno
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from tally import tally, tries
from test_lesson_02 import corpus, lines
from test_series import declared, execute, runs, series, tiny  # noqa: F401
from toy import call, executed, start

import bookkeeping.runs
import helpers
import run as door
import setup_and_run
from bookkeeping.parameters import DECLARED
from lesson import sources
from runner import paths

FAULTS = {
    "the training cell run again with another parameter": "test_lesson_04::test_a_changed_parameter_is_refused_or_trained_with",
    "an interrupted training": "test_lesson_04::test_an_interrupted_training_goes_on_to_the_same_end",
    "cells run twice": "test_cells::test_each_cell_twice_in_place_and_all_again_leave_what_once_leaves",
    "cells run after a changed parameter": "test_cells::test_a_parameter_changed_before_one_cell_is_used_or_refused",
    "a bad corpus file": "test_lesson_02::test_a_bad_file_is_said_with_file_and_line",
    "a bad corpus file, by papermill": "test_entry_points::test_papermill_shows_one_sentence",
    "a model folder that does not suit": "test_lesson_03::test_a_model_folder_that_does_not_suit_is_said_in_03",
    "a MAX_LEN that the model cannot read": "test_lesson_03::test_the_longest_max_len_is_tried",
    "a corpus of six sentences": "test_entry_points::test_a_corpus_of_six_two_and_two_passes_through_all_notebooks",
    "a small test set": "test_lesson_05::test_small_sets_can_be_evaluated",
    "a validation set of one class": "test_lesson_03::test_validation_sentences_of_one_class_are_refused_with_the_way_out",
    "equal epochs": "test_lesson_04::test_equal_epochs_are_decided_by_the_validation_loss_and_it_is_said",
    "papermill from another folder": "test_entry_points::test_papermill_from_another_folder",
    "text for a number, by papermill": "test_entry_points::test_values_as_papermill_gives_them_mean_what_they_say",
    "text of the corpus as a formula": "test_lesson_03::test_text_with_dollars_is_drawn_as_it_is",
    "names of runs as formulas": "test_lesson_07::test_names_and_values_that_look_like_formulas_are_drawn_as_text",
    "files written with quoting": "test_lesson_02::test_quoted_sentences_are_noted",
    "an export over another save": "test_lesson_06::test_a_folder_that_will_not_do_is_refused_before_any_work",
    "several files of one name": "test_sources::test_of_several_places_the_nearest_wins_and_a_choice_without_a_rule_is_refused",
    "precision found by a stopwatch": "test_lesson_04::test_precision_and_threads_are_decided_once",
    "threads of a sweep": "test_resume::test_all_runs_of_a_sweep_have_the_threads_that_its_first_call_decided",
    "a bad value on a finished run": "test_run_parameters::test_a_value_out_of_range_is_refused_before_anything_is_touched",
    "two series on one run": "test_resume::test_a_second_call_on_a_run_says_who_is_at_work_and_stops",
    "a notebook by hand beside run.py": "test_resume::test_a_notebook_by_hand_keeps_run_py_out",
    "two notebooks on one run": "test_bookkeeping::test_a_second_notebook_says_who_is_at_work_and_a_kill_frees_the_folder",
    "a run that was changed by hand": "test_resume::test_a_run_that_was_changed_by_hand_is_not_called_finished",
    "a kill after the training": "test_kills::test_run_py_killed_twice_ends_the_same",
    "a full disk at a checkpoint": "test_lesson_04::test_a_disk_that_fills_up_is_said_with_place_and_size",
    "a full disk elsewhere": "test_entry_points::test_a_full_or_locked_disk_is_one_sentence_and_loses_nothing",
    "data/ that cannot be written": "test_sources::test_a_folder_that_cannot_be_written_is_said_and_auto_takes_the_practice_corpus",
    "a zip bomb": "test_sources::test_a_zip_bomb_is_refused_before_it_is_unpacked",
    "a damaged zip": "test_properties::test_a_damaged_zip_gives_the_same_rows_or_one_sentence",
    "a download without end": "test_sources::test_a_download_without_end_is_cut",
    "other network faults": "test_entry_points::test_a_network_that_misbehaves_ends_in_time",
    "a hub model without weights": "test_sources::test_a_hub_model_without_weights_is_said_before_anything_is_loaded",
    "what cannot be a name on the hub": "test_sources::test_what_cannot_be_a_name_on_the_hub_is_said",
    "an alien checkpoint": "test_lesson_04::test_a_checkpoint_that_does_not_fit_is_not_used",
    "a damaged checkpoint": "test_fuzz::test_a_damaged_checkpoint_is_not_used_at_all_or_is_the_same",
    "a run folder that goes away": "test_entry_points::test_a_run_folder_that_goes_away_is_one_sentence",
    "too little memory": "test_lesson_04::test_too_little_memory_names_what_to_lower_and_the_last_step_that_worked",
    "what killed calls leave": "test_resume::test_scratch_folders_of_dead_kernels_are_swept_and_others_are_not",
    "a run whose call was killed elsewhere": "test_resume::test_a_call_without_a_sign_of_life_counts_as_dead",
    "a pipe that closes": "test_entry_points::test_a_pipe_that_closes_ends_run_py",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_test(fault):
    module, name = FAULTS[fault].split("::")
    assert f"\ndef {name}(" in Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")


def is_one_sentence(text):
    return "Traceback" not in text and len(text.strip().splitlines()) <= 3


# ---------------------------------------------------------------- run.py

REFUSED = {
    "no such parameter": ["-p", "SEEDS", "1"],
    "a word for a number": ["-p", "EPOCHS", "many"],
    "a number out of range": ["-p", "BATCH_SIZE", "0"],
    "a huge number": ["-p", "SEED", "9" * 5000],
    "not a number": ["-p", "LEARNING_RATE", "nan"],
    "no value": ["-p", "SEED"],
    "twice": ["-p", "SEED", "1", "-p", "SEED", "2"],
    "a name that leads elsewhere": ["-p", "RUN", "../x"],
    "a name of 300 characters": ["-p", "RUN", "x" * 300],
    "a name with a zero byte": ["-p", "RUN", "a\0b"],
    "half a character": ["-p", "RUN", "\udc80"],
    "an unknown user": ["-p", "CORPUS", "~nobody-of-this-name/x"],
    "a file that is none": ["--file", "nowhere.yaml"],
    "a folder as a file": ["--file", "."],
    "a binary file": ["--file", sys.executable],
    "no such notebook": ["--until", "99"],
    "options that need each other": ["-p", "SEED", "1", "2", "--backend", "dask"],
    "no scheduler": ["-p", "SEED", "1", "2", "--backend", "dask", "--scheduler", "nonsense"],
    "an index too large": ["-p", "SEED", "1", "2", "--index", "2"],
    "nothing of a notebook that is left out": ["-p", "SEED", "1", "--until", "02"],
}


@pytest.mark.parametrize("what", REFUSED)
def test_run_py_refuses_in_one_sentence_and_touches_nothing(what, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    with tally("bad arguments of run.py", "one sentence, nothing is touched") as came:
        assert door.main(REFUSED[what]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("run.py: ") and is_one_sentence(said.err), said.err
        assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.suffix == ".ipynb"]
        came("one sentence")


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--jobs", "x"], ["--backend", "clouds"], ["nonsense"], ["-p"]])
def test_the_command_line_is_explained_where_it_cannot_be_read(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        door.main(arguments)
    assert left.value.code == 2 and "usage:" in capsys.readouterr().err


def test_a_pipe_that_closes_ends_run_py(small):
    process = start(small, "-p", "SEED", *range(2000), "--dry-run")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) in {1, 0}


def test_a_page_is_made_without_a_notebook_that_is_gone(small):
    assert call(small, "-p", "RUN", "x")[0] == 0
    (small / "runs/x/notebooks/03_cut.ipynb").unlink()
    (small / "runs/x/notebooks/04_train.ipynb").write_text("half")
    code, output = call(small, "-p", "RUN", "x")
    assert code == 0 and executed(small)["x"] == "02 03 04", "nothing is repeated for it"
    assert "03_cut.ipynb cannot be read" in output and "04_train.ipynb cannot be read" in output
    page = (small / "runs/x/report.html").read_text(encoding="utf-8")
    assert 'id="02_load"' in page and 'id="03_cut"' not in page and 'href="#03_cut"' not in page


# ---------------------------------------------------------------- papermill


def papermill(tmp_path, notebook, *arguments, cwd=helpers.ROOT):
    """(exit code, the error that the executed notebook shows) of one call of plain papermill."""
    out = tmp_path / "out.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        str(helpers.ROOT / "notebooks" / f"{notebook}.ipynb"),
    ]
    environment = os.environ | {"BERT_RUNS": str(tmp_path / "runs")}
    done = subprocess.run([*command, str(out), *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    outputs = [output for cell in nbformat.read(out, as_version=4).cells for output in cell.get("outputs", [])]
    return done.returncode, ["\n".join(output["traceback"]) for output in outputs if output["output_type"] == "error"]


@pytest.mark.slow
def test_papermill_shows_one_sentence(tmp_path):
    bad = corpus(tmp_path / "bad", train=lines([1, 0]) + "x\t1\t\tThe cat sat.\t\n")
    code, errors = papermill(tmp_path, "02_load_cola", "-p", "CORPUS", bad)
    assert code and errors == [
        "SeriesError: in_domain_train.tsv, line 3: 5 tab-separated columns where 4 were expected (source, label, mark, "
        "sentence). Mend or remove the line."
    ]


@pytest.mark.slow
def test_papermill_from_another_folder(tmp_path):
    code, errors = papermill(tmp_path, "02_load_cola", "-p", "CORPUS", corpus(tmp_path / "own"), cwd=tmp_path)
    assert code == 0 or len(errors) == 1 and is_one_sentence(errors[0]) and "papermill: --cwd" in errors[0]


# ---------------------------------------------------------------- the notebooks

ALL = [*helpers.SERIES, "07_compare_runs", "08_error_analysis"]
BAD = {
    int: ["many", 1.5, True, None, [1], -1, 10**30],
    float: ["fast", None, [0.1], float("nan"), -1],
    str: [1.5, True, [], {}],
}


@pytest.fixture(scope="module")
def finished(tiny):  # noqa: F811
    """A run from 02 to 05, in another folder of runs."""
    return series("finished", **tiny)[0]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def given_badly():
    for notebook in ALL:
        for name in [target.id for target in declared(notebook)]:
            own = DECLARED[name]
            for value in BAD[own.kind]:
                if not (
                    value is None
                    and own.or_none
                    or value == 10**30
                    and own.fits is None
                    or name == "MAX_LEN"
                    and value == 10**30
                ):
                    yield notebook, name, value


def test_a_bad_value_in_any_parameters_cell_is_refused_by_name_and_loses_nothing(finished, capsys):
    before = contents(finished)
    with tally("bad values in the parameters cells", "refused by name before anything is touched") as came:
        for notebook, name, value in given_badly():
            with pytest.raises(helpers.SeriesError) as refused:
                execute(
                    notebook,
                    **{"RUN" if "RUN" in DECLARED and notebook != "07_compare_runs" else "SWEEP": "finished"}
                    | {name: value},
                )
            assert str(refused.value).startswith(f"{name} is ") and "expected" in str(refused.value)
            came("refused by name")
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("notebook", "given", "meant"),
    [
        ("04_train", {"LEARNING_RATE": "5e-5", "EPOCHS": "1", "SEED": "7"}, {"LEARNING_RATE": 5e-5, "EPOCHS": 1, "SEED": 7}),
        ("04_train", {"EPOCHS": 1.0, "LEARNING_RATE": "none"}, {"EPOCHS": 1, "LEARNING_RATE": None}),
        ("03_tokenize", {"MAX_LEN": 16.0, "VALIDATION_FRACTION": "2e-1"}, {"MAX_LEN": 16, "VALIDATION_FRACTION": 0.2}),
        ("05_evaluate", {"BOOTSTRAP_SAMPLES": 1000.0}, {"BOOTSTRAP_SAMPLES": 1000}),
    ],
)  # fmt: skip
def test_values_as_papermill_gives_them_mean_what_they_say(tiny, finished, notebook, given, meant):  # noqa: F811
    """-f with YAML 1.1 in it, -r, and -p RUN 7."""
    shutil.rmtree(helpers.RUNS / "7", ignore_errors=True)
    shutil.copytree(finished, helpers.RUNS / "7")
    own = {"MODEL_NAME": tiny["MODEL_NAME"]} if notebook == "03_tokenize" else {}
    execute(notebook, RUN=7, **own | given)
    assert meant.items() <= helpers.read_run(helpers.RUNS / "7")["notebooks"][notebook]["parameters"].items()


def test_a_corpus_of_six_two_and_two_passes_through_all_notebooks(tiny, tmp_path):  # noqa: F811
    folder, _ = series("six", until="06_save_and_load", **tiny | {"CORPUS": corpus(tmp_path / "six")})
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [metrics[split]["n"] for split in ("validation", "in_domain_dev", "test")] == [1, 2, 2]


@pytest.mark.parametrize("notebook", ALL[:6])
def test_a_run_folder_that_goes_away_is_one_sentence(tiny, finished, notebook, monkeypatch):  # noqa: F811
    """Between the beginning of a notebook and its end, and before it."""
    monkeypatch.setattr(sources, "minilm_folder", lambda: tiny["MODEL_NAME"])
    run = helpers.RUNS / "away"
    shutil.copytree(finished, run)
    names = [target.id for target in declared(notebook)]
    finish = helpers.Run.finish
    monkeypatch.setattr(helpers.Run, "finish", lambda *args, **options: (shutil.rmtree(run), finish(*args, **options)))
    with tally(
        "the run folder is deleted while a notebook is at work", "one sentence, or the folder is made anew"
    ) as came:
        try:
            execute(notebook, **{name: value for name, value in (tiny | {"RUN": "away"}).items() if name in names})
            came("the folder is made anew")
        except helpers.SeriesError:
            came("one sentence")
    shutil.rmtree(run, ignore_errors=True)


# ---------------------------------------------------------------- disks


@contextlib.contextmanager
def disk(folder, *options):
    """Mount a small disk in a folder. Skips the test where this is not allowed."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(["size=400k", *options]), "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        bookkeeping.runs._release()  # a lock that lies there
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder, leave=0):
    (folder / "filler").write_bytes(b"0" * max(0, shutil.disk_usage(folder).free - leave))


@pytest.mark.parametrize("how", ["full", "locked"])
@pytest.mark.parametrize("notebook", ["01_setup", "02_load_cola", "03_tokenize", "05_evaluate", "06_save_and_load"])
def test_a_full_or_locked_disk_is_one_sentence_and_loses_nothing(tiny, finished, tmp_path, monkeypatch, notebook, how):  # noqa: F811
    """On a real disk of 400 kB: it holds what the notebook reads, but its model, and has no room for what it writes."""
    monkeypatch.setattr(sources, "minilm_folder", lambda: tiny["MODEL_NAME"])
    names = [target.id for target in declared(notebook)]
    own = {name: value for name, value in (tiny | {"RUN": "small"}).items() if name in names}
    with (
        disk(tmp_path / "disk") as place,
        tally(f"a {how} disk under the run folders", "one sentence with place and room; nothing is lost") as came,
    ):
        shutil.copytree(finished, place / "small", ignore=shutil.ignore_patterns("model", "report.html"))
        shutil.copytree(finished / "model", tmp_path / "model")
        (place / "small/model").symlink_to(tmp_path / "model")
        monkeypatch.setattr(helpers, "RUNS", place)
        before = contents(place / "small")
        fill(place)
        if how == "locked":
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        with pytest.raises(helpers.SeriesError, match=r"No space left on device|Read-only file system") as refused:
            execute(notebook, **own)
        with pytest.raises(helpers.SeriesError, match="No space left on device|Read-only file system"):
            execute(notebook, **own)  # not: somebody else is at work
        assert "MB are free" in str(refused.value) and "BERT_RUNS" in str(refused.value)
        assert contents(place / "small") == before
        came("one sentence; nothing is lost")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_run_py_says_in_one_sentence_what_the_disk_refuses(quick, monkeypatch, capsys, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error), "runs/x/state.json")

    monkeypatch.setattr("runner.resume.write_state", refuse)
    assert quick.main(["-p", "RUN", "x"]) == 2
    said = capsys.readouterr().err
    assert os.strerror(error) in said and "BERT_RUNS" in said and is_one_sentence(said)


# ---------------------------------------------------------------- the network


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """Does what its path says."""

    def do_GET(self):
        what, stop = self.path.strip("/"), self.server.stop
        if what == "silent":
            stop.wait(30)
        elif what == "loop":
            self.answer(302, Location="/loop")
        elif what == "missing":
            self.answer(404)
        elif what == "error":
            self.answer(500)
        elif what == "cut":
            self.answer(200, **{"Content-Length": "255330"}, body=b"PK" * 50)
        elif what == "wrong":
            self.answer(200, body=b"<html>Welcome to the hotel</html>")
        elif what == "empty":
            self.answer(200)
        elif what == "nonsense":
            self.wfile.write(b"\x00\xff" * 100)
        elif what == "lying":
            self.answer(200, **{"Content-Length": "-1"}, body=b"PK")
        elif what in {"slow", "endless", "headers"}:
            if what != "headers":
                self.answer(200)
            with contextlib.suppress(OSError):
                while not stop.wait(0.05 if what == "slow" else 0):
                    self.wfile.write(
                        {"slow": b"0", "endless": b"0" * 100_000, "headers": b"X: " + b"y" * 1000 + b"\r\n"}[what]
                    )

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    httpd.stop = threading.Event()
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.stop.set()
    httpd.shutdown()
    httpd.server_close()


NETWORK = ["silent", "slow", "loop", "missing", "error", "cut", "wrong", "empty", "nonsense", "lying", "endless", "headers", "refused", "no such host"]  # fmt: skip


@pytest.mark.parametrize("fault", NETWORK)
def test_a_network_that_misbehaves_ends_in_time(server, tmp_path, monkeypatch, fault):
    """CORPUS = "cola" says one sentence with the way out, and "auto" takes the practice corpus; data/ stays clean."""
    address = {"refused": "http://127.0.0.1:9/x", "no such host": "http://nowhere.invalid/x"}.get(
        fault, f"{server}/{fault}"
    )
    monkeypatch.setattr(sources, "OFFLINE", False)
    monkeypatch.setattr(sources, "DATA", tmp_path / "data")
    monkeypatch.setattr(sources.fetch_cola, "__defaults__", ([address], None, 2))
    with tally(f"network: {fault}", "one sentence in time; auto takes the practice corpus; nothing stays") as came:
        for _ in range(tries(1)):
            with pytest.raises(helpers.SeriesError) as refused:
                sources.find_corpus("cola")
            message = str(refused.value)
            assert address in message and "CORPUS = 'practice'" in message and "Traceback" not in message
            assert not list(tmp_path.rglob("*.zip"))
            came("one sentence")
    if fault != "slow":  # which takes as long as silence
        assert sources.find_corpus("auto")[0] == "practice"


# ---------------------------------------------------------------- setting up (the rest: test_setup_and_run.py)


@pytest.mark.parametrize(
    ("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False), ((2, 7), False)]
)
def test_another_python_is_refused_in_one_sentence(version, fits):
    if fits:
        return setup_and_run.check_python(version)
    with pytest.raises(SystemExit, match=rf"Python {version[0]}.{version[1]} found, .* make PYTHON=python3.12"):
        setup_and_run.check_python(version)


# ---------------------------------------------------------------- the report of all this


def test_the_report_counts_what_came_of_the_tries(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(helpers.ROOT / "benchmarks")
    import reliability
    import tally as counting

    monkeypatch.setattr(counting, "TALLY", tmp_path / "tally.jsonl")
    with tally("a kill", "equal") as came:
        came("equal")
        came("equal")
    with pytest.raises(AssertionError), tally("a kill", "equal") as came:
        raise AssertionError
    told = [json.loads(line)["happened"] for line in (tmp_path / "tally.jsonl").read_text().splitlines()]
    assert told == [{"equal": 2}, {"promise broken: AssertionError": 1}]
    tried = {("a kill", "equal"): collections.Counter(told[0]) + collections.Counter(told[1])}
    page = "\n".join(reliability.report(tried, {"x": "m::t", "y": "m::u"}, {"m::t[1]": "failure: no"}))
    assert "| a kill | 3 | equal | 2 equal; 1 promise broken: AssertionError |" in page
    assert "| x | `m::t` | failure: no |" in page and "| y | `m::u` | as promised |" in page
