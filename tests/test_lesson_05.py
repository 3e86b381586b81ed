"""05_evaluate as a lesson: what its prose says, small test sets, cells run again."""

import ast
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from reader import Reader
from sklearn.metrics import matthews_corrcoef
from test_series import NOTEBOOKS, base, execute, runs, series, tiny, vouch_for  # noqa: F401

import helpers
from lesson import card, evaluation

CELLS = nbformat.read(NOTEBOOKS / "05_evaluate.ipynb", 4).cells
PROSE = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")


def names(trees, context):
    """Of all variables in some syntax trees, those that are set (ast.Store) or read (ast.Load)."""
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in found if isinstance(node.ctx, context)}


def test_what_cells_make_of_a_model_is_forgotten_before_the_next_one():
    """All variables that one cell sets and a later one reads, from the model's loading to the record."""
    sources = [cell.source for cell in CELLS if cell.cell_type == "code"]
    load, record = (next(i for i, s in enumerate(sources) if text in s) for text in ["evaluation.forget", ".finish("])
    made = set()
    for i in range(load + 1, record):
        set_here = [target for each in ast.parse(sources[i]).body for target in getattr(each, "targets", [])]
        later = ast.parse("\n".join(sources[i + 1 : record + 1]))
        made |= names(set_here, ast.Store) & names([later], ast.Load)
    assert len(made) > 10 and made - {"made_for"} <= set(evaluation.MADE)


def run_each_cell_twice(notebook, **parameters):
    """Execute a notebook's code cells, each of them twice in place; returns the variables."""
    variables = {"__name__": "__main__"}
    for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not {"bootstrap", "colab-setup"} & tags:
            for _ in range(2):
                exec(compile(cell.source, f"{notebook}.ipynb", "exec"), variables)
                variables |= parameters if "parameters" in tags else {}
    return variables


def prose(pattern):
    """The numbers in the groups of `pattern`, which the prose of 05 has to match once."""
    (found,) = re.finditer(pattern, PROSE)
    return [float(number) for number in found.groups()]


def published(model):
    """The rows of results/cola/runs.csv for the defaults of 04 with `model`, and for recipes/base.yaml, in whatever batch."""
    rows = pd.read_csv(Path(helpers.ROOT, "results", "cola", "runs.csv"))
    defaults = {"max_len": 64, "padding": "longest", "epochs": 4}
    rows = rows[(rows["model"] == model) & (rows[list(defaults)] == pd.Series(defaults)).all(axis=1)]
    recipes = [(1e-4, 0.0)] if model == "minilm" else [(2e-5, 0.0), (3e-5, 0.1)]
    return rows[[pair in recipes for pair in zip(rows["learning_rate"], rows["warmup_fraction"])]]


def test_the_ranges_in_the_prose_are_those_of_the_published_runs():
    found = prose(r"`minilm` reaches (\.\d\d) to (\.\d\d) with its recipe, a base-size model (\.\d\d) to (\.\d\d)")
    measured = [f(published(model)["test_mcc"]) for model in ("minilm", "all-mpnet-base-v2") for f in (min, max)]
    assert len(published("minilm")) >= 10 and len(published("all-mpnet-base-v2")) >= 18
    assert found == [round(value, 2) for value in measured]


def test_the_width_in_the_prose_is_that_of_the_published_intervals():
    (width,) = prose(r"On CoLA's 516 it is about ±(\.\d\d) for `minilm`")
    rows = published("minilm")
    half = (rows["test_high"] - rows["test_low"]) / 2
    assert (half.round(2) == width).all()


def test_the_example_and_the_exercise_are_computed_rightly():
    labels, answers = np.repeat([1, 0], [16, 4]), np.repeat([1, 0, 1, 0], [15, 1, 3, 1])
    assert matthews_corrcoef(labels, answers) == pytest.approx(12 / 48) == helpers.mcc(1, 3, 1, 15)
    given = prose(r"accepts (\d+) of (\d+) acceptable sentences and (\d+) of (\d+) unacceptable ones")
    tp, positives, fp, negatives = map(int, given)
    labels = np.repeat([1, 1, 0, 0], [tp, positives - tp, fp, negatives - fp])
    answers = np.repeat([1, 0, 1, 0], [tp, positives - tp, fp, negatives - fp])
    check = next(cell.source for cell in CELLS if "check(by_hand" in cell.source)
    assert matthews_corrcoef(labels, answers) == pytest.approx(float(re.search(r"by_hand, (\S+),", check)[1]), abs=5e-4)
    (right, n, above) = prose(r"Its accuracy, (\d+) of (\d+), is only (\S+) above the constant answer")
    assert right == (labels == answers).sum() and n == len(labels)
    assert above == pytest.approx(right / n - positives / n, abs=5e-3)


