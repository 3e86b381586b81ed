"""The notebooks as a program: what each parameter changes, kills, other models, several processes, a sweep.

Most tests execute the notebooks' cells in this process, on a tiny random model and a few sentences:
a kernel's start takes longer than all of their work.
"""

import ast
import json
import os
import shutil
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from reader import NOTEBOOKS, in_this_process

import helpers
import run as door
from bookkeeping.locks import HELD
from bookkeeping.sums import sums
from lesson import export, sources
from runner import comparison, paths, resume

matplotlib.use("agg")


def execute(notebook, **parameters):
    """Execute a notebook's code cells here; returns its variables. `parameters` are injected as papermill does."""
    AcceleratorState._reset_state(True)  # accelerate keeps one state per process, and a kernel is a process
    variables = {"__name__": "__main__"}
    for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not {"bootstrap", "colab-setup"} & set(tags):
            exec(compile(cell.source, f"{notebook}.ipynb", "exec"), variables)
            if "parameters" in tags:
                assert set(parameters) <= set(variables), "a notebook is given only what it declares"
                variables.update(parameters)
    matplotlib.pyplot.close("all")
    return variables


def declared(notebook):
    """Names in the cell tagged parameters."""
    for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return [getattr(node, "target", None) or node.targets[0] for node in ast.parse(cell.source).body]


def series(run, until="05_evaluate", **parameters):
    """Execute 02 to `until` in process, each with the parameters that it declares; returns the run folder."""
    given = {"RUN": run, **parameters}
    for notebook in helpers.SERIES[1 : helpers.SERIES.index(until) + 1]:
        names = [target.id for target in declared(notebook)]
        variables = execute(notebook, **{name: value for name, value in given.items() if name in names})
    return helpers.RUNS / run, variables


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Default parameters for tests: 80 practice sentences, and a BERT of 2 layers and 32 dimensions with random weights."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "corpus").mkdir()
    for split, name in helpers.COLA_FILES.items():
        lines = Path(helpers.ROOT, "data/practice/raw", name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "corpus" / name).write_text(
            "".join(lines[:: len(lines) // (80 if split == "train" else 30)]), encoding="utf-8"
        )
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30522, **size)).save_pretrained(folder / "model")
    helpers.load_tokenizer(sources.minilm_folder()).save_pretrained(folder / "model")
    return {
        "CORPUS": str(folder / "corpus"),
        "MODEL_NAME": str(folder / "model"),
        "EPOCHS": 2,
        "LEARNING_RATE": 5e-3,
        "BATCH_SIZE": 16,
        "PRECISION": "fp32",
    }


