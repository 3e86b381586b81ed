"""helpers.py: files, run folders, corpora, tokens, batches, models; bad input above all."""

import contextlib
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import helpers
from lesson import savings, sources


@contextlib.contextmanager
def raises(*words):
    """A SeriesError whose message holds all `words`."""
    with pytest.raises(helpers.SeriesError) as caught:
        yield
    for word in words:
        assert word in str(caught.value), caught.value


# ---------------------------------------------------------------- tokens and batches


@pytest.fixture(scope="module")
def tokenizer():
    return helpers.load_tokenizer(sources.minilm_folder())


@pytest.fixture(scope="module")
def tokens(tokenizer):
    """40 sentences of 1 to 20 words in the layout of the token file."""
    words = "the cat that saw us slept".split()
    rng = random.Random(0)
    sentences = [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(40)]
    encoded = tokenizer(sentences)["input_ids"]
    return {
        "ids": torch.tensor([i for ids in encoded for i in ids], dtype=torch.int32),
        "offsets": torch.tensor(np.cumsum([0, *map(len, encoded)])),
        "labels": torch.arange(40) % 2,
        "split": torch.tensor([0] * 30 + [1] * 4 + [2] * 3 + [3] * 3, dtype=torch.int8),
        "row": torch.arange(40, dtype=torch.int32),
    }


def sentence(tokens, row):
    return tokens["ids"][tokens["offsets"][row] : tokens["offsets"][row + 1]].tolist()


def test_a_batch_equals_the_tokenizers_own_padding(tokens, tokenizer):
    rows = torch.tensor([7, 3, 39, 0])
    batch = helpers.make_batch(tokens, rows, tokenizer.pad_token_id)
    theirs = tokenizer.pad({"input_ids": [sentence(tokens, r) for r in rows]}, return_tensors="pt")
    assert torch.equal(batch["input_ids"], theirs["input_ids"])
    assert torch.equal(batch["attention_mask"], theirs["attention_mask"])
    assert batch["labels"].tolist() == [1, 1, 1, 0]
    assert helpers.make_batch(tokens, rows, 0, 30)["input_ids"].shape == (4, 30)


def test_another_pad_id_fills_only_what_the_mask_hides(tokens):
    batch = helpers.make_batch(tokens, torch.arange(40), pad_token_id=99)
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 99).all()
    assert (batch["input_ids"][batch["attention_mask"] == 1] != 99).all()


def test_batches_hold_every_sentence_once_and_little_padding(tokens):
    rows = helpers.rows_of(tokens, "train")
    lengths = tokens["offsets"].diff()

    def batches(seed):
        return helpers.batches_of_like_length(tokens, rows, 8, torch.Generator().manual_seed(seed))

    first = batches(1)
    assert sorted(torch.cat(list(first)).tolist()) == rows.tolist()
    assert [len(b) for b in first].count(8) == 3
    assert sum(int(lengths[b].max() - lengths[b].min()) for b in first) <= int(
        lengths[rows].max() - lengths[rows].min()
    )
    assert all(torch.equal(a, b) for a, b in zip(first, batches(1)))
    assert not all(torch.equal(a, b) for a, b in zip(first, batches(2)) if len(a) == len(b))


@pytest.mark.parametrize("content", [b"not these", None])
def test_a_damaged_or_missing_token_file_says_what_to_run(tmp_path, content):
    if content:
        (tmp_path / "tokens.safetensors").write_bytes(content)
    with raises("tokens.safetensors", "run 03_tokenize again"):
        helpers.load_tokens(tmp_path)


