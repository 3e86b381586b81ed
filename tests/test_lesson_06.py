"""06_save_and_load as a lesson: names of classes, minimal pairs, the form, the export, cells run again."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from reader import Reader
from scipy.stats import beta
from test_lesson_05 import run_each_cell_twice
from test_series import base, execute, runs, tiny, vouch_for  # noqa: F401

import helpers
from lesson import exercises, export, form, pairs

RAW = Path(helpers.ROOT, "data", "practice", "raw")
FRESH_PROCESS = export.fresh_process  # the real one, which the fixture `runs` replaces


def six(export_dir=None, run="base"):
    return execute("06_save_and_load", RUN=run, EXPORT_DIR=None if export_dir is None else str(export_dir))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------- minimal pairs


def rows(name):
    return [line.split("\t") for line in (RAW / name).read_text(encoding="utf-8").splitlines()]


def test_the_pairs_are_all_pairs_of_the_files_that_no_model_is_trained_on():
    found = pairs.minimal_pairs()
    trained_on = {row[3] for row in rows("in_domain_train.tsv")}
    for split, name in [("in_domain_dev", "in_domain_dev.tsv"), ("test", "out_of_domain_dev.tsv")]:
        lines = rows(name)
        by_hand = [(a[0], a[3], b[3]) for a, b in zip(lines, lines[1:]) if (a[1], b[1]) == ("1", "0")]
        ours = found[found["split"] == split][["phenomenon", "acceptable", "unacceptable"]]
        assert list(ours.itertuples(index=False, name=None)) == by_hand
        assert len(by_hand) == sum(row[1] == "0" for row in lines), "every unacceptable sentence has its twin"
    for good, bad in zip(found["acceptable"], found["unacceptable"]):
        assert good != bad and not {good, bad} & trained_on
    assert found["split"].value_counts().to_dict() == {"in_domain_dev": 76, "test": 70}
    assert set(found["phenomenon"]) <= set(pairs.rules())


def test_the_pairs_are_ranked_as_by_the_model_asked_one_sentence_at_a_time(base):  # noqa: F811
    ranked, record = six()["ranked"], helpers.read_run(base[0])["notebooks"]["06_save_and_load"]
    model, tokenizer = helpers.load_model(base[0] / "model").eval(), helpers.load_tokenizer(base[0] / "model")

    def acceptable(sentence):
        with torch.inference_mode():
            return model(**tokenizer(sentence, return_tensors="pt")).logits.softmax(dim=1)[0, 1].item()

    by_hand = [acceptable(a) - acceptable(b) for a, b in zip(ranked["acceptable"], ranked["unacceptable"])]
    assert (ranked["good"] - ranked["bad"]).tolist() == pytest.approx(by_hand, abs=1e-5)
    right = [difference > 0 for difference in by_hand]
    doubtful = sum(abs(difference) < 1e-5 for difference in by_hand)
    assert 0 < sum(right) < len(right) and abs(ranked["right"].sum() - sum(right)) <= doubtful
    assert record["pairs_right"] == ranked.groupby("split")["right"].sum().to_dict()


def test_the_interval_is_that_of_clopper_and_pearson():
    assert pairs.interval(46, 70) == pytest.approx((beta.ppf(0.025, 46, 25), beta.ppf(0.975, 47, 24)))
    assert pairs.interval(5, 5) == pytest.approx((0.025 ** (1 / 5), 1.0)), "as the prose says: nearly one error in two"
    assert pairs.interval(0, 4) == pytest.approx((0.0, 1 - 0.025 ** (1 / 4)))


def test_new_pairs_are_new_and_of_the_phenomenon():
    known = {row[3] for path in RAW.glob("*.tsv") for row in rows(path.name)}
    new = pairs.new_pairs("partit", 100)
    sentences = [*new["acceptable"], *new["unacceptable"]]
    assert len(new) == 100 and len(set(sentences)) == 200 and not set(sentences) & known
    assert set(new["phenomenon"]) == {"partit"} and set(new["split"]) == {"test"}
    for bad in [("plain", 5), ("nothing", 5), ("agr", 0), ("agr", 201)]:
        with pytest.raises(helpers.SeriesError, match="expected 1 to 200 of one of adv, agr"):
            pairs.new_pairs(*bad)


# ---------------------------------------------------------------- the model and its names


def test_a_pipeline_of_the_export_says_names_and_gives_06_s_probabilities(base, tmp_path):  # noqa: F811
    """Also where 04's folder has no names: so older runs are, and other people's folders."""
    config = json.loads((base[0] / "model/config.json").read_text())
    config = {name: value for name, value in config.items() if name not in ("id2label", "label2id")}
    (base[0] / "model/config.json").write_text(json.dumps(config))
    vouch_for(base[0])
    ranked = six(tmp_path / "export")["ranked"]
    judge = transformers.pipeline("text-classification", str(tmp_path / "export"), device="cpu")
    answers = judge(ranked["acceptable"].tolist(), top_k=None)
    for answer, probability in zip(answers, ranked["good"]):
        scores = {each["label"]: each["score"] for each in answer}
        assert set(scores) == {"unacceptable", "acceptable"}
        assert scores["acceptable"] == pytest.approx(probability, abs=1e-5)


def test_a_sentence_longer_than_the_model_can_read_is_cut_and_judged(base):  # noqa: F811
    judge = six()["judge"]
    assert judge.tokenizer.model_max_length == helpers.load_tokens(base[0])[1]["max_len"]
    assert judge("word " * 2000)[0]["label"] in {"unacceptable", "acceptable"}


@pytest.mark.parametrize("family", ["DistilBert", "Roberta"])
def test_other_encoders_are_judged_and_saved_too(base, tiny, tmp_path, family):  # noqa: F811
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if family == "DistilBert":
        size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    config = getattr(transformers, f"{family}Config")(vocab_size=30522, pad_token_id=0, **size)
    run = Path(shutil.copytree(base[0], helpers.RUNS / family))
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(run / "model")
    vouch_for(run)
    assert six(run=family)["ranked"]["good"].between(0, 1).all()


# ---------------------------------------------------------------- the form


def answering(sentence):
    return [{"label": "acceptable" if "good" in sentence else "unacceptable", "score": 0.75}]


def test_the_form_only_prints_where_nobody_can_type(monkeypatch, capsys):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(form, "_show_field", lambda *args: pytest.fail("a field for nobody"))
    form.ask(answering, "A good one.")
    assert capsys.readouterr().out == "acceptable (0.75): A good one.\n"


def test_the_form_judges_what_is_typed(monkeypatch, capsys):
    shown = []
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/06_save_and_load.ipynb")
    monkeypatch.setattr("IPython.display.display", shown.append)
    form.ask(answering, "A good one.")
    field, answer = shown[0].children
    field.value = "Another."
    assert answer.value == "unacceptable (0.75): Another."
    assert capsys.readouterr().out == "acceptable (0.75): A good one.\n"


def test_without_widgets_the_form_prints_the_same(monkeypatch, capsys):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/06_save_and_load.ipynb")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    form.ask(answering, "A good one.")
    assert capsys.readouterr().out == "acceptable (0.75): A good one.\n"


# ---------------------------------------------------------------- the export


def test_the_export_is_whole_and_as_readable_as_new_files_are(base, tmp_path):  # noqa: F811
    (tmp_path / "empty").mkdir()
    old = os.umask(0o027)
    try:
        for target in [tmp_path / "empty", tmp_path / "new" / "and" / "deep"]:
            six(target)
            files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
            assert files.keys() >= {"config.json", "model.safetensors", "tokenizer.json", "export.json"}
            assert set(files.values()) == {0o640}
            assert json.loads((target / "export.json").read_text())["run"] == "base"
            assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []
    finally:
        os.umask(old)
    tokens, _ = helpers.load_tokens(base[0])
    texts = helpers.read_split(base[0], "test")["sentence"].tolist()
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "empty")(texts, truncation=True)["input_ids"]
    starts = tokens["offsets"][helpers.rows_of(tokens, "test")]
    assert [tokens["ids"][start : start + len(row)].tolist() for start, row in zip(starts, ids)] == ids


def test_a_relative_folder_lies_in_the_project(base, tmp_path):  # noqa: F811
    assert six(os.path.relpath(tmp_path / "export", helpers.ROOT))["target"] == tmp_path / "export"
    assert (tmp_path / "export" / "model.safetensors").exists()


@pytest.mark.parametrize("nothing", ["", "none", "None", None])
def test_no_folder_is_no_export(base, nothing, monkeypatch):  # noqa: F811
    monkeypatch.setattr(export, "copied", lambda *args: pytest.fail("copied"))
    assert execute("06_save_and_load", RUN="base", EXPORT_DIR=nothing)["target"] is None


def test_the_copy_has_a_card_where_05_has_scores_and_a_push_that_fails_loses_nothing(base, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    scored = "05_evaluate" in helpers.read_run(base[0])["notebooks"]
    six(tmp_path / "export")
    assert (tmp_path / "export" / "README.md").exists() == scored
    with pytest.raises(helpers.SeriesError, match="PUSH_TO is 'me/judge': the hub did not take it"):
        execute("06_save_and_load", RUN="base", EXPORT_DIR=str(tmp_path / "export"), PUSH_TO="me/judge")
    assert (tmp_path / "export" / "model.safetensors").exists()


def test_an_earlier_export_is_replaced_whole(base, tmp_path):  # noqa: F811
    six(tmp_path / "export")
    first = contents(tmp_path / "export")
    (tmp_path / "export" / "added_tokens.json").write_text("{}")  # what another version of transformers left …
    mark = json.loads(first["export.json"])
    mark["files"]["added_tokens.json"] = helpers.sha256(tmp_path / "export" / "added_tokens.json")  # … in our export
    (tmp_path / "export" / "export.json").write_text(json.dumps(mark))
    half = tmp_path / f".export.{subprocess.Popen([sys.executable, '-c', '']).pid}"  # of a process that was killed
    os.waitpid(int(half.suffix[1:]), 0)
    (half / "x").mkdir(parents=True)
    six(tmp_path / "export")
    assert contents(tmp_path / "export") == first
    assert not half.exists()


@pytest.fixture
def other(base):  # noqa: F811
    """A run with another model: the first one's, its answers turned round."""
    folder = Path(shutil.copytree(base[0], helpers.RUNS / "other", dirs_exist_ok=True))
    model = helpers.load_model(folder / "model")
    model.classifier.weight.data *= -1
    model.save_pretrained(folder / "model")
    vouch_for(folder)
    return folder