def test_the_three_surest_hits_and_errors_are_shown(base):  # noqa: F811
    six = execute("05_evaluate", RUN="base")["six"]
    everything = pd.read_csv(base[0] / "predictions.csv").query("split == 'test'")
    everything["sure"] = (everything["probability"] - 0.5).abs()
    for kind, rows in everything.groupby(everything["label"] == everything["prediction"]):
        shown = six.loc[["hit" if kind else "error"]]
        assert sorted((shown["probability"] - 0.5).abs()) == pytest.approx(sorted(rows["sure"])[-3:], abs=1e-6)
        assert ((shown["label"] == shown["prediction"]) == kind).all()
        assert ((shown["says"] == "acceptable") == shown["prediction"]).all()


KEYS = {"n", "positives", "predicted_positives", "mcc", "mcc_interval", "accuracy", "confusion", "collapsed"}
NEW_KEYS = {"positive_class", "majority", "scores", "by_class"}


def test_metrics_json_keeps_its_keys(base):  # noqa: F811
    metrics = json.loads((base[0] / "metrics.json").read_text())
    kept = {"run", "model", "corpus", "device", "parameters", "train_seconds", *helpers.SPLITS[1:]}
    assert set(metrics) == kept | {"classes", "analysis"}
    for split in helpers.SPLITS[1:]:
        assert set(metrics[split]) == KEYS | NEW_KEYS | ({"name"} if split == "test" else set())
        assert list(metrics[split]["confusion"]) == ["tn", "fp", "fn", "tp"]
        assert metrics[split]["positives"] == metrics[split]["by_class"]["acceptable"]["n"]
    of_test = metrics["analysis"]["subsets"]["test"]
    assert of_test["mcc_interval"] == metrics["test"]["mcc_interval"] and set(metrics["analysis"]) == {
        "other_sources", "by_source", "rivals", "subsets", "thresholds", "temperature", "calibration"
    }  # fmt: skip
    assert sum(own["n"] for own in metrics["analysis"]["by_source"].values()) == metrics["test"]["n"]
    assert "mcc" not in metrics["analysis"], "what reads splits by their mcc must not take this for one"
    assert set(metrics["parameters"]) >= {"CORPUS", "MODEL_NAME", "MAX_LEN", "SEED", "BOOTSTRAP_SAMPLES"}


@pytest.mark.parametrize("size", [1, 2, 32, 33])
def test_small_sets_can_be_evaluated(tiny, tmp_path, size, capsys):  # noqa: F811
    """As many sentences in test as a batch, one more, and next to none; two for validation; two in-domain."""
    corpus = Path(shutil.copytree(tiny["CORPUS"], tmp_path / "corpus"))
    test = (corpus / "out_of_domain_dev.tsv").read_text().splitlines(keepends=True)
    (corpus / "out_of_domain_dev.tsv").write_text("".join((test * 2)[:size]))
    dev = (corpus / "in_domain_dev.tsv").read_text().splitlines(keepends=True)
    (corpus / "in_domain_dev.tsv").write_text("".join(dev[:2]))
    # a seed that puts one sentence of each label into the two: 03 refuses others
    small = {"CORPUS": str(corpus), "EPOCHS": 1, "VALIDATION_FRACTION": 0.02, "SPLIT_SEED": 2021}
    folder, variables = series("small", **(tiny | small))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [metrics[split]["n"] for split in ("validation", "in_domain_dev", "test")] == [2, 2, size]
    several = variables["test"]["source"].nunique()
    assert len(variables["sources"]) == (several if several > 1 else 0)
    asked = re.findall(r"^Right\.$|^This cannot be asked here: .*$", capsys.readouterr().out, re.M)
    why = "This cannot be asked here: the test set has a single source, or names none."
    assert asked[-3:] == ["Right."] * 2 + ["Right." if several > 1 else why]
    execute("06_save_and_load", RUN="small")


def test_a_model_that_collapsed_is_evaluated_and_said_to_have(tiny, capsys):  # noqa: F811
    import torch

    folder, _ = series("collapse", until="04_train", **(tiny | {"EPOCHS": 1}))
    model = helpers.load_model(folder / "model")
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data = torch.tensor([-1.0, 1.0])
    model.save_pretrained(folder / "model")
    vouch_for(folder)
    execute("05_evaluate", RUN="collapse")
    assert "COLLAPSE" in capsys.readouterr().out
    test = json.loads((folder / "metrics.json").read_text())["test"]
    assert test["collapsed"] and test["mcc"] == 0 and test["mcc_interval"] == [0, 0]


