"""04_train as its readers meet it: cells run again, interruptions, damaged checkpoints, full disks, too little memory."""

import collections
import functools
import os
import random
import re
import shutil
import types
from pathlib import Path

import pytest
import torch
import transformers
from reader import Reader, record
from test_lesson_01 import GOOD
from test_lesson_03 import load, raises
from test_series import execute, history, runs, tiny  # noqa: F401

import helpers
from lesson import exercises, form, savings, training

TRAINING = "training-loop"
Disk = collections.namedtuple("Disk", "total used free")


@pytest.fixture(scope="module")
def given(tiny):  # noqa: F811
    """A run folder in which 03 has finished; returns what 04 is given."""
    load("run", tiny["CORPUS"])
    execute("03_tokenize", RUN="run", MODEL_NAME=tiny["MODEL_NAME"])
    return {"RUN": "run"} | {name: tiny[name] for name in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]}


def outcome(run="run"):
    """All that a training decides: history, weights, record."""
    folder = helpers.RUNS / run
    weights = (folder / "model" / "model.safetensors").read_bytes()
    return history(folder).to_csv(index=False), weights, record(run, "04_train")


@pytest.fixture(scope="module")
def fresh(given):
    """outcome() of a fresh kernel, once for each set of changed parameters."""

    @functools.cache
    def of(**changes):
        Reader("04_train", **given | changes).run()
        return outcome()

    return of


def checkpoint():
    return helpers.RUNS / "run" / "checkpoint.pt"


def test_a_run_begun_anew_trains_with_the_classes_of_its_own_corpus(given, tmp_path):
    """The reader writes another RUN, and runs the parameters, the cell that begins, and then the training."""
    kernel = Reader("04_train", **given).until("helpers.source(savings.shrink_embeddings)")
    rows = [f'{{"text": "Sentence {i}.", "label": "{["good", "bad"][i % 2]}"}}' for i in range(40)]
    (tmp_path / "own.jsonl").write_text("\n".join(rows))
    execute("02_load_cola", RUN="own", CORPUS=str(tmp_path / "own.jsonl"))
    execute("03_tokenize", RUN="own", MODEL_NAME=helpers.load_tokens(helpers.RUNS / "run")[1]["model"])
    kernel.parameters["RUN"] = "own"
    kernel.run("parameters", "helpers.begin", TRAINING, "checkpoint.table()", "checkpoint.finish")
    config = transformers.AutoConfig.from_pretrained(helpers.RUNS / "own" / "model")
    assert config.id2label == {0: "bad", 1: "good"}


@pytest.fixture(autouse=True)
def no_checkpoint_of_another_test(runs):  # noqa: F811
    checkpoint().unlink(missing_ok=True)


class Stop(Exception):
    """What a reader does who interrupts the kernel; not KeyboardInterrupt, which would end pytest where it escapes."""


def interrupted(kernel, monkeypatch, step):
    """Run the training cell, and interrupt it in its `step`th step."""
    steps, original = [], kernel.variables["collate"]

    def collate(picked):
        steps.append(1)
        if len(steps) == step:
            raise Stop
        return original(picked)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setitem(kernel.variables, "collate", collate)
        kernel.run(TRAINING)
    kernel.variables["collate"] = original


# ---------------------------------------------------------------- cells run again


def test_every_cell_twice_in_place_gives_what_once_gives(given, fresh):
    once = fresh()
    Reader("04_train", **given).run(times=2)
    assert outcome() == once


# ---------------------------------------------------------------- the two sentences of 01, and the exercises


def test_the_plain_loop_s_model_judges_the_sentences_of_01_and_the_exercises_are_right(given, capsys):
    kernel = Reader("04_train", **given).run()
    printed, named = capsys.readouterr().out, kernel.variables
    model, tokenizer = named["trial"].eval(), named["tokenizer"]
    for sentence in [GOOD, GOOD.replace(" are ", " is ")]:
        with torch.inference_mode():
            share = model(**tokenizer(sentence, return_tensors="pt")).logits.softmax(-1)[0, 1].item()
        said = f"acceptable ({share:.2f})" if share > 0.5 else f"unacceptable ({1 - share:.2f})"
        assert f"\n{said}: {sentence}\n" in printed
    assert printed.count("Right.\n") == 3
    decayed = [
        weights
        for name, weights in named["untrained"].named_parameters()
        if "bias" not in name and "LayerNorm" not in name
    ]
    assert named["decayed"] == sum(weights.numel() for weights in decayed)


