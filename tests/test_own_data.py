"""Any text classification through the series: the example table by 02 to 07, formats, splits, and what bad tables get."""

import csv
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from reader import in_this_process
from sklearn.feature_extraction.text import TfidfVectorizer
from test_series import execute, runs, series, tiny  # noqa: F401

import helpers
from lesson import export, sources, tables, tokens

REQUESTS = helpers.ROOT / "data" / "examples" / "requests.csv"
TOPICS = ["account", "billing", "delivery", "praise", "product"]


def load(place, **columns):
    """(splits, classes, all that is said) of a corpus, by the door of 02."""
    splits, classes, said = tables.load(sources.find_corpus(str(place))[1], **columns)
    return splits, classes, " ".join(said)


def pairs_of(splits, classes):
    return sorted(
        (text, classes[label]) for part in splits.values() for text, label in zip(part["sentence"], part["label"])
    )


def rows_of_the_example():
    """[(ticket, channel, request, topic)] by the standard library, which knows nothing of lesson/."""
    with open(REQUESTS, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=";"))[1:]


def frame(n=30):
    return pd.DataFrame(
        {"text": [f"Sentence {i}, “é” 🙂\nof {i % 3}" for i in range(n)], "label": [f"k{i % 3}" for i in range(n)]}
    )


# ---------------------------------------------------------------- the whole series


@pytest.fixture(scope="module")
def own(tiny, tmp_path_factory):  # noqa: F811
    from transformers import BertModel

    small = tmp_path_factory.mktemp("small")  # minilm's lowest layer; random ones hardly learn from so few messages
    BertModel.from_pretrained(sources.minilm_folder(), num_hidden_layers=1).save_pretrained(small)
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(small)
    given = tiny | {"CORPUS": str(REQUESTS), "MODEL_NAME": str(small), "POOLING": "mean"}
    given |= {"LEARNING_RATE": 3e-4, "MAX_LEN": 24, "BOOTSTRAP_SAMPLES": 500}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "fresh_process", in_this_process)
        series("requests/seed1", **given | {"SEED": 1})
        folder, variables = series("requests/seed2", until="06_save_and_load", **given | {"SEED": 2})
        yield folder, variables


def test_the_example_passes_the_whole_series_by_its_classes(own):
    folder, _ = own
    record = helpers.read_run(folder)["notebooks"]
    assert record["02_load_cola"]["classes"] == TOPICS and record["06_save_and_load"]["pairs_right"] == {}
    config = json.loads((folder / "model" / "config.json").read_text())
    assert list(config["id2label"].values()) == TOPICS
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["mcc"] > 0.4 and metrics["classes"] == TOPICS and "in_domain_dev" not in metrics
    judged = pd.read_csv(folder / "predictions.csv")
    test = helpers.read_split(folder, "test")
    assert judged[judged["split"] == "test"]["label"].tolist() == test["label"].tolist()
    assert {f"probability_{name}" for name in TOPICS} <= set(judged)


def test_07_compares_runs_of_several_classes(own):
    execute("07_compare_runs", SWEEP="requests", RESAMPLES=200)


def test_every_row_of_the_example_arrives(tmp_path):
    splits, classes, said = load(REQUESTS)
    assert pairs_of(splits, classes) == sorted((text, topic) for _, _, text, topic in rows_of_the_example())
    assert (
        "Kept: 1 row with a text that stands above" in said
        and "Kept: 2 rows with a text that stands under two labels" in said
    )
    assert not set(splits["train"]["sentence"]) & set(splits["test"]["sentence"])
    again, _, _ = load(REQUESTS)
    assert all(again[split].equals(splits[split]) for split in splits)


def test_the_example_is_as_a_spreadsheet_leaves_it():
    content, rows = REQUESTS.read_bytes(), rows_of_the_example()
    assert content.startswith(b"\xef\xbb\xbfticket;channel;request;topic\r\n") and content.endswith(b"\r\n")
    assert content.count(b"\r\n") == len(rows) + 1 < content.count(b"\n")
    texts = [text for _, _, text, _ in rows]
    for trap in ["\n", '"', ";", "\N{CARROT}", "\N{LATIN CAPITAL LETTER THORN}"]:
        assert any(trap in text for text in texts), trap
    assert [int(ticket) for ticket, *_ in rows] == list(range(1001, 1001 + len(rows)))


