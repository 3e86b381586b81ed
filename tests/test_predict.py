"""predict.py and what it needs: rows in and out, verdicts, the model folder's card, files and way to the hub."""

import contextlib
import copy
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

import helpers
import predict
from bookkeeping import SeriesError, tables
from lesson import card, judging, sources

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 30522,
}
CLASSES = ["praise", "complaint", "question"]
TEXTS = ["The cat sat.", "Why?", "It broke on the second day, and nobody answers.", "I love it!"]
ODD = ['She said "no",\nand left.', "tab\there", "one\rtwo", "naïve 🙂", " ", "", "a;b,c|d"]


def save(folder, model):
    """A model of random weights in a folder, with minilm's tokenizer; its head counts as trained, as it has weights."""
    model.save_pretrained(folder)
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZE, id2label=dict(enumerate(CLASSES)), initializer_range=0.2)
    return save(tmp_path_factory.mktemp("models") / "three", transformers.BertForSequenceClassification(config))


@pytest.fixture(scope="module")
def answers(model):
    """Of the library's own pipeline: text → {class: probability}."""
    pipeline = transformers.pipeline("text-classification", model, device="cpu", top_k=None)
    return lambda text: {answer["label"]: answer["score"] for answer in pipeline([text])[0]}


def run(capsysbinary, *arguments):
    """(exit code, what was written, what was said) of predict.py in this process."""
    code = predict.main([str(argument) for argument in arguments])
    out, err = capsysbinary.readouterr()
    return code, out.decode(), err.decode()