def test_a_sentence_of_the_reader_s_is_judged_by_the_saved_model_as_others_would_load_it(given, capsys):
    kernel = Reader("04_train", **given).run()
    capsys.readouterr()
    place = kernel.place("yours = ")
    yours = "Keys the on is. " * 40  # longer than the model reads
    kernel.cells[place].source = re.sub('^yours = ".*?"', f"yours = {yours!r}", kernel.cells[place].source)
    kernel.run(place)
    tokenizer = helpers.load_tokenizer(helpers.RUNS / "run" / "model")
    tokenizer.model_max_length = 64
    model = helpers.load_model(helpers.RUNS / "run" / "model")
    judge = transformers.pipeline("text-classification", model, tokenizer=tokenizer, truncation=True, device="cpu")
    said = [form.verdict(judge, sentence) for sentence in [GOOD, GOOD.replace(" are ", " is "), yours]]
    assert capsys.readouterr().out.splitlines() == said
    kernel.run("training-loop")  # trained again, and not recorded: what lies in model/ is the old one
    with raises("not recorded yet", "Record"):
        kernel.run(place)


@pytest.mark.parametrize("step, share", [(0, 0), (20, 0.5), (40, 1), (130, 0.75), (400, 0)])
def test_the_rate_of_the_exercise_is_the_schedule_s(step, share):
    assert exercises.rate_after(step, 400, 40, 1e-4) == pytest.approx(share * 1e-4)


def test_any_cell_again_after_all_gives_what_it_gave(given, fresh, capsys):
    """Each cell once more, the last one first: what it prints is what it printed, times and schedule of steps aside."""
    once = fresh()
    kernel, printed = Reader("04_train", **given), {}
    for i in range(len(kernel.cells)):
        kernel.run(i)
        printed[i] = capsys.readouterr().out
    for i in reversed(range(len(kernel.cells))):
        kernel.run(i)
        if i != kernel.place(TRAINING):
            assert capsys.readouterr().out == printed[i], kernel.cells[i].source
        capsys.readouterr()
    assert outcome() == once


@pytest.mark.parametrize(
    "change",
    [
        {"LEARNING_RATE": 1e-3},
        {"EPOCHS": 3},
        {"BATCH_SIZE": 8},
        {"SEED": 7},
        {"WEIGHT_DECAY": 0.5},
        {"POOLING": "mean"},
        {"PADDING": "max_length"},
        {"PRECISION": "bf16"},
    ],
    ids=str,
)
def test_a_changed_parameter_is_refused_or_trained_with(given, fresh, change):
    once = fresh()
    kernel = Reader("04_train", **given).run()
    kernel.parameters |= change
    for where in [TRAINING, "checkpoint.finish"]:  # the reader edits the parameters and runs a later cell
        with raises(f"{next(iter(change))} was", "from its parameters on"):
            kernel.run("parameters", where)
        assert outcome() == once and not checkpoint().exists()
    kernel.run("parameters", "helpers.begin")
    with raises(f"{next(iter(change))} was", "from its parameters on"):  # begun anew, trained as before
        kernel.run("checkpoint.finish")
    assert outcome() == once
    kernel.onward(TRAINING)  # no cell between them need be run again
    assert outcome() == fresh(**change) != once
    own = outcome()[2]
    assert own["parameters"] == kernel.variables["run"].parameters
    assert own["learning_rate"] == kernel.parameters["LEARNING_RATE"]


def test_a_changed_run_is_refused(given, fresh):
    once = fresh()
    kernel = Reader("04_train", **given).run()
    kernel.variables["RUN"] = "another"
    with raises("RUN was 'run'", "is 'another' now"):
        kernel.run(TRAINING)
    assert outcome() == once


def test_tokens_made_again_meanwhile_are_noticed(given, fresh, tiny):  # noqa: F811
    kernel = Reader("04_train", **given).run()
    execute("03_tokenize", RUN="run", MODEL_NAME=tiny["MODEL_NAME"])
    for where in [TRAINING, "checkpoint.finish"]:
        with raises("03_tokenize was run again"):
            kernel.run(where)


