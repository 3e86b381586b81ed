"""03_tokenize as its readers meet it: cells run again, models and corpora of all kinds, and the compact file."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from matplotlib import pyplot
from reader import Reader, record
from test_series import execute, runs, tiny  # noqa: F401

import helpers
from lesson import drawing, sources
from lesson import tokens as compacting

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def raises(*words):
    return pytest.raises(helpers.SeriesError, match="(?s)" + "".join(f"(?=.*{word})" for word in words))


@pytest.fixture
def corpus(tiny, request):  # noqa: F811
    """A run folder of its own, in which 02 has finished; returns what 03 is given."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    load(name, tiny["CORPUS"])
    return {"RUN": name, "MODEL_NAME": tiny["MODEL_NAME"]}


def load(run, folder):
    """What 02 leaves in a run folder, of CoLA's three files in `folder`."""

    def write(target):
        target.mkdir()
        for split, name in helpers.COLA_FILES.items():
            helpers.read_sentences(Path(folder, name)).to_parquet(target / f"{split}.parquet")

    helpers.begin("02_load_cola", {"RUN": run, "CORPUS": folder}).finish(
        files={"corpus": write}, corpus="own", classes=["unacceptable", "acceptable"]
    )


def write_corpus(folder, **sentences):
    """CoLA's three files; sentences: {"train": [(label, text), …], …}."""
    folder.mkdir()
    for split, rows in sentences.items():
        text = "".join(f"x\t{label}\t\t{sentence}\n" for label, sentence in rows)
        (folder / helpers.COLA_FILES[split]).write_text(text, encoding="utf-8")
    return str(folder)


def make_model(folder, family, size=SIZE, **config):
    """Random weights of a family below `folder`, with minilm's tokenizer."""
    config = getattr(transformers, f"{family}Config")(vocab_size=30522, **size, **config)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = helpers.load_tokenizer(sources.minilm_folder())
    tokenizer.model_max_length = 10**30  # as a tokenizer says that knows no limit
    tokenizer.save_pretrained(folder)
    return str(folder)


def token_bytes(run):
    return (helpers.RUNS / run / "tokens.safetensors").read_bytes()


# ---------------------------------------------------------------- cells run again


def test_every_cell_twice_in_place_gives_what_once_gives(corpus):
    Reader("03_tokenize", **corpus).run()
    once = token_bytes(corpus["RUN"]), record(corpus["RUN"], "03_tokenize")
    Reader("03_tokenize", **corpus).run(times=2)
    assert (token_bytes(corpus["RUN"]), record(corpus["RUN"], "03_tokenize")) == once


def test_changed_parameters_are_either_used_or_refused(corpus):
    """The reader edits them and goes on at any later cell: 03 records what was used, or says where to begin."""
    changes = {"MAX_LEN": 8, "SPLIT_SEED": 1, "VALIDATION_FRACTION": 0.3}
    Reader("03_tokenize", **corpus).run()
    old = record(corpus["RUN"], "03_tokenize")
    cells = 1 + Reader("03_tokenize", **corpus | changes).run().place(".finish(")  # behind it are the exercises
    new = token_bytes(corpus["RUN"]), record(corpus["RUN"], "03_tokenize")
    used = []
    for first in range(2, cells):
        for begin in [["helpers.begin"], []] if first == 2 else [["helpers.begin"]]:
            kernel = Reader("03_tokenize", **corpus).run()
            kernel.parameters |= changes
            try:
                kernel.run("parameters", *begin).run(*range(first, cells))
                assert (token_bytes(corpus["RUN"]), record(corpus["RUN"], "03_tokenize")) == new
                used.append(first)
            except helpers.SeriesError as error:
                assert "from its parameters on" in str(error) and record(corpus["RUN"], "03_tokenize") == old
    assert 2 in used and cells - 1 not in used


def test_the_model_of_auto_is_chosen_once(corpus, tiny, monkeypatch):  # noqa: F811
    chosen = ["minilm"]
    find = sources.find_model
    answer = {"minilm": ("minilm", sources.minilm_folder(), "one"), "other": ("other", tiny["MODEL_NAME"], "two")}
    monkeypatch.setattr(sources, "find_model", lambda name: answer[chosen[0] if name == "auto" else name])
    for _ in range(2):
        execute("03_tokenize", RUN=corpus["RUN"], MODEL_NAME="auto")
        assert helpers.load_tokens(helpers.RUNS / corpus["RUN"])[1]["name"] == "minilm"
        chosen[0] = "other"
    assert "when this run began" in record(corpus["RUN"], "03_tokenize")["why"]
    assert helpers.read_run(helpers.RUNS / corpus["RUN"])["decided"]["auto model"] == "minilm" and find


# ---------------------------------------------------------------- models