def table(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


# ---------------------------------------------------------------- verdicts


def test_verdicts_are_those_of_the_pipeline_for_every_row_in_order(model, answers, tmp_path, capsysbinary, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 3)  # of a chunk
    rows = [{"id": str(i), "text": text, "note": f'"{i}"'} for i, text in enumerate(TEXTS + ODD + TEXTS[::-1])]
    with open(tmp_path / "in.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["id", "text", "note"], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    options = [model, tmp_path / "in.csv", "--column", "text", "--precision", "fp32", "--all-classes"]
    code, out, err = run(capsysbinary, *options, "--output", tmp_path / "out.csv")
    assert code == 0 and out == "" and "15 rows, 2 without text" in err
    judged = table((tmp_path / "out.csv").read_bytes().decode())
    assert [{key: row[key] for key in rows[0]} for row in judged] == rows, "every column, as it was"
    for row in judged:
        if not row["text"].strip():
            assert {row[key] for key in row.keys() - rows[0].keys()} == {""}
            continue
        expected = answers(row["text"])
        assert row["prediction"] == max(expected, key=expected.get)
        assert float(row["probability"]) == pytest.approx(max(expected.values()), abs=1e-5)
        assert {name: float(row[f"probability_{name}"]) for name in CLASSES} == pytest.approx(expected, abs=1e-5)
    assert len({row["prediction"] for row in judged}) > 2, "a test that an answer by heart would pass"


def test_half_precision_gives_the_verdicts_of_fp32(model, monkeypatch):
    """Thousands of texts, some of them on the fence; without the second look some fall on the other side."""
    torch.manual_seed(1)
    loaded, tokenizer = judging.load(model)
    words = "the a cat dog runs sees why who red old . ? never book of in".split()
    texts = [" ".join(words[i] for i in torch.randint(len(words), (n % 12 + 1,))) for n in range(600)]
    exact = judging.Judge(copy.deepcopy(loaded), tokenizer, "fp32")(texts)
    ours = judging.Judge(copy.deepcopy(loaded), tokenizer, "bf16")(texts)
    assert torch.equal(ours.argmax(1), exact.argmax(1)) and not torch.equal(ours, exact)
    torch.testing.assert_close(ours, exact, atol=0.03, rtol=0)
    monkeypatch.setattr(judging, "DOUBT", -1)
    assert not torch.equal(judging.Judge(loaded, tokenizer, "bf16")(texts).argmax(1), exact.argmax(1))


def test_batches_have_few_shapes_and_every_text_once(model, monkeypatch):
    """oneDNN keeps what it compiles for a shape: as many shapes as there are chunks would be as much memory."""
    judge, shapes, run_batch = judging.Judge(*judging.load(model), "fp32"), set(), judging.Judge._run

    def remember(self, network, batch):
        shapes.add(tuple(batch["input_ids"].shape))
        return run_batch(self, network, batch)

    monkeypatch.setattr(judging.Judge, "_run", remember)
    seen = []
    for seed in range(6):
        torch.manual_seed(seed)
        lengths = torch.randint(1, 2 + 100 * seed, (97,)).tolist()
        together = judge(["cat " * n for n in lengths])
        seen.append(len(shapes))
        if seed == 1:
            alone = torch.cat([judge(["cat " * n]) for n in lengths])
            torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert seen[-1] <= 56 and all(length <= 512 and rows * length <= 1024 for rows, length in shapes)
    judge(["cat " * n for n in range(1, 600)])
    assert len(shapes) <= 56, "whatever the lengths"


def calibrate(folder, temperature):
    config = json.loads((folder / "config.json").read_text())
    helpers.write_json(folder / "config.json", config | {"calibration_temperature": temperature})


def test_a_temperature_in_the_config_calibrates(model, answers, tmp_path, capsysbinary):
    folder = tmp_path / "warm"
    loaded, tokenizer = judging.load(model)
    tokenizer.save_pretrained(folder)
    loaded.save_pretrained(folder)
    calibrate(folder, 2.0)
    helpers.load_model(folder).save_pretrained(folder)  # as 06 does; it is refused for other names
    (tmp_path / "in.txt").write_text(TEXTS[0] + "\n")
    _, out, _ = run(capsysbinary, folder, tmp_path / "in.txt", "--all-classes", "--precision", "fp32")
    plain = torch.tensor([answers(TEXTS[0])[name] for name in CLASSES])
    expected = (plain.log() / 2).softmax(dim=0)
    found = torch.tensor([float(table(out)[0][f"probability_{name}"]) for name in CLASSES])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_several_labels_at_once_are_independent(tmp_path, capsysbinary):
    config = transformers.BertConfig(**SIZE, num_labels=3, problem_type="multi_label_classification")
    folder = save(tmp_path / "several", transformers.BertForSequenceClassification(config))
    (tmp_path / "in.txt").write_text("The cat sat.\n")
    _, out, _ = run(capsysbinary, folder, tmp_path / "in.txt", "--all-classes", "--precision", "fp32")
    (answer,) = transformers.pipeline("text-classification", folder, device="cpu", top_k=None)(["The cat sat."])
    for each in answer:
        assert float(table(out)[0][f"probability_{each['label']}"]) == pytest.approx(each["score"], abs=1e-5)


def test_what_is_longer_than_the_model_takes_is_cut_and_said(tmp_path, capsysbinary):
    """RoBERTa counts positions from padding_idx + 1: 20 positions hold 18 tokens, whatever the tokenizer says."""
    config = transformers.RobertaConfig(**SIZE, max_position_embeddings=20, pad_token_id=1, type_vocab_size=1)
    folder = save(tmp_path / "roberta", transformers.RobertaForSequenceClassification(config))
    (tmp_path / "in.txt").write_text("Why not? " * 50 + "\nWhy?\n")
    code, out, err = run(capsysbinary, folder, tmp_path / "in.txt")
    assert code == 0 and len(table(out)) == 2 and "1 cut to 18 tokens" in err


# ---------------------------------------------------------------- rows


texts = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(texts, texts), min_size=1), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_any_table_comes_back_as_the_same_rows(rows, delimiter, end):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [("a", "the text"), *rows]
    )
    expected = [{"a": a, "the text": text} for a, text in rows]
    lines = tables.decoded(io.BytesIO(file.getvalue().encode()), "x.csv")
    read, column, kind = tables.read_rows(lines, "x.csv", "the text")
    read = list(read)
    assert (read, column, kind) == (expected, "the text", "csv")
    for kind in ["csv", "jsonl"]:
        lines = tables.decoded(io.BytesIO(tables.as_text(read, kind).encode()), f"x.{kind}")
        assert list(tables.read_rows(lines, f"x.{kind}", "a")[0]) == expected


def test_any_lines_are_as_many_rows():
    content = b"\xef\xbb\xbfone\r\n\n two\rhalf \nlast"
    rows, column, _ = tables.read_rows(tables.decoded(io.BytesIO(content), "x.txt"), "x.txt")
    assert [row[column] for row in rows] == ["one", "", " two\rhalf ", "last"]


