"""What a call takes from a run folder: nothing finished is repeated, lost, or vouched for when it is something else."""

import json
import os
import re
import shutil
import signal
import time

import pytest
from toy import PATIENCE, call, edit, executed, forget, has_begun, start, wait_until, write_toy

from bookkeeping import locks
from runner import grid, paths


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_finished_is_not_repeated_and_again_repeats_it(quick, capsys):
    assert quick.main(["-p", "RUN", "x"]) == 0
    before = contents(paths.RUNS / "x")
    capsys.readouterr()
    assert quick.main(["-p", "RUN", "x"]) == 0
    said = capsys.readouterr().out
    assert "finished in" in said and "--again repeats" in said and "test MCC" in said
    assert len(quick.executed) == 5 and contents(paths.RUNS / "x") == before
    assert quick.main(["-p", "RUN", "x", "--again"]) == 0 and len(quick.executed) == 10
    edit("03_cut")  # notebooks that have changed make another result
    assert quick.main(["-p", "RUN", "x"]) == 0 and len(quick.executed) == 15
    assert not (paths.RUNS / ".before/x").exists()


def test_a_notebook_that_only_reads_is_executed_after_the_others_and_repeats_none(quick, toy):
    read = 'RUN = "default"  # name of the run folder\nPAIRS = 0  # how many'
    write_toy(toy / "notebooks/08_error_analysis.ipynb", read, ["pass"])
    forget()
    for more, so_far in [([], 6), ([], 6), (["-p", "PAIRS", "3"], 7)]:
        assert quick.main(["-p", "RUN", "x", "--until", "08", *more]) == 0
        assert len(quick.executed) == so_far, quick.executed
    assert quick.executed[5:] == ["x 08", "x 08"]
    assert not (paths.RUNS / ".before").exists()


@pytest.mark.parametrize("arguments", [["--again"], ["-p", "SEED", "7"]])
def test_a_finished_result_stays_until_the_new_one_is_whole(quick, capsys, arguments):
    assert quick.main(["-p", "RUN", "x"]) == 0
    before = contents(paths.RUNS / "x")
    quick.fail = lambda notebook: "ValueError: no" if notebook == "04_train" else None
    assert quick.main(["-p", "RUN", "x", *arguments]) == 1
    (kept,) = (paths.RUNS / ".before/x").iterdir()
    assert contents(kept) == before and str(kept) in capsys.readouterr().out
    assert not (paths.RUNS / "x/metrics.json").exists(), "nothing of the old result beside the new one"
    quick.fail = lambda notebook: None
    assert quick.main(["-p", "RUN", "x", *arguments]) == 0
    assert (paths.RUNS / "x/metrics.json").exists() and not (paths.RUNS / ".before/x").exists()


@pytest.mark.parametrize("stop", ["02_load", "04_train", "05_evaluate"])
def test_a_series_goes_on_from_where_it_broke_off(quick, capsys, stop):
    quick.fail = lambda notebook: "ValueError: no" if notebook == stop else None
    assert quick.main(["-p", "RUN", "x"]) == 1
    tried = len(quick.executed)
    quick.fail = lambda notebook: None
    assert quick.main(["-p", "RUN", "x"]) == 0
    assert [text[-2:] for text in quick.executed[tried:]] == [f"0{n}" for n in range(int(stop[:2]), 6)]
    assert "going on: 01_setup" in capsys.readouterr().out


def test_what_was_done_with_other_parameters_is_repeated_from_there_on(quick):
    quick.fail = lambda notebook: "MemoryError: full" if notebook == "04_train" else None
    assert quick.main(["-p", "MAX_LEN", "8"]) == 1
    quick.fail = lambda notebook: None
    assert quick.main(["-p", "MAX_LEN", "9"]) == 0
    assert [text[-2:] for text in quick.executed] == ["01", "02", "03", "04", "03", "04", "05"]


def put_record(folder, **parameters):
    """run.json as the notebooks leave it: each says with which parameters it finished."""
    state = json.loads((folder / "state.json").read_text())["parameters"] | parameters
    own = {"01_setup": [], "02_load": ["CORPUS"], "03_cut": ["MAX_LEN", "EXACT"], "05_evaluate": ["SAMPLES"]}
    own["04_train"] = ["SEED", "LEARNING_RATE", "NAP"]
    records = {name: {"parameters": {key: state[key] for key in keys}} for name, keys in own.items()}
    (folder / "run.json").write_text(json.dumps({"notebooks": records}))
    return records


