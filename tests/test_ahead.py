"""What run.py says of a table, a model, a tracker or a folder before 01 begins: in the words of the notebook, and at no cost else."""

import os
import re
import shutil

import pandas as pd
import pytest
from test_series import NOTEBOOKS, execute, runs  # noqa: F401
from toy import forget
from transformers import BertConfig, BertModel

import helpers
from lesson import export, sources, tokens, tracking
from runner import paths

GOOD = pd.DataFrame({"text": [f"Sentence {i}" for i in range(30)], "label": [f"k{i % 3}" for i in range(30)]})


@pytest.fixture
def series(quick, monkeypatch):
    """run.py at the real project, with notebooks that do next to nothing."""
    monkeypatch.setattr(paths, "ROOT", helpers.ROOT)
    monkeypatch.setattr(paths, "NOTEBOOKS", NOTEBOOKS)
    forget()
    return quick


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Folder of what a reader may name: a model that reads 64 tokens, one cut short, and what is no model."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("empty", "full"):
        (folder / name).mkdir()
    for name in ("mine.txt", "full/thesis.docx"):
        (folder / name).write_text("x")
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30522, max_position_embeddings=64, **size)).save_pretrained(folder / "small")
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(folder / "small")
    shutil.copytree(folder / "small", folder / "cut")
    os.truncate(folder / "cut/model.safetensors", 100_000)
    return folder


def words_of_02(**parameters):
    with pytest.raises(helpers.SeriesError) as refused:
        execute("02_load_cola", RUN="words", **parameters)
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "columns", "words"),
    [
        (None, {}, "CORPUS is .*own.csv': expected"),
        (b"text\nOne.\n", {}, "one column where a text and a label were expected"),
        ("text,label\nCaf\xe9,1\n".encode("latin-1"), {}, "line 2: byte 0xe9 is not UTF-8"),
        (GOOD.to_csv(index=False).encode(), {"TEXT_COLUMN": "body “é”"}, "TEXT_COLUMN is 'body “é”': expected one of text, label"),
        (GOOD.assign(label="one").to_csv(index=False).encode(), {}, "30 sentences with 1 different labels"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_before_anything_begins_in_the_words_of_02(
    series, tmp_path, capsys, content, columns, words
):
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_bytes(content)
    said = words_of_02(CORPUS=str(path), **columns)
    assert re.search(words, said)
    capsys.readouterr()
    given = [text for name, value in columns.items() for text in ("-p", name, value)]
    for more in ["1"], ["1", "2"]:  # the series once, and a sweep
        assert series.main(["-p", "CORPUS", str(path), *given, "-p", "SEED", *more]) == 2
        assert capsys.readouterr().err == f"run.py: {said}\n"
    assert series.executed == [] and not list(paths.RUNS.rglob("state.json"))


def test_a_folder_of_tables_is_looked_at_and_what_02_has_read_is_not_asked_for_again(series, tmp_path, capsys):
    folder = tmp_path / "own"
    folder.mkdir()
    for split in ("train", "test"):
        GOOD.to_csv(folder / f"{split}.csv", index=False)
    calls = [["-p", "CORPUS", str(folder)], ["--sweep", "s", "-p", "SEED", "1", "2", "-p", "CORPUS", str(folder)]]
    for arguments in calls:
        assert series.main([*arguments, "--until", "03"] if arguments is calls[0] else arguments) == 0
    executed = len(series.executed)
    shutil.rmtree(folder)
    for arguments, again in zip(calls, (["default 04", "default 05", "default 06"], [])):
        assert series.main(arguments) == 0
        assert [text for text in series.executed[executed:] if "07" not in text] == again
        executed = len(series.executed)
    capsys.readouterr()
    for arguments in calls:
        assert series.main([*arguments, "--again"]) == 2
        assert f"CORPUS is '{folder}': expected" in capsys.readouterr().err
    folder.mkdir()
    GOOD.to_csv(folder / "test.csv", index=False)  # other content than before, without what is trained on
    for arguments, words in zip(calls, ["in_domain_train.tsv", "holds a finished run with content of CORPUS"]):
        assert series.main(arguments) == 2 and words in capsys.readouterr().err
    assert len(series.executed) == executed


@pytest.mark.parametrize("corpus", ["auto", "practice", "hub:no/such"])
def test_what_is_no_table_of_ones_own_is_left_to_02(series, corpus):
    assert series.main(["-p", "CORPUS", corpus]) == 0 and len(series.executed) == 6


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"MODEL_NAME": "bert-base-uncasd"}, "the hub cannot be reached .* is not in the local cache"),
        ({"MODEL_NAME": "minlm"}, "Did you mean 'minilm'"),
        ({"MODEL_NAME": "empty"}, "has no config.json: expected what save_pretrained writes"),
        ({"MODEL_NAME": "/no/such"}, "there is no such folder"),
        ({"MODEL_NAME": "cut"}, "the model of .*cut cannot be loaded"),
        ({"MODEL_NAME": "small", "MAX_LEN": 65}, "MAX_LEN is 65: expected 3 to 64 for this model, small"),
        ({"MODEL_NAME": "minilm", "MAX_LEN": 600}, "MAX_LEN is 600: expected 3 to 512 for this model, minilm"),
        ({"EXPORT_DIR": "mine.txt"}, "which is a file: expected a folder"),
        ({"EXPORT_DIR": "full"}, "a folder that holds thesis.docx: expected one that is new"),
    ],
)
def test_a_model_or_folder_that_will_not_do_is_refused_before_01(series, own, monkeypatch, capsys, asked, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sources, "OFFLINE", True)
    asked = {name: str(own / value) if (own / str(value)).exists() else value for name, value in asked.items()}
    with pytest.raises(helpers.SeriesError, match=words) as refused:
        if "EXPORT_DIR" in asked:  # as 06 says it
            export.destination(asked["EXPORT_DIR"], own / "run")
        name, model, _ = sources.find_model(asked["MODEL_NAME"])  # as 03 says it
        tokens.check_model(name, model, helpers.load_tokenizer(model), asked.get("MAX_LEN", 64))
    capsys.readouterr()
    given = [text for name, value in asked.items() for text in ("-p", name, str(value))]
    assert series.main(given) == 2 and capsys.readouterr().err == f"run.py: {refused.value}\n"
    assert series.executed == [] and not list(paths.RUNS.rglob("state.json"))