def test_predict_py_uses_the_temperature_and_06_takes_it_along(base, tmp_path, capsys):  # noqa: F811
    """05 adds to a file that 04 vouches for: nothing may take that for damage, however often and in what order they run."""
    import predict

    config = lambda folder: json.loads((folder / "config.json").read_text())["calibration_temperature"]  # noqa: E731
    execute("05_evaluate", RUN="base")
    execute("06_save_and_load", RUN="base", EXPORT_DIR=str(tmp_path / "copy"))
    variables = execute("05_evaluate", RUN="base")
    helpers.begin("06_save_and_load", {"RUN": "base", "EXPORT_DIR": None})  # refuses what is not as it was written
    temperature = variables["temperature"]
    assert config(base[0] / "model") == config(tmp_path / "copy") == temperature != 1
    assert json.loads((base[0] / "metrics.json").read_text())["analysis"]["temperature"] == temperature
    sentences = helpers.read_split(base[0], "test")["sentence"]
    (tmp_path / "lines.txt").write_text("".join(f"{sentence}\n" for sentence in sentences))
    for model in [base[0] / "model", tmp_path / "copy"]:
        judged = tmp_path / f"{model.parent.name}.csv"
        options = ["--all-classes", "--precision", "fp32", "--output", str(judged)]
        assert predict.main([str(model), str(tmp_path / "lines.txt"), *options]) == 0
        found = pd.read_csv(judged)["probability_acceptable"].to_numpy()
        logits = variables["logits"]["test"] / temperature
        assert found == pytest.approx(logits.softmax(dim=1)[:, 1].numpy(), abs=2e-4)
        assert np.abs(found - variables["test"]["probability"]).max() > 1e-3, "not those without it"
    assert "calibration_temperature" in (base[0] / "model" / "README.md").read_text()


