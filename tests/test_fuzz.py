"""A byte changed or a file cut, anywhere in what a run keeps: noticed, begun anew with a sentence, or harmless.

Never a traceback of a library, and never other numbers without a word. Places are drawn anew each time; a failure prints its seed.
"""

import contextlib
import copy
import random
import shutil

import nbformat
import pytest
import torch
from reader import Reader
from tally import tally, tries
from test_properties import given_to
from test_series import runs, series, tiny  # noqa: F401

import helpers
from bookkeeping.files import read_json, write_json
from bookkeeping.runs import NEEDS, read_run
from bookkeeping.sums import sums
from lesson import sweeps, training
from runner import paths
from runner.page import read_executed
from runner.state import content_of

READERS = {"02_load_cola": "03_tokenize", "03_tokenize": "04_train", "04_train": "05_evaluate"}


@pytest.fixture(scope="module")
def finished(tiny):  # noqa: F811
    """The folder of a run from 02 to 05."""
    return series("finished", **tiny)[0]


@contextlib.contextmanager
def damaged(path, draw):
    """Yield with a byte of a file changed, or the file cut, or a stretch of it zeroed; then it is as it was."""
    content = path.read_bytes()
    place, how = draw.randrange(len(content)), draw.choice(["changed", "changed", "changed", "cut", "zeroed"])
    new = bytearray(content)
    if how == "changed":
        new[place] ^= draw.randrange(1, 256)
    elif how == "cut":
        del new[place:]
    else:
        new[place : place + 512] = bytes(len(new[place : place + 512]))
    path.write_bytes(new)
    try:
        yield how, place
    finally:
        path.write_bytes(content)


def draws(n):
    """`n` random generators, the seed of each printed."""
    for seed in random.sample(range(10**9), n):
        print("seed", seed)
        yield random.Random(seed)


def kept_files(folder):
    """{file that the run vouches for: the notebook that wrote it}."""
    return {name: notebook for notebook, files in read_run(folder)["files"].items() for name in files}


def built_upon(notebook):
    """The notebooks whose results a notebook reads, and those that these read."""
    before = NEEDS[notebook]
    return [before, *built_upon(before)] if before else []


def test_a_run_vouches_for_every_file_that_is_read_again(finished):
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert {"corpus/train.parquet", "tokens.safetensors", "model/model.safetensors", "metrics.json"} <= files
    others = {"run.json", "model/README.md"}  # the one has a checksum of its own, the other is for people
    assert files - kept_files(finished).keys() == others


def test_a_damaged_file_is_refused_by_every_notebook_that_builds_on_it(finished):
    files = kept_files(finished)
    later = {name: [each for each in NEEDS if files[name] in built_upon(each)] for name in files}
    names = [name for name in files if later[name]]
    promised = "the next notebook names the file and the notebook that makes it anew"
    with tally("corpus, tokens, history, model: a byte changed, or cut", promised) as came:
        for draw in draws(tries(200)):
            name = draw.choice([*names, "tokens.safetensors", "model/model.safetensors"])
            with damaged(finished / name, draw) as where:
                _, refusal = given_to(helpers.begin, draw.choice(later[name]), {"RUN": "finished"})
                assert refusal and name in refusal and f"Run {files[name]}.ipynb again" in refusal, (name, where)
            came("refused in one sentence")
        for notebook in NEEDS:
            helpers.begin(notebook, {"RUN": "finished"})


def test_a_damaged_record_is_refused_or_means_the_same(finished):
    path, before = finished / "run.json", read_run(finished)
    with tally("run.json: a byte changed, or cut", "refused in one sentence, or the same content") as came:
        for draw in draws(tries(300)):
            with damaged(path, draw) as where:
                found, refusal = given_to(read_run, finished)
            if refusal:
                assert "run.json of the run 'finished' is damaged" in refusal
            else:  # such as another blank, or the checksum by another name
                assert {name: value for name, value in found.items() if name in before} == before, where
            came("refused in one sentence" if refusal else "the same content")