def test_a_copy_in_the_run_folder_is_refused_before_01_and_there_is_a_run_folder(series, capsys):
    for place in ("mine", "mine/copy"):
        assert series.main(["-p", "RUN", "mine", "-p", "EXPORT_DIR", str(paths.RUNS / place)]) == 2
        assert "in the run folder: expected a folder that no notebook replaces" in capsys.readouterr().err
    assert series.executed == [] and not list(paths.RUNS.rglob("state.json"))


def test_a_sweep_has_no_one_place_for_its_models(series, tmp_path, capsys):
    for name in ("EXPORT_DIR", "PUSH_TO"):
        assert series.main(["-p", "SEED", "1", "2", "--until", "06", "-p", name, str(tmp_path / "out")]) == 2
        assert f"{name} is a place for one model, and these are 2 runs" in capsys.readouterr().err
    assert series.executed == []


def test_one_wrong_model_of_a_sweep_stops_it_before_any_run(series, capsys):
    assert series.main(["-p", "MODEL_NAME", "minilm", "/no/such"]) == 2 and series.executed == []
    assert "MODEL_NAME is '/no/such': there is no such folder" in capsys.readouterr().err


def test_a_tracker_that_is_not_installed_is_said_before_01(series, capsys):
    if "wandb" in map(str, tracking.get_available_trackers()):
        pytest.skip("wandb is installed here")
    assert series.main(["-p", "TRACK", "wandb"]) == 2 and series.executed == []
    assert "pip install wandb" in capsys.readouterr().err
    assert series.main(["-p", "TRACK", "tensorboard"]) == 0