@pytest.mark.parametrize(("system", "mapped"), [("linux", 1), ("win32", 0)])
def test_on_windows_the_token_file_is_not_kept_mapped(system, mapped, tmp_path, monkeypatch):
    """There a file that is mapped cannot be replaced: 03 could not be run again while a notebook has its tokens."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("no list of mapped files here")
    save_file({"ids": torch.arange(5000)}, tmp_path / "tokens.safetensors", metadata={"header": "{}"})
    monkeypatch.setattr(sys, "platform", system)
    tokens, _ = helpers.load_tokens(tmp_path)
    maps = Path("/proc/self/maps").read_text()
    assert (str(tmp_path / "tokens.safetensors") in maps) == mapped and tokens["ids"].tolist() == list(range(5000))


def test_a_wordpiece_tokenizer_goes_round(tokenizer):
    text = "the linguist applauded an ungrammatical sentence."
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert len(tokenizer("word " * 300)["input_ids"]) == 302, "the truncation that stands in the file is off"
    cut = tokenizer("word " * 300, truncation=True, max_length=16)["input_ids"]
    assert len(cut) == 16 and cut[-1] == tokenizer.sep_token_id


# ---------------------------------------------------------------- models


def test_a_folder_whose_tokenizer_is_missing_is_refused(tmp_path):
    """transformers gives such a folder an almost empty tokenizer without a word."""
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with raises("entries", "files are missing"):
        helpers.load_tokenizer(str(tmp_path))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return helpers.load_model(sources.minilm_folder(), num_labels=2)


def test_predictions_come_in_the_order_asked_whatever_the_batches(model, tokens):
    rows = torch.tensor([31, 2, 17, 5, 39, 8])
    logits = helpers.predict(model, tokens, rows, 0, batch_size=4)
    one_by_one = torch.cat([helpers.predict(model, tokens, row[None], 0) for row in rows])
    assert logits.shape == (6, 2) and torch.allclose(logits, one_by_one, atol=1e-5)


def test_a_saved_model_gives_equal_logits(model, tokens, tmp_path):
    model.save_pretrained(tmp_path / "model")
    rows = torch.arange(8)
    again = helpers.load_model(tmp_path / "model")
    assert torch.equal(helpers.predict(model, tokens, rows, 0), helpers.predict(again, tokens, rows, 0))


def test_half_precision_weights_are_loaded_in_fp32(model, tmp_path):
    import copy

    copy.deepcopy(model).half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in helpers.load_model(tmp_path / "half").parameters()} == {torch.float32}


def test_pick_device_can_be_told_to_take_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "yes")
    assert helpers.pick_device().type == "cpu"
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    assert helpers.pick_device().type == "cuda"


def test_cpu_precision_follows_the_measured_speed(monkeypatch):
    speeds = {torch.bfloat16: 600, torch.float32: 200}
    asked = []
    monkeypatch.setattr(helpers, "matrix_speed", lambda device, dtype, **size: (asked.append(size), speeds[dtype])[1])
    pick = helpers.pick_precision.__wrapped__
    assert pick(torch.device("cpu")) == "bf16"
    speeds[torch.bfloat16] = 250
    assert pick(torch.device("cpu")) == "no"
    assert {} in asked
    asked.clear()
    speeds[torch.bfloat16] = 3  # a CPU that does not know bf16, where one product of full size takes seconds
    assert pick(torch.device("cpu")) == "no"
    assert asked and all(size["rows"] < 100 for size in asked)


# ---------------------------------------------------------------- savings that change nothing


def tiny_model(family, pad_token_id=0):
    import transformers

    size = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    if family == "DistilBert":
        size = {"n_layers": 2, "dim": 32, "n_heads": 2, "hidden_dim": 64}
    config = getattr(transformers, f"{family}Config")(vocab_size=30522, pad_token_id=pad_token_id, **size)
    for name in vars(config):
        if "drop" in name and isinstance(getattr(config, name), float):
            setattr(config, name, 0.0)
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(config).train()


def train_20_steps(model, tokens, pad_token_id):
    """The loop that everybody writes, in fp32; returns the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-8, weight_decay=0.0)
    losses = []
    for step in range(20):
        rows = (torch.arange(8) * 5 + step) % 40
        batch = helpers.make_batch(tokens, rows, pad_token_id)
        labels = batch.pop("labels")
        loss = torch.nn.functional.cross_entropy(model(**batch).logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Electra", "MPNet", "Roberta", "Albert"])
def test_the_savings_give_the_same_training_as_the_plain_loop(tokens, family):
    """Largest difference of 20 losses 1e-5, of any weight after them 1e-4, in fp32 without dropout."""
    pad = 1 if family in {"MPNet", "Roberta"} else 0
    plain, ours = tiny_model(family, pad), tiny_model(family, pad)
    ids = savings.ids_in_use(tokens, pad)
    assert savings.shrink_embeddings(ours, ids)
    batch = helpers.make_batch(tokens, torch.arange(8), pad)
    del batch["labels"]
    assert savings.only_cls(ours, batch) == (family != "Albert"), "ALBERT is built otherwise and must be left alone"
    savings.quicken_dropout(ours)
    assert len(ours.get_input_embeddings().weight) < 20
    expected, losses = train_20_steps(plain, tokens, pad), train_20_steps(ours, tokens, pad)
    assert losses == pytest.approx(expected, abs=1e-5) and losses[-1] < losses[0]

    whole = tiny_model(family, pad)
    savings.load_weights(whole, ours.state_dict(), ids)
    ours = whole
    assert ours.state_dict().keys() == plain.state_dict().keys()
    for (name, a), b in zip(plain.named_parameters(), ours.parameters()):
        assert torch.allclose(a, b, atol=1e-4), name
    unused = torch.ones(30522, dtype=torch.bool)
    unused[tokens["ids"].long()] = False
    original = tiny_model(family, pad).get_input_embeddings().weight
    assert torch.equal(ours.get_input_embeddings().weight[unused], original[unused])


def test_an_id_that_is_not_in_the_corpus_is_an_error_and_not_another_word(tokens):
    model = tiny_model("Bert")
    savings.shrink_embeddings(model, torch.tensor([0, 101, 102]))
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[101, 5000, 102]]))


def test_quick_dropout_drops_what_it_should_and_follows_the_seed():
    drop, x = savings.QuickDropout(0.1), torch.ones(1001, 999, requires_grad=True)
    torch.manual_seed(1)
    y = drop(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(0.1, abs=0.002)
    assert y[kept].unique().item() == pytest.approx(1 / 0.9, rel=1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()), "the gradient is dropped where the value is"
    torch.manual_seed(1)
    assert torch.equal(drop(x), y)
    assert not torch.equal(drop(x), y), "and goes on drawing"
    assert torch.equal(drop.eval()(x), x)


def test_threads_do_not_spin():
    import os

    assert os.environ["GOMP_SPINCOUNT"], "set by helpers before torch was imported"


def test_a_shared_embedding_is_left_alone():
    model = tiny_model("Bert")
    model.decoder = torch.nn.Linear(32, 30522, bias=False)
    model.decoder.weight = model.get_input_embeddings().weight
    assert not savings.shrink_embeddings(model, torch.tensor([0, 101]))
    assert len(model.get_input_embeddings().weight) == 30522