@pytest.mark.parametrize("folder", [False, True])
def test_a_table_that_was_edited_is_read_again_and_mixes_with_no_sweep(quick, capsys, tmp_path, folder):
    place = tmp_path / "own" if folder else tmp_path / "own.csv"
    table = place / "train.csv" if folder else place
    table.parent.mkdir(exist_ok=True)
    table.write_text("text,label\nOne.,1\n")
    once, sweep = ["-p", "CORPUS", str(place), "-p", "RUN", "x"], ["-p", "CORPUS", str(place), "-p", "SEED", "1", "2"]
    assert quick.main(once) == quick.main(sweep) == 0
    executed = len(quick.executed)
    table.write_bytes(table.read_bytes())
    os.utime(table)  # a copy of the same
    assert quick.main(once) == quick.main(sweep) == 0
    assert [one for one in quick.executed[executed:] if "07" not in one] == []
    table.write_text("text,label\nOne.,0\n")
    executed = len(quick.executed)
    assert quick.main(once) == 0 and quick.executed[executed] == "x 01"
    capsys.readouterr()
    assert quick.main([*sweep, "3"]) == 2
    assert re.search(
        "holds a finished run with content of CORPUS '.*' .now '.*'.: choose another", capsys.readouterr().err
    )


def test_a_folder_of_many_files_is_not_read_through(tmp_path, monkeypatch):
    for i in range(4):
        (tmp_path / f"{i}/inside").mkdir(parents=True)
    assert grid.content_of_path(str(tmp_path))
    monkeypatch.setattr(grid, "MANY", 4)
    monkeypatch.setattr(grid, "content_sum", lambda *_: pytest.fail("was read"))
    assert grid.content_of_path(str(tmp_path)) is None


def test_a_run_that_was_changed_by_hand_is_not_called_finished(quick, capsys):
    assert quick.main(["-p", "RUN", "x"]) == 0
    folder = paths.RUNS / "x"
    put_record(folder)
    assert quick.main(["-p", "RUN", "x"]) == 0 and len(quick.executed) == 5
    put_record(folder, SEED=7)
    before = contents(folder)
    capsys.readouterr()
    quick.fail = lambda notebook: "ValueError: no" if notebook == "01_setup" else None
    assert quick.main(["-p", "RUN", "x"]) == 1
    assert "finished in" not in capsys.readouterr().out
    (kept,) = (paths.RUNS / ".before/x").iterdir()
    assert contents(kept) == before

    quick.fail = lambda notebook: None
    assert quick.main(["-p", "SEED", "1", "2"]) == 0
    put_record(paths.RUNS / "sweep/SEED=1", SEED=3)
    assert quick.main(["-p", "SEED", "1", "2"]) == 2
    assert "changed by hand" in capsys.readouterr().err


def test_a_record_that_a_rerun_by_hand_dropped_is_made_again(quick):
    quick.fail = lambda notebook: "ValueError: no" if notebook == "05_evaluate" else None
    assert quick.main([]) == 1
    folder = paths.RUNS / "default"
    records = put_record(folder)
    kept = {name: records[name] for name in ("01_setup", "02_load")}  # 02 was run again by hand
    (folder / "run.json").write_text(json.dumps({"notebooks": kept}))
    quick.fail = lambda notebook: None
    assert quick.main([]) == 0
    assert [text[-2:] for text in quick.executed[5:]] == ["03", "04", "05"]


def test_a_run_made_by_hand_is_kept_aside(quick, capsys):
    folder = paths.RUNS / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    quick.fail = lambda notebook: "ValueError: no"
    assert quick.main(["-p", "RUN", "mine"]) == 1
    (kept,) = (paths.RUNS / ".before/mine").iterdir()
    assert contents(kept) == {"run.json": b"{}"}


def test_a_second_call_on_a_run_says_who_is_at_work_and_stops(small):
    first = start(small, "-p", "NAP", 3600, "-p", "SEED", 1, "-p", "RUN", "x")
    wait_until(has_begun(small, "04"))
    code, output = call(small, "-p", "SEED", 2, "-p", "RUN", "x")
    assert code == 2 and f"run.py (process {first.pid}" in output and "is at work in the run 'x', since 20" in output
    (small / "awake").touch()
    output, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, output
    assert executed(small)["x"] == "02 03 04"


def test_a_notebook_by_hand_keeps_run_py_out(quick, capsys):
    lock = locks.acquire(paths.RUNS / "x", "04_train.ipynb")
    assert quick.main(["-p", "RUN", "x"]) == 2
    assert "04_train.ipynb (process" in capsys.readouterr().err
    lock.release()
    assert quick.main(["-p", "RUN", "x"]) == 0


def test_a_kill_frees_the_folder_and_nothing_finished_is_repeated(small):
    process = start(small, "-p", "NAP", 3600, "-p", "RUN", "x")
    wait_until(has_begun(small, "04"))
    process.kill()
    process.wait()
    code, output = call(small, "-p", "RUN", "x", "--until", "03")
    assert code == 0 and "going on: 02_load, 03_cut had finished" in output, output
    assert executed(small)["x"] == "02 03 04"
    assert len(list((small / "runs/.calls").iterdir())) == 0, "what a killed call left is swept"


