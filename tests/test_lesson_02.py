"""02_load_cola: bad files are said before anything else, small and odd ones are read as they are, and auto decides once."""

import json
from pathlib import Path

import pandas as pd
import pytest
from reader import Reader, record
from test_lesson_01 import run_cells

import helpers
from lesson import sources

LINE = "x\t{label}\t{mark}\tSentence number {number}.\n"


def lines(labels):
    return "".join(LINE.format(label=label, mark="" if label else "*", number=i) for i, label in enumerate(labels))


def corpus(folder, **contents):
    """A folder with CoLA's three files; `contents`: text or bytes instead of six and twice two sentences."""
    folder.mkdir(exist_ok=True)
    for split, name in helpers.COLA_FILES.items():
        content = contents.get(split, lines([1, 0] * (3 if split == "train" else 1)))
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder)


@pytest.mark.parametrize("split", helpers.COLA_FILES)
@pytest.mark.parametrize(
    "content, words",
    [
        (lines([1, 0]) + "x\t1\t\tThe cat sat.\t\n", "line 3: 5 tab-separated columns"),
        (lines([1, 0]) + "x\t1\tThe cat sat.\n", "line 3: 3 tab-separated columns"),
        (lines([1, 0]).encode("utf-16"), "UTF-16"),
        (lines([1, 0]).encode() + b"x\t1\t\tCaf\xe9.\n", "line 3: byte 0xe9 is not UTF-8"),
        (lines([1, 0]) + "x\t1\t\tOne\rtwo.\n", "line 3: a carriage return"),
        (lines([1, 0, 2]), "line 3: label '2'"),
        (lines([1, 0]) + "x\t1\t\t \n", "line 3: an empty sentence"),
        ("", "is empty"),
    ],
)
def test_a_bad_file_is_said_with_file_and_line(tmp_path, split, content, words):
    bad = corpus(tmp_path / "bad", **{split: content})
    with pytest.raises(helpers.SeriesError, match=words) as error:
        run_cells("02_load_cola", RUN=f"bad-{tmp_path.name}", CORPUS=bad)
    assert helpers.COLA_FILES[split] in str(error.value)
    assert not (helpers.RUNS / f"bad-{tmp_path.name}" / "corpus").exists()


@pytest.mark.parametrize("label", [0, 1])
def test_training_on_one_label_is_refused_before_anything_is_shown(tmp_path, label):
    only = corpus(tmp_path / "only", train=lines([label] * 8))
    with pytest.raises(helpers.SeriesError, match=f"in_domain_train.tsv: all labels are {label}.*expected both"):
        run_cells("02_load_cola", RUN=f"only-{label}", CORPUS=only)
    assert not helpers.read_run(helpers.RUNS / f"only-{label}")["notebooks"]


@pytest.mark.parametrize(
    "contents",
    [{}, {"train": lines([1, 0]), "in_domain_dev": lines([1]), "test": lines([1])}, {"train": lines([1] * 7 + [0])}],
    ids=["6-2-2", "2-1-1", "one-unacceptable"],
)
def test_small_corpora_are_shown_as_they_are_each_cell_twice(tmp_path, contents):
    small = corpus(tmp_path / "small", **contents)
    variables, printed = run_cells("02_load_cola", times=2, RUN=f"small-{len(contents)}", CORPUS=small)
    assert ("no MCC on test can mean anything" in printed) == ("test" in contents)
    for split, name in helpers.COLA_FILES.items():
        kept = helpers.read_split(helpers.RUNS / f"small-{len(contents)}", split)
        assert kept.equals(helpers.read_sentences(Path(small, name)).astype({"label": "int64"}))
    record = helpers.read_run(helpers.RUNS / f"small-{len(contents)}")["notebooks"]["02_load_cola"]
    assert record["sentences"] == {split: len(frame) for split, frame in variables["splits"].items()}