# ---------------------------------------------------------------- interruptions and checkpoints


@pytest.mark.parametrize("step", [2, 9], ids=["in epoch 1", "in epoch 2"])
def test_an_interrupted_training_goes_on_to_the_same_end(given, fresh, monkeypatch, capsys, step):
    """73 sentences in batches of 16: 5 steps an epoch. In the same kernel, and in a new one."""
    once = fresh()
    for another_kernel in [False, True]:
        kernel = Reader("04_train", **given).until(TRAINING)
        interrupted(kernel, monkeypatch, step)
        assert checkpoint().exists() == (step == 9)
        with raises(f"{step // 5} of 2 epochs are trained", "run the training cell"):
            kernel.run("checkpoint.finish")
        capsys.readouterr()
        kernel = Reader("04_train", **given).until(TRAINING) if another_kernel else kernel
        kernel.onward(TRAINING)
        assert ("going on after epoch 1" in capsys.readouterr().out) == (step == 9)
        assert outcome() == once and not checkpoint().exists()


def test_a_training_interrupted_again_and_again_ends_the_same(given, fresh, monkeypatch):
    once = fresh(EPOCHS=4)
    seed = random.randrange(10**6)
    print("seed", seed)
    kernel = Reader("04_train", **given | {"EPOCHS": 4}).until(TRAINING)
    for step in random.Random(seed).sample(range(1, 6), 3):
        interrupted(kernel, monkeypatch, step)
    kernel.onward(TRAINING)
    assert outcome() == once


def test_what_is_trained_is_not_trained_again_until_it_is_recorded(given, fresh, capsys):
    once = fresh()
    kernel = Reader("04_train", **given).until("checkpoint.finish")
    capsys.readouterr()
    kernel.run(TRAINING)
    out = capsys.readouterr().out
    assert "going on after epoch 2" in out and "epoch 1, training loss" not in out
    kernel.run("checkpoint.finish")
    assert outcome() == once and not checkpoint().exists()


def test_a_checkpoint_that_does_not_fit_is_not_used(given, fresh, monkeypatch, capsys):
    """Of the same conditions, but with the embeddings of the whole vocabulary; and cut short."""
    once = fresh()
    interrupted(Reader("04_train", **given).until(TRAINING), monkeypatch, 9)
    state = torch.load(checkpoint(), weights_only=True)
    name = "bert.embeddings.word_embeddings.weight"
    torch.save(state | {"model": state["model"] | {name: torch.zeros(30522, 32)}}, checkpoint())
    for _ in range(2):
        capsys.readouterr()
        Reader("04_train", **given).run()
        assert capsys.readouterr().out.count("starting anew") == 1
        assert outcome() == once and not checkpoint().exists()
        checkpoint().write_bytes(b"half")


class Small:
    """A model, its optimizer and schedule, and a run folder that knows nothing else."""

    def __init__(self, folder, steps=0):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 / (1 + step))
        for _ in range(steps):
            self.model(torch.ones(3, 4)).sum().backward()
            self.optimizer.step()
            self.schedule.step()
        accelerator = types.SimpleNamespace(
            unwrap_model=lambda model: model, scaler=None, mixed_precision="no", num_processes=1, is_main_process=True,
            log_with=[], log=lambda *_, **__: None,
        )  # fmt: skip
        accelerator.device = torch.device("cpu")
        run = types.SimpleNamespace(folder=folder, parameters={"EPOCHS": 3})
        parts = [self.model, self.optimizer, self.schedule]
        self.checkpoint = training.Checkpoint(run, *parts, accelerator)

    def state(self):
        parts = [self.model.state_dict(), self.optimizer.state_dict(), self.schedule.state_dict()]
        return str([parts, self.checkpoint.history, self.checkpoint.best])


RESULT = {"epoch": 1, "training_loss": 0.5, "validation_loss": 0.4, "validation_mcc": 0.3, "seconds": 1.0}


def reshaped(state, *path):
    """`state` with another tensor at this path."""
    name, *rest = path
    return state | {name: reshaped(state[name], *rest) if rest else torch.zeros(3)}