@pytest.mark.parametrize(
    ("family", "longest", "config"),
    [
        ("Bert", 66, {"max_position_embeddings": 66}),
        ("Roberta", 64, {"max_position_embeddings": 66, "pad_token_id": 1}),
        ("MPNet", 64, {"max_position_embeddings": 66, "pad_token_id": 1}),
        ("DistilBert", 66, {"max_position_embeddings": 66}),
    ],
)
def test_the_longest_max_len_is_tried(corpus, tmp_path, family, longest, config):
    size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64} if family == "DistilBert" else SIZE
    own = corpus | {"MODEL_NAME": make_model(tmp_path / "own", family, size, **config)}
    for too_long in [longest + 1, 4000]:
        with raises(f"MAX_LEN is {too_long}", f"3 to {longest} for this model, own"):
            execute("03_tokenize", **own | {"MAX_LEN": too_long})
    execute("03_tokenize", **own | {"MAX_LEN": longest})


def test_a_model_without_a_limit_is_believed_and_one_that_reads_padding_is_named(corpus, tmp_path, capsys):
    size = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
    own = corpus | {"MODEL_NAME": make_model(tmp_path / "own", "XLNet", size)}
    execute("03_tokenize", **own | {"MAX_LEN": 600})
    assert "Padding changes the logits of own" in capsys.readouterr().out
    with raises("MAX_LEN is 9,000", "at most 8,192"):
        execute("03_tokenize", **own | {"MAX_LEN": 9000})


def test_a_tokenizer_with_more_entries_than_its_model_is_refused(corpus, tmp_path):
    model = shutil.copytree(corpus["MODEL_NAME"], tmp_path / "more")
    tokenizer = helpers.load_tokenizer(str(model))
    tokenizer.add_tokens(["squirrelish"])
    tokenizer.save_pretrained(model)
    with raises("tokenizer of more has 30,523 entries", "30,522", "another MODEL_NAME"):
        execute("03_tokenize", **corpus | {"MODEL_NAME": str(model)})


def test_a_model_folder_that_does_not_suit_is_said_in_03(corpus, tmp_path):
    """Weights cut short, a pointer of git-lfs, an encoder with a decoder: refused; another number of classes: a new head."""
    model = shutil.copytree(corpus["MODEL_NAME"], tmp_path / "cut")
    weights = model / "model.safetensors"
    for content in [weights.read_bytes()[:5000], b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"]:
        weights.write_bytes(content)
        with raises("MODEL_NAME", "model"):
            execute("03_tokenize", **corpus | {"MODEL_NAME": str(model)})
    three = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=3, **SIZE))
    three.save_pretrained(tmp_path / "three")
    helpers.load_tokenizer(corpus["MODEL_NAME"]).save_pretrained(tmp_path / "three")
    execute("03_tokenize", **corpus | {"MODEL_NAME": str(tmp_path / "three")})


# ---------------------------------------------------------------- corpora


def test_validation_sentences_of_one_class_are_refused_with_the_way_out(tiny, tmp_path):  # noqa: F811
    """63 acceptable and 6 unacceptable sentences, of which SPLIT_SEED 2 puts none aside."""
    rows = [(1, f"Bird number {i} sings.") for i in range(63)] + [(0, f"Bird number {i} sing.") for i in range(6)]
    seed = next(
        s for s in range(99) if len({rows[i][0] for i in np.flatnonzero(split(rows, s))}) == 1
    )  # as train_test_split draws
    folder = write_corpus(tmp_path / "few", train=rows, in_domain_dev=rows[:9], test=rows[-9:])
    load("one-class", folder)
    with raises(
        "sentences to validate have the label 1", f"another SPLIT_SEED than {seed}", "VALIDATION_FRACTION than 0.1"
    ):
        execute("03_tokenize", RUN="one-class", MODEL_NAME=tiny["MODEL_NAME"], SPLIT_SEED=seed)
    with raises("cannot be split", "VALIDATION_FRACTION"):
        execute("03_tokenize", RUN="one-class", MODEL_NAME=tiny["MODEL_NAME"], VALIDATION_FRACTION=0.9999)


def split(rows, seed, fraction=0.1):
    from sklearn.model_selection import train_test_split

    _, aside = train_test_split(np.arange(len(rows)), random_state=seed, test_size=fraction)
    return np.isin(np.arange(len(rows)), aside)


def test_the_split_is_the_original_tutorials():
    labels = np.array([0, 1] * 500)
    assert (
        compacting.set_aside({"train": pd.DataFrame({"label": labels, "mark": ""})}, 0.1, 2018) == split(labels, 2018)
    ).all()


@pytest.fixture(scope="module")
def six_two_two(tmp_path_factory):
    rows = [(i % 2, f"Bird {i} sing{'s' * (i % 2)}.") for i in range(10)]
    return write_corpus(tmp_path_factory.mktemp("x") / "mini", train=rows[:6], in_domain_dev=rows[6:8], test=rows[8:])


