"""TRACK: what a training leaves for TensorBoard, read back by TensorBoard's own reader; the same results with any of its values."""

import pytest
from reader import Reader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_lesson_03 import load, raises
from test_lesson_04 import TRAINING, checkpoint, interrupted, outcome
from test_series import execute, history, runs, tiny, train_in_two_processes  # noqa: F401

import helpers
from lesson import tracking

EPOCHS, STEPS = 2, 5  # 73 sentences in batches of 16


@pytest.fixture(scope="module")
def given(tiny):  # noqa: F811
    """A run folder in which 03 has finished; returns what 04 is given, TensorBoard asked for."""
    load("run", tiny["CORPUS"])
    execute("03_tokenize", RUN="run", MODEL_NAME=tiny["MODEL_NAME"])
    asked = {name: tiny[name] for name in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]}
    return {"RUN": "run", "TRACK": "tensorboard"} | asked


@pytest.fixture(scope="module")
def untracked(given):
    """outcome() of a training that nobody tracks."""
    Reader("04_train", **given | {"TRACK": None}).run()
    assert not list(logs().glob("*"))
    return outcome()


def logs(run="run"):
    return helpers.RUNS / run / "tracking"


def logged(run="run"):
    """{tag: [(step, value)]} of all that TensorBoard shows of a run."""
    events = EventAccumulator(str(logs(run) / tracking.PROJECT)).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def check_log(given, found, run="run"):
    """The log has each epoch's results at its last step, and the learning rate of the schedule: once."""
    epochs, total = history(helpers.RUNS / run), EPOCHS * STEPS
    ends = [STEPS * epoch for epoch in epochs["epoch"]]
    for name in ["training_loss", "validation_loss", "validation_mcc"]:
        steps, values = zip(*found[f"epoch/{name}"])
        assert list(steps) == ends and values == pytest.approx(epochs[name], abs=1e-6)
    steps, rates = zip(*found["batch/learning_rate"])
    assert list(steps) == ends
    assert rates == pytest.approx([given["LEARNING_RATE"] * (1 - step / total) for step in ends], abs=1e-9)
    assert [step for step, _ in found["batch/loss"]] == ends and all(value > 0 for _, value in found["batch/loss"])


def test_tensorboard_reads_what_a_training_logged_and_the_result_is_that_without(given, untracked):
    Reader("04_train", **given).run()
    assert outcome() == untracked and "TRACK" not in outcome()[2]["parameters"]
    check_log(given, logged())
    (parameters,) = [path.read_text() for path in logs().rglob("hparams.yml")]
    for line in ["SEED: 42", "BATCH_SIZE: 16", "MAX_LEN: 64", "CORPUS: ", "learning_rate: 0.005", "pooling: cls"]:
        assert f"\n{line}" in f"\n{parameters}"


@pytest.mark.parametrize("step", [2, 9], ids=["in epoch 1", "in epoch 2"])
def test_a_resumed_training_goes_on_in_its_log_and_says_nothing_twice(given, untracked, monkeypatch, step):
    monkeypatch.setattr("lesson.training.EVERY", 1)  # a point for each step
    interrupted(Reader("04_train", **given).until(TRAINING), monkeypatch, step)
    assert checkpoint().exists() == (step > STEPS)
    assert [at for at, _ in logged()["batch/loss"]] == list(range(1, step))
    Reader("04_train", **given).run()
    assert outcome() == untracked
    found = logged()
    assert [at for at, _ in found["batch/loss"]] == list(range(1, EPOCHS * STEPS + 1))
    assert [at for at, _ in found["epoch/validation_mcc"]] == [STEPS, 2 * STEPS]
    assert len(list(logs().rglob("hparams.yml"))) == 1


def test_a_training_that_begins_anew_has_a_log_of_its_own_and_one_without_tracker_none(given, untracked):
    for _ in range(2):
        Reader("04_train", **given).run(times=2)
        check_log(given, logged())
    Reader("04_train", **given | {"TRACK": None}).run()
    assert not list(logs().glob("*")), "no log of another training"


def test_a_checkpoint_made_without_a_tracker_is_gone_on_from_with_one(given, untracked, monkeypatch):
    interrupted(Reader("04_train", **given | {"TRACK": None}).until(TRAINING), monkeypatch, 9)
    Reader("04_train", **given).run()
    assert outcome() == untracked and [at for at, _ in logged()["epoch/validation_loss"]] == [2 * STEPS]


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_said_before_training(given, untracked, track):
    if track in map(str, tracking.get_available_trackers()):
        pytest.skip(f"{track} is installed here")
    reader = Reader("04_train", **given | {"TRACK": track})
    with raises(f"TRACK is '{track}'", f"pip install {track}", "TRACK = None"):
        reader.run()
    assert "model" not in reader.variables and outcome() == untracked


def test_a_log_that_cannot_begin_is_one_message(given, untracked, monkeypatch):
    def broken(*_, **__):
        raise OSError("no account")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", broken)
    with raises("TRACK is 'tensorboard'", "OSError: no account", "TRACK = None"):
        Reader("04_train", **given).run()
    assert outcome() == untracked


def test_of_two_processes_the_first_writes_the_log(given, tiny, tmp_path, monkeypatch):  # noqa: F811
    load("two", tiny["CORPUS"])
    execute("03_tokenize", RUN="two", MODEL_NAME=tiny["MODEL_NAME"])
    train_in_two_processes(given | {"RUN": "two"}, tmp_path, monkeypatch)
    check_log(given, logged("two"), "two")
    assert len([*(logs("two") / tracking.PROJECT).glob("events*")]) == 1