SPOIL = {
    "only the conditions": lambda state: {"same": state["same"]},
    "no conditions": lambda state: {name: part for name, part in state.items() if name != "same"},
    "no dictionary": lambda state: [1, 2],
    "other weights": lambda state: reshaped(state, "model", "0.weight"),
    "other best weights": lambda state: reshaped(state, "best", "0.weight"),
    "other moments": lambda state: reshaped(state, "optimizer", "state", 0, "exp_avg"),
    "other groups": lambda state: state | {"optimizer": {"state": {}, "param_groups": []}},
    "no schedule": lambda state: state | {"schedule": None},
    "no best weights": lambda state: state | {"best": None},
    "no epoch": lambda state: state | {"history": []},
    "an epoch twice": lambda state: state | {"history": state["history"] * 2},
    "an epoch without its loss": lambda state: state | {"history": [{"epoch": 1}]},
    "too many epochs": lambda state: state | {"history": [RESULT | {"epoch": i} for i in (1, 2, 3, 4)]},
    "other threads": lambda state: state | {"same": state["same"] | {"threads": 99}},
    "another torch": lambda state: state | {"same": state["same"] | {"torch": "1.0"}},
}


@pytest.fixture
def saved(tmp_path):
    """A folder with a checkpoint after one epoch; the state that it holds, and that of a beginning."""
    (tmp_path / "tokens.safetensors").write_bytes(b"tokens")
    anew = Small(tmp_path).state()
    whole = Small(tmp_path, steps=3)
    whole.checkpoint.save(**RESULT)
    assert Small(tmp_path).state() == whole.state() != anew
    return tmp_path / "checkpoint.pt", whole.state(), anew


@pytest.mark.parametrize("name", SPOIL)
def test_starting_anew_begins_at_the_beginning(saved, capsys, name):
    path, _, anew = saved
    torch.save(SPOIL[name](torch.load(path, weights_only=True)), path)
    capsys.readouterr()
    assert Small(path.parent).state() == anew
    assert capsys.readouterr().out.count("starting anew") == 1


def test_any_byte_flipped_or_cut_is_noticed_or_changes_nothing(saved):
    """A checkpoint is used whole and right, or not at all, and then model, optimizer and schedule are as they were."""
    path, right, anew = saved
    content, seed = path.read_bytes(), random.randrange(10**6)
    rng, seen = random.Random(seed), collections.Counter()
    for i in range(200):
        place = rng.randrange(len(content))
        damaged = content[:place] if i % 8 == 0 else bytearray(content)
        if i % 8:
            damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        state = Small(path.parent).state()
        assert state in {right, anew}, f"seed {seed}, byte {place}"
        seen[state == anew] += 1
    assert seen[True] > 50, "many bytes matter"


def test_equal_epochs_are_decided_by_the_validation_loss_and_it_is_said(given, capsys):
    rows = [
        {"epoch": i + 1, "validation_mcc": m, "validation_loss": v} for i, (m, v) in enumerate([(0, 3), (0, 1), (0, 2)])
    ]
    assert training.best_epoch(rows) == (
        2,
        "epoch 2 is kept: of epochs 1, 2, 3, equal in MCC, the lowest validation loss, 1.000",
    )
    rows.append({"epoch": 4, "validation_mcc": 0.1, "validation_loss": 9})
    assert training.best_epoch(rows) == (4, "epoch 4 is kept: the highest validation MCC, 0.100")
    variables = execute("04_train", **given | {"EPOCHS": 3})
    best, why = training.best_epoch(variables["checkpoint"].history)
    assert record("run", "04_train")["best_epoch"] == best and why in capsys.readouterr().out


# ---------------------------------------------------------------- the machine


