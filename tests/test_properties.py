"""Whatever stands in a file or is given as a parameter: the same comes back, or one sentence says what is wrong.

Ten thousand examples and more, drawn by hypothesis; a failure prints the smallest one and how to draw it again.
"""

import io
import math
import random
import re
import zipfile

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tally import tally, tries
from test_series import runs, series, tiny  # noqa: F401

import helpers
from bookkeeping import SeriesError
from bookkeeping.parameters import DECLARED, typed
from bookkeeping.runs import check_parameters
from lesson import export, sources
from lesson.corpora import read_sentences
from lesson.tokens import compact, encode, read_corpus
from runner.notebooks import read_notebooks
from runner.parameters import read_grid, value_of

PARAMETERS = {name: parameter for own in read_notebooks().values() for name, parameter in own.items()}


def examples(few, check, *strategies):
    """check(…) for `few` draws of the strategies."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    how = settings(max_examples=tries(few), deadline=None, database=None, print_blob=True, suppress_health_check=slow)
    how(given(*strategies)(check))()


# ---------------------------------------------------------------- sentences

ODD = [
    "\u2028",
    "\x85",
    "\x00",
    "\ufeff",
    "\x1c",
    "\x0b",
    "\x0c",
    '"',
    '""',
    "'",
    "NA",
    "nan",
    "1",
    "$x$",
    "\\",
    "#",
    "=1+1",
]
ODD += [
    "\u200b",
    "İ",
    "ﬁ",
    "ꙮ",
    "\U0010ffff",
    "e\u0301",
    " ",
    "\xa0",
    "[CLS]",
    "[SEP]",
    "[PAD]",
    "[UNK]",
    "<s>",
    "🏳️‍🌈",
    "-",
]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), max_size=12)
TEXT = st.lists(st.sampled_from(ODD) | ANY, max_size=5).map("".join)
SENTENCE = TEXT.filter(str.strip)
ROWS = st.lists(st.tuples(TEXT, st.sampled_from("01"), TEXT, SENTENCE), min_size=1, max_size=6)


def content_of(rows):
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def rows_of(frame):
    return list(zip(frame["source"], frame["label"].map(str), frame["mark"], frame["sentence"]))


def code_of(notebook, text):
    """The one code cell of a notebook that holds `text`."""
    cells = nbformat.read(helpers.ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    (found,) = [cell.source for cell in cells if cell.cell_type == "code" and text in cell.source]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


def test_any_sentence_comes_back_as_it_was(folder):
    """The file, 02's reading, pandas' reading in 02, 02's writing, and the reading of 03 and 05."""
    path, by_pandas = folder / "in_domain_train.tsv", compile(code_of("02_load_cola", "by_pandas"), "02", "exec")
    write, _, _ = code_of("02_load_cola", "def write_corpus").partition("\n\n\n")
    writing = {}
    exec(write, writing)

    def check(rows):
        path.write_bytes(content_of(rows))
        frame = read_sentences(path)
        rows[0] = (rows[0][0].lstrip("\ufeff"), *rows[0][1:])  # a mark of the encoding, not text
        assert rows_of(frame) == rows
        exec(by_pandas, {"files": {"train": path}, "train": frame})
        writing["splits"] = {"train": frame}
        (folder / "corpus").mkdir(exist_ok=True)
        writing["write_corpus"](Folder(folder / "corpus"))
        assert rows_of(helpers.read_split(folder, "train")) == rows
        came("the same text at the same place")

    with tally("odd sentences, files of 1 to 6, read and written", "every text stays what it is") as came:
        examples(1200, check, ROWS)


class Folder(type(helpers.ROOT)):
    def mkdir(self, **_):
        """The one that is there already."""


