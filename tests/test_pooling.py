"""What the classifier reads: the mean as a last layer computes it, the model's own word for it, and plain transformers."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import transformers
from reader import Reader, record
from test_lesson_03 import SIZE, load, make_model, raises
from test_series import execute, runs, series, tiny  # noqa: F401
from torch.nn.functional import layer_norm

import helpers
import predict
from lesson import pooling, savings, sources

LIKE_BERT = ["Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "MPNet"]


def classifier(family, **config):
    """A random classifier of a family, in eval mode; every weight is drawn, biases and LayerNorms included."""
    torch.manual_seed(0)
    own = getattr(transformers, f"{family}Config")(vocab_size=500, pad_token_id=1, **SIZE | config)
    model = transformers.AutoModelForSequenceClassification.from_config(own).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model


def batch():
    """Three sentences of 12, 7 and 3 tokens."""
    mask = (torch.arange(12) < torch.tensor([12, 7, 3])[:, None]).long()
    ids = torch.randint(5, 500, mask.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


def normalised_mean(model, inputs):
    """Of MPNet, each head's part of the vectors by its own weights, which are those of the distance from [CLS] alone."""
    hidden, mask = model.base_model(**inputs).last_hidden_state, inputs["attention_mask"]
    weights = mask[:, None] / mask.sum(1)[:, None, None]
    if hasattr(model.base_model.encoder, "relative_attention_bias"):
        table = model.base_model.encoder.relative_attention_bias.weight[
            16 + torch.tensor([-16, *range(1, 8), *[8] * 4])
        ]
        weights = table.T.masked_fill(mask[:, None] == 0, -torch.inf).softmax(-1)
    mean = torch.cat(
        [
            (part * weight[..., None]).sum(1)
            for part, weight in zip(hidden.chunk(weights.shape[1], 2), weights.unbind(1))
        ],
        1,
    )
    return layer_norm(mean, mean.shape[1:])


# ---------------------------------------------------------------- the layer


@pytest.mark.parametrize("family", LIKE_BERT)
def test_the_last_layer_gives_the_normalised_mean_at_cls(family):
    """To the logits, by the library's own head, and to the gradients of all that is trained."""
    model = classifier(family)
    with_mean = copy.deepcopy(model)
    assert pooling.add_mean_layer(with_mean)
    expected = normalised_mean(model, batch())
    found = with_mean.base_model(**batch()).last_hidden_state
    assert torch.allclose(found[:, 0], expected, atol=0.02)
    assert not torch.allclose(model.base_model(**batch()).last_hidden_state[:, 0], expected, atol=0.5)

    expected.square().mul(torch.arange(32)).sum().backward()
    found[:, 0].square().mul(torch.arange(32)).sum().backward()
    own = dict(with_mean.base_model.named_parameters())
    before = dict(model.base_model.named_parameters())
    for name, weights in before.items():
        if weights.grad is not None and not name.endswith(("key.bias", "attn.k.bias")):  # softmax takes no notice of it
            gradients = own[name].grad.flatten(), weights.grad.flatten()
            assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99, name
    fixed = {name for name, weights in own.items() if not weights.requires_grad and "pooler" not in name}
    assert fixed == own.keys() - before.keys(), "the layer itself is not trained, all before it is"


@pytest.mark.parametrize("family", ["Bert", "Roberta", "MPNet"])
def test_what_stands_before_the_classifier_hands_the_mean_on(family):
    model = classifier(family)
    last = getattr(model.classifier, "out_proj", model.classifier)
    expected = last(0.25 * normalised_mean(model, batch()))
    assert pooling.add_mean_layer(model)
    assert torch.allclose(model(**batch()).logits, expected, atol=0.1)


