"""A training of 04 with one of the changes of changes.py, in the notebook's own code. No program of its own."""

import contextlib
import copy
import functools
import io
import os
import shutil
import time

import common
import torch
import yaml
from changes import REFERENCE, VARIANTS, before_training, in_precision
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import helpers

# of the reference's trainings, in this order
AVERAGES = ["weights averaged over the last 3 epochs", "weights averaged exponentially, 0.99"]


def recipe_of(model):
    """The parameters of recipes/<model>.yaml. Raises SeriesError where there is no such file."""
    path = common.ROOT / "recipes" / f"{model}.yaml"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.yaml")))
        raise helpers.SeriesError(f"there is no recipe {path.name}: expected one of {known}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def prepare(folder, model):
    """Load CoLA and tokenize it, into the run folder that all trainings are copied from; returns the precision for all."""
    helpers.RUNS, recipe = folder, recipe_of(model)
    with contextlib.redirect_stdout(io.StringIO()):
        common.execute("02_load_cola", RUN="prepared", CORPUS=recipe["CORPUS"])
        common.execute("03_tokenize", RUN="prepared", MODEL_NAME=recipe["MODEL_NAME"], MAX_LEN=recipe["MAX_LEN"])
    picked = helpers.pick_precision(helpers.pick_device())
    return "fp32" if picked == "no" else picked


def train(folder, model, precision, name, seed):
    """Rows, an epoch each, of one training; those of the reference bring the averages of its weights, too."""
    helpers.RUNS = folder
    torch.set_num_threads(1)
    run = f"training-{os.getpid()}"
    shutil.copytree(folder / "prepared", folder / run)
    parameters, change = VARIANTS[name]
    recipe = recipe_of(model)
    asked = {key: recipe[key] for key in ["WARMUP_FRACTION", "EPOCHS", "BATCH_SIZE"]}
    asked |= {"LEARNING_RATE": float(recipe["LEARNING_RATE"]), "PRECISION": precision} | parameters
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            variables, loop = common.execute("04_train", until="training-loop", RUN=run, SEED=seed, **asked)
            variables["validate"] = score = functools.partial(scores, variables, variables["validate"])
            if change:
                change(variables)
            averages = averaged(variables) if name == REFERENCE else {}
            began = time.process_time()
            exec(loop, variables)
            seconds = (time.process_time() - began) / asked["EPOCHS"]
            rows = [{"variant": name, **row} for row in variables["checkpoint"].history]
            for average, weights in averages.items():
                network = variables["checkpoint"].network
                network.load_state_dict(weights())
                rows.append({"variant": average, "epoch": asked["EPOCHS"], **score(network)})
    finally:
        shutil.rmtree(folder / run)
    device = helpers.device_name(helpers.pick_device())
    each = {"seed": seed, "seconds": seconds, "device": device}
    return [row | each | {"variant": in_precision(row["variant"], precision)} for row in rows]


def scores(variables, validate, network):
    """What 04's validate says of the validation sentences, and of the in-domain dev set."""
    rows = variables["rows"]
    try:
        variables["rows"] = rows | {"validation": rows["in_domain_dev"]}
        other = validate(network)
    finally:
        variables["rows"] = rows
    return validate(network) | {name.replace("validation", "in_domain"): value for name, value in other.items()}


def averaged(variables):
    """{name: function that gives the weights}, to be called when the training is over."""
    epochs, exponential, score = [], [], variables["validate"]

    def follow(model, optimizer):
        exponential.append(AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99)))
        optimizer.register_step_post_hook(lambda *_: exponential[0].update_parameters(model))

    def noted(network):
        epochs.append(copy.deepcopy(network.state_dict()))
        return score(network)

    def mean_of_last():
        return {key: torch.stack([weights[key] for weights in epochs[-3:]]).mean(0) for key in epochs[-1]}

    before_training(variables, follow)
    variables["validate"] = noted
    return dict(zip(AVERAGES, [mean_of_last, lambda: exponential[0].module.state_dict()]))