@pytest.mark.parametrize("until", ["helpers.begin", "import ask", "pairs.minimal_pairs"])
def test_a_model_loaded_for_another_run_is_neither_exported_nor_recorded(base, other, tmp_path, until):  # noqa: F811
    """The reader edits RUN, begins anew, runs nothing or the first cells again, and then goes to the export."""
    reader = Reader("06_save_and_load", RUN="base", EXPORT_DIR=str(tmp_path / "export")).run()
    before = contents(tmp_path / "export"), (other / "run.json").read_text()
    reader.parameters |= {"RUN": "other"}
    reader.run(*range(reader.place("parameters"), 1 + reader.place(until)))
    for cell in ["export.copied", ".finish("]:
        with pytest.raises(helpers.SeriesError, match="begun for the run 'other'.* is of the run 'base'.* again"):
            reader.run(cell)
    assert (contents(tmp_path / "export"), (other / "run.json").read_text()) == before


def test_a_model_saved_anew_is_exported_and_verdicts_of_the_one_before_are_not_recorded(base, other, tmp_path):  # noqa: F811
    reader = Reader("06_save_and_load", RUN="base").run()
    reader.parameters |= {"RUN": "other", "EXPORT_DIR": str(tmp_path / "export")}
    reader.run("parameters", "helpers.begin", "import ask", "workbench", "export.copied")
    assert json.loads((tmp_path / "export" / "export.json").read_text())["run"] == "other"
    ours, theirs = (helpers.load_model(each).state_dict() for each in (tmp_path / "export", other / "model"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(helpers.SeriesError, match="begun for the run 'other'.* is of the run 'base'"):
        reader.run(".finish(")


def test_a_model_trained_again_since_is_not_exported(base, other, tmp_path):  # noqa: F811
    reader = Reader("06_save_and_load", RUN="other", EXPORT_DIR=str(tmp_path / "export")).run()
    content = helpers.read_run(other)
    content["notebooks"]["04_train"]["finished"] = "2030-01-01T00:00:00+00:00"
    helpers.write_json(other / "run.json", content, sealed=True)
    with pytest.raises(helpers.SeriesError, match="'other', trained 2030.* is of the run 'other', trained 20[^3]"):
        reader.run("parameters", "helpers.begin", "export.copied")


def test_who_only_wants_a_copy_then_goes_straight_to_the_export(base, tmp_path):  # noqa: F811
    reader = Reader("06_save_and_load", RUN="base").run()
    reader.parameters |= {"EXPORT_DIR": str(tmp_path / "export")}
    reader.run("parameters", "helpers.begin", "export.copied", ".finish(")
    assert (tmp_path / "export" / "model.safetensors").exists()
    record = helpers.read_run(base[0])["notebooks"]["06_save_and_load"]
    assert record["parameters"]["EXPORT_DIR"] == str(tmp_path / "export")


def of_another_save(folder):
    folder.mkdir()
    (folder / "special_tokens_map.json").write_text('{"cls_token": "<s>", "sep_token": "</s>"}')
    return folder, "holds special_tokens_map.json"


def changed_since(folder):
    folder.mkdir()
    (folder / "export.json").write_text('{"files": {"config.json": "0123"}}')
    (folder / "config.json").write_text("{}")
    return folder, "holds config.json"


def with_a_mark_of_somebody_else(folder):
    folder.mkdir()
    (folder / "export.json").write_text("[1, 2]")
    return folder, "holds export.json"


def with_a_folder_in_it(folder):
    (folder / "export.json").mkdir(parents=True)
    return folder, "holds export.json"


BAD = [
    of_another_save,
    changed_since,
    with_a_mark_of_somebody_else,
    with_a_folder_in_it,
    lambda folder: (Path(__file__), "which is a file"),
    lambda folder: (Path(__file__) / "below", "cannot be written"),
    lambda folder: ("/proc/nothing/here", "cannot be written"),
    lambda folder: (f"{folder}\0", "cannot be written"),
    lambda folder: ("x" * 300, "cannot be written"),
    lambda folder: ("~nobody-of-this-name/x", "cannot be written"),
    lambda folder: ("/", "where a disk is mounted"),
    lambda folder: (helpers.RUNS / "base" / "model" / "copy", "in the run folder"),
    lambda folder: (helpers.RUNS / "base", "holds "),
    lambda folder: (".", "holds "),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_folder_that_will_not_do_is_refused_before_any_work(base, tmp_path, bad, monkeypatch):  # noqa: F811
    target, words = bad(tmp_path / "target")
    before = (
        contents(target)
        if words.startswith("holds ") and "target" in str(target) and bad is not with_a_folder_in_it
        else None
    )
    record = (base[0] / "run.json").read_text()
    monkeypatch.setattr(helpers, "load_model", lambda *args, **options: pytest.fail("work was done"))
    with pytest.raises(helpers.SeriesError, match=words) as said:
        six(target)
    assert "EXPORT_DIR is " in str(said.value) and "expected" in str(said.value)
    assert before is None or contents(target) == before
    assert (base[0] / "run.json").read_text() == record


def test_too_little_space_is_said_before_any_work(base, tmp_path, monkeypatch):  # noqa: F811
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(helpers.SeriesError, match=r"where 1 MB are free: expected \d MB for the model"):
        six(tmp_path / "export")


@pytest.mark.parametrize("fault", ["other bytes", "full disk"])
def test_a_copy_that_fails_leaves_the_earlier_one(base, tmp_path, monkeypatch, fault):  # noqa: F811
    six(tmp_path / "export")
    before, copy = contents(tmp_path / "export"), shutil.copyfile

    def faulty(source, target):
        if fault == "full disk":
            raise OSError(28, "No space left on device")
        copy(source, target)
        if source.name == "model.safetensors":
            content = bytearray(target.read_bytes())
            content[-40] ^= 64
            target.write_bytes(content)

    monkeypatch.setattr(shutil, "copyfile", faulty)
    error, words = (AssertionError, "the copy holds") if fault == "other bytes" else (helpers.SeriesError, "No space")
    with pytest.raises(error, match=words):
        six(tmp_path / "export")
    assert contents(tmp_path / "export") == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


# ---------------------------------------------------------------- exercises


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("They are long.", "They is long.", True),
        ("They are long.", "They are long.", False),
        ("She should not go.", "She not should go.", True),
        ("He sleeps.", "He sleeps well there at night.", False),
        ("They are not long.", "She is not short.", False),
        ("They left.", "They left left.", True),
        ("", "Go!", True),
    ],
)
def test_a_minimal_pair_differs_in_one_place(one, other, same):
    assert exercises.in_one_place(one, other) == exercises.in_one_place(other, one) == same


def likes(*better):
    """A model's probabilities of "acceptable": high for these sentences."""
    return lambda sentences: [0.9 if sentence in better else 0.2 for sentence in sentences]


def test_an_own_pair_is_judged():
    good, bad = "They are long.", "They is long."
    assert exercises.fooled((good, bad), likes(bad))[0] == (good, bad) and exercises.fooled([good, bad], likes(bad))[0]
    for answer in [(good, bad), (bad, bad), (good, "No."), (good, 3), good, 0, None, ...]:
        right, look = exercises.fooled(answer, likes(good))
        assert exercises.verdict(answer, right, look).startswith("Still open" if answer is ... else "Not yet")
    assert "0.900 against 0.200" in exercises.fooled((good, bad), likes(good))[1]
    right, look = exercises.fooled((good, bad), lambda sentences: [])
    assert (
        exercises.verdict((good, bad), right, look, unknown="no such class.")
        == "This cannot be asked here: no such class."
    )


@pytest.mark.parametrize("temperature", [0.5, 1, 2])
def test_the_probability_at_a_temperature_is_that_of_divided_logits(temperature):
    logits = torch.tensor([0.3, -1.0, 2.2])
    judge = lambda sentence, top_k: [{"score": share} for share in logits.softmax(-1).tolist()]  # noqa: E731
    divided = (logits / temperature).softmax(-1).max().item()
    assert exercises.sure_at(temperature, judge, "Go!") == pytest.approx(divided)


# ---------------------------------------------------------------- cells run again


def test_every_cell_may_be_run_twice_and_the_fresh_process_is_a_real_one(
    base,  # noqa: F811
    tmp_path,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr(export, "fresh_process", FRESH_PROCESS)
    variables = run_each_cell_twice("06_save_and_load", RUN="base", EXPORT_DIR=str(tmp_path / "export"))
    assert variables["fresh"].shape == (32, 2)
    assert capsys.readouterr().out.count("Right.\n") == 6, "three exercises, twice"
    exec("saved_again = sorted(saved.iterdir())", variables)
    assert variables["saved_again"], "cells further up still find what was saved, after the last cell"
    assert helpers.read_run(base[0])["notebooks"]["06_save_and_load"]["pairs_right"].keys() == {"in_domain_dev", "test"}


def test_what_fails_in_the_fresh_process_is_shown():
    with pytest.raises(helpers.SeriesError, match="ZeroDivisionError"):
        FRESH_PROCESS("1 / 0", None)