def test_no_message_of_the_example_is_nearly_another():
    texts = sorted({text for _, _, text, _ in rows_of_the_example()})
    for by in [{}, {"analyzer": "char_wb", "ngram_range": (3, 5)}]:
        vectors = TfidfVectorizer(**by).fit_transform(texts)
        alike = (vectors @ vectors.T).toarray() - np.eye(len(texts))
        assert alike.max() < 0.8, [texts[i] for i in np.unravel_index(alike.argmax(), alike.shape)]


def test_the_readme_of_the_example_counts_what_is_there():
    told, rows = REQUESTS.with_name("README.md").read_text(encoding="utf-8"), rows_of_the_example()
    counts = Counter(topic for *_, topic in rows)
    assert f"holds {len(rows)} invented messages" in told and sorted(counts) == TOPICS and min(counts.values()) >= 60
    for topic in TOPICS:
        assert f"| {topic} | {counts[topic]} |" in told
    topic_of = {ticket: topic for ticket, _, _, topic in rows}
    wrong = re.findall(r"(\d{4}) (\w+)", told.partition("## Wrong on purpose")[2].partition("##")[0])
    assert f"{len(wrong)} labels" in told and all(
        topic in TOPICS and topic != topic_of[ticket] for ticket, topic in wrong
    )


# ---------------------------------------------------------------- formats and splits


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "xlsx"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    path, rows = tmp_path / f"own.{suffix}", frame()
    {
        "csv": lambda: rows.to_csv(path, index=False),
        "tsv": lambda: rows.to_csv(path, index=False, sep="\t", encoding="utf-16"),
        "jsonl": lambda: rows.to_json(path, orient="records", lines=True),
        "json": lambda: rows.to_json(path, orient="records", indent=2),
        "parquet": lambda: rows.to_parquet(path),
        "xlsx": lambda: rows.to_excel(path, index=False),
    }[suffix]()
    splits, classes, _ = load(path)
    assert classes == ["k0", "k1", "k2"] and pairs_of(splits, classes) == sorted(zip(rows["text"], rows["label"]))
    assert splits["test"]["label"].value_counts().tolist() == [2, 2, 2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_json_file_holds_objects_by_the_line_or_in_one_array(tmp_path, encoding):
    rows = [
        {"text": f"Sentence {i}, [é]\r{{x}} 🙂", "label": [True, False, None][i % 3], "more": {"a": [i]}}
        for i in range(30)
    ]
    kept = sorted((row["text"], str(row["label"]).lower()) for row in rows if row["label"] is not None)
    array, lines = json.dumps(rows, indent=1, ensure_ascii=False), "\n".join(map(json.dumps, rows))
    for content, how, at in [(array, "one JSON array", (20, 47)), (lines, "JSON lines", (3, 6))]:
        (tmp_path / "own.json").write_text(content, encoding=encoding, newline="")
        splits, classes, said = load(tmp_path / "own.json")
        assert classes == ["false", "true"] and pairs_of(splits, classes) == kept
        assert how in said and f"Dropped: 10 rows without a label (own.json, line {at[0]}, " in said


@pytest.mark.parametrize("by", ["files", "column"])
def test_given_splits_are_kept_and_the_given_validation_set_chooses(tmp_path, tiny, by):  # noqa: F811
    names = ["train"] * 20 + ["dev"] * 6 + ["test"] * 4
    rows = frame().assign(part=names)
    if by == "files":
        for name, part in rows.groupby("part"):
            part[["text", "label"]].to_csv(tmp_path / f"{name}.csv", index=False)
    else:
        rows.to_csv(tmp_path / "one.csv", index=False)
    place = tmp_path if by == "files" else tmp_path / "one.csv"
    splits, _, said = load(place)
    assert {split: len(part) for split, part in splits.items()} == {"train": 20, "validation": 6, "test": 4}
    assert splits["validation"]["sentence"].tolist() == rows["text"][20:26].tolist() and "cut off" not in said
    folder, _ = series(f"given-{by}", **tiny | {"CORPUS": str(place), "EPOCHS": 1, "BOOTSTRAP_SAMPLES": 200})
    judged = pd.read_csv(folder / "predictions.csv")
    own = judged[judged["split"] == "validation"]
    assert own["label"].tolist() == splits["validation"]["label"].tolist() and own["row"].tolist() == list(range(6))


def test_columns_are_guessed_or_named(tmp_path):
    rows = frame().assign(kind="ab", mood=["x", "y"] * 15)
    rows.to_csv(tmp_path / "own.csv", index=False)
    _, classes, said = load(tmp_path / "own.csv")
    assert classes == ["k0", "k1", "k2"] and "labels from column 'label' (by its name)" in said
    _, classes, said = load(tmp_path / "own.csv", label_column="mood")
    assert classes == ["x", "y"] and "'mood' (as asked)" in said
    with pytest.raises(helpers.SeriesError, match="TEXT_COLUMN is 'txt': expected one of text, label, kind, mood"):
        load(tmp_path / "own.csv", text_column="txt")


def test_a_column_is_not_text_and_label_at_once(tmp_path):
    rows_of(["x", "y"]).set_axis(["target", "gold"], axis=1).to_csv(tmp_path / "own.csv", index=False)
    for asked in [{"text_column": "target"}, {"label_column": "gold"}]:
        splits, classes, said = load(tmp_path / "own.csv", **asked)
        assert classes == ["x", "y"] and "texts from column 'target'" in said and "labels from column 'gold'" in said
    with pytest.raises(helpers.SeriesError, match="are both 'gold': expected two of target, gold"):
        load(tmp_path / "own.csv", text_column="gold", label_column="gold")


def test_what_is_dropped_is_counted_and_named(tmp_path):
    lines = [
        "text,label",
        *(f"Sentence {i}.,{'yes' if i % 2 else 'no'}" for i in range(20)),
        ",yes",
        "No label",
        "",
        "Alone.,rare",
    ]
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    splits, classes, said = load(tmp_path / "own.csv")
    assert classes == ["no", "yes"] and sum(map(len, splits.values())) == 20
    for what in [
        "1 row without a text (own.csv, line 22)",
        "1 row without a label (own.csv, line 23)",
        "1 row of a class with one text only (own.csv, line 25)",
    ]:
        assert f"Dropped: {what}" in said


@pytest.mark.parametrize("labels", ["question answer remark", "y n", "title review"])
def test_a_file_without_a_line_of_names_loses_no_row(tmp_path, labels):
    names = labels.split()
    rows = [(f"Sentence number {i}", names[i % len(names)]) for i in range(30)]
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False, header=False)
    splits, classes, said = load(tmp_path / "own.csv")
    assert pairs_of(splits, classes) == sorted(rows) and "no line of names" in said