def test_any_sentence_is_judged_at_its_place(tiny, folder):  # noqa: F811
    """From the files of a run folder to the logits: as if each sentence were alone in the world."""
    tokenizer, model = helpers.load_tokenizer(tiny["MODEL_NAME"]), helpers.load_model(tiny["MODEL_NAME"], num_labels=2)
    corpus, max_len = folder / "judged" / "corpus", 12
    corpus.mkdir(parents=True)

    def alone(sentence):
        with torch.inference_mode():
            return model.eval()(**tokenizer(sentence, truncation=True, max_length=max_len, return_tensors="pt")).logits[
                0
            ]

    def check(parts, validation):
        for split, rows in zip(helpers.COLA_FILES, parts):
            kept = pd.DataFrame(rows, columns=["source", "label", "mark", "sentence"])
            kept.astype({"label": "int64"}).to_parquet(corpus / f"{split}.parquet")
        frames = read_corpus(corpus.parent)
        encoded = {split: encode(tokenizer, frame["sentence"], max_len) for split, frame in frames.items()}
        aside = np.arange(len(frames["train"])) < validation
        tokens = compact(frames, encoded, aside, max_len)
        assert len(tokens["row"]) == sum(map(len, parts))
        for split in helpers.SPLITS:
            rows = helpers.rows_of(tokens, split)
            if len(rows):
                texts = parts[max(0, helpers.SPLITS.index(split) - 1)]
                logits = helpers.predict(model, tokens, rows, tokenizer.pad_token_id, batch_size=3)
                expected = torch.stack([alone(texts[i][3]) for i in tokens["row"][rows]])
                assert torch.allclose(logits, expected, atol=1e-5)
                assert tokens["labels"][rows].tolist() == [int(texts[i][1]) for i in tokens["row"][rows]]
                for _ in rows:
                    came("judged as if alone")

    with tally("odd sentences, tokenized and judged in batches", "the same judgement as alone") as came:
        examples(25, check, st.tuples(ROWS, ROWS, ROWS), st.integers(0, 6))