def test_no_room_for_the_checkpoint_is_said_before_training(given, monkeypatch):
    execute("04_train", **given)
    before = outcome()
    with (
        monkeypatch.context() as patch,
        raises(r"checkpoint\.pt cannot be written", "1 MB are free", "about 2 MB are needed"),
    ):
        patch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9 - 600_000, 600_000))
        patch.setattr(training, "train_epoch", lambda *_: pytest.fail("trained"))
        execute("04_train", **given)
    assert outcome() == before and not checkpoint().exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:626] . unexpected pos 64 vs 0"),
        OSError(28, "No space left on device"),
    ],
    ids=["torch", "system"],
)
def test_a_disk_that_fills_up_is_said_with_place_and_size(given, fresh, monkeypatch, error):
    once = fresh()

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch, raises(r"checkpoint\.pt", "run folder", "MB are needed there", "BERT_RUNS"):
        patch.setattr(torch, "save", full)
        execute("04_train", **given)
    folder = helpers.RUNS / "run"
    assert not [path for path in folder.iterdir() if path.name.startswith(".checkpoint")] and not checkpoint().exists()
    execute("04_train", **given)
    assert outcome() == once


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=["python", "cpu", "gpu"],
)
def test_too_little_memory_names_what_to_lower_and_the_last_step_that_worked(given, monkeypatch, error):
    kernel = Reader("04_train", **given).until(TRAINING)
    original, calls = torch.nn.functional.cross_entropy, []

    def small_memory(*args, **options):
        calls.append(1)
        if len(calls) > 2:
            raise error
        return original(*args, **options)

    with (
        monkeypatch.context() as patch,
        raises("out of memory in step 3", "worked: 2 .16 sentences", "BATCH_SIZE", "MAX_LEN"),
    ):
        patch.setattr(training, "cross_entropy", small_memory)
        kernel.run(TRAINING)
    with raises("out of memory in the plain loop", "BATCH_SIZE"), training.enough_memory("in the plain loop"):
        raise error
    with pytest.raises(RuntimeError, match="another"), training.enough_memory(""):
        raise RuntimeError("another error")


def test_precision_and_threads_are_decided_once(given, monkeypatch, capsys):
    auto = given | {"PRECISION": "auto"}
    monkeypatch.setattr(helpers, "pick_precision", lambda device: "bf16")
    execute("04_train", **auto)
    once = outcome()
    monkeypatch.setattr(helpers, "pick_precision", lambda device: "no")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        execute("04_train", **auto)
    finally:
        torch.set_num_threads(threads)
    assert outcome() == once and once[2]["precision"] == "bf16" and once[2]["threads"] == threads
    assert "precision bf16" in capsys.readouterr().out


def test_a_precision_that_the_device_lacks_is_refused(given):
    with raises("PRECISION is 'fp16'", "does not train in fp16", "fp32"):
        execute("04_train", **given | {"PRECISION": "fp16"})


# ---------------------------------------------------------------- what is written


def test_what_is_written_can_be_read_by_others_and_says_what_was_used(given):
    old = os.umask(0o027)
    try:
        execute("04_train", **given | {"LEARNING_RATE": None})
    finally:
        os.umask(old)
    for path in (helpers.RUNS / "run" / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o640, path.name
    own = record("run", "04_train")
    assert own["learning_rate"] == 1e-4 and own["parameters"]["LEARNING_RATE"] is None
    assert own["device"] == helpers.device_name(helpers.pick_device()) and own["processes"] == 1


def test_a_model_that_does_not_come_back_is_not_finished(given, fresh, monkeypatch):
    once, load_model = fresh(), helpers.load_model

    def wrong(model, classes=None, **options):
        loaded = load_model(model, classes, **options)
        if not classes:  # as check_saved calls it
            torch.nn.init.zeros_(loaded.classifier.weight)
        return loaded

    kernel = Reader("04_train", **given).until("checkpoint.finish")
    with monkeypatch.context() as patch, raises("does not come back as it was", "another MODEL_NAME"):
        patch.setattr(helpers, "load_model", wrong)
        kernel.run("checkpoint.finish")
    assert record("run", "04_train") is None and checkpoint().exists(), "nothing of the training is lost"
    kernel.run("checkpoint.finish")
    assert outcome() == once


def test_weights_of_a_shrunk_model_go_back_into_a_whole_one(given):
    whole = helpers.load_model(helpers.load_tokens(helpers.RUNS / "run")[1]["model"], num_labels=2)
    before = whole.get_input_embeddings().weight.detach().clone()
    tokens, _ = helpers.load_tokens(helpers.RUNS / "run")
    ids = savings.ids_in_use(tokens, 0)
    assert ids.tolist() == sorted({*tokens["ids"].tolist(), 0})
    name = "bert.embeddings.word_embeddings.weight"
    savings.load_weights(whole, whole.state_dict() | {name: torch.zeros(len(ids), 32)}, ids)
    after = whole.get_input_embeddings().weight
    unused = torch.ones(len(before), dtype=torch.bool)
    unused[ids] = False
    assert torch.equal(after[unused], before[unused]) and not after[ids].any()