@pytest.mark.parametrize("width", range(0, 70, 7))
def test_a_large_table_whose_texts_hold_line_breaks_arrives_whole(tmp_path, width):
    rows = [(f"line one of {i}\n{'x' * width}\nline three\n\nand more", "ab"[i % 2]) for i in range(25_000)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "own.csv", index=False)
    read, _ = tables.read_table(tmp_path / "own.csv")
    assert list(zip(read["text"], read["label"])) == rows


def test_columns_without_a_name_as_a_spreadsheet_leaves_them_are_numbered(tmp_path):
    (tmp_path / "own.csv").write_text(
        "text;label;;\n" + "".join(f"Sentence {i}.;k{i % 2};;\n" for i in range(20)) + ";;;\n"
    )
    splits, classes, _ = load(tmp_path / "own.csv")
    assert classes == ["k0", "k1"] and sum(map(len, splits.values())) == 20


def test_what_is_of_no_split_is_named(tmp_path):
    for name in ("train", "test", "unlabelled"):
        frame().to_csv(tmp_path / f"{name}.csv", index=False)
    assert "Left out: unlabelled.csv" in load(tmp_path)[2]


def test_a_class_that_only_the_test_set_has_is_named(tmp_path):
    frame().to_csv(tmp_path / "train.csv", index=False)
    frame().replace({"label": {"k2": "new"}}).to_csv(tmp_path / "test.csv", index=False)
    assert "Nothing to train on has the label new" in load(tmp_path)[2]


def rows_of(labels, n=30):
    return pd.DataFrame(
        {"text": [f"Sentence {i}." for i in range(n)], "label": [labels[i % len(labels)] for i in range(n)]}
    )


