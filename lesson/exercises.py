"""Exercises that check themselves, for the end of 01 to 08: right, nearly, or what to look at. Nobody is graded."""

import math
import os

import numpy as np
import pandas as pd
import torch
from scipy import stats

import helpers
from lesson import features, intervals, power, simulation, training


def check(given, right, look, within=0.01, nearly=0.25, unknown=""):
    """Print how an answer compares with the right one.

    `given`, `right`: numbers or anything with ==; `given` is `...` as long as the stub is open. `look`: what to look at if it is
    wrong. `within`, `nearly`: how far a number may be off, as a share of the right one. `unknown`: why there is nothing to ask
    where `right` is None.
    """
    print(verdict(given, right, look, within, nearly, unknown))


def verdict(given, right, look, within=0.01, nearly=0.25, unknown=""):
    if right is None:
        return f"This cannot be asked here: {unknown}"
    if given is ...:
        return "Still open: put your answer in place of the three dots, and run that cell and this one."
    try:
        off = 0.0 if given == right else abs(float(given) - right) / (abs(right) or 1)
    except (TypeError, ValueError):
        off = math.nan
    if off <= within:
        return "Right."
    return ("Nearly: " if off <= nearly else f"Not yet, {given!r} is not it: ") + look


def look_at_subject(model, tokenizer, sentence, layer, head):
    """How much "is" looks at "stories" in one head, between 0 and 1 (01, exercise 3)."""
    inputs = tokenizer(sentence, return_tensors="pt").to(model.device)
    tokens = inputs.tokens()
    with torch.inference_mode():
        attention = model(**inputs, output_attentions=True).attentions[layer][0, head]
    return float(attention[tokens.index("is"), tokens.index("stories")])


def words_apart(train):
    """Mean number of words of the acceptable sentences, less that of the others (02, exercise 3)."""
    words = train["sentence"].str.split().str.len()
    return float(words[train["label"] == 1].mean() - words[train["label"] == 0].mean())


def longer_than(limit, lengths):
    """How many of an array of lengths pass a limit (03, exercise 2)."""
    return int((lengths > limit).sum())


def most_pieces(sentences, lengths):
    """Index of the sentence with the most pieces per word; `lengths` counts its tokens, the two special ones too (03, exercise 3)."""
    return int(((lengths - 2) / sentences.str.split().str.len().to_numpy()).argmax())


def rate_after(step, steps, warmup, highest):
    """Learning rate after `step` of `steps` steps, the first `warmup` of them rising, by transformers' schedule (04, exercise 2)."""
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=highest)
    return highest * get_linear_schedule_with_warmup(optimizer, warmup, steps).lr_lambdas[0](step)


def touched_by_decay(model):
    """How many numbers of a model lie in the parameter group that decays (04, exercise 3)."""
    decaying, _ = training.parameter_groups(model, weight_decay=1.0)
    return sum(parameter.numel() for parameter in decaying["params"])


def interval_width(counts, samples):
    """Width of the bootstrap's 95 % interval of the MCC; counts: a confusion matrix (05, exercise 2)."""
    low, high = np.quantile(helpers.bootstrap_mcc(counts, samples), [0.025, 0.975])
    return float(high - low)


def mcc_without(source, test, classes):
    """MCC of the judged sentences of all other sources; None where there are none (05, exercise 3)."""
    rest = test[test["source"] != source]
    return float(helpers.mcc_of_classes(intervals.confusion(rest, classes))) if len(rest) else None


def sure_at(temperature, judge, sentence):
    """Probability of a pipeline's answer, had its logits been divided by `temperature` (06, exercise 2).

    Without the logits: softmax of logits / T is the probabilities to the power of 1 / T, made to sum to 1.
    """
    powers = [answer["score"] ** (1 / temperature) for answer in judge(sentence, top_k=None)]
    return max(powers) / sum(powers)


def in_one_place(one, other, most=3):
    """Whether two sentences differ, and in a single place of at most `most` words (06, exercise 3)."""
    one, other = one.split(), other.split()
    begin = len(os.path.commonprefix([one, other]))
    end = len(os.path.commonprefix([one[begin:][::-1], other[begin:][::-1]]))
    return one != other and max(len(one), len(other)) - begin - end <= most


def fooled(pair, acceptable):
    """(`pair` if it is minimal and its second sentence is liked better, else nan; what to look at) (06, exercise 3).

    acceptable: Series of sentences → a list of their probabilities of "acceptable". (None, "") where a model has no such class.
    """
    if not acceptable(pd.Series(["One."])):
        return None, ""
    whole = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
    if not whole or not in_one_place(*pair):
        return (
            math.nan,
            "write two sentences, the acceptable one first, that differ in one place of at most three words.",
        )
    good, bad = acceptable(pd.Series(pair))
    look = f"ranked rightly, {good:.3f} against {bad:.3f}; which rule does it not know?"
    return (pair if good < bad else math.nan), look


def seeds_for(share, spread):
    """Runs until their spread over seeds adds no more than `share` to a mean's standard error; None: no spread (07, exercise 1)."""
    return math.ceil((spread / share) ** 2) if spread > 0 else None


def chance_to_miss(runs, difference, spread):
    """How often Student's interval of `runs` pairs holds 0 all the same; None where there is no spread (07, exercise 2)."""
    return 1 - float(power.power(runs, difference, spread)) if spread > 0 else None


def known_effect_begins(effect, seeds):
    """Low end of Student's interval of max_length less longest in simulated runs (07, exercise 3)."""
    scores = {"longest": {}, "max_length": {}}
    for own in simulation.make_up(effect, seeds).metrics.values():
        scores[own["parameters"]["PADDING"]][own["parameters"]["SEED"]] = own["test"]["mcc"]
    gained = [scores["max_length"][seed] - score for seed, score in scores["longest"].items()]
    return float(stats.ttest_1samp(gained, 0).confidence_interval().low)


def intervals_around(table, line):
    """How many rows of a table have low and high on both sides of a line (08, exercise 1)."""
    return int(((table["low"] <= line) & (line <= table["high"])).sum())


def suspects_by_chance(sentences, has):
    """In how many features p is below .05 when the column right is dealt anew with seed 0 (08, exercise 2)."""
    dealt = sentences["right"].sample(frac=1, random_state=0).to_numpy()
    return int((features.by_feature(sentences.assign(right=dealt), has)["p"] < 0.05).sum())


def verdicts_that_stay(sentences, judge):
    """Share of verdicts that an exclamation mark for the final full stop does not turn; None without one (08, exercise 3)."""
    ending = sentences["sentence"][sentences["sentence"].str.endswith(".")].tolist()
    if not ending:
        return None
    chances = [judge(texts) for texts in (ending, [text[:-1] + "!" for text in ending])]
    was, now = (each.argmax(dim=1) == each.shape[1] - 1 for each in chances)
    return float((was == now).float().mean())
