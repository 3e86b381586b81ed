"""08_error_analysis as a lesson: features, minimal pairs, small changes, attributions; what it fetches, and that it writes nothing."""

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, fisher_exact
from test_helpers import raises
from test_lesson_05 import run_each_cell_twice
from test_series import base, execute, runs, series, tiny  # noqa: F401

import helpers
from benchmarks import understanding
from bookkeeping.reading import FinishedRun
from lesson import blimp, changes, features, inside, sources


def contents_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- the notebook


def test_it_reads_a_run_twice_and_writes_nothing(base, capsys):  # noqa: F811
    before = contents_of(base[0])
    variables = run_each_cell_twice("08_error_analysis", RUN="base")
    assert contents_of(base[0]) == before
    predictions = pd.read_csv(base[0] / "predictions.csv").query("split != 'validation'")
    assert len(variables["sentences"]) == len(predictions) == variables["has"].to_numpy().sum()
    assert variables["sentences"]["right"].mean() == pytest.approx(
        (predictions["label"] == predictions["prediction"]).mean()
    )
    assert "a corpus of your own" in capsys.readouterr().out


def test_a_run_that_is_not_finished_or_not_as_it_was_is_refused(base, tiny):  # noqa: F811
    with raises("'nobody'", "05_evaluate"):
        execute("08_error_analysis", RUN="nobody")
    assert not (helpers.RUNS / "nobody").exists()
    shutil.copytree(base[0], helpers.RUNS / "changed")
    (helpers.RUNS / "changed" / "predictions.csv").write_text("split,row,label,prediction,probability\n")
    with raises("predictions.csv", "05_evaluate"):
        execute("08_error_analysis", RUN="changed")
    with raises("BLIMP_PAIRS is 1001", "at most 1,000"):
        execute("08_error_analysis", RUN="base", BLIMP_PAIRS=1001)


def test_a_corpus_without_sources_has_nothing_to_compare_and_still_runs(tiny, tmp_path):  # noqa: F811
    corpus = Path(shutil.copytree(tiny["CORPUS"], tmp_path / "corpus"))
    for path in corpus.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("".join(line[line.index("\t") :] + "\n" for line in lines), encoding="utf-8")
    series("sourceless", **(tiny | {"CORPUS": str(corpus), "EPOCHS": 1}))
    variables = execute("08_error_analysis", RUN="sourceless")
    assert list(variables["has"].columns) == ["no source"] and len(variables["table"]) == 0


