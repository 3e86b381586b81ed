"""08_error_analysis as a lesson: features, minimal pairs, small changes, attributions; what it fetches, and that it writes nothing."""

import hashlib
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, fisher_exact
from test_helpers import raises
from test_lesson_05 import run_each_cell_twice
from test_series import base, execute, runs, series, tiny  # noqa: F401

import helpers
from benchmarks import understanding, understanding_page
from bookkeeping.reading import FinishedRun
from lesson import blimp, changes, exercises, features, inside, pooling, seeds, sources, sweeps
from results.understanding.execute import LEFT_OUT, sentences_of, without_sentences


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


@pytest.mark.parametrize(
    "counts, labels",
    [
        ([2, 3, 4, 5, 6, 7, 8, 9], ["2 to 3 words", "4 to 5 words", "6 to 7 words", "8 to 9 words"]),
        ([2] * 3 + [5] * 3 + [6, 8, 10, 12, 29, 30], ["2 words", "5 words", "6 to 10 words", "12 to 30 words"]),
        ([1] * 9 + [4, 7], ["1 to 7 words"]),
        ([5] * 8, ["5 words"]),
        ([5], ["5 words"]),
    ],
)
def test_parts_by_length_are_named_by_what_is_in_them(counts, labels):
    sentences = pd.DataFrame({"sentence": ["so " * n for n in counts], "right": [n % 3 == 0 for n in counts]})
    table = features.by_length(sentences)
    assert list(table.index) == labels and table["n"].sum() == len(counts)
    for label, row in table.iterrows():
        ends = [int(end) for end in re.findall(r"\d+", label)]
        own = sentences["right"][[ends[0] <= n <= ends[-1] for n in counts]]
        assert (len(own), own.mean()) == (row["n"], row["accuracy"]) and row["low"] <= row["accuracy"] <= row["high"]


def test_the_length_of_the_practice_corpus_begins_where_its_shortest_sentence_does():
    raw = Path(helpers.ROOT, "data", "practice", "raw")
    read = [helpers.read_sentences(raw / helpers.COLA_FILES[split]) for split in features.ROWS]
    sentences = pd.concat(read, ignore_index=True).assign(right=True)
    words = sentences["sentence"].str.split().str.len()
    labels = list(features.by_length(sentences).index)
    assert (labels[0].split()[0], labels[-1].split()[-2]) == (str(words.min()), str(words.max())) == ("2", "23")
    kept = Path(helpers.ROOT, "notebooks", "08_error_analysis.ipynb").read_text(encoding="utf-8")
    assert all(f"<th>{label}</th>" in kept for label in labels)


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
        (changes.dropped_verb, "The keys are on the table.", "The keys on the table."),
        (changes.dropped_verb, "Mary was singing.", "Mary singing."),
        (changes.dropped_verb, "The keys were sold.", None),
        (changes.dropped_verb, "We found that Mary was in the garden.", None),
        (changes.dropped_verb, "Mary is in the garden and John is in the house.", None),
        (changes.dropped_verb, "Is Mary in the garden?", None),
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


def test_attention_is_that_of_the_model_and_its_picture_knows_its_heads(base, tmp_path):  # noqa: F811
    tokenizer = helpers.load_tokenizer(base[0] / "model")
    weights = inside.attention(base[0] / "model", tokenizer, "Birds sing.")
    assert weights.shape == (2, 2, 5, 5) and np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
    model = helpers.load_model(base[0] / "model").eval()
    first = model.base_model.encoder.layer[0].attention.self
    with torch.inference_mode():
        hidden = model.base_model.embeddings(tokenizer("Birds sing.", return_tensors="pt")["input_ids"])
        query, key = (part(hidden)[0].unflatten(1, (2, 16)).transpose(0, 1) for part in (first.query, first.key))
    assert np.allclose(weights[0], (query @ key.mT / 4).softmax(dim=-1), atol=1e-5)
    assert pooling.add_mean_layer(model) and model.config.num_hidden_layers == 3
    model.config.classifier_pooling = "mean"
    model.save_pretrained(tmp_path / "mean")
    assert np.allclose(inside.attention(tmp_path / "mean", tokenizer, "Birds sing."), weights, atol=1e-5)
    frame = pd.DataFrame({"token": list("abcde"), "attribution": [9, 1, -3, 2, 9], "special": [1, 0, 0, 0, 1]})
    frame["special"] = frame["special"].astype(bool)
    by_hand = sum(table.mean(axis=0)[1:4].argmax() == 1 for layer in weights for table in layer)
    assert inside.agreeing(frame, weights) == by_hand
    figure, alt = inside.beside(frame, weights, 2, 1)
    assert "Layer 2, head 1" in alt and len(figure.axes) >= 2
    with raises("layer 3, head 1", "from 1 to 2"):
        inside.beside(frame, weights, 3, 1)