@pytest.mark.parametrize(
    ("name", "content", "column", "texts"),
    [
        ("x.txt", b"id\ttext\n1\tOne.\n", "text", ["One."]),
        ("x.csv", b"\n\r\nid;text\n1;One.\n\n", "text", ["One.", ""]),
        ("x.jsonl", b'\n{"id": 1}\n{"text": "One."}\n', "text", [None, None, "One."]),
        ("x.jsonl", b'\n{"text": "One."}\n', None, [None, "One."]),
        ("-", b'\n{"text": "One."}\n', "text", [None, "One."]),
        ("-", b"\nid,text\n1,One.\n", "text", ["One."]),
    ],
)
def test_a_column_is_found_where_the_first_line_has_none(name, content, column, texts):
    rows, column, _ = tables.read_rows(tables.decoded(io.BytesIO(content), name), name, column)
    assert [row.get(column) for row in rows] == texts


def test_a_progress_bar_that_draws_changes_no_row(model, tmp_path, capsysbinary, monkeypatch):
    (tmp_path / "in.txt").write_text("One.\nTwo.\n" * 50)
    monkeypatch.setattr(predict, "tqdm", lambda **how: tqdm(**how | {"disable": False, "mininterval": 0}))
    code, out, err = run(capsysbinary, model, tmp_path / "in.txt")
    assert code == 0 and [row["sentence"] for row in table(out)] == ["One.", "Two."] * 50 and "100%" in err


def test_nothing_is_read_before_it_is_needed():
    taken = []
    endless = (taken.append(i) or f'{{"text": "{i}", "extra": null}}\n' for i in count())
    rows, column, _ = tables.read_rows(endless, "-", "text")
    parts = list(islice(tables.chunks(rows, column, "-"), 2))
    assert [len(part) for part in parts] == [tables.ROWS] * 2 and len(taken) <= 2 * tables.ROWS + 1
    long = ({"text": "x" * 10**6} for _ in count())
    assert len(next(tables.chunks(long, "text", "-"))) < 10, "a chunk of long texts has fewer of them"


