"""Variants of 04's training (benchmarks/changes.py): each changes what its name says, and the table compares pairs."""

import argparse
import copy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_series import tiny  # noqa: F401

import helpers
from lesson import drawing, training

sys.path.insert(0, str(Path(helpers.ROOT, "benchmarks")))
import changes  # noqa: E402
import seed_pairs  # noqa: E402
import trainings  # noqa: E402
import variants  # noqa: E402

SOME = [
    changes.REFERENCE,
    "50 % of the training sentences",
    "batches at random",
    "layer-wise rates, 0.9",
    "label smoothing 0.1",
    "new last layer",
    "half of the validation sentences, too",
    "[CLS] and [SEP] at the end, the first word read",
]


@pytest.fixture(scope="module")
def prepared(tiny, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("variants")
    recipe = tiny | {"MAX_LEN": 64, "WARMUP_FRACTION": 0.0, "EPOCHS": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "recipe_of", lambda model: recipe)
        patch.setattr(helpers, "RUNS", helpers.RUNS)
        trainings.prepare(folder, "tiny")
        yield folder


def trained(prepared, monkeypatch, name):
    """The rows of a variant's training, and what was seen in it: batches, losses' names, weights before the first step."""
    seen = {}
    for module, attribute in [(helpers, "RUNS"), (helpers, "batches_of_like_length"), (training, "cross_entropy")]:
        monkeypatch.setattr(module, attribute, getattr(module, attribute))  # put back at the end, whatever it becomes
    monkeypatch.setattr(training, "parameter_groups", training.parameter_groups)

    def train_epoch(model, optimizer, schedule, batches, make_batch, accelerator):
        seen.update(batches=batches, weights=copy.deepcopy(accelerator.unwrap_model(model).state_dict()))
        seen["ids"], seen["groups"] = make_batch(batches[0])["input_ids"], optimizer.param_groups
        seen["smoothing"] = getattr(training.cross_entropy, "keywords", {})
        return training_epoch(model, optimizer, schedule, batches, make_batch, accelerator)

    training_epoch = training.train_epoch
    monkeypatch.setattr(training, "train_epoch", train_epoch)
    return trainings.train(prepared, "tiny", "fp32", name, 1), seen


@pytest.fixture(scope="module")
def all_of(prepared):
    """{variant: (rows, seen)}"""
    found = {}
    for name in SOME:
        with pytest.MonkeyPatch.context() as patch:
            found[name] = trained(prepared, patch, name)
    return found


def test_each_changes_what_it_says(all_of):
    rows, seen = all_of[changes.REFERENCE]
    assert [row["variant"] for row in rows] == [f"{name}, fp32" for name in [changes.REFERENCE, *trainings.AVERAGES]]
    frame = pd.DataFrame(rows)
    assert frame[variants.COLUMNS].drop(columns="training_loss").notna().all(axis=None) and (frame["seconds"] > 0).all()
    count = sum(map(len, seen["batches"]))
    like = [len({int((ids != 0).sum()) for ids in seen["ids"]}), len(seen["ids"])]
    assert like[0] < 6, "sentences of like length"

    def of(name):
        return all_of[next(full for full in SOME if name in full)][1]

    assert sum(map(len, of("50 %")["batches"])) == round(count / 2)
    assert sum(map(len, of("half of the validation")["batches"])) > count
    spread = of("at random")["ids"].ne(0).sum(1).float().std()
    assert spread > 1.5 * seen["ids"].ne(0).sum(1).float().std()
    assert of("smoothing")["smoothing"] == {"label_smoothing": 0.1} and not seen["smoothing"]
    rates = sorted({group["initial_lr"] for group in of("layer-wise")["groups"]})
    assert np.allclose(np.divide(rates[:-1], rates[1:]), 0.9) and len(rates) == 4, (
        "the head, two layers, the embeddings"
    )
    assert {group["initial_lr"] for group in seen["groups"]} == {rates[-1]}
    counted = [
        sum(weights.numel() for group in of(name)["groups"] for weights in group["params"])
        for name in ["layer-wise", "04"]
    ]
    assert counted[0] == counted[1]
    first = {len(ids.unique()) for ids in [of("at the end")["ids"][:, 0], seen["ids"][:, 0]]}
    assert max(first) > 1 and min(first) == 1, "the first word, and [CLS]"
    differ = {
        name for name, weights in of("new last")["weights"].items() if not torch.equal(weights, seen["weights"][name])
    }
    assert differ and all("layer.1." in name for name in differ)


def test_five_pairs_say_how_likely_ten_gain_a_hundredth():
    five = pd.Series([-0.03, 0, 0, 0, 0.03]) * np.sqrt(2)
    assert five.std() == pytest.approx(0.03)
    to_come = np.random.default_rng(0).standard_t(4, 100_000) * 0.03 * np.sqrt(1 / 5 + 1 / 5)  # means of five more
    expected = (to_come >= 0.02).mean()
    assert seed_pairs.predictive_probability(five) == pytest.approx(expected, abs=0.01)
    assert seed_pairs.predictive_probability(five + 0.5) > 0.99
    assert np.isnan(seed_pairs.predictive_probability(pd.Series(range(10)))), "ten are there"
    assert np.isnan(seed_pairs.predictive_probability(pd.Series([0.1, 0.1]))), "no spread"


def test_the_table_compares_seed_by_seed(tmp_path):
    base = {"epoch": 1, "validation_loss": 0.5, "in_domain_mcc": 0.3, "seconds": 60.0}
    scores = {changes.REFERENCE: {1: 0.2, 2: 0.4, 3: 0.3}, "2 epochs": {1: 0.3, 2: 0.4, 9: 0.9}}
    frame = [
        base | {"variant": name, "seed": seed, "validation_mcc": mcc}
        for name, seeds in scores.items()
        for seed, mcc in seeds.items()
    ]
    frame.append(frame[3] | {"epoch": 2, "validation_mcc": 0.1})  # a later epoch that is worse: not kept
    kept = variants.kept(pd.DataFrame(frame))
    assert kept["epoch"].tolist() == [1] * 6
    table = variants.compared(kept.assign(epochs=2)).set_index("variant")
    assert table.loc["2 epochs", "validation_difference"] == pytest.approx(0.05), "of the two seeds that both have"
    assert table.loc["2 epochs", "seeds"] == 3 and table.loc["2 epochs", "minutes"] == pytest.approx(2)
    assert table.loc["2 epochs", "validation_high"] == pytest.approx(0.05 + 12.706 * 0.0707 / 2**0.5, abs=1e-3)
    other = pd.DataFrame([each | {"variant": f"{each['variant']}, fp32", "validation_mcc": 0.1} for each in frame])
    other.loc[other["variant"] == "2 epochs, fp32", "validation_mcc"] = 0.15

    def differences(*frames):
        kept = variants.kept(pd.concat(map(pd.DataFrame, frames)).assign(epochs=2))
        return variants.compared(kept).set_index("variant")["validation_difference"].round(3).to_dict()

    def found(*frames):
        return pytest.approx(differences(*frames), nan_ok=True)

    none, halves = np.nan, other["variant"].str.startswith("2 epochs")
    assert found(frame, other) == {"04": none, "2 epochs": 0.05, "04, fp32": -0.2}, (
        "a seed in two precisions counts once"
    )
    assert found(frame[:3], other) == {"04": none, "2 epochs": 0.05, "04, fp32": -0.2}, "2 epochs, fp32 with 04, fp32"
    assert differences(frame[:3], other[halves])["2 epochs"] == -0.15, "04 was not trained in fp32"
    assert found(other) == {"04": none, "2 epochs": 0.05}, "nothing in bf16"
    assert np.isnan(differences(frame[3:])["2 epochs"]), "nothing to compare with"
    # both of each pair in one precision: +.1, 0 in bf16, +.05 twice in fp32
    more = pd.concat([pd.DataFrame(frame), other.assign(seed=other["seed"] + 10)])
    table = variants.compared(variants.kept(more).assign(epochs=2)).set_index("variant")
    row = table.loc["2 epochs"]
    assert (row["seeds"], row["trained"]) == (6, "3 bf16, 3 fp32") and table.loc["04", "seeds"] == 6
    assert row["validation_difference"] == pytest.approx(0.05) and row["validation"] == pytest.approx(2.05 / 6)
    half = 3.18245 * np.std([0.1, 0, 0.05, 0.05], ddof=1) / 2  # Student's, of four pairs
    assert row["validation_high"] == pytest.approx(0.05 + half, abs=1e-4)
    assert "04, fp32" not in table.index, "no seed in both"
    frame = pd.DataFrame(frame)
    unchosen = variants.compared(variants.last(frame).assign(epochs=2)).set_index("variant").loc["2 epochs"]
    assert unchosen["validation_difference"] == pytest.approx(-0.05), "the last epoch, though it is worse"
    part = frame[3:].assign(variant="50 % of the training sentences")
    frame = pd.concat([frame, part])
    frame.reindex(columns=variants.COLUMNS).to_csv(tmp_path / "tiny.csv", index=False)
    columns = (tmp_path / "tiny.csv").read_text().splitlines()[0]
    variants.report(argparse.Namespace(model="tiny"), tmp_path / "tiny.csv")
    for name in ["tiny.png", "tiny_curves.png"]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tiny.csv").read_text().splitlines()[0] == columns, "further trainings are appended to it"
    _, said = drawing.how_much(
        pd.DataFrame(
            {
                "variant": [
                    "5 % of the training sentences",
                    "04",
                    "04",
                    "2 epochs",
                    "weights averaged over the last 3 epochs",
                ],
                "validation_mcc": [0.1, 0.3, 0.5, 0.2, 0.9],
                "in_domain_mcc": 0.0,
            }
        )
    )
    assert "0.10 at 5, 0.40 at 100 percent" in said and "0.20 at 2, 0.40 at 4 epochs" in said
    text = (tmp_path / "tiny.md").read_text()
    assert "| 50 % of the training sentences | 3 bf16 |" in text
    assert "2 epochs: -0.050 (-0.685 to +0.585), in-domain dev +0.000 (+0.000 to +0.000)." in text