# ---------------------------------------------------------------- over seeds


@pytest.fixture(scope="module")
def sweep(base, tiny):  # noqa: F811
    """Three runs beside each other: two seeds of one setting, and one that was trained longer."""
    for name, own in {"SEED=1": {"SEED": 1}, "SEED=2": {"SEED": 2}, "long": {"SEED": 3, "EPOCHS": 3}}.items():
        series(f"small/{name}", **(tiny | own))
    return helpers.RUNS / "small"


def test_a_sweep_is_read_by_its_name_and_its_seeds_stand_beside(sweep, capsys):
    before = contents_of(sweep)
    variables = execute("08_error_analysis", RUN="small")
    assert contents_of(sweep) == before
    assert "run: small/SEED=1" in capsys.readouterr().out and variables["which"] == "the features above"
    several = variables["several"]
    assert list(several.right) == ["SEED=1", "SEED=2"] and "1 beside it" in several.what
    for name in several.right:
        own = pd.read_csv(sweep / name / "predictions.csv").query("split != 'validation'").set_index(["split", "row"])
        assert ((own["label"] == own["prediction"]) == several.right[name]).all()
    both = seeds.never_right(several, variables["sentences"])
    assert len(both) == (several.right.sum(axis=1) == 0).sum() and both["sentence"].notna().all()
    assert both["sure"].is_monotonic_decreasing
    scores = features.by_feature(variables["sentences"], variables["has"])["accuracy"]  # of SEED=1 alone
    table = seeds.by_feature(several, variables["groups"])
    assert ((table["lowest"] - 1e-9 <= scores[table.index]) & (scores[table.index] <= table["highest"] + 1e-9)).all()


def test_a_sweep_without_a_finished_run_is_said(sweep, tmp_path, monkeypatch):
    for name in ("SEED=1", "SEED=2"):
        (tmp_path / "begun" / name).mkdir(parents=True)
        record = helpers.read_run(sweep / name)
        record["notebooks"].pop("05_evaluate")
        helpers.write_json(tmp_path / "begun" / name / "run.json", record, sealed=True)
    monkeypatch.setattr(helpers, "RUNS", tmp_path)
    with raises("'begun', a sweep of 2 runs", "05_evaluate"):
        execute("08_error_analysis", RUN="begun")


def test_alone_it_shows_the_runs_that_come_with_the_project(sweep, monkeypatch, tmp_path, annotated):
    monkeypatch.setattr(sources, "DATA", tmp_path / "nothing")
    run = FinishedRun({"RUN": "small/long"}, helpers.RUNS)
    several, sentences = seeds.of(run), features.judged(run)
    assert several.right.shape == (1043, 10) and "come with the project" in several.what
    assert not {"sentence", "source"} & set(seeds.never_right(several, sentences))
    has, what = seeds.features_of(several, sentences, None)
    assert has.shape == (1043, 4) and (has.sum(axis=1) == 1).all() and "not in data/" in what
    monkeypatch.setattr(sources, "DATA", annotated)
    has, what = seeds.features_of(several, sentences, None)
    assert list(has.columns) == MAJOR and has.loc[("test", 0), "Question"] == (527 % 3 == 0)
    with zipfile.ZipFile(sweeps.SHIPPED) as file:
        own = pd.read_csv(file.open("minilm,SEED=4/predictions.csv")).query("split == 'test'")
    found = several.right.loc["test", "minilm,SEED=4"].mean()
    assert found == pytest.approx((own["label"] == own["prediction"]).mean())