@pytest.fixture(autouse=True, scope="module")
def runs(tmp_path_factory):
    """Run folders of this module's own. The fresh process of 06 is this one: another takes seconds to import torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "RUNS", tmp_path_factory.mktemp("runs"))
        patch.setattr(export, "fresh_process", in_this_process)
        patch.chdir(NOTEBOOKS)
        yield


@pytest.fixture(scope="module")
def base(tiny):
    return series("base", **tiny)


def history(folder):
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


def vouch_for(folder, name="model", notebook="04_train"):
    """Let run.json know what a test has changed in a run folder by hand: else the next notebook takes it for damage."""
    content = helpers.read_run(folder)
    content["files"][notebook] |= sums(folder / name, name)
    helpers.write_json(folder / "run.json", content, sealed=True)


def results(folder):
    """What a run decided, part by part; a parameter must change some parts and leave the others."""
    tokens, header = helpers.load_tokens(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        "sentences": helpers.read_split(folder, "train").to_dict("list"),
        "ids": tokens["ids"].tolist(),
        "split": tokens["split"].tolist(),
        "history": history(folder).to_dict("list"),
        "predictions": (folder / "predictions.csv").read_text(),
        "intervals": metrics["test"]["mcc_interval"] + metrics["validation"]["mcc_interval"],
    }


TRAINING = {"history", "predictions"}


@pytest.mark.parametrize(
    "change, changed",
    [
        ({"MAX_LEN": 8}, {"ids"} | TRAINING),
        ({"VALIDATION_FRACTION": 0.3}, {"split"} | TRAINING),
        ({"SPLIT_SEED": 1}, {"split"} | TRAINING),
        ({"SEED": 43}, TRAINING),
        ({"EPOCHS": 3}, TRAINING),
        ({"BATCH_SIZE": 8}, TRAINING),
        ({"LEARNING_RATE": 2e-3}, TRAINING),
        ({"WEIGHT_DECAY": 0.5}, TRAINING),
        ({"WARMUP_FRACTION": 0.5}, TRAINING),
        ({"POOLING": "mean"}, TRAINING),
        ({"POOLING": "cls"}, set()),  # what auto is for this model
        ({"PADDING": "max_length"}, TRAINING),  # by other draws of dropout: see the next test
        ({"PRECISION": "bf16"}, TRAINING),
        ({"BOOTSTRAP_SAMPLES": 137}, set()),
        ({"SEED": 42}, set()),  # the default: the same seed gives the same run
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_parameter_changes_what_it_should_and_nothing_else(tiny, base, change, changed):
    folder, variables = series("changed", **(tiny | change))
    ours, theirs = results(folder), results(base[0])
    different = {part for part in ours if ours[part] != theirs[part]}
    assert different - {"intervals"} == changed
    for name, value in change.items():
        assert json.loads((folder / "metrics.json").read_text())["parameters"][name] == value


def test_parameters_reach_their_place(tiny, tmp_path):
    changes = {
        "MAX_LEN": 8,
        "VALIDATION_FRACTION": 0.25,
        "EPOCHS": 1,
        "BATCH_SIZE": 10,
        "WEIGHT_DECAY": 0.1,
        "WARMUP_FRACTION": 0.5,
    }
    folder, variables = series("place", until="04_train", **(tiny | changes))
    tokens, header = helpers.load_tokens(folder)
    assert int(tokens["offsets"].diff().max()) == header["max_len"] == 8
    assert len(variables["rows"]["validation"]) == -(-len(tokens["row"][tokens["split"] <= 1]) // 4)
    assert variables["schedule"].last_epoch == -(-len(variables["rows"]["train"]) // 10)
    parameters = list(variables["checkpoint"].network.named_parameters())
    decays = {
        name: group["weight_decay"]
        for group in variables["optimizer"].param_groups
        for name, p in parameters
        if any(p is q for q in group["params"])
    }
    assert len(decays) == len(parameters)
    for name, decay in decays.items():
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.1), name
    (shape,), steps = variables["schedule"].lr_lambdas[:1], variables["schedule"].last_epoch
    assert shape(0) == 0 == shape(steps) and shape(steps // 2) > 0.9

    execute("06_save_and_load", RUN="place", EXPORT_DIR=str(tmp_path / "drive" / "mine"))
    assert (tmp_path / "drive" / "mine" / "model.safetensors").exists()
    assert helpers.load_tokenizer(str(tmp_path / "drive" / "mine")).vocab_size == 30522


def test_padding_alone_changes_no_result(tiny, tmp_path):
    """Padded to the batch or to MAX_LEN, 04 learns the same as long as dropout draws nothing."""
    model = shutil.copytree(tiny["MODEL_NAME"], tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    changes = {"MODEL_NAME": str(model), "MAX_LEN": 40, "LEARNING_RATE": 1e-3}
    histories = []
    for padding, length in [("longest", None), ("max_length", 40)]:
        folder, variables = series("padding", until="04_train", **(tiny | changes), PADDING=padding)
        longest = int(variables["tokens"]["offsets"].diff()[:9].max())
        assert variables["collate"](list(range(9)))["input_ids"].shape[1] == (length or longest)
        histories.append(history(folder))
    assert len(set(histories[0]["training_loss"])) > 1
    pd.testing.assert_frame_equal(*histories, atol=1e-4, rtol=0)


def test_defaults_follow_the_model():
    """LEARNING_RATE None: 1e-4 for a small model, 2e-5 at base size; read from 04's own expression."""
    text = "\n".join(c.source for c in nbformat.read(NOTEBOOKS / "04_train.ipynb", as_version=4).cells)
    expression = next(line.split("=", 1)[1] for line in text.splitlines() if line.startswith("    learning_rate ="))
    for size, expected in [(384, 1e-4), (768, 2e-5)]:
        config = type("config", (), {"hidden_size": size})
        model = type("model", (), {"config": config})
        assert eval(expression, {"LEARNING_RATE": None, "model": model}) == expected