@pytest.mark.parametrize("family", LIKE_BERT)
def test_padding_and_dropout_change_nothing_in_it(family):
    model = classifier(family)
    assert pooling.add_mean_layer(model)
    together = model(**batch()).logits
    for i, length in enumerate([12, 7, 3]):
        alone = {name: tensor[i : i + 1, :length] for name, tensor in batch().items()}
        assert torch.allclose(model(**alone).logits, together[i], atol=1e-4)
    layer = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)][-1][-1].train()
    assert all(module.p == 0 for module in layer.modules() if isinstance(module, torch.nn.Dropout))


@pytest.mark.parametrize("attention", [{}, {"attn_implementation": "eager"}], ids=["sdpa", "eager"])
@pytest.mark.parametrize("family", LIKE_BERT)
def test_the_saving_of_the_last_layer_holds(family, attention):
    """Logits and gradients stay, with padding and without; where it can be done, the layer gets [CLS] and the mean alone."""
    model = classifier(family, **attention)
    assert pooling.add_mean_layer(model)
    model.config.classifier_pooling = "mean"
    saved, seen = copy.deepcopy(model), []
    assert savings.only_cls(saved, batch())
    values = [module for name, module in saved.named_modules() if name.endswith((".value", ".v"))]
    values[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    for inputs in [batch(), {name: tensor[:1] for name, tensor in batch().items()}]:
        found, expected = saved(**inputs).logits, model(**inputs).logits
        assert torch.allclose(found, expected, atol=1e-4)
        for each, logits in [(saved, found), (model, expected)]:
            each.zero_grad()
            logits.square().sum().backward()
        for (name, weights), (_, others) in zip(saved.named_parameters(), model.named_parameters()):
            assert weights.grad is others.grad is None or torch.allclose(
                weights.grad, others.grad, atol=1e-3, rtol=1e-3
            ), name
    assert set(seen) == ({12} if attention or family == "MPNet" else {2})


@pytest.mark.parametrize("family", [*LIKE_BERT, "ModernBert"])
def test_plain_transformers_loads_it(family, tmp_path):
    model = classifier(family)
    run = SimpleNamespace(records={}, decided=None)
    assert "the mean of all tokens" in pooling.apply(model, "mean", {"name": "own", "model": "own"}, run)
    model.save_pretrained(tmp_path)
    loaded, info = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and type(loaded) is type(model)
    assert torch.allclose(loaded.eval()(**batch()).logits, model(**batch()).logits, atol=1e-5)
    said = pooling.apply(loaded, "auto", {"name": "own", "model": str(tmp_path)}, Run())  # to train it further
    assert said == "The classifier reads the mean of all tokens: so says the config of own."
    trained = [[name for name, weights in each.named_parameters() if weights.requires_grad] for each in (model, loaded)]
    assert trained[0] == trained[1] and loaded.config.num_hidden_layers == model.config.num_hidden_layers


@pytest.mark.parametrize("family", ["Albert", "Deberta"])
def test_a_model_built_otherwise_stays_as_it_is(family):
    model = classifier(family)
    weights, config = copy.deepcopy(model.state_dict()), model.config.to_dict()
    assert not pooling.add_mean_layer(model)
    after = model.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[name], weights[name]) for name in weights)
    assert model.config.to_dict() == config and not model.training


# ---------------------------------------------------------------- what a model says of itself

MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
MODULES = [{"path": "", "type": "sentence_transformers.models.Transformer"}] + [
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
]


def say(folder, config, modules=MODULES):
    """Let a model folder say how it pools; text is written as it is."""
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for path, content in [(folder / "modules.json", modules), (folder / "1_Pooling" / "config.json", config)]:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    "config, modules, mean",
    [
        (MEAN, MODULES, True),
        ({"pooling_mode": "mean"}, MODULES, True),
        ({"pooling_mode": "cls"}, MODULES, False),
        ({"pooling_mode": ["cls", "mean"]}, MODULES, False),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, MODULES, False),
        (MEAN, MODULES[:1], False),
        (MEAN, '[{"idx": 0', False),
        (MEAN, {"idx": 0}, False),
        ([1], MODULES, False),
        ("\x00", MODULES, False),
    ],
)
def test_the_word_of_sentence_transformers_is_understood(tmp_path, config, modules, mean):
    say(tmp_path, config, modules)
    assert pooling.made_for_mean(str(tmp_path)) == mean