def test_a_token_file_of_an_older_run_without_a_checksum_is_no_traceback(finished):
    path, before = finished / "tokens.safetensors", helpers.load_tokens(finished)
    with tally("tokens.safetensors alone, as 0.5 left it: a byte changed, or cut", "one sentence, or read") as came:
        for draw in draws(tries(100)):
            with damaged(path, draw):
                _, refusal = given_to(helpers.load_tokens, finished)
            assert refusal is None or "run 03_tokenize again" in refusal
            came("refused in one sentence" if refusal else "read; only its checksum in run.json tells")
    assert before[1] == helpers.load_tokens(finished)[1]


def test_a_damaged_run_is_left_out_of_a_comparison_with_its_reason(finished, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(finished, tmp_path / name)
        write_json(tmp_path / name / "state.json", {"status": "finished"}, sealed=True)
    figures, record = read_json(tmp_path / "two/metrics.json"), read_run(tmp_path / "two")
    figures["parameters"]["SEED"] = 7  # a sweep holds no run twice
    write_json(tmp_path / "two/metrics.json", figures)
    record["files"]["05_evaluate"] |= sums(tmp_path / "two/metrics.json", "metrics.json")
    write_json(tmp_path / "two/run.json", record, sealed=True)
    before = sweeps.read(tmp_path, "sweep", "a sweep")
    assert set(before.metrics) == {"one", "two"}
    files = ["metrics.json", "predictions.csv", "history.csv", "run.json", "state.json"]
    with tally("what 07 reads: a byte changed, or cut", "left out with its reason, or the same figures") as came:
        for draw in draws(tries(200)):
            name = draw.choice(files)
            with damaged(tmp_path / "two" / name, draw) as where:
                after = sweeps.read(tmp_path, "sweep", "a sweep")
            if "two" in after.left_out:
                assert name in after.left_out["two"] or name == "state.json", after.left_out
                came("left out with its reason")
            else:
                assert after.metrics == before.metrics and after.records == before.records, (name, where)
                assert all(after.answers[run].equals(before.answers[run]) for run in before.answers)
                came("the same figures")


# ---------------------------------------------------------------- training


@pytest.fixture(scope="module")
def half_trained(tiny):  # noqa: F811
    """A reader at 04 whose kernel was killed after the first of two epochs: the cells before the training cell are run."""
    folder, _ = series("half", until="03_tokenize", **tiny)
    names = ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]
    reader = Reader("04_train", RUN="half", **{name: tiny[name] for name in names})
    reader.until("training-loop")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Checkpoint, "save", stopping(training.Checkpoint.save))
        reader.run("training-loop")
    return folder, reader


def stopping(save):
    def then_stop(checkpoint, **result):
        save(checkpoint, **result)
        raise KeyboardInterrupt

    return then_stop


def states(*parts):
    """A copy of the states of model, optimizer and schedule, as bytes."""
    held = [[part.state_dict() for part in parts], torch.get_rng_state()]
    return repr(held[0][1:]), [tensor.clone() for tensor in held[0][0].values()], moments(held[0][1])


def moments(optimizer):
    return [value.clone() for state in optimizer["state"].values() for value in state.values()]


def equal(ours, theirs):
    same = all(torch.equal(a, b) for one, other in zip(ours[1:], theirs[1:]) for a, b in zip(one, other, strict=True))
    return ours[0] == theirs[0] and same