def test_a_corpus_of_odd_sentences_passes_through_the_notebooks(tiny, folder):  # noqa: F811
    """02 to 05: none of a thousand sentences is lost, shifted or changed."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    draw, n, parts = random.Random(seed), tries(1000), {}
    (folder / "odd").mkdir()
    for split, share in {"train": 0.2, "in_domain_dev": 0.3, "test": 0.5}.items():
        parts[split] = [("s", "01"[i % 2], "", f"{odd_text(draw)}{i}") for i in range(round(share * n))]
        (folder / "odd" / helpers.COLA_FILES[split]).write_bytes(content_of(parts[split]))
    run, variables = series("odd", **tiny | {"CORPUS": str(folder / "odd"), "EPOCHS": 1, "MAX_LEN": 32})
    judged, test = pd.read_csv(run / "predictions.csv"), [row[3] for row in parts["test"]]
    aside = judged[judged["split"] == "validation"]["row"].tolist()
    assert variables["test"]["sentence"].tolist() == test
    for split, rows in {"in_domain_dev": parts["in_domain_dev"], "test": parts["test"]}.items():
        own = judged[judged["split"] == split]
        assert own["row"].tolist() == list(range(len(rows))) and own["label"].tolist() == [int(row[1]) for row in rows]
    assert len(set(aside)) == round(0.1 * len(parts["train"])) and set(aside) <= set(range(len(parts["train"])))
    tokenizer, model = helpers.load_tokenizer(run / "model"), helpers.load_model(run / "model").eval()
    probability = judged[judged["split"] == "test"]["probability"].tolist()
    for i in draw.sample(range(len(test)), min(100, len(test))):
        with torch.inference_mode():
            logits = model(**tokenizer(test[i], truncation=True, max_length=32, return_tensors="pt")).logits
        assert logits.softmax(dim=1)[0, 1].item() == pytest.approx(probability[i], abs=1e-4), test[i]
    with tally("odd sentences in a corpus, 02 to 05", "none is lost, shifted or changed") as came:
        for _ in range(sum(map(len, parts.values()))):
            came("judged at its place")


def odd_text(draw):
    """A text of odd pieces and of any characters of Unicode."""
    places = [
        n for n in (draw.randrange(0x110000) for _ in range(6)) if not 0xD800 <= n < 0xE000 and n not in (9, 10, 13)
    ]
    pieces = [
        *draw.choices(ODD, k=2),
        *draw.choices(["the", "cat", "sat", "colourless", "ideas"], k=3),
        *map(chr, places),
    ]
    draw.shuffle(pieces)
    return draw.choice(["", " "]).join(pieces)


# ---------------------------------------------------------------- files


def test_any_bytes_are_read_as_they_are_or_refused_with_name_and_line(folder):
    path = folder / "own.tsv"
    pieces = st.sampled_from(
        [b"\t", b"\n", b"\r", b"\r\n", b"0", b"1", b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"x\t1\t\tA b.\n"]
    )
    content = st.lists(pieces | st.binary(max_size=8), max_size=12).map(b"".join)

    def check(content):
        path.write_bytes(content)
        try:
            rows = rows_of(read_sentences(path))
        except SeriesError as error:
            assert re.match(r"own.tsv(, line \d+: | is (in UTF-16|empty))", str(error))
            return came("refused in one sentence")
        lines = content.decode("utf-8").lstrip("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n")
        assert ["\t".join(row) for row in rows] == lines
        came("read as it is")

    with tally("files of random bytes", "read as they are, or refused in one sentence with file and line") as came:
        examples(2000, check, content)


def test_edits_of_a_file_change_no_other_line(folder):
    path = folder / "own.tsv"
    lines = [f"s{i}\t{i % 2}\t{'*' * (i % 2)}\tSentence number {i}, é.\n".encode() for i in range(12)]
    edit = st.tuples(st.integers(0, 11), st.integers(0, 40), st.integers(0, 3), st.binary(max_size=4))

    def check(edits):
        new, first = list(lines), min(line for line, *_ in edits)
        for line, start, length, put in edits:
            new[line] = new[line][:start] + put + new[line][start + length :]
        path.write_bytes(b"".join(new))
        try:
            rows = rows_of(read_sentences(path))
        except SeriesError as error:
            blamed = re.match(r"own.tsv(, line (\d+): | is in UTF-16)", str(error))
            assert blamed[2] is None or int(blamed[2]) > first, "no line before the first edit is blamed"
            return came("refused in one sentence")
        texts = ["\t".join(row) + "\n" for row in rows]
        left = [line.decode() for i, line in enumerate(lines) if i not in {line for line, *_ in edits}]
        joined = [line for line in left if line not in texts]  # by an edit that took the end of the line before
        assert all(any(text.endswith(line) for text in texts) for line in joined) and len(joined) <= len(edits)
        assert [text for text in texts if text in left] == [line for line in left if line not in joined], "and in order"
        came("the other lines as they were")

    with tally("1 to 3 edits of a corpus file", "no other line changes, or one sentence with file and line") as came:
        examples(2000, check, st.lists(edit, min_size=1, max_size=3))


def test_a_damaged_zip_gives_the_same_rows_or_one_sentence(folder):
    whole, path = io.BytesIO(), folder / "own.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
        for name in helpers.COLA_FILES.values():
            file.writestr(f"raw/{name}", content_of([("s", "1", "", f"Sentence {i} of {name}.") for i in range(20)]))
    content = whole.getvalue()
    expected = [20, 20, 20]

    def check(place, byte, cut):
        damaged = bytearray(content[: len(content) - cut])
        damaged[place % len(damaged)] = byte
        path.write_bytes(damaged)
        try:
            _, files, _ = sources.find_corpus(str(path))
            frames = [read_sentences(file) for file in files.values()]
        except SeriesError as error:
            assert "own.zip" in str(error)
            return came("refused in one sentence")
        assert [len(frame) for frame in frames] == expected
        for frame, name in zip(frames, helpers.COLA_FILES.values()):
            assert frame["sentence"].tolist() == [f"Sentence {i} of {name}." for i in range(20)]
        came("the same rows")

    with tally("zips with a byte changed, or cut", "the same rows, or one sentence") as came:
        few = st.just(0) | st.integers(0, len(content) - 1)
        examples(600, check, st.integers(0, len(content) - 1), st.integers(0, 255), few)


# ---------------------------------------------------------------- parameters

NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, 1, 2, 3, 64, 100, 2**32 - 1, 2**32, 0.1, 1.0, 1e-5])
)
WORDS = st.sampled_from(
    ["none", "None", "null", "~", "", "yes", "off", "longest", "bf16", "auto", "1e-5", "1_0", "0x1", "-1", "٣"]
)
NAMES = st.sampled_from(sorted(DECLARED))
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def given_to(function, *arguments):
    """(what a function gives, None) or (None, the words of its SeriesError)."""
    try:
        return function(*arguments), None
    except SeriesError as error:
        return None, str(error)


def test_any_value_is_of_the_right_kind_and_in_range_or_refused_by_name(folder):
    def check(name, value):
        own = DECLARED[name]
        meant, refusal = given_to(typed, name, value)
        if refusal:
            assert refusal.startswith(f"{name} is ") and ": expected " in refusal and len(refusal) < 400
            return came("refused by name")
        assert meant is None and own.or_none or type(meant) is own.kind and (own.fits is None or own.fits(meant))
        assert not isinstance(meant, float) or math.isfinite(meant)
        assert typed(name, meant) == meant, "what was typed once is typed"
        if isinstance(value, int | float) and isinstance(meant, int | float):
            assert meant == type(meant)(value)  # no float is 2 ** 53 + 1
        came("taken as what it says")

    with tally("values of any kind for a declared parameter", "typed and in range, or refused by name") as came:
        examples(2500, check, NAMES, JSON)


def test_run_py_and_the_notebook_say_the_same_word_for_word():
    """-p NAME TEXT to run.py, and the same text in the notebook's parameters cell or from plain papermill."""

    def check(name, text):
        ours, refusal = given_to(value_of, text, PARAMETERS[name])
        theirs, words = given_to(check_parameters, {name: text})
        if "no such user" in (refusal or ""):  # run.py looks for the folder right away
            return came("refused in the same words")
        assert refusal == words
        if not refusal:
            assert type(ours) is type(theirs[name]) and (isinstance(ours, str) or ours == theirs[name])
        came("refused in the same words" if refusal else "the same value")

    with tally(
        "text for a parameter, at run.py and in a notebook", "the same value, or refused in the same words"
    ) as came:
        text = WORDS | st.text(max_size=20) | NUMBERS.map(str)
        examples(1500, check, st.sampled_from(sorted(PARAMETERS)), text)