def test_json_lines_keep_their_values_and_become_a_table(model, tmp_path, capsysbinary):
    lines = [
        {"n": 1.50, "text": "Why?", "tags": ["a", "ü"]},
        {"n": None, "text": None, "tags": {}},
        {"n": True, "text": "No."},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    _, out, _ = run(capsysbinary, model, tmp_path / "in.jsonl", "--column", "text")
    found = [json.loads(line) for line in out.splitlines()]
    assert [{key: row[key] for key in line} for row, line in zip(found, lines)] == lines and len(found) == 4
    assert [row["prediction"] in CLASSES for row in found] == [True, False, True, False]
    _, out, _ = run(capsysbinary, model, tmp_path / "in.jsonl", "--column", "text", "--format", "csv")
    assert [(row["n"], row["tags"]) for row in table(out)] == [
        ("1.5", '["a", "ü"]'),
        ("", "{}"),
        ("true", ""),
        ("", ""),
    ]


BAD = {  # file: (content, options, what is said, rows written before it)
    "utf16.txt": ("The cat sat.\n".encode("utf-16"), [], "utf16.txt, line 1: byte 0xff is not UTF-8", 0),
    "latin.txt": (b"One.\nTwo.\nCaf\xe9.\n", [], "line 3: byte 0xe9 is not UTF-8", 2),
    "empty.csv": (b"", [], "empty.csv is empty", 0),
    "which.csv": (b"a,b\nOne.,2\n", [], "expected --column with one of 'a', 'b'", 0),
    "wrong.csv": (b"a,b\nOne.,2\n", ["--column", "text"], "no column 'text'", 0),
    "wrong.jsonl": (b'{"a": "One.", "b": 2}\n', ["--column", "text"], "no column 'text'", 0),
    "ragged.csv": (b'a,b\n"x\ny",2\nOne.\n', ["--column", "a"], "line 4: 1 fields where the header has 2", 1),
    "quote.csv": (b'a,b\nOne.,2\n"Two.,3\nThree.,4\n', ["--column", "a"], "line 3: unexpected end of data", 1),
    "twice.csv": (b"a,a\nOne.,2\n", ["--column", "a"], "line 1: two columns have the same name", 0),
    "half.jsonl": (b'{"a": "One."}\n{"a": "T\n', ["--column", "a"], "half.jsonl, line 2: expected a JSON object", 1),
    "list.jsonl": (b'["One."]\n', ["--column", "a"], "line 1: expected a JSON object", 0),
    "number.jsonl": (b'{"a": "One."}\n{"a": 7}\n', ["--column", "a"], "row 2: a is 7: expected text", 1),
    "surrogate.jsonl": (b'{"a": "\\ud83d"}\n', ["--column", "a"], "line 1: expected a JSON object", 0),
    "more.jsonl": (b'{"a": "x"}\n{"a": "y", "b": 1}\n', ["--format", "csv"], "column 'b' that the first has not", 0),
    "sheet.xlsx": (
        b"PK\xc7",
        [],
        "sheet.xlsx: expected CSV, JSON lines or lines of text, not .xlsx. Save it as CSV.",
        0,
    ),
    "nothing.csv": (b"\n\n", ["--column", "a"], "nothing.csv has no column 'a': expected a header", 0),
    "clash.csv": (b"text,probability\nOne.,2\n", ["--column", "text"], "column 'probability' already", 0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_sentence_and_keeps_what_is_done(model, name, tmp_path, capsysbinary):
    content, options, words, written = BAD[name]
    (tmp_path / name).write_bytes(content)
    code, out, err = run(capsysbinary, model, tmp_path / name, *options)
    assert code == 2 and words in err and err.count("predict.py:") == 1 and "Traceback" not in err
    rows = table(out) if name.endswith(("csv", "txt")) else out.splitlines()
    assert len(rows) == written and (f" {written} rows are written" in err) == (written > 0)


def test_bad_options(model, tmp_path, capsysbinary):
    (tmp_path / "in.txt").write_text("One.\n")
    (tmp_path / "there.csv").write_text("precious")
    output = ["--output", tmp_path / "there.csv"]
    for arguments, words in [
        ([model, tmp_path / "none.txt"], "there is no file"),
        ([model, tmp_path], "there is no file"),
        ([model, tmp_path / "in.txt", *output], "is there already"),
        ([model, tmp_path / "in.txt", "--output", tmp_path / "no" / "x.csv"], "No such file or directory"),
        ([model, tmp_path / "there.csv", *output, "--force"], "is the input"),
        ([tmp_path / "no" / "model", tmp_path / "in.txt"], "there is no model in"),
        ([tmp_path, tmp_path / "in.txt"], "there is no model in"),
        (["no/such-model", tmp_path / "in.txt"], "MODEL is 'no/such-model': the hub cannot be reached"),
        (
            [sources.minilm_folder(), tmp_path / "in.txt"],
            "never trained to judge: it has no weights for classifier.bias",
        ),
    ]:
        code, out, err = run(capsysbinary, *arguments)
        assert code == 2 and words in err and out == "" and "Traceback" not in err, err
    assert (tmp_path / "there.csv").read_text() == "precious"
    assert run(capsysbinary, model, tmp_path / "in.txt", *output, "--force", "--prefix", "tiny_")[0] == 0
    assert list(table((tmp_path / "there.csv").read_text())[0]) == ["sentence", "tiny_prediction", "tiny_probability"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_read_as_a_shell_gives_it(model, tmp_path, capsysbinary):
    os.mkfifo(tmp_path / "63")
    threading.Thread(target=lambda: (tmp_path / "63").write_text("a;text\n1;Why?\n"), daemon=True).start()
    code, out, _ = run(capsysbinary, model, tmp_path / "63", "--column", "text")
    assert code == 0 and [row["a"] for row in table(out)] == ["1"]


def test_a_name_of_the_hub_is_asked_for_there(model, tmp_path, capsysbinary, monkeypatch):
    asked = []
    monkeypatch.setattr(sources, "hub_model", lambda name: asked.append(name) or model)
    (tmp_path / "in.txt").write_text("One.\n")
    assert run(capsysbinary, "me/judge", tmp_path / "in.txt")[0] == 0 and asked == ["me/judge"]


def test_a_model_of_one_number_is_refused(tmp_path, capsysbinary):
    folder = save(
        tmp_path / "one", transformers.BertForSequenceClassification(transformers.BertConfig(**SIZE, num_labels=1))
    )
    (tmp_path / "in.txt").write_text("One.\n")
    code, _, err = run(capsysbinary, folder, tmp_path / "in.txt")
    assert code == 2 and "expected a model of two classes or more" in err


SMALL_CHUNKS = (
    "import runpy; from bookkeeping import tables; tables.ROWS = 256; runpy.run_path('predict.py', run_name='__main__')"
)


def test_a_stream_without_end_flows_in_constant_memory_until_it_is_stopped(model):
    """Ctrl-C leaves whole rows, as many as are said, and exit code 130."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    call = [sys.executable, "-c", SMALL_CHUNKS, model, "-"]
    with contextlib.suppress(BrokenPipeError), subprocess.Popen(call, cwd=helpers.ROOT, **pipes) as process:
        threading.Thread(target=pour, args=(process.stdin,), daemon=True).start()
        first = [process.stdout.readline() for _ in range(512)]
        assert first[1].startswith(b"sentence number 0,")
        before = memory(process)
        first += [process.stdout.readline() for _ in range(8 * 512)]
        assert memory(process) - before < 2**25
        process.send_signal(signal.SIGINT)
        rest, err = process.stdout.read(), process.stderr.read().decode()
        rows = (b"".join(first) + rest).split(b"\r\n")
        assert process.wait() == 130 and rows[-1] == b"" and all(row.count(b",") == 2 for row in rows[:-1])
        assert err == f"predict.py: stopped. {len(rows) - 2:,} rows are written.\n"


def test_a_reader_that_has_enough_ends_it_in_silence(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "in.txt").write_text("One.\n")
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", os.fdopen(write, "w"))
    assert predict.main([model, str(tmp_path / "in.txt")]) == 141
    assert capsys.readouterr().err == ""
    sys.stdout.close()  # what is left in its buffer goes nowhere


def pour(file):
    try:
        for number in count():
            file.write(b"sentence number %d\n" % number)
    except (BrokenPipeError, ValueError):
        pass


def memory(process):
    """Bytes that a process has in memory; 0 where the system does not say."""
    status = Path(f"/proc/{process.pid}/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


# ---------------------------------------------------------------- the model folder


@pytest.fixture
def run_folder(tmp_path, model):
    folder = tmp_path / "my run"
    (folder / "model").mkdir(parents=True)
    for path in Path(model).iterdir():
        (folder / "model" / path.name).write_bytes(path.read_bytes())
    score = {
        "n": 100,
        "positives": 70,
        "mcc": 0.21234,
        "mcc_interval": [0.1, 0.3],
        "accuracy": 0.75,
        "collapsed": False,
    }
    parameters = {
        "CORPUS": "/home/me/secret/requests.csv",
        "MODEL_NAME": "minilm",
        "MAX_LEN": 48,
        "SEED": 7,
        "LEARNING_RATE": None,
    }
    metrics = {
        "run": "my run",
        "model": "minilm",
        "corpus": "requests",
        "parameters": parameters,
        "train_seconds": 61.0,
    }
    metrics |= {"validation": score, "test": {"name": "out_of_domain_dev", **score, "mcc": 0.15, "collapsed": True}}
    trained = {"learning_rate": 1e-4, "precision": "bf16", "best_epoch": 3, "finished": "2026-11-25T02:42:40+00:00"}
    record = {"run": "my run", "versions": {"torch": "2.13.0"}, "device": "CPU, 2 cores"}
    record["notebooks"] = {"04_train": trained, "05_evaluate": {}}
    helpers.write_json(folder / "metrics.json", metrics)
    helpers.write_json(folder / "run.json", record)
    return folder


def test_the_card_says_what_the_run_recorded(run_folder):
    card.write_card(run_folder)
    written = ModelCard.load(run_folder / "model" / "README.md")
    about = written.data.to_dict()
    assert about["license"] == "apache-2.0" and about["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in written.data.eval_results}
    assert results["validation", "matthews_correlation"] == 0.2123 and results["out_of_domain_dev", "accuracy"] == 0.75
    for words in [
        "praise, complaint, question",
        "| out_of_domain_dev | 100 | 0.150 | 0.100 to 0.300 | 0.750 |",
        "| `CORPUS` | requests.csv |",
        "| `LEARNING_RATE` | none |",
        "| `learning_rate` | 0.0001 |",
        "torch 2.13.0",
        "cut to 48 tokens",
        "On out_of_domain_dev it gives every sentence the same answer",
    ]:
        assert words in written.text
    assert "secret" not in written.text and "temperature" not in written.text and "CoLA" not in written.text
    calibrate(run_folder / "model", 1.5)
    card.write_card(run_folder)
    assert "divides the logits by 1.5" in (run_folder / "model" / "README.md").read_text()


def test_a_card_of_another_base_knows_no_licence_and_a_run_without_scores_has_none(run_folder):
    metrics = json.loads((run_folder / "metrics.json").read_text())
    for name, base in [("somebody/encoder", "somebody/encoder"), ("a folder of mine", None)]:
        helpers.write_json(run_folder / "metrics.json", metrics | {"model": name})
        card.write_card(run_folder)
        about = ModelCard.load(run_folder / "model" / "README.md").data
        assert about.base_model == base and about.license is None
    record = helpers.read_run(run_folder)
    del record["notebooks"]["05_evaluate"]
    helpers.write_json(run_folder / "run.json", record)
    with pytest.raises(SeriesError, match="has no scores yet"):
        card.write_card(run_folder)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload needs; `seen` keeps what it was sent."""

    seen = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        here = f"http://{self.headers['Host']}/me/judge"
        answer = {"url": here, "name": "me/judge", "errors": [], "warnings": [], "files": []}
        if "preupload" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            answer["files"] = [
                {"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in paths
            ]
        elif "commit" in self.path:
            answer |= {"success": True, "commitOid": "0" * 40, "commitUrl": f"{here}/commit/{'0' * 40}"}
        self.seen[self.path] = (self.headers["Authorization"], body)
        content = json.dumps(answer).encode()
        self.send_response(401 if "forbidden" in str(body[:200]) else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    Hub.seen.clear()


def push(folder, name, hub):
    program = (
        f"import sys; from pathlib import Path; from lesson import card; card.push(Path({str(folder)!r}), {name!r})"
    )
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_TOKEN": "hf_test",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=helpers.ROOT, env=environment, capture_output=True, text=True
    )


def test_a_model_is_pushed_with_its_card(run_folder, hub):
    card.write_card(run_folder)
    done = push(run_folder / "model", "judge", hub)
    assert done.returncode == 0 and f"pushed to {hub}/me/judge" in done.stdout, done.stderr
    token, body = Hub.seen["/api/repos/create"]
    assert (
        token == "Bearer hf_test"
        and json.loads(body)["name"] == "judge"
        and json.loads(body)["visibility"] == "private"
    )
    _, body = Hub.seen["/api/models/me/judge/commit/main"]
    sent = {line["value"].get("path") for line in map(json.loads, body.splitlines())}
    assert sent >= {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_push_that_fails_says_the_way_out(run_folder, hub, capsys):
    done = push(run_folder / "model", "forbidden", hub)
    assert done.returncode == 1 and "PUSH_TO is 'forbidden': the hub did not take it" in done.stderr
    assert "hf auth login" in done.stderr
    card.push(run_folder / "model", None)
    assert capsys.readouterr().out == "PUSH_TO is None: nothing pushed\n"


# ---------------------------------------------------------------- speed


def test_the_benchmark_measures_and_writes(model, tmp_path):
    """With fewer ways and batch sizes, and without ONNX Runtime, which the project does not install."""
    program = f"""
import sys; sys.path.insert(0, "benchmarks")
import predict_speed as speed
from pathlib import Path
speed.SIZES, speed.common.ROOT = [16], Path({str(tmp_path)!r})
for name in ["int8 of torch", "ONNX Runtime, int8", "predict.py, fp32", "predict.py, no second look"]:
    del speed.WAYS[name]
sys.argv[1:] = [{model!r}, "--corpus", "practice", "--rounds", "2", "--sentences", "40"]
speed.main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=helpers.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime is left out" in done.stdout
    with open(tmp_path / "results/speed/predict-three.csv") as file:
        rounds = list(csv.DictReader(file))
    assert len(rounds) == 2 and all(float(value) > 0 for row in rounds for value in row.values())
    ways = ["pipeline, one by one", "pipeline, best batches", "pipeline, bf16", "predict.py"]
    assert [*rounds[0]] == ["round", *ways]
    page = (tmp_path / "results/speed/predict-three.md").read_text()
    assert all(f"| {way} |" in page for way in ways) and "batches of 16, sorted" in page and str(tmp_path) not in page
    ours = next(line for line in page.splitlines() if line.startswith("| predict.py |"))
    assert ours.endswith("| 0 (0.0%) |"), "verdicts are the pipeline's"