@pytest.mark.parametrize(
    "notebook, bad, words",
    [
        ("02_load_cola", {"CORPUS": "nothing-here"}, "CORPUS is 'nothing-here'"),
        ("03_tokenize", {"MODEL_NAME": "nothing/here"}, "MODEL_NAME is 'nothing/here'"),
        ("03_tokenize", {"MAX_LEN": 2}, "MAX_LEN is 2: expected 3"),
        ("03_tokenize", {"MAX_LEN": 1000}, "to 512 for this model"),
        ("03_tokenize", {"VALIDATION_FRACTION": 0.0}, "VALIDATION_FRACTION is 0.0"),
        ("04_train", {"EPOCHS": 0}, "EPOCHS is 0: expected 1 or more"),
        ("04_train", {"BATCH_SIZE": 0}, "BATCH_SIZE is 0"),
        ("04_train", {"LEARNING_RATE": -1.0}, "LEARNING_RATE is -1.0"),
        ("04_train", {"WARMUP_FRACTION": 1.0}, "WARMUP_FRACTION is 1.0"),
        ("04_train", {"PADDING": "longer"}, "PADDING is 'longer': expected longest or max_length"),
        ("04_train", {"PRECISION": "fp64"}, "auto, fp32, bf16 or fp16"),
        ("04_train", {"LEARNING_RATE": 1e30}, "Try a lower LEARNING_RATE"),
        ("05_evaluate", {"BOOTSTRAP_SAMPLES": 1}, "expected 100 or more"),
        ("06_save_and_load", {"EXPORT_DIR": __file__}, "which is a file"),
    ],
    ids=lambda value: "-".join(f"{k}={Path(str(v)).name}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_bad_value_is_said_and_nothing_is_lost(tiny, notebook, bad, words, monkeypatch):
    monkeypatch.setattr(sources, "OFFLINE", True)
    if not (helpers.RUNS / "bad" / "metrics.json").exists():
        series("bad", **tiny)
    before = helpers.read_run(helpers.RUNS / "bad")
    names = [target.id for target in declared(notebook)]
    with pytest.raises(helpers.SeriesError, match=words):
        execute(notebook, **{k: v for k, v in ({"RUN": "bad"} | tiny | bad).items() if k in names})
    assert helpers.read_run(helpers.RUNS / "bad") == before


def test_a_killed_training_goes_on_where_it_was(tiny, base, monkeypatch, capsys):
    """Stopped in its second epoch: the next call goes on after the first, and ends with the same history and weights."""
    folder, _ = series("killed", until="03_tokenize", **tiny)
    training = {"RUN": "killed"} | {k: tiny[k] for k in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]}
    calls, predict = [], helpers.predict

    def stop_at_third(*args, **options):  # before training, after epoch 1, after epoch 2
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(helpers, "predict", stop_at_third)
        execute("04_train", **training)
    assert (folder / "checkpoint.pt").exists() and "04_train" not in helpers.read_run(folder)["notebooks"]
    capsys.readouterr()
    execute("04_train", **training)
    assert "going on after epoch 1" in capsys.readouterr().out
    assert history(folder).equals(history(base[0]))
    assert (folder / "model/model.safetensors").read_bytes() == (base[0] / "model/model.safetensors").read_bytes()
    assert not (folder / "checkpoint.pt").exists()


def test_a_checkpoint_of_other_parameters_or_a_broken_one_is_not_used(tiny, base, capsys):
    folder, _ = series("other", until="03_tokenize", **tiny)
    training = {"RUN": "other"} | {k: tiny[k] for k in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]}
    for content in [{"same": {"SEED": 1}}, None]:
        torch.save(content, folder / "checkpoint.pt") if content else (folder / "checkpoint.pt").write_bytes(b"half")
        execute("04_train", **training)
        assert "starting anew" in capsys.readouterr().out
        assert history(folder).equals(history(base[0]))


def test_the_best_epoch_is_the_one_that_is_saved(tiny):
    folder, variables = series("best", **(tiny | {"EPOCHS": 4}))
    epochs, metrics = history(folder), json.loads((folder / "metrics.json").read_text())
    assert metrics["validation"]["mcc"] == pytest.approx(epochs["validation_mcc"].max(), abs=1e-6)
    record = helpers.read_run(folder)["notebooks"]["04_train"]
    best = epochs.sort_values(["validation_mcc", "validation_loss"], ascending=[False, True]).iloc[0]
    assert record["best_epoch"] == best["epoch"]
    assert record["threads"] == torch.get_num_threads()


def test_metrics_agree_with_the_predictions_and_scikit_learn(base):
    from scipy.stats import bootstrap
    from sklearn.metrics import accuracy_score, matthews_corrcoef

    predictions = pd.read_csv(base[0] / "predictions.csv")
    metrics = json.loads((base[0] / "metrics.json").read_text())
    assert metrics["test"]["name"] == "out_of_domain_dev"
    for split, frame in predictions.groupby("split"):
        assert metrics[split]["n"] == len(frame) and metrics[split]["positives"] == frame["label"].sum()
        assert metrics[split]["mcc"] == pytest.approx(matthews_corrcoef(frame["label"], frame["prediction"]))
        assert metrics[split]["accuracy"] == pytest.approx(accuracy_score(frame["label"], frame["prediction"]))
        assert metrics[split]["collapsed"] == (frame["prediction"].nunique() == 1)
        sentences = helpers.read_split(base[0], split.replace("validation", "train"))
        assert (sentences["label"].iloc[frame["row"]].to_numpy() == frame["label"]).all(), "rows point into the files"

    labels = torch.tensor([1] * 354 + [0] * 162).numpy()
    answers = torch.tensor([1] * 300 + [0] * 54 + [0] * 70 + [1] * 92).numpy()
    counts = pd.crosstab(labels, answers).to_numpy().ravel()
    ours = pd.Series(helpers.bootstrap_mcc(counts)).quantile([0.025, 0.975])
    theirs = bootstrap(
        (labels, answers),
        matthews_corrcoef,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=0,
    )
    assert ours.tolist() == pytest.approx(list(theirs.confidence_interval), abs=0.015)
    assert helpers.mcc(0, 162, 0, 354) == 0, "one class only: 0 by convention"