def test_a_tiny_corpus_passes_03_and_04(tiny, six_two_two, capsys):  # noqa: F811
    given = {"RUN": "six"}
    load("six", six_two_two)
    execute("03_tokenize", MODEL_NAME=tiny["MODEL_NAME"], **given)
    execute("04_train", EPOCHS=2, PRECISION="fp32", **given)
    out = capsys.readouterr().out
    assert "One sentence to validate is too few" in out and "equal in MCC" in out
    assert "BATCH_SIZE is 32, and there are 5 sentences to train on" in out


def test_text_with_dollars_is_drawn_as_it_is(tiny, tmp_path):  # noqa: F811
    rows = [(i % 2, f"It costs $$ here, $x^{i} $ and \\frac.") for i in range(40)]
    folder = write_corpus(tmp_path / "dollars", train=rows, in_domain_dev=rows[:8], test=rows[:8])
    load("dollars", folder)
    execute("03_tokenize", RUN="dollars", MODEL_NAME=tiny["MODEL_NAME"])


def test_many_cut_sentences_are_said_with_a_length_that_would_do(corpus, capsys):
    execute("03_tokenize", **corpus | {"MAX_LEN": 10})
    out = capsys.readouterr().out
    tokens, _ = helpers.load_tokens(helpers.RUNS / corpus["RUN"])
    assert int(tokens["offsets"].diff().max()) == 10 and "which is much" in out
    lengths = np.array([5] * 98 + [7, 30])
    assert compacting.cut_note(lengths, 30) == "MAX_LEN = 30 cuts 0.0% of all sentences."
    assert compacting.cut_note(lengths, 6) == (
        "MAX_LEN = 6 cuts 2.0% of all sentences, which is much: 7 would cut at most 1%, and 30 none."
    )


# ---------------------------------------------------------------- the compact file


def test_sentences_are_cut_as_the_tokenizer_cuts_them():
    tokenizer = helpers.load_tokenizer(sources.minilm_folder())
    words = ["word"] * 40 + ["ungrammaticality"]
    texts = [" ".join(words[i % 41 :][: i % 37 + 1]) for i in range(10_050)]  # more than one chunk
    for max_len in [3, 8, 64]:
        ids, lengths = compacting.encode(tokenizer, texts, max_len)
        ends = lengths.clip(max=max_len).cumsum()
        expected = tokenizer(texts, truncation=True, max_length=max_len)["input_ids"]
        assert [part.tolist() for part in np.split(ids, ends[:-1])] == expected and ids.dtype == np.int32
        assert lengths.tolist() == [len(row) for row in tokenizer(texts)["input_ids"]]


def test_the_token_file_is_readable_by_others_and_comes_back(corpus):
    old = os.umask(0o022)
    try:
        variables = execute("03_tokenize", **corpus)
    finally:
        os.umask(old)
    path = Path(helpers.RUNS, corpus["RUN"], "tokens.safetensors")
    assert path.stat().st_mode & 0o777 == 0o644
    tokens, header = helpers.load_tokens(path.parent)
    assert header["pad_token_id"] == 0 and header["max_len"] == 64
    for split_name in helpers.COLA_FILES:
        frame = variables["corpus"][split_name]
        numbers = {"train": [0, 1], "in_domain_dev": [2], "test": [3]}[split_name]
        own = torch.isin(tokens["split"], torch.tensor(numbers))
        assert tokens["row"][own].tolist() == list(range(len(frame)))
        assert tokens["labels"][own].tolist() == frame["label"].tolist()


# ---------------------------------------------------------------- the picture of a batch


@pytest.mark.parametrize("names", [["nigel", "##y", "whispered", "WWWW"], ["the"] * 30, ["a", "[PAD]"]])
def test_the_words_of_a_batch_fit_their_cells(names):
    words, mask = [names, [*names[1:], "[PAD]"]], [[1] * len(names), [1] * (len(names) - 1) + [0]]
    figure, alt = drawing.batch(words, mask)
    (ax,) = figure.axes
    figure.canvas.draw()
    edges = ax.transData.transform([[edge, 0] for edge in ax.collections[0].get_coordinates()[0, :, 0]])[:, 0]
    assert [text.get_text() for text in ax.texts] == [*words[0], *words[1]] and "padding" in alt
    for i, text in enumerate(ax.texts):
        box, column = text.get_window_extent(), i % len(names)
        assert edges[column] < box.x0 and box.x1 < edges[column + 1], text.get_text()
    share = f"{1 / (2 * len(names)):.0%}"
    assert ax.get_title().startswith(f"{share} of this batch")
    pyplot.close(figure)


def test_a_batch_of_very_many_words_is_drawn_without_them():
    figure, _ = drawing.batch([["sentences"] * 200], [[1] * 200])
    assert not figure.axes[0].texts and len(figure.axes[0].get_xticks()) < 30
    pyplot.close(figure)