@pytest.mark.parametrize(
    ("train", "test", "classes", "words"),
    [
        (["0", "1"], ["0.0", "1.0", "1.00"], ["0", "1"], "0.0 as 0, 1.0 as 1, 1.00 as 1."),
        (["True", "False"], ["true", "FALSE"], ["false", "true"], "FALSE as false, False as false, True as true."),
        (["-1.0", "0.5", "2"], ["-1", "2.0"], ["-1", "0.5", "2"], "-1.0 as -1, 2.0 as 2."),
        (["01.0", "1"], ["01.0", "1.0"], ["01.0", "1"], "1.0 as 1."),
        (["01", "1"], ["01", "1"], ["01", "1"], ""),
        (["0", "1", "x"], ["0.0", "1", "x"], ["0", "0.0", "1", "x"], ""),
        (["True", "yes"], ["true", "yes"], ["True", "true", "yes"], ""),
    ],
)
def test_a_class_that_the_splits_spell_differently_is_one(tmp_path, train, test, classes, words):
    rows_of(train).to_csv(tmp_path / "train.csv", index=False)
    rows_of(test).to_json(tmp_path / "test.jsonl", orient="records", lines=True)
    splits, found, said = load(tmp_path)
    assert sorted(found) == classes
    assert f"Labels are written in one way: {words}" in said if words else "way" not in said
    assert ("Nothing to train on has the label" in said) == (len(classes) > len(train))
    assert splits["train"]["label"].nunique() == len(train)


def test_numbers_are_the_same_classes_in_every_format(tmp_path):
    rows = rows_of([0.0, 1.0])
    rows.to_csv(tmp_path / "own.csv", index=False)
    rows.to_json(tmp_path / "own.jsonl", orient="records", lines=True)
    rows.to_excel(tmp_path / "own.xlsx", index=False)
    assert [load(tmp_path / f"own.{suffix}")[1] for suffix in ("csv", "jsonl", "xlsx")] == [["0", "1"]] * 3


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_set_without_any_class_of_training_is_refused(tmp_path, split):
    rows_of(["a", "b"]).to_csv(tmp_path / "train.csv", index=False)
    rows_of(["-1"]).to_csv(tmp_path / f"{split}.csv", index=False)
    with pytest.raises(
        helpers.SeriesError, match=f"{split}.csv: the {split} set's labels are -1, those to train on a, b: "
    ):
        load(tmp_path)


@pytest.mark.parametrize("first", [["text", "label"], ["body", "queue"], None])
def test_a_sheet_loses_no_row_and_knows_its_lines(tmp_path, first):
    rows = [[f"Sentence {i}.", f"k{i % 2}"] for i in range(20)]
    sheet = [[None, None], *[first] * bool(first), *rows[:9], [None, None], *rows[9:], ["No label", None]]
    pd.DataFrame(sheet).to_excel(tmp_path / "own.xlsx", index=False, header=False)
    splits, classes, said = load(tmp_path / "own.xlsx")
    assert pairs_of(splits, classes) == sorted(map(tuple, rows)) and "without a text" not in said
    assert ("the first line names the columns" if first else "no line of names") in said
    assert f"1 row without a label (own.xlsx, line {len(sheet)})" in said


@pytest.mark.parametrize(
    ("sheet", "words"),
    [([["text", "text", "label"], ["a", "b", "c"]], "two columns are called 'text'"), ([], "is empty")],
)
def test_a_bad_sheet_gets_the_message_of_a_csv(tmp_path, sheet, words):
    pd.DataFrame(sheet).to_excel(tmp_path / "own.xlsx", index=False, header=False)
    with pytest.raises(helpers.SeriesError, match=f"own.xlsx:? {words}"):
        load(tmp_path / "own.xlsx")


def test_validation_drawn_from_a_table_has_each_class_and_no_text_of_training(tmp_path):
    rows = frame(120)
    pd.concat([rows, rows]).to_csv(tmp_path / "own.csv", index=False)
    train = load(tmp_path / "own.csv")[0]["train"]
    aside = tokens.set_aside({"train": train}, 0.1, 2018)
    assert not set(train["sentence"][aside]) & set(train["sentence"][~aside])
    counts = train["label"][aside].value_counts()
    assert len(counts) == 3 and counts.max() - counts.min() <= 2


# ---------------------------------------------------------------- bad tables