def test_a_damaged_checkpoint_is_not_used_at_all_or_is_the_same(half_trained, capsys):
    folder, reader = half_trained
    begin, accelerator = (reader.variables[name] for name in ("begin_training", "accelerator"))
    parts = begin(quick=True)
    fresh = [copy.deepcopy(part.state_dict()) for part in parts]

    def load():
        for part, state in zip(parts, fresh):
            part.load_state_dict(copy.deepcopy(state))
        parts[1].state.clear()
        checkpoint = training.Checkpoint(reader.variables["run"], *parts, accelerator)
        return checkpoint.history, states(*parts)

    path = folder / "checkpoint.pt"
    history, gone_on = load()
    content = path.read_bytes()
    path.unlink()
    none, anew = load()
    path.write_bytes(content)
    assert len(history) == 1 and none == [] and not equal(anew, gone_on)
    capsys.readouterr()
    with tally(
        "checkpoint.pt: a byte changed, or cut", "training begins anew, which is said, or goes on the same"
    ) as came:
        for draw in draws(tries(100)):
            with damaged(path, draw) as where:
                found, now = load()
            said = capsys.readouterr().out
            if found:
                assert found == history and equal(now, gone_on) and "going on after epoch 1" in said, where
                came("goes on the same")
            else:
                assert equal(now, anew) and "starting anew" in said, where
                came("begins anew, which is said")


def test_training_from_a_damaged_checkpoint_ends_as_if_undisturbed(half_trained, finished, capsys):
    folder, reader = half_trained
    content = bytearray((folder / "checkpoint.pt").read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 128):  # one byte may be filling, which nobody reads
        content[place] ^= 1
    (folder / "checkpoint.pt").write_bytes(content)
    reader.onward("training-loop")
    assert "starting anew" in capsys.readouterr().out
    assert (folder / "model/model.safetensors").read_bytes() == (finished / "model/model.safetensors").read_bytes()


# ---------------------------------------------------------------- the runner


def test_a_damaged_state_means_the_same_or_is_none(tmp_path):
    state = {
        "status": "finished",
        "parameters": {"SEED": 42, "RATE": 5e-5},
        "notebooks": {"01_setup": 3.1},
        "threads": "1",
    }
    path = tmp_path / "state.json"
    write_json(path, state, sealed=True)
    with tally("state.json: a byte changed, or cut", "the same content, or none, so that the run begins anew") as came:
        for draw in draws(tries(300)):
            with damaged(path, draw) as where:
                found = content_of(path)
            assert not found or {name: found[name] for name in state} == state, where
            came("the same content" if found else "begins anew")


@pytest.mark.parametrize("name", ["metrics.json", "run.json", "state.json"])
def test_run_py_does_not_call_a_damaged_run_finished(quick, capsys, name):
    assert quick.main(["-p", "RUN", "x"]) == 0
    folder = paths.RUNS / "x"
    record = {
        "notebooks": {stem: {"parameters": {}} for stem in ("01_setup", "02_load", "03_cut", "04_train", "05_evaluate")}
    }
    for notebook, parameters in read_json(folder / "state.json")["parameters"].items():
        for own in record["notebooks"].values():
            own["parameters"][notebook] = parameters
    record["files"] = {"05_evaluate": sums(folder / "metrics.json", "metrics.json")}
    write_json(folder / "run.json", record, sealed=True)
    assert quick.main(["-p", "RUN", "x"]) == 0 and len(quick.executed) == 5, "finished"
    (folder / name).write_text((folder / name).read_text().replace("0", "1", 1))
    capsys.readouterr()
    assert quick.main(["-p", "RUN", "x"]) == 0
    said = capsys.readouterr().out
    assert len(quick.executed) > 5 and ("is kept in" in said or "going on" in said), said
    assert not (paths.RUNS / ".before/x").exists(), "until the new run has finished"


def test_a_damaged_executed_notebook_is_left_out_of_the_page(tmp_path, capsys):
    path = tmp_path / "04_train.ipynb"
    output = nbformat.v4.new_output("stream", text="2\n")
    cells = [nbformat.v4.new_code_cell("1 + 1", outputs=[output]) for _ in range(20)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with tally(
        "an executed notebook: a byte changed, or cut", "the page without it, which is said, or with it"
    ) as came:
        for draw in draws(tries(200)):
            with damaged(path, draw):
                found = read_executed(path)
            assert found or "04_train.ipynb cannot be read" in capsys.readouterr().out
            came("the page with it" if found else "the page without it, which is said")
    path.unlink()
    assert read_executed(path) is None