def test_scratch_folders_of_dead_kernels_are_swept_and_others_are_not(quick, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    for name in ("bert-kernel-999999999-x", f"bert-kernel-{os.getpid()}-x", "somebody-elses"):
        (tmp_path / "scratch" / name).mkdir(parents=True)
    calls = paths.RUNS / ".calls"
    calls.mkdir(parents=True)
    for name in ("elsewhere,1,new", "elsewhere,1,old"):
        (calls / name).touch()
    os.utime(calls / "elsewhere,1,old", (0, 0))
    assert quick.main(["--until", "01"]) == 0
    left = {path.name for path in (tmp_path / "scratch").iterdir()}
    assert left == {f"bert-kernel-{os.getpid()}-x", "somebody-elses"}
    assert [path.name for path in calls.iterdir()] == ["elsewhere,1,new"]


def test_a_call_without_a_sign_of_life_counts_as_dead(tmp_path, monkeypatch):
    from runner.locks import SILENCE, Call, Stopped

    call = Call(tmp_path / "call")
    call.alive.touch()
    call.check()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + SILENCE + 1)
    with pytest.raises(Stopped):
        call.check()
    os.utime(call.alive, (1, 1))  # it beats again
    call.check()


def test_a_disk_that_refuses_is_said_without_a_traceback(quick, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/x/state.json")

    monkeypatch.setattr("runner.resume.write_state", full)
    assert quick.main(["-p", "RUN", "x"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_ctrl_c_keeps_the_result_that_stood_there(small):
    code, output = call(small, "-p", "RUN", "x")
    assert code == 0, output
    before = contents(small / "runs/x")
    process = start(small, "-p", "RUN", "x", "-p", "NAP", 3600)
    wait_until(lambda: executed(small)["x"].count("04") == 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    (kept,) = (small / "runs/.before/x").iterdir()
    assert contents(kept) == before


def test_all_runs_of_a_sweep_have_the_threads_that_its_first_call_decided(quick, capsys):
    quick.fail = lambda notebook: "ValueError: no" if notebook == "04_train" else None
    assert quick.main(["-p", "SEED", "1", "2"]) == 1
    quick.fail = lambda notebook: None
    os.environ["OMP_NUM_THREADS"] = "2"  # which the fixture takes back
    assert quick.main(["-p", "SEED", "1", "2", "3"]) == 0
    assert "threads of a run: 1, as this sweep began, and not 2" in capsys.readouterr().out
    assert {call.environment.get("OMP_NUM_THREADS") for call in quick.calls} - {None} == {"1"}  # 07 has none


def test_the_old_name_of_a_sweep_is_understood(quick):
    assert quick.main(["-p", "SEED", "1", "--batch", "old"]) == 0 and (paths.RUNS / "old/SEED=1/state.json").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_files_that_are_no_runs_are_never_removed(quick, capsys, tmp_path, elsewhere):
    assert quick.main(["-p", "SEED", "1", "2"]) == 0  # runs/sweep holds runs, and is none
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    before = contents(paths.RUNS), contents(mine)
    assert quick.main(["-p", "RUN", str(mine) if elsewhere else "sweep"]) == 2
    assert "files that are no run's" in capsys.readouterr().err and (contents(paths.RUNS), contents(mine)) == before


@pytest.mark.parametrize("inner", ["x/y", "x/y/z"])
def test_no_run_lies_in_another_where_it_would_be_removed_with_it(quick, capsys, inner):
    inside = ["-p", "RUN", inner]
    for first, *others in [
        [["-p", "RUN", "x"], inside, ["--sweep", "x", "-p", "SEED", "1", "2"]],
        [inside, ["-p", "RUN", "x"]],
    ]:
        assert quick.main(first) == 0
        before = contents(paths.RUNS)
        for arguments in others:
            capsys.readouterr()
            assert quick.main(arguments) == 2 and contents(paths.RUNS) == before
            assert re.search("lie one within the other|no run's", capsys.readouterr().err)
        shutil.rmtree(paths.RUNS / "x")
    nested = paths.RUNS / inner
    assert quick.main(["-p", "RUN", "x"]) == 0
    nested.mkdir(parents=True)
    (nested / "run.json").write_text("{}")  # as a version before this one may have left it
    for more in ["--again"], ["-p", "SEED", "7"]:
        assert quick.main(["-p", "RUN", "x", *more]) == 2 and (nested / "run.json").exists()


def test_a_run_folder_by_its_full_path_is_kept_aside_beside_it(quick, tmp_path):
    folder = tmp_path / "drive" / "run1"
    assert quick.main(["-p", "RUN", str(folder)]) == 0
    assert quick.main(["-p", "RUN", str(folder), "-p", "SEED", "7"]) == 0
    assert (folder / "metrics.json").exists()
    quick.fail = lambda notebook: "ValueError: no"
    assert quick.main(["-p", "RUN", str(folder), "--again"]) == 1
    (kept,) = (tmp_path / "drive/.before/run1").iterdir()
    assert (kept / "metrics.json").exists()