def test_run_py_and_papermill_read_the_same_number_in_a_file(folder):
    """papermill -f reads YAML 1.1, in which 010 is 8; run.py reads the words."""
    path = folder / "grid.yaml"
    digits = st.text("0123456789_.eE+-xob:", min_size=1, max_size=6)

    def check(name, text):
        path.write_text(f"{name}: {text}\n", encoding="utf-8")
        ours, refusal = given_to(lambda: value_of(read_grid(path)[name][0], PARAMETERS[name]))
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            return came("refused by one of them")
        theirs, words = given_to(check_parameters, given)
        if refusal or words:
            return came("refused by one of them")
        assert ours == theirs[name]
        came("the same value")

    with tally("numbers in a YAML file, to run.py and to papermill -f", "the same value, or refused by one") as came:
        numeric = [name for name in sorted(PARAMETERS) if DECLARED[name].kind in (int, float)]
        examples(800, check, st.sampled_from(numeric), digits)


def test_any_grid_file_is_read_or_refused_in_one_sentence(folder):
    path = folder / "grid.yaml"
    pieces = st.sampled_from(
        [
            "SEED: ",
            "- ",
            "1",
            "[",
            "]",
            "{",
            "}",
            "\n",
            " ",
            "&a ",
            "*a",
            "!!python/name:os.system ",
            "<<: ",
            "? ",
            "|",
            "%",
            "'",
        ]
    )
    text = st.lists(pieces | st.text(max_size=3), max_size=14).map("".join)

    def check(text):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        grid, refusal = given_to(read_grid, path)
        if refusal:
            assert "grid.yaml" in refusal
            return came("refused in one sentence")
        assert all(isinstance(value, str) for values in grid.values() for value in values)
        came("read as text")

    with tally("grid files of random text", "values as text, or refused in one sentence") as came:
        check("SEED: " + "[" * 2000)
        examples(400, check, text)


PATHS = [
    "~",
    "~nobody-of-this-name",
    "\0",
    "x" * 300,
    "/",
    "/proc/self/mem",
    ".",
    "..",
    "//",
    "a/b/c",
    "a b",
    "ü/ü",
    "-x",
    "~/x",
    ".",
]


def test_any_name_for_a_corpus_a_model_or_an_export_is_found_or_refused(folder, monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", True)
    monkeypatch.setattr(sources, "DATA", folder)
    (folder / "model").mkdir()

    def check(text):
        for name in ("CORPUS", "MODEL_NAME", "EXPORT_DIR"):
            value, refusal = given_to(typed, name, text)
            if value is None:
                continue
            if name == "CORPUS":
                found, refusal = given_to(sources.find_corpus, value)
            elif name == "MODEL_NAME":
                found, refusal = given_to(sources.find_model, value)
            else:
                found, refusal = given_to(export.destination, value, folder)
            assert found or refusal
            came("refused in one sentence" if refusal else "found")

    with tally("text as the name of a corpus, a model, a folder", "found, or refused in one sentence") as came:
        for text in PATHS:
            check(text)
        examples(
            600,
            check,
            st.text(st.characters(exclude_characters="/"), max_size=12)
            | st.lists(st.sampled_from([*PATHS, "/", "a"]), max_size=4).map("".join),
        )
