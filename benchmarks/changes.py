"""What variants.py changes in 04's training, by name. No program of its own.

A change works on the variables of 04 before its training cell, or on a function of this project, for the whole process.
"""

import functools

import torch

import helpers
from lesson import training

REFERENCE = "04"

# ---------------------------------------------------------------- what is changed: functions of 04's variables


def before_training(variables, change):
    """Let change(model, optimizer) work on what begin_training of 04 returns."""
    begin = variables["begin_training"]

    def changed(*args, **options):
        model, optimizer, schedule = begin(*args, **options)
        change(model, optimizer)
        return model, optimizer, schedule

    variables["begin_training"] = changed


def before_tokens(variables, change):
    """Let (tokens, rows) = change(tokens, rows) work on what pick_up of 04 returns."""
    pick_up = variables["pick_up"]

    def changed():
        tokens, header, rows, accelerator = pick_up()
        tokens, rows = change(tokens, rows)
        return tokens, header, rows, accelerator

    variables["pick_up"] = changed


def share(part, variables):
    """Train on this part of the sentences, drawn by the seed."""

    def change(tokens, rows):
        drawn = torch.randperm(len(rows["train"]), generator=torch.Generator().manual_seed(variables["SEED"]))
        return tokens, rows | {"train": rows["train"][drawn[: round(part * len(drawn))].sort().values]}

    before_tokens(variables, change)


def half_the_validation(variables):
    """Train on half of the validation sentences, too."""

    def change(tokens, rows):
        more, kept = rows["validation"][::2], rows["validation"][1::2]
        return tokens, rows | {"train": torch.cat([rows["train"], more]), "validation": kept}

    before_tokens(variables, change)


def special_tokens(order, variables):
    """Put [CLS] (C), the words (w) and [SEP] (S) of each sentence into this order, or leave them out."""

    def change(tokens, rows):
        parts = [
            torch.cat([{"C": ids[:1], "w": ids[1:-1], "S": ids[-1:]}[part] for part in order])
            for ids in tokens["ids"].tensor_split(tokens["offsets"][1:-1])
        ]
        ends = torch.tensor([0, *map(len, parts)]).cumsum(0)
        return tokens | {"ids": torch.cat(parts), "offsets": ends}, rows

    before_tokens(variables, change)


def at_random(_variables):
    """Batches of sentences as they come, each padded to its longest."""

    def batches(_tokens, rows, batch_size, generator):
        return rows[torch.randperm(len(rows), generator=generator)].split(batch_size)

    helpers.batches_of_like_length = batches


def smoothed_labels(_variables):
    """Label smoothing of 0.1 in training."""
    training.cross_entropy = functools.partial(training.cross_entropy, label_smoothing=0.1)


def layers_of(model):
    """The layers that are trained, the first first."""
    stack = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)][-1]
    return [layer for layer in stack if next(layer.parameters()).requires_grad]


def new_layers(count, variables):
    """Begin with the last layers as random as before pre-training."""

    @torch.no_grad()
    def change(model, _optimizer):
        for layer in layers_of(model)[-count:]:
            layer.apply(model._init_weights)
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):  # _init_weights leaves what was loaded
                    module.weight.normal_(std=model.config.initializer_range)
                    module.bias.zero_()
                elif isinstance(module, torch.nn.LayerNorm):
                    module.reset_parameters()

    before_training(variables, change)


def slower_below(factor, variables):
    """Layer-wise learning rates: each layer's is this factor of the one above, the embeddings' of the first layer's."""
    rate = variables["LEARNING_RATE"]

    def groups(model, weight_decay):
        layers = layers_of(model)
        depth = {weights: len(layers) - i for i, layer in enumerate(layers) for weights in layer.parameters()}
        depth |= dict.fromkeys(model.base_model.embeddings.parameters(), len(layers) + 1)
        found = {}
        for weights in model.parameters():
            key = rate * factor ** depth.get(weights, 0), weight_decay if weights.ndim >= 2 else 0.0
            found.setdefault(key, []).append(weights)
        return [
            {"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in sorted(found.items())[::-1]
        ]

    training.parameter_groups = groups


VARIANTS = {  # name → parameters of 04, and what is changed in it
    REFERENCE: ({}, None),
    "5 % of the training sentences": ({}, functools.partial(share, 0.05)),
    "10 % of the training sentences": ({}, functools.partial(share, 0.1)),
    "25 % of the training sentences": ({}, functools.partial(share, 0.25)),
    "50 % of the training sentences": ({}, functools.partial(share, 0.5)),
    "1 epoch": ({"EPOCHS": 1}, None),
    "2 epochs": ({"EPOCHS": 2}, None),
    "8 epochs": ({"EPOCHS": 8}, None),
    "warmup 10 %": ({"WARMUP_FRACTION": 0.1}, None),
    "weight decay 0.01": ({"WEIGHT_DECAY": 0.01}, None),
    "weight decay 0.1": ({"WEIGHT_DECAY": 0.1}, None),
    "batches at random": ({}, at_random),
    "layer-wise rates, 0.9": ({}, functools.partial(slower_below, 0.9)),
    "label smoothing 0.1": ({}, smoothed_labels),
    "new last layer": ({}, functools.partial(new_layers, 1)),
    "two new last layers": ({}, functools.partial(new_layers, 2)),
    "three new last layers": ({}, functools.partial(new_layers, 3)),
    "half of the validation sentences, too": ({}, half_the_validation),
    "MPNet's own recipe": (
        {"BATCH_SIZE": 16, "LEARNING_RATE": 1e-5, "EPOCHS": 10, "WARMUP_FRACTION": 0.06, "WEIGHT_DECAY": 0.1},
        None,
    ),
    "[CLS]": ({"POOLING": "cls"}, None),
    "[CLS], no [SEP]": ({"POOLING": "cls"}, functools.partial(special_tokens, "Cw")),
    "[CLS] left out, the first word read": ({"POOLING": "cls"}, functools.partial(special_tokens, "wS")),
    "[CLS] and [SEP] at the end, the first word read": ({"POOLING": "cls"}, functools.partial(special_tokens, "wCS")),
}


def in_precision(name, precision):
    """What a variant is called that was trained in `precision`: bf16, where a line says nothing else."""
    return name if precision == "bf16" else f"{name}, {precision}"