def test_what_chance_gives_is_what_errors_dealt_anew_give():
    dice = np.random.default_rng(0)
    labels = pd.Series(dice.random(400) < 0.7)
    right = pd.DataFrame({seed: dice.random(400) < np.where(labels, 0.9, 0.3 + seed / 10) for seed in range(4)})
    several = seeds.Seeds("", labels, right, right)
    expected = seeds.by_count(several)
    assert expected["sentences"].sum() == expected["by chance"].sum().round(6) == 400
    rounds = []
    for _ in range(300):
        dealt = right.copy()
        for seed in right:
            for label in (True, False):
                dealt.loc[labels == label, seed] = dice.permutation(right.loc[labels == label, seed])
        rounds.append((~dealt).sum(axis=1).value_counts().reindex(range(5), fill_value=0))
    assert np.allclose(pd.concat(rounds, axis=1).mean(axis=1), expected["by chance"], atol=1.5)


def test_the_marks_of_an_author_are_features_where_there_are_any():
    marked = pd.DataFrame({"mark": ["", " ", "*", "?*"]})
    assert features.marks_of(marked)["no mark"].tolist() == [True, True, False, False]
    assert features.marks_of(pd.DataFrame({"sentence": ["Birds sing."]})).shape == (1, 0)


def test_the_exercises_are_right_and_one_that_cannot_be_asked_is_said(base, capsys):  # noqa: F811
    variables = execute("08_error_analysis", RUN="base")
    assert capsys.readouterr().out.count("Right.\n") == 3
    judge, sentences = variables["judges"]["trained"], variables["sentences"]
    bare = sentences.assign(sentence=sentences["sentence"] + ".")
    shouted = judge((sentences["sentence"] + "!").tolist()).argmax(dim=1)
    stopped = judge(bare["sentence"].tolist()).argmax(dim=1)
    assert exercises.verdicts_that_stay(bare, judge) == pytest.approx((shouted == stopped).float().mean().item())
    none = sentences.assign(sentence="Birds sing")
    assert exercises.verdicts_that_stay(none, judge) is None
    tried = changes.changed(none, stays={"no full stop": changes.full_stop}, turns={})
    assert changes.verdicts(tried, judge).empty