def test_05_killed_while_it_writes_is_run_again_and_nothing_is_lost(base, monkeypatch):  # noqa: F811
    variables = execute("05_evaluate", RUN="base")
    record = next(c.source for c in nbformat.read(NOTEBOOKS / "05_evaluate.ipynb", 4).cells if ".finish(" in c.source)
    real = helpers.write_json
    for victim in ["metrics.json", "config.json"]:

        def killed(path, *rest, victim=victim):
            if victim in path.name:
                raise KeyboardInterrupt
            real(path, *rest)

        monkeypatch.setattr(helpers, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            exec(record, variables)
        monkeypatch.setattr(helpers, "write_json", real)
        assert "05_evaluate" not in helpers.read_run(base[0])["notebooks"]
        helpers.begin("06_save_and_load", {"RUN": "base", "EXPORT_DIR": None})
        execute("05_evaluate", RUN="base")
    files = helpers.read_run(base[0])["files"]
    assert files["04_train"]["model/config.json"] == helpers.sha256(base[0] / "model" / "config.json")
    assert set(files["05_evaluate"]) == {"metrics.json", "predictions.csv"}


def test_a_changed_config_is_still_noticed(base):  # noqa: F811
    execute("05_evaluate", RUN="base")
    path = base[0] / "model" / "config.json"
    before = path.read_text()
    assert "model/config.json" in helpers.read_run(base[0])["files"]["04_train"]
    path.write_text(before.replace('"calibration_temperature": ', '"calibration_temperature": 1'))
    try:
        with pytest.raises(
            helpers.SeriesError, match="config.json in the run 'base' is not as 04_train.ipynb wrote it"
        ):
            execute("06_save_and_load", RUN="base")
    finally:
        path.write_text(before)


@pytest.fixture
def three(tiny):  # noqa: F811
    """A run of three classes up to 04, whose labels and head are put in by hand; in-domain dev has no sentences."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder, _ = series("three", until="04_train", **(tiny | {"EPOCHS": 1}))
    names = ["billing", "delivery, returns", "praise"]
    with safe_open(folder / "tokens.safetensors", framework="pt") as file:
        tokens, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    tokens["labels"] = torch.arange(len(tokens["labels"])) % 7 % 3
    keep = {"validation": 1, "test": 3}
    tokens["split"][tokens["split"] == 2] = keep["test"]
    tokens["row"][tokens["split"] == 3] %= len(helpers.read_split(folder, "test"))
    save_file(tokens, folder / "tokens.safetensors", metadata=about)
    torch.manual_seed(1)
    helpers.load_model(folder / "model", names).save_pretrained(folder / "model")
    content = helpers.read_run(folder)
    content["notebooks"]["02_load_cola"]["classes"] = names
    helpers.write_json(folder / "run.json", content, sealed=True)
    vouch_for(folder, "tokens.safetensors", "03_tokenize")
    vouch_for(folder)
    return folder, names


def test_three_classes_are_evaluated_by_name(three, capsys):
    from runner.results import score

    folder, names = three
    variables = execute("05_evaluate", RUN="three")
    assert {"width", "others"} <= set(variables) and capsys.readouterr().out.count("Right.\n") == 3, "the exercises"
    metrics = json.loads((folder / "metrics.json").read_text())
    frame = pd.read_csv(folder / "predictions.csv").query("split == 'test'")
    assert metrics["test"]["mcc"] == pytest.approx(matthews_corrcoef(frame["label"], frame["prediction"]))
    assert list(frame) == ["split", "row", "label", "prediction", "probability", *(f"probability_{n}" for n in names)]
    assert frame[[f"probability_{name}" for name in names]].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
    counts = pd.DataFrame(metrics["test"]["confusion"]).T
    assert counts.to_numpy().sum() == len(frame) and list(counts) == list(counts.index) == names
    assert "in_domain_dev" not in metrics and metrics["classes"] == names and metrics["test"]["name"] == "test"
    assert set(metrics["test"]["by_class"]) == set(names) and "f1" not in metrics["test"]["scores"]
    assert metrics["analysis"]["thresholds"] == {} and metrics["analysis"]["temperature"] > 0
    majority = metrics["test"]["majority"]
    assert majority["accuracy"] == pytest.approx((frame["label"] == names.index(majority["class"])).mean())
    assert score(metrics)[3] == f"{majority['accuracy']:.3f}"
    assert set(variables["rivalry"].index) == {"this model", "majority", "bag of words", "bag of characters"}
    assert "billing, delivery, returns, praise" in (folder / "model" / "README.md").read_text()


def test_every_cell_may_be_run_twice(base):  # noqa: F811
    names = ["metrics.json", "predictions.csv", "model/config.json", "model/README.md"]
    once = [(base[0] / name).read_text() for name in names]
    run_each_cell_twice("05_evaluate", RUN="base")
    assert [(base[0] / name).read_text() for name in names] == once


def test_a_parameter_changed_halfway_is_refused_and_nothing_is_lost(base):  # noqa: F811
    before = (base[0] / "metrics.json").read_text()
    variables = execute("05_evaluate", RUN="base")
    variables["BOOTSTRAP_SAMPLES"] = 200
    record = next(c.source for c in nbformat.read(NOTEBOOKS / "05_evaluate.ipynb", 4).cells if ".finish(" in c.source)
    with pytest.raises(helpers.SeriesError, match="BOOTSTRAP_SAMPLES was 10000"):
        exec(record, variables)
    assert (base[0] / "metrics.json").read_text() == before


@pytest.mark.parametrize(("name", "new"), [("RUN", "base-too"), ("BOOTSTRAP_SAMPLES", 5000)])
@pytest.mark.parametrize("until", ["helpers.begin", "load_tokens", "frames.append", "rivals.answers"])
def test_what_was_judged_for_other_parameters_is_not_recorded(base, name, new, until):  # noqa: F811
    """The reader edits the parameters, begins anew, runs nothing or the first cells again, and then goes to the record."""
    folders = base[0], Path(shutil.copytree(base[0], helpers.RUNS / "base-too", dirs_exist_ok=True))
    files = ["metrics.json", "predictions.csv", "run.json", "model/config.json", "model/README.md"]
    reader = Reader("05_evaluate", RUN="base", BOOTSTRAP_SAMPLES=200).run()
    before = [(folder / file).read_text() for folder in folders for file in files]
    reader.parameters[name] = new
    reader.run(*range(reader.place("parameters"), 1 + reader.place(until)))
    with pytest.raises(helpers.SeriesError, match=f"{name} was .* again from its parameters on"):
        reader.run(".finish(")
    assert [(folder / file).read_text() for folder in folders for file in files] == before


def test_the_card_does_not_tell_where_the_run_lies(base, tmp_path):  # noqa: F811
    """RUN may be a full path; a card is for others."""
    folder = Path(shutil.copytree(base[0], tmp_path / "home" / "anna" / "run1"))
    content = helpers.read_run(folder)
    helpers.write_json(folder / "run.json", content | {"run": str(folder)}, sealed=True)
    card.write_card(folder)
    told = (folder / "model" / "README.md").read_text()
    assert "anna" not in told and str(tmp_path) not in told
    assert "\n# run1: " in told and re.search("^(- )?name: run1$", told, re.M)