def test_blimp_is_judged_where_it_is_asked_for(base, blimp_zip, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(sources, "DATA", blimp_zip.parent)
    beside = execute("08_error_analysis", RUN="base", BLIMP_PAIRS=1)["beside"]
    assert (
        beside["trained_n"].sum() == beside["before_n"].sum() == 67 and beside["trained_accuracy"].between(0, 1).all()
    )
    monkeypatch.setattr(sources, "DATA", tmp_path / "empty")
    monkeypatch.setattr(sources, "OFFLINE", True)
    with raises("BLiMP could not be fetched", "no network was tried", "BLIMP_PAIRS = 0"):
        execute("08_error_analysis", RUN="base", BLIMP_PAIRS=1)


# ---------------------------------------------------------------- annotations, in the real format, invented

MAJOR = ["Simple", "Question", "N, Adj"]


def write_annotations(folder, rows=1043, sentence="Birds {} sing."):
    folder.mkdir(exist_ok=True)
    lines = ["\t".join([*features.ABOUT, *MAJOR])]
    for i in range(rows):
        domain = "In" if i < 527 else "Out"
        lines.append("\t".join(["x", domain, "1", sentence.format(i), *(str(int(i % m == 0)) for m in (2, 3, 5))]))
    with zipfile.ZipFile(folder / features.ANNOTATIONS, "w") as file:
        for kind in ("major", "minor"):
            file.writestr(f"CoLA_grammatical_annotations_{kind}_features.tsv", "\n".join(lines) + "\n")
    return folder / features.ANNOTATIONS


@pytest.fixture
def annotated(tmp_path, monkeypatch):
    path = write_annotations(tmp_path / "data")
    monkeypatch.setattr(features, "ANNOTATIONS_SHA256", sha(path))
    return path.parent


def cola_rows():
    places = [(split, row) for split, n in features.ROWS.items() for row in range(n)]
    frame = pd.DataFrame(places, columns=["split", "row"])
    return frame.assign(sentence=[f"Birds {i} sing." for i in range(len(frame))], source="x")


def test_annotations_are_joined_by_row_whatever_the_order(annotated):
    rows = cola_rows().sample(frac=1, random_state=0)
    has = features.features_of(rows, folder=annotated)
    numbers = rows["row"] + 527 * (rows["split"] == "test")
    assert list(has.columns) == MAJOR
    assert has["Question"].tolist() == (numbers % 3 == 0).tolist()


def test_annotations_of_another_sentence_are_refused(annotated):
    rows = cola_rows()
    rows.loc[530, "sentence"] = "Birds do not sing."
    with raises("1 of 1043 annotations are of another sentence", "row 3 of test", "02_load_cola"):
        features.features_of(rows, folder=annotated)


def test_annotations_with_other_bytes_or_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", True)
    path = write_annotations(tmp_path / "data", rows=1042)
    with raises("other bytes", features.ANNOTATIONS, "by hand", "CORPUS = 'practice'"):
        features.annotations(folder=path.parent)
    monkeypatch.setattr(features, "ANNOTATIONS_SHA256", sha(path))
    with raises("1042 annotated rows", "expected 1043"):
        features.annotations(folder=path.parent)


def test_scores_by_feature_are_those_of_scipy():
    dice = np.random.default_rng(0)
    sentences = pd.DataFrame({"label": dice.integers(0, 2, 300), "prediction": dice.integers(0, 2, 300)})
    has = pd.DataFrame({name: dice.random(300) < share for name, share in [("a", 0.5), ("b", 0.1), ("rare", 0.005)]})
    sentences.loc[has["b"], "prediction"] = sentences["label"]
    sentences["right"] = sentences["label"] == sentences["prediction"]
    table = features.by_feature(sentences, has)
    assert list(table.index) == ["a", "b"], "too few sentences have the third"
    right, n = sentences[has["a"]]["right"].sum(), has["a"].sum()
    centre, z = right / n, 1.959964
    middle, reach = (centre + z**2 / 2 / n) / (1 + z**2 / n), z / (1 + z**2 / n)
    reach *= np.sqrt(centre * (1 - centre) / n + z**2 / 4 / n**2)  # Wilson's interval, by its formula
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx([middle - reach, middle + reach], abs=1e-6)
    assert table.loc["b", ["accuracy", "mcc"]].tolist() == [1, 1]
    p = [fisher_exact(pd.crosstab(has[name], sentences["right"])).pvalue for name in table.index]
    assert table["p"].tolist() == pytest.approx(p)
    assert table["q"].tolist() == pytest.approx(false_discovery_control(p)) and table.loc["b", "q"] < 0.05


def test_the_correction_holds_back_what_chance_makes():
    """Verdicts that have nothing to do with 40 features: single tests find some, the correction hardly ever."""
    single, kept = 0, 0
    for seed in range(10):
        dice = np.random.default_rng(seed)
        sentences = pd.DataFrame({"label": dice.integers(0, 2, 400), "prediction": dice.integers(0, 2, 400)})
        sentences["right"] = sentences["label"] == sentences["prediction"]
        table = features.by_feature(sentences, pd.DataFrame(dice.random((400, 40)) < 0.3), samples=100)
        single, kept = single + (table["p"] < 0.05).sum(), kept + (table["q"] < 0.05).any()
    assert 4 <= single <= 30 and kept <= 2


# ---------------------------------------------------------------- BLiMP, in the real format, invented


@pytest.fixture
def blimp_zip(tmp_path, monkeypatch):
    path = tmp_path / "data" / blimp.BLIMP
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        for paradigm in pd.read_csv(blimp.PUBLISHED)["paradigm"]:
            pair = {"sentence_good": "Birds sing.", "sentence_bad": "Birds sings.", "UID": paradigm}
            lines = [json.dumps(pair | {"pairID": str(i), "linguistics_term": "t", "field": "f"}) for i in range(1000)]
            file.writestr(f"data/{paradigm}.jsonl", "\n".join(lines) + "\n")
        file.writestr("data/.DS_Store", b"x")
        file.writestr("__MACOSX/data/._a.jsonl", b"x")
    monkeypatch.setattr(blimp, "BLIMP_SHA256", sha(path))
    return path


def test_blimp_gives_as_many_pairs_of_each_paradigm(blimp_zip):
    drawn = blimp.blimp(3, folder=blimp_zip.parent)
    assert (drawn["paradigm"].value_counts() == 3).all() and drawn["paradigm"].nunique() == 67
    assert drawn["phenomenon"].nunique() == 12 and drawn.equals(blimp.blimp(3, folder=blimp_zip.parent))


def test_blimp_with_a_paradigm_too_few_or_other_bytes_is_refused(tmp_path, monkeypatch):
    path = tmp_path / blimp.BLIMP
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data/one.jsonl", '{"UID": "one"}\n')
    monkeypatch.setattr(sources, "OFFLINE", True)
    with raises("other bytes", "BLIMP_PAIRS = 0"):
        blimp.blimp(1, folder=tmp_path)
    monkeypatch.setattr(blimp, "BLIMP_SHA256", sha(path))
    with raises("1 paradigms", "expected 67 of 1,000"):
        blimp.blimp(1, folder=tmp_path)


def test_the_published_shares_are_the_papers():
    """The overall figures of Warstadt et al. 2020, table 3: 61.2, 69.8, 69.6, 83.0 (GPT-2 of the repository), people 88.6."""
    table = blimp.published()
    assert len(table) == 67 and len(blimp.published("phenomenon")) == 12
    assert (100 * table.mean()).round(1).tolist() == [61.2, 69.8, 69.6, 83.0, 88.6]


def test_a_judge_that_knows_ranks_all_pairs_rightly():
    twins = pd.DataFrame({"acceptable": ["good", "good"], "unacceptable": ["bad", "good"], "paradigm": ["a", "b"]})
    judge = lambda texts: torch.tensor([[0.1, 0.9] if text == "good" else [0.8, 0.2] for text in texts])  # noqa: E731
    answers = blimp.ranked(twins, judge)
    assert answers["right"].tolist() == [True, False], "a tie is not right"
    assert blimp.shares(answers, "paradigm")["accuracy"].to_dict() == {"b": 0, "a": 1}


# ---------------------------------------------------------------- small changes


@pytest.mark.parametrize(
    "change, before, after",
    [
        (changes.full_stop, "Birds sing.", "Birds sing"),
        (changes.full_stop, "Do birds sing?", None),
        (changes.contraction, "Mary will not sing.", "Mary won't sing."),
        (changes.contraction, "Mary sings.", None),
        (changes.another_name, "Mary said that Mary saw herself.", "Anna said that Anna saw herself."),
        (changes.another_name, "Anna saw Mary.", None),
        (changes.another_name, "Maryland is large.", None),
        (changes.doubled_word, "Birds sing in trees.", "Birds sing in in trees."),
        (changes.doubled_word, "He said that that is her hat.", None),
        (changes.article_behind, "Birds see the cat.", "Birds see cat the."),
        (changes.article_behind, "The cat sleeps.", None),
    ],
)
def test_a_change_is_made_where_it_applies(change, before, after):
    assert change(before) == after


def test_what_should_stay_or_turn_is_counted():
    sentences = pd.DataFrame(
        {"label": [1, 0, 1], "sentence": ["Mary met the man.", "Mary meet the man.", "John met the dog."]}
    )
    tried = changes.changed(sentences)
    assert (tried["should"] == "stay").sum() == 6 and set(tried[tried["should"] == "turn"]["before"]) == {
        *sentences["sentence"][::2]
    }
    accepts = lambda text: "man" in text and "the the" not in text  # noqa: E731
    answers = changes.verdicts(
        tried, lambda texts: torch.tensor([[0.0, 1.0] if accepts(t) else [1.0, 0.0] for t in texts])
    )
    table = changes.table(answers)
    assert table.loc["no full stop", ["n", "did"]].tolist() == [3, 3]
    assert table.loc["article behind the next word", ["n", "did"]].tolist() == [1, 0], (
        "the sentence rejected before is left out"
    )


# ---------------------------------------------------------------- attributions


def test_attributions_add_up_to_the_difference_of_two_sentences(base):  # noqa: F811
    model, tokenizer = helpers.load_model(base[0] / "model").eval(), helpers.load_tokenizer(base[0] / "model")
    frame, gap = inside.attributions(model, tokenizer, "Birds sing.", steps=200)
    assert frame["token"].tolist() == ["[CLS]", "birds", "sing", ".", "[SEP]"]
    ids = tokenizer("Birds sing.", return_tensors="pt")["input_ids"]
    blank = torch.tensor([[ids[0, 0], *[tokenizer.pad_token_id] * 3, ids[0, -1]]])
    with torch.inference_mode():
        whole, none = (model(each).logits[0].diff().item() for each in (ids, blank))
    assert frame["attribution"].sum() == pytest.approx(whole - none + gap, abs=1e-3) and abs(gap) < 0.05
    assert frame["attribution"].iloc[[0, -1]].abs().max() < 1e-5, "the special tokens stay in place"


def test_without_captum_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with raises("pip install captum"):
        inside.attributions(None, None, "Birds sing.")


# ---------------------------------------------------------------- over seeds


def test_the_benchmark_writes_tables_without_a_sentence(base, blimp_zip, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(sources, "DATA", blimp_zip.parent)
    monkeypatch.setattr(features, "LEAST", 1)
    shutil.copytree(base[0], helpers.RUNS / "twin", dirs_exist_ok=True)
    call = ["understanding.py", "base", "twin", "--blimp", "1", "--blimp-runs", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", call)
    understanding.main()
    table, pairs = (pd.read_csv(tmp_path / "out" / name) for name in ("features.csv", "blimp.csv"))
    assert set(table["set"]) == {"both", *features.ROWS} and (table["accuracy_sd"] == 0).all()
    sentences = features.judged(FinishedRun({"RUN": "base"}, helpers.RUNS))
    by_hand = sentences.groupby("source")["right"].mean()
    both = table[table["set"] == "both"].set_index("feature")["accuracy"]
    assert both.to_dict() == pytest.approx(by_hand.to_dict(), abs=1e-3)
    assert len(pairs) == 67 and pairs[["trained", "before"]].isin([0, 1]).all(axis=None)