def test_a_model_without_a_word_reads_cls(tmp_path):
    assert not pooling.made_for_mean(str(tmp_path)) and not pooling.made_for_mean("nobody/knows-this")


def test_minilm_says_so_itself():
    assert pooling.made_for_mean(sources.minilm_folder())


class Run:
    """What apply needs of a run: 03's record, and a memory of what was decided."""

    def __init__(self, finished="then"):
        self.records, self.kept = {"03_tokenize": {"finished": finished}}, {}

    def decided(self, what, decide):
        return self.kept.setdefault(what, decide()) if what not in self.kept else self.kept[what]


def test_auto_is_decided_once_for_what_03_made(tmp_path):
    header, run = {"name": "own", "model": str(tmp_path)}, Run()
    say(tmp_path, MEAN)
    first = classifier("Bert")
    said = pooling.apply(first, "auto", header, run)
    assert said.startswith("The classifier reads the mean of all tokens: own was made") and pooling.of(first) == "mean"
    weights = first.state_dict()
    assert pooling.apply(first, "auto", header, run) == said and first.state_dict().keys() == weights.keys()
    (tmp_path / "modules.json").unlink()
    again = classifier("Bert")
    assert pooling.apply(again, "auto", header, run) == said and pooling.of(again) == "mean"
    run.records["03_tokenize"]["finished"] = "now"
    other = classifier("Bert")
    assert "[CLS]" in pooling.apply(other, "auto", header, run) and pooling.of(other) == "cls"
    assert other.config.num_hidden_layers == 2


def test_what_cannot_be_is_said(tmp_path):
    header = {"name": "own", "model": str(tmp_path)}
    say(tmp_path, MEAN)
    for family in ["Albert", "MPNet"]:
        model = classifier(family)
        said = pooling.apply(model, "auto", header, Run())
        assert "[CLS]" in said and f"{family}ForSequenceClassification cannot compute one" in said
        assert pooling.of(model) == "cls" and model.config.num_hidden_layers == 2
    assert "the mean of all tokens" in pooling.apply(model, "mean", header, Run()), "weighted, for those who ask"
    model = classifier("Albert")
    with raises("POOLING is 'mean'", "own .AlbertForSequenceClassification. cannot read so", "POOLING = 'cls'"):
        pooling.apply(model, "mean", header, Run())
    model = classifier("Bert")
    pooling.apply(model, "mean", header, Run())
    with raises("POOLING is 'cls'", "without the layer that computes the mean"):
        pooling.apply(model, "cls", header, Run())


@pytest.mark.parametrize("own", ["cls", "mean"])
def test_a_model_that_knows_both_keeps_its_own_and_takes_what_is_asked(tmp_path, own):
    model = classifier("ModernBert", classifier_pooling=own)
    header = {"name": "own", "model": str(tmp_path)}
    assert "so says the config of own" in pooling.apply(model, "auto", header, Run()) and pooling.of(model) == own
    logits = {}
    for asked in ["cls", "mean", "cls"]:
        pooling.apply(model, asked, header, Run())
        assert torch.equal(logits.setdefault(asked, model(**batch()).logits), model(**batch()).logits)
    assert not torch.allclose(logits["cls"], logits["mean"], atol=1e-3)


# ---------------------------------------------------------------- through the notebooks

PLAIN = """
import json, sys, torch
from transformers import pipeline
folders, texts = json.load(sys.stdin)
for folder in folders:
    judge = pipeline("text-classification", folder, top_k=None, device="cpu")
    answers = [{each["label"]: each["score"] for each in answer} for answer in judge(texts, batch_size=4)]
    print(json.dumps([answer["acceptable"] for answer in answers]))
assert not [name for name in sys.modules if name.split(".")[0] in {"helpers", "lesson"}]
"""


