"""Exercises that check themselves, for the end of 01, 02 and 03: right, nearly, or what to look at. Nobody is graded."""

import math

import torch


def check(given, right, look, within=0.01, nearly=0.25):
    """Print how an answer compares with the right one.

    `given`, `right`: numbers or anything with ==; `given` is `...` as long as the stub is open. `look`: what to look at if it is
    wrong. `within`, `nearly`: how far a number may be off, as a share of the right one.
    """
    print(verdict(given, right, look, within, nearly))


def verdict(given, right, look, within=0.01, nearly=0.25):
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