GOOD = "text,label\n" + "".join(f"Sentence {i}.,k{i % 2}\n" for i in range(10))
UNLABELLED = b"text,label,split\n" + b"".join(
    f"Sentence {i}.,k{i % 2},{['train', 'test', 'later'][i % 3]}\n".encode() for i in range(30)
)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("own.csv", b"", "own.csv is empty"),
        ("own.csv", b",,\n,,\n", "own.csv is empty"),
        ("own.csv", GOOD.encode() + b"Caf\xe9.,k1\n", "own.csv, line 12: byte 0xe9 is not UTF-8"),
        ("own.csv", GOOD.encode() + b"one,two,k1\n", "own.csv: line 12: 3 fields where 2 were expected"),
        (
            "own.csv",
            GOOD.encode() + b'"A, b.",k1\n"never closed,k1\n',
            "own.csv: line 13: a quotation mark that is never closed",
        ),
        ("own.csv", b"text\nOne.\nTwo.\n", "one column where a text and a label were expected"),
        ("own.csv", b"text,label\n" + b"Same.,k1\n" * 9, "with 0 different labels: expected .* 2 to 100 classes"),
        (
            "own.csv",
            b"text,label\nOne.,k1\nTwo.,k2\n,k2\n",
            "0 sentences with 0 .* 1 row without a text .*line 4.* 2 rows of a class with one text only .*lines? 2, 3",
        ),
        ("own.jsonl", b'{"text": "One.", "label": 1}\n{"text"\n', "own.jsonl, line 2: not JSON"),
        ("own.csv", GOOD.encode("utf-16-le"), "own.csv, line 1: a zero byte, as in UTF-16"),
        ("own.csv", GOOD.replace("text,label", "text,text").encode(), "own.csv: two columns are called 'text'"),
        ("own.csv", UNLABELLED, "own.csv, line 4: 'later' in column 'split'"),
        ("own.jsonl", b"[" * 100_000, "own.jsonl, line 1: not JSON"),
        ("own.jsonl", b"[1]\n", "own.jsonl, line 1: list where an object was expected"),
        ("own.jsonl", b'{"text": "\\ud83d", "label": 1}\n', "own.jsonl, line 1: half a character"),
        ("own.json", b'{\n "text": "One."}', "own.json, line 1: not JSON .* or one array of objects"),
        ("own.json", b'\n [{"text": "One.", "label": 1},\n {"text": 2}\n {}]', "own.json, line 4: not JSON"),
        (
            "own.json",
            b'[{"text": "One.",\n "label": 1},\n\n [2]]',
            "own.json, line 4: list where an object was expected",
        ),
        ("own.json", b'[{"text": "One."},\n {"text": "\\ud83d"}]', "own.json, line 2: half a character"),
        ("own.json", b"[" * 100_000, "own.json, line 1: not JSON"),
        ("own.json", b"[]", "no column looks like labels"),
        ("own.json", b'[{"text": "One."}, \xe9]', "own.json, line 1: byte 0xe9 is not UTF-8"),
        ("own.parquet", b"PAR1", "own.parquet cannot be read"),
        ("own.xlsx", b"PK", "own.xlsx cannot be read"),
        ("own.xlsx", b"PK\x03\x04 cut off", "own.xlsx cannot be read .BadZipFile"),
    ],
)
def test_a_bad_table_gets_one_message_before_anything_is_written(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(helpers.SeriesError, match=words):
        execute("02_load_cola", RUN=f"bad-{tmp_path.name}", CORPUS=str(tmp_path / name))
    assert not (helpers.RUNS / f"bad-{tmp_path.name}" / "corpus").exists()


def test_a_data_set_of_the_hub_that_cannot_be_had_is_said_in_one_message():
    with pytest.raises(helpers.SeriesError, match="CORPUS is 'hub:no/such': the data set cannot be loaded"):
        execute("02_load_cola", RUN="hub", CORPUS="hub:no/such")


def test_a_data_set_of_the_hub_is_read_by_its_class_names(monkeypatch):
    import datasets

    labels = datasets.ClassLabel(names=["zero", "one"])
    part = datasets.Dataset.from_dict(
        {"text": [f"Sentence {i}." for i in range(20)], "label": [i % 2 for i in range(20)]}
    )
    part = part.cast_column("label", labels)
    given = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: given.append(name) or datasets.DatasetDict(train=part))
    name, place, _ = sources.find_corpus("hub:owner/name:config")
    splits, classes, said = tables.load(place)
    assert name == "owner-name-config" and given == [("owner/name", "config")] and classes == ["one", "zero"]
    assert pairs_of(splits, classes) == sorted((f"Sentence {i}.", ["zero", "one"][i % 2]) for i in range(20))


def test_numbers_are_in_order_as_numbers_and_nan_among_them_is_a_word(tmp_path):
    for labels, order in [(["10", "9"], ["9", "10"]), (["1", "nan", "0"], ["0", "1", "nan"])]:
        path = tmp_path / "own.csv"
        path.write_text("text,label\n" + "".join(f"text {i},{labels[i % len(labels)]}\n" for i in range(30)))
        assert load(path)[1] == order