@pytest.fixture(scope="module")
def trained(tiny):  # noqa: F811
    """A run of a model that says of itself that it was made for the mean; returns (folder, what 04 was given)."""
    model = Path(shutil.copytree(tiny["MODEL_NAME"], tiny["MODEL_NAME"] + "-for-similarity"))
    say(model, MEAN)
    folder, _ = series("mean", **tiny | {"MODEL_NAME": str(model)})
    return folder, {"RUN": "mean"} | {
        name: tiny[name] for name in ["EPOCHS", "LEARNING_RATE", "BATCH_SIZE", "PRECISION"]
    }


def test_a_run_says_and_keeps_what_it_reads(trained, capsys):
    folder, given = trained
    assert record("mean", "04_train")["pooling"] == "mean"
    assert json.loads((folder / "model" / "config.json").read_text())["num_hidden_layers"] == 3
    (said,) = [one for what, one in helpers.read_run(folder)["decided"].items() if what.startswith("pooling of")]
    assert said[0] == "mean"
    Reader("04_train", **given).until("def begin_training")
    assert said[1] in capsys.readouterr().out


def test_the_mean_is_judged_alike_everywhere(trained, tmp_path, capsys):
    """By 05, by a pipeline in a process that knows nothing of this project, by predict.py, and after 06."""
    folder, _ = trained
    execute("06_save_and_load", RUN="mean", EXPORT_DIR=str(tmp_path / "copy"))
    predictions = pd.read_csv(folder / "predictions.csv")
    test = predictions[predictions["split"] == "test"]
    texts = helpers.read_split(folder, "test")["sentence"].tolist()
    question = json.dumps([[str(folder / "model"), str(tmp_path / "copy")], texts])
    judged = subprocess.run([sys.executable, "-c", PLAIN], input=question, capture_output=True, text=True, check=True)
    for line in judged.stdout.splitlines():
        assert json.loads(line) == pytest.approx(test["probability"].tolist(), abs=1e-3)
    assert len(judged.stdout.splitlines()) == 2
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    call = [
        str(folder / "model"),
        str(tmp_path / "texts.txt"),
        "--output",
        str(tmp_path / "judged.csv"),
        "--all-classes",
    ]
    assert predict.main([*call, "--precision", "fp32"]) == 0
    judged = pd.read_csv(tmp_path / "judged.csv")["probability_acceptable"]
    temperature = json.loads((folder / "model" / "config.json").read_text())["calibration_temperature"]
    odds = (test["probability"] / (1 - test["probability"])) ** (1 / temperature)
    assert judged.tolist() == pytest.approx((odds / (1 + odds)).tolist(), abs=1e-3)


def test_a_run_that_goes_on_reads_what_it_read(trained, monkeypatch):
    """Though the model's files say nothing any more; to train the other way, POOLING says so, and it starts anew."""
    folder, given = trained
    weights = (folder / "model" / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pooling, "made_for_mean", lambda model: pytest.fail("asked again"))
        execute("04_train", **given)
    assert (folder / "model" / "model.safetensors").read_bytes() == weights
    execute("04_train", **given | {"POOLING": "cls"})
    assert record("mean", "04_train")["pooling"] == "cls"
    assert json.loads((folder / "model" / "config.json").read_text())["num_hidden_layers"] == 2
    execute("04_train", **given)
    assert (folder / "model" / "model.safetensors").read_bytes() == weights


def test_a_model_that_cannot_read_the_mean_is_refused_before_training(tiny, tmp_path):  # noqa: F811
    model = tmp_path / "albert"
    make_model(model, "Albert")
    load("albert", tiny["CORPUS"])
    execute("03_tokenize", RUN="albert", MODEL_NAME=str(model))
    with raises("POOLING is 'mean'", "albert .Albert", "POOLING = 'cls'"):
        execute("04_train", RUN="albert", POOLING="mean")
