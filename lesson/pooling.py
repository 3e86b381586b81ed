"""What the classifier of 04_train reads: [CLS], or the mean of all tokens, which a last layer computes for plain transformers."""

import copy
import json
from pathlib import Path

import torch
from torch.nn.functional import layer_norm

from bookkeeping import SeriesError

TIMES = 32  # of value and of output: [CLS], which the layer adds to 32 × 32 times the mean, is a thousandth of the sum
NEARLY_LINEAR = 0.25  # of the pooler: tanh bends a number of 0.25 by 2 %


def apply(model, asked, header, run):
    """Let the classifier of `model` read what `asked`, the parameter POOLING, says; returns a sentence why (04_train).

    "auto" is decided once for what 03 made of a run. Nothing is drawn at random, and to ask again changes nothing.
    Raises SeriesError where the model cannot read so.
    """
    reads, why = asked, f"POOLING is {asked!r}"
    if asked == "auto":
        made = f"pooling of {header['name']}, tokens of {run.records['03_tokenize']['finished']}"
        reads, why = run.decided(made, lambda: decide(model, header))
    own = hasattr(type(model.config)(), "classifier_pooling")  # ModernBERT and its like can do both themselves
    if of(model) != reads:
        if not own and (reads == "cls" or not add_mean_layer(model)):
            raise SeriesError(
                f"{why}, and {header['name']} ({type(model).__name__}) cannot read so: expected "
                + ("a model without the layer that computes the mean." if reads == "cls" else "POOLING = 'cls'.")
            )
        model.config.classifier_pooling = reads
    if reads == "mean" and not own:
        _fix(model)
    return f"The classifier reads {'the mean of all tokens' if reads == 'mean' else '[CLS]'}: {why}."


def of(model):
    """What the classifier of `model` reads: "mean", or what the library's classifiers read elsewhere, "cls" (04_train)."""
    return getattr(getattr(model, "config", None), "classifier_pooling", "cls")


def decide(model, header):
    """[what "auto" is for this model, why], by the files of the model itself (04_train)."""
    name = header["name"]
    if "classifier_pooling" in model.config.to_dict():
        return [of(model), f"so says the config of {name}"]
    if not made_for_mean(header["model"]):
        return ["cls", f"{name} has no word of another way in its files"]
    if _weighs_distance(model) or not add_mean_layer(model):
        return [
            "cls",
            f"{name} was made to compare plain means of tokens, and a {type(model).__name__} cannot compute one",
        ]
    model.config.classifier_pooling = "mean"
    return ["mean", f"{name} was made to compare sentences by it, say its files (modules.json)"]


def made_for_mean(model):
    """Whether `model`, as from_pretrained takes it, is of sentence-transformers and pools by the mean (04_train)."""
    try:
        modules = _own_file(model, "modules.json")
        place = next(module["path"] for module in modules if module["type"].endswith("Pooling"))
        pooling = _own_file(model, f"{place}/config.json")
        return pooling.get("pooling_mode", "") in ("mean", ["mean"]) or bool(pooling.get("pooling_mode_mean_tokens"))
    except (AttributeError, KeyError, OSError, StopIteration, TypeError, ValueError):  # no such file, or another's
        return False


def _own_file(model, name):
    from transformers.utils import cached_file

    return json.loads(Path(cached_file(model, name)).read_text(encoding="utf-8"))


@torch.no_grad()
def add_mean_layer(model):
    """Give a model built like BERT one more layer, whose [CLS] is the mean of all tokens; returns whether it is (04_train).

    Nothing is changed where it is not. Without queries and keys the layer attends to all tokens alike (in MPNet by their
    distance alone, each head by its own weights); beside a thousand times their mean, the [CLS] that it adds is next to
    nothing; its LayerNorm scales the sum to variance 1. What stands between it and the classifier, BERT's pooler or the
    first half of RoBERTa's and MPNet's classifier, hands that on, a quarter as large: within tanh's straight part. Neither
    is trained.
    """
    layers = _layers(model)
    layer, size, count = copy.deepcopy(layers[-1]), len(layers), model.config.num_hidden_layers
    for weights in layer.parameters():
        weights.zero_()
    for module in layer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.fill_(1)
    try:
        for dense in _value_and_output(layer.attention):
            torch.nn.init.eye_(dense.weight).mul_(TIMES)
        layers.append(layer)
        model.config.num_hidden_layers = count + 1
        works = _computes_mean(model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # built otherwise
        works = False
    if not works:
        del layers[size:]
        model.config.num_hidden_layers = count
        return False
    if dense := _between(model):
        torch.nn.init.eye_(dense.weight).mul_(NEARLY_LINEAR)
        dense.bias.zero_()
    _fix(model)
    return True


def _layers(model):
    return [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)][-1]


def _value_and_output(attention):
    if hasattr(attention, "attn"):  # MPNet's names
        return attention.attn.v, attention.attn.o
    return attention.self.value, attention.output.dense


def _weighs_distance(model):
    """Whether attention adds a number for the distance between two tokens, by head, in every layer: MPNet's does."""
    return hasattr(getattr(model.base_model, "encoder", None), "compute_position_bias")


def _between(model):
    """The dense layer that tanh follows, between [CLS] and the classifier; None where another function does, or none stands there."""
    head = getattr(model.base_model, "pooler", None) or getattr(model, "classifier", None)
    bends = getattr(head, "activation", None)  # None: RoBERTa's and MPNet's heads call torch.tanh
    return getattr(head, "dense", None) if bends is None or isinstance(bends, torch.nn.Tanh) else None


def _fix(model):
    """Train neither the last layer nor what hands it on, and drop nothing in the layer: a model that was saved so knows no more of it."""
    for part in filter(None, [_layers(model)[-1], _between(model)]):
        part.requires_grad_(False)
    for module in _layers(model)[-1].modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _computes_mean(model):
    """Whether the last layer's [CLS] is the normalised mean of the layer before: of ten tokens, and of six and padding."""
    ids, mask = (
        torch.arange(5, 25, device=model.device).view(2, 10),
        torch.ones(2, 10, dtype=torch.long, device=model.device),
    )
    mask[1, 6:] = 0
    training = model.training
    *_, before, after = model.eval().base_model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    model.train(training)
    distance = 0.0
    if _weighs_distance(model):
        distance = model.base_model.encoder.compute_position_bias(before)[:, :, 0]
    heads = before.unflatten(2, (model.config.num_attention_heads, -1)).transpose(1, 2)
    weights = (distance + mask[:, None].log()).expand(heads.shape[:3]).softmax(-1)
    mean = (weights[..., None] * heads).sum(2).flatten(1)
    return torch.allclose(after[:, 0], layer_norm(mean, mean.shape[1:]), atol=0.1)