def test_odd_sentences_are_kept_and_read_alike_by_pandas(tmp_path):
    odd = ["NA", "1", '"', 'He said "no', "'", " two  spaces ", "#", "\\", "$x$", "é\u2028ö\x85", "a\x00b", "\ufeffbom"]
    text = "".join(f"{i:03}\t{i % 2}\t\t{sentence}\n" for i, sentence in enumerate(odd))
    own = corpus(tmp_path / "odd", train=text)
    variables, _ = run_cells("02_load_cola", RUN="odd", CORPUS=own)
    assert variables["train"]["sentence"].tolist() == odd
    assert variables["train"]["source"].tolist() == [f"{i:03}" for i in range(len(odd))]
    assert helpers.read_split(helpers.RUNS / "odd", "train").equals(variables["train"])


def test_quoted_sentences_are_noted(tmp_path):
    frame = pd.DataFrame(
        {"source": "x", "label": [1, 0], "mark": ["", "*"], "sentence": ['She said "no", and left.', "So."]}
    )
    frame.to_csv(tmp_path / "quoted.tsv", sep="\t", header=False, index=False)
    own = corpus(tmp_path / "quoted", train=(tmp_path / "quoted.tsv").read_text())
    _, printed = run_cells("02_load_cola", RUN="quoted", CORPUS=own)
    assert "1 sentences begin and end with a quotation mark" in printed
    _, printed = run_cells("02_load_cola", RUN="unquoted", CORPUS=corpus(tmp_path / "plain"))
    assert "quotation mark" not in printed


def test_auto_decides_once_and_says_why(tmp_path, monkeypatch):
    def nothing(**_):
        raise helpers.SeriesError("no network")

    monkeypatch.setattr(sources, "fetch_cola", nothing)
    _, printed = run_cells("02_load_cola", RUN="auto")
    assert "neither in data/ nor quickly reached" in printed

    arrived = corpus(
        tmp_path / "cola"
    )  # CoLA comes within reach: this run keeps to the practice corpus, another takes it
    monkeypatch.setattr(sources, "fetch_cola", lambda **_: Path(arrived))
    variables, printed = run_cells("02_load_cola", RUN="auto")
    assert variables["corpus"] == "practice" and "neither in data/ nor quickly reached" in printed
    assert json.loads((helpers.RUNS / "auto" / "run.json").read_text())["decided"]["auto corpus"][0] == "practice"
    variables, printed = run_cells("02_load_cola", RUN="auto-later")
    assert variables["corpus"] == "cola" and "CoLA 1.1 is at hand." in printed

    monkeypatch.setattr(sources, "fetch_cola", nothing)  # gone again: what was decided is not replaced
    with pytest.raises(helpers.SeriesError, match="no network"):
        run_cells("02_load_cola", RUN="auto-later")
    variables, printed = run_cells("02_load_cola", RUN="auto-later", CORPUS="practice")
    assert variables["corpus"] == "practice" and "was asked for" in printed


def test_a_corpus_changed_midway_is_not_recorded(tmp_path):
    own = corpus(tmp_path / "own")
    variables, _ = run_cells("02_load_cola", RUN="midway", CORPUS=own)
    variables["CORPUS"] = "practice"
    with pytest.raises(helpers.SeriesError, match="CORPUS was .* run the notebook again from its parameters on"):
        exec("made_for.finish(files={'corpus': write_corpus}, sentences=sizes, **record)", variables)


def test_sentences_loaded_for_other_parameters_are_not_recorded(tmp_path):
    """The reader edits the parameters, begins anew, and runs the recording cell alone."""
    reader = Reader("02_load_cola", RUN="begun", CORPUS=corpus(tmp_path / "eight", train=lines([1, 0] * 4))).run()
    kept = record("begun", "02_load_cola")
    for change in [{"CORPUS": corpus(tmp_path / "six")}, {"RUN": "begun-later"}, {"TEXT_COLUMN": "text"}]:
        before = dict(reader.parameters)
        reader.parameters |= change
        with pytest.raises(helpers.SeriesError, match=f"{next(iter(change))} was .* again from its parameters on"):
            reader.run("parameters", "helpers.begin", ".finish(")
        reader.parameters = before
    assert record("begun", "02_load_cola") == kept and kept["sentences"]["train"] == 8
    assert not (helpers.RUNS / "begun-later" / "corpus").exists()
    reader.run("parameters", "helpers.begin", ".finish(")  # back again: they are its own
    assert record("begun", "02_load_cola") == kept