@pytest.mark.parametrize("family", ["distilbert", "roberta", "electra", "mpnet"])
def test_other_encoders_without_token_types_or_with_another_padding_id(tiny, tmp_path, family):
    import transformers

    config_class = {
        "distilbert": "DistilBertConfig",
        "roberta": "RobertaConfig",
        "electra": "ElectraConfig",
        "mpnet": "MPNetConfig",
    }[family]
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if family == "distilbert":
        size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    tokenizer = helpers.load_tokenizer(sources.minilm_folder())
    tokenizer.pad_token = "[unused5]"  # id 6
    config = getattr(transformers, config_class)(vocab_size=30522, pad_token_id=tokenizer.pad_token_id, **size)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    folder, variables = series(family, **(tiny | {"MODEL_NAME": str(tmp_path / family), "EPOCHS": 1}))
    assert helpers.load_tokens(folder)[1]["pad_token_id"] == 6
    assert helpers.read_run(folder)["notebooks"]["03_tokenize"]["model"] == family


def train_and_save(training, folder):
    """04 in one of several processes; its weights go into the folder."""
    torch.set_num_threads(1)  # with more, libgomp does not live through a fork
    variables = execute("04_train", **training)
    weights = torch.cat([p.detach().flatten() for p in variables["checkpoint"].network.parameters()])
    torch.save(weights, folder / f"rank{variables['accelerator'].process_index}.pt")


def train_in_two_processes(training, folder, monkeypatch):
    """04 by torchrun's launcher; the weights of both go into the folder, and are the same."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    monkeypatch.setenv("ACCELERATE_USE_CPU", "yes")
    monkeypatch.setenv("BERT_RUNS", str(helpers.RUNS))
    alone = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "max_restarts": 0}  # as torchrun --standalone
    start = "fork" if hasattr(os, "fork") else "spawn"
    config = LaunchConfig(1, 1, 2, run_id=str(folder), start_method=start, **alone)
    elastic_launch(config, train_and_save)(training, folder)
    assert torch.equal(torch.load(folder / "rank0.pt"), torch.load(folder / "rank1.pt"))


def test_two_processes_train_the_same_model_as_one(tiny, base, tmp_path, monkeypatch):
    """Gloo, no dropout: losses within 1e-4 of one process."""
    config = json.loads(Path(tiny["MODEL_NAME"], "config.json").read_text())
    without_dropout = Path(shutil.copytree(tiny["MODEL_NAME"], tmp_path / "model"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (without_dropout / "config.json").write_text(json.dumps(config))
    one, _ = series("one", until="04_train", **(tiny | {"MODEL_NAME": str(without_dropout)}))
    two, _ = series("two", until="03_tokenize", **(tiny | {"MODEL_NAME": str(without_dropout)}))
    training = {"RUN": "two"} | {k: tiny[k] for k in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]}
    train_in_two_processes(training, tmp_path, monkeypatch)
    assert history(two).to_numpy() == pytest.approx(history(one).to_numpy(), abs=1e-4)


def test_a_sweep_shares_what_does_not_vary_and_each_run_is_what_it_is_alone(tiny, base, monkeypatch, capsys):
    """run.py with the real notebooks, their cells executed here; test_kills.py has it with kernels."""
    done = []

    def execute_notebook(notebook, parameters, folder, call):
        done.append(notebook)
        with monkeypatch.context() as patch:
            patch.setenv(HELD, str(folder))
            execute(notebook, **parameters)
        (folder / "notebooks").mkdir(exist_ok=True)
        shutil.copy(NOTEBOOKS / f"{notebook}.ipynb", folder / "notebooks")

    monkeypatch.setattr(paths, "RUNS", helpers.RUNS)
    for room in (resume, comparison):
        monkeypatch.setattr(room, "execute_notebook", execute_notebook)
    asked = ["-p", "SEED", "42", "43", "--jobs", "1", "--until", "05", "--sweep", "mine"]
    for name, value in tiny.items():
        asked += ["-p", name, str(value)]
    assert door.main(asked) == 0, capsys.readouterr()
    assert sorted(done) == sorted([*helpers.SERIES[:3], *helpers.SERIES[3:5] * 2, "07_compare_runs"])
    assert results(helpers.RUNS / "mine/SEED=42") == results(base[0]) != results(helpers.RUNS / "mine/SEED=43")