def test_the_benchmark_writes_tables_and_a_picture_without_a_sentence(sweep, blimp_zip, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sources, "DATA", blimp_zip.parent)
    monkeypatch.setattr(features, "LEAST", 1)
    shutil.copytree(sweep, tmp_path / "sweep")
    (tmp_path / "sweep/long/predictions.csv").unlink()
    call = [
        "understanding.py",
        "--runs",
        str(tmp_path / "sweep"),
        "--name",
        "tiny",
        "--blimp",
        "1",
        "--blimp-runs",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", [*call, "--out", str(tmp_path / "out")])
    understanding.main()
    said = capsys.readouterr().out
    assert "left out: long" in said and "2 finished runs: SEED=1, SEED=2" in said
    assert "## `tiny`\n" in said and "(tiny.png)" in said and "| all 67 paradigms |" in said
    table, pairs, phenomena = (
        pd.read_csv(tmp_path / "out" / f"tiny_{name}.csv") for name in ("features", "blimp", "phenomena")
    )
    assert set(table["set"]) == {"both", *features.ROWS}
    judged = [features.judged(FinishedRun({"RUN": f"small/SEED={seed}"}, helpers.RUNS)) for seed in (1, 2)]
    by_hand = pd.concat(judged).groupby("source")["right"].mean()
    both = table[table["set"] == "both"].set_index("feature")
    assert both["accuracy"].to_dict() == pytest.approx(by_hand.to_dict(), abs=1e-3)
    assert (both["mcc_low"] <= both["mcc_high"]).all()
    assert len(pairs) == 67 and pairs[["trained", "before"]].isin([0, 1]).all(axis=None)
    assert len(phenomena) == 12 and phenomena["pairs"].sum() == 67
    assert phenomena["trained"].to_dict() == pytest.approx(
        pairs.groupby("phenomenon")["trained"].mean()[phenomena["phenomenon"]].reset_index(drop=True).to_dict(),
        abs=1e-3,
    )
    errors = pd.read_csv(tmp_path / "out" / "tiny_errors.csv")["sentences"]
    assert errors.sum() == len(judged[0]) and errors[2] == (~judged[0]["right"] & ~judged[1]["right"]).sum()
    picture = tmp_path / "out" / "tiny.png"
    first = picture.read_bytes()
    picture.unlink()
    monkeypatch.setattr(sys, "argv", ["understanding.py", "--name", "tiny", "--out", str(tmp_path / "out")])
    understanding.main()
    assert picture.read_bytes() == first, "drawn again from the tables alone"


def test_a_share_has_an_interval_that_holds_it_as_often_as_it_says():
    """Pairs and runs with a true share of .7 and a run's own luck: about 95 of 100 intervals hold it."""
    dice, held = np.random.default_rng(0), 0
    true = (1 / (1 + np.exp(-dice.normal(1, np.hypot(1, 0.2), 1_000_000)))).mean()
    for _ in range(100):
        hard, lucky = dice.normal(0, 1, (80, 1)), dice.normal(0, 0.2, (1, 5))
        right = dice.random((80, 5)) < 1 / (1 + np.exp(-(1.0 + hard + lucky)))
        drawn = pd.DataFrame({"phenomenon": ["binding"] * 80})
        row = understanding.pair_table(drawn, {"trained": right}, "phenomenon").query("phenomenon == 'binding'").iloc[0]
        held += row["trained_low"] <= true <= row["trained_high"]
    assert 88 <= held <= 100


def test_a_row_is_told_from_chance_after_correction_alone():
    dice = np.random.default_rng(0)
    for centre in [0.0, 0.15, 0.2, 0.6]:
        low, high, p = understanding.beside_chance(dice.normal(centre, 0.1, (2000, 5)) + dice.normal(0, 0.05, 5), 0)
        assert (p < 0.05) == (low > 0 or high < 0) and 0 < p <= 1
    dice, rows, of = np.random.default_rng(1), {}, "binding npi_licensing ellipsis quantifiers".split()
    for kind, share in zip(of, [0.95, 0.6, 0.5, 0.1]):
        rows[kind] = dice.random((60, 3)) < share
    drawn = pd.DataFrame({"phenomenon": np.repeat(of, 60)})
    table = understanding.pair_table(drawn, {"trained": np.concatenate(list(rows.values()))}, "phenomenon")
    known = dict(zip(table["phenomenon"], understanding_page.told(table, "trained", 0.5)))
    assert known["binding"] and not known["ellipsis"] and not known["quantifiers"], "below one half is not above it"
    alone = understanding.pair_table(drawn[60:120], {"trained": rows["npi_licensing"]}, "phenomenon")
    together = table.set_index("phenomenon").loc["npi_licensing", "trained_q"]
    assert together >= alone["trained_q"].item(), "with more rows to choose from, more is asked of each"


def test_no_output_with_a_sentence_of_a_corpus_is_kept():
    """Made-up sentences, in the forms in which a notebook shows them: text, tables, pieces, descriptions of pictures."""
    new = nbformat.v4
    kept = ["13 of 15 features differ", "the report of the committee is long", "birds"]
    taken = [
        new.new_output("stream", text="wrong: \x1b[1mThe report that the two\x1b[0m clerks signed is lost.\n"),
        new.new_output("display_data", {"text/html": "<td>Birds</td> <td>sing.</td>"}),
        new.new_output("execute_result", {"text/plain": "6  ... that the two clerks signed ..."}),
        new.new_output("display_data", {"image/png": ""}, metadata={"image/png": {"alt": "Words of 'Birds sing.'"}}),
        new.new_output("display_data", {"text/html": "<b>the</b> two&nbsp;clerks signed&#32;is"}),
    ]
    outputs = [[new.new_output("stream", text=text)] for text in kept] + [[output] for output in taken]
    outputs.append([new.new_output("stream", text="kept beside"), taken[0]])
    notebook = new.new_notebook(cells=[new.new_code_cell("x", outputs=own) for own in outputs])
    assert without_sentences(notebook, ["The report that the two clerks signed is lost.", "Birds sing.", "Oh!"]) == 6
    texts = [cell.outputs[0].get("text") for cell in notebook.cells]
    assert texts == kept + [LEFT_OUT] * 6 and {len(cell.outputs) for cell in notebook.cells} == {1}


def test_without_the_corpus_of_the_runs_nothing_is_kept(base, sweep):  # noqa: F811
    assert sum(map(len, sentences_of(sweep))) == sum(
        len(helpers.read_split(sweep / "SEED=1", name)) for name in ["train", "in_domain_dev", "test"]
    )
    with pytest.raises(SystemExit, match="holds no run with a corpus/: expected the folder of a sweep"):
        sentences_of(base[0])  # a run, not a sweep


@pytest.mark.parametrize("path", sorted(understanding.FOLDER.glob("08_*.ipynb")), ids=lambda path: path.stem)
def test_the_notebook_of_real_runs_is_the_one_that_teaches(path):
    kept, taught = nbformat.read(path, 4), nbformat.read(Path(helpers.ROOT, "notebooks", "08_error_analysis.ipynb"), 4)
    code = [cell.source for cell in taught.cells if cell.cell_type == "code"]
    executed = [cell.source for cell in kept.cells if cell.cell_type == "code"]
    executed = [source for source in executed if not source.startswith("# Parameters")]
    assert executed == code
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code")
    for columns in ['"sentence"]]', '[["change", "before", "after"]]']:
        (cell,) = [cell for cell in kept.cells if columns in cell.source and "head(" in cell.source]
        assert [output.text for output in cell.outputs] == [LEFT_OUT]


def test_the_page_of_results_says_what_its_tables_say():
    text = (understanding.FOLDER / "README.md").read_text(encoding="utf-8")
    for path in understanding.FOLDER.glob("*_features.csv"):
        name = path.stem.removesuffix("_features")
        table = pd.read_csv(path).query("set == 'both'").set_index("feature")
        assert f"\n## `{name}`\n" in text, "the script prints a section for the page"
        section = text.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| ([\w, -]+?)(?: \(.*?\))? \| (\d+) \| (\.\d+) ± (\.\d+) \| (-?\.\d+) \|", section, re.M)
        assert len(rows) >= 3
        for feature, n, accuracy, spread, score in rows:
            own = table.loc[feature]
            assert [int(n), float(accuracy), float(spread), float(score)] == own[
                ["n", "accuracy", "accuracy_sd", "mcc"]
            ].to_list()
        errors = pd.read_csv(understanding.FOLDER / f"{name}_errors.csv").iloc[-1]
        found = re.search(r"all (\w+) runs err on (\d+) .*? chance would give (\d+\.\d)", section, re.S)
        assert [int(found[2]), float(found[3])] == [errors["sentences"], errors["by chance"]]
        if (pairs := path.with_name(f"{name}_blimp.csv")).exists():
            (share,) = re.findall(r"^\| all 67 paradigms \| (\.\d+) \|", section, re.M)
            assert float(share) == round(pd.read_csv(pairs)["trained"].mean(), 3)
        (alt,) = re.findall(rf"!\[([^\]]{{60,}})\]\({name}\.png\)", section)
        counts = [(understanding_page.told(table, "mcc", 0).sum(), len(table))]
        if (kinds := path.with_name(f"{name}_phenomena.csv")).exists():
            kinds = pd.read_csv(kinds)
            counts.append((understanding_page.told(kinds, "trained", 0.5).sum(), len(kinds)))
        assert [(int(a), int(b)) for a, b in re.findall(r"(\d+) of (\d+) lie above", alt)] == counts


@pytest.mark.parametrize(
    "labels, answers, told",
    [
        ([0, 1] * 6, [0, 1] * 6, False),  # all right: resampled, still all right
        ([0, 1] * 6, [1, 0] * 6, False),
        ([1] * 12, [1] * 11 + [0], False),  # a label alone
        ([0, 1] * 6, [1] * 12, False),  # an answer alone
        ([0, 1] * 6, [0, 1] * 5 + [1, 0], True),
    ],
)
def test_no_interval_where_resampling_can_say_nothing(labels, answers, told):
    judged = pd.DataFrame({"label": labels + [0, 1] * 10, "prediction": answers + [0, 1] * 9 + [1, 0]})
    judged["right"] = judged["label"] == judged["prediction"]
    row = features.by_feature(judged, pd.DataFrame({"f": [True] * 12 + [False] * 20})).loc["f"]
    assert row[["mcc_low", "mcc_high"]].notna().all() == told and row[["mcc", "low", "high"]].notna().all()
