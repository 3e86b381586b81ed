"""The compact file of 03_tokenize: a million sentences as ids end to end; and whether a model can read them."""

import numpy as np
import torch

import helpers
from helpers import SeriesError
from lesson import corpora, sources

LONGEST_ROW = 8192  # tokens; the longest that encoders are made for (ModernBERT's). More would take minutes to try


def find_model(run, model_name):
    """sources.find_model; what "auto" came to stays what it was when the run began (03_tokenize)."""
    found = sources.find_model(model_name)
    if model_name == "auto" and (kept := run.decided("auto model", lambda: found[0])) != found[0]:
        return *sources.find_model(kept)[:2], f"auto came to {kept} when this run began."
    return found


def encode(tokenizer, sentences, max_len):
    """Ids int32 [all tokens], end to end, cut at `max_len`; and the lengths int64 [sentences] before (03_tokenize).

    Ten thousand sentences a call: the tokenizer is written in Rust, and as lists their ids would take much memory.
    """
    ids, lengths = [], []
    for start in range(0, len(sentences), 10_000):
        chunk = list(sentences[start : start + 10_000])
        rows = _ids(tokenizer, chunk)
        lengths.append([len(row) for row in rows])
        long = [i for i, length in enumerate(lengths[-1]) if length > max_len]
        cut = _ids(tokenizer, [chunk[i] for i in long], truncation=True, max_length=max_len) if long else []
        for i, row in zip(long, cut):
            rows[i] = row
        ids.append(np.concatenate(rows).astype(np.int32))
    return np.concatenate(ids), np.concatenate(lengths)


def _ids(tokenizer, sentences, **options):
    return tokenizer(sentences, return_attention_mask=False, return_token_type_ids=False, **options)["input_ids"]


def read_corpus(folder):
    """The sentences of a run folder: {split: DataFrame} of the splits it has, in the order of helpers.SPLITS (03_tokenize)."""
    corpus = {split: helpers.read_split(folder, split) for split in helpers.SPLITS}
    return {split: frame for split, frame in corpus.items() if len(frame)}


def compact(corpus, encoded, is_validation, max_len):
    """The tensors of the token file, as helpers.load_tokens describes them (03_tokenize).

    corpus: what read_corpus gives; encoded: {split: what encode gives}; is_validation: bool [sentences in train].
    """
    ids, lengths = (np.concatenate(parts) for parts in zip(*encoded.values()))
    numbers = [np.full(len(frame), helpers.SPLITS.index(split), dtype=np.int8) for split, frame in corpus.items()]
    numbers[0][is_validation] = helpers.SPLITS.index("validation")  # of train, the first
    tensors = {
        "ids": ids,
        "offsets": np.concatenate([[0], lengths.clip(max=max_len).cumsum()]),
        "labels": np.concatenate([frame["label"] for frame in corpus.values()]).astype(np.int64),
        "split": np.concatenate(numbers),
        "row": np.concatenate([np.arange(len(frame), dtype=np.int32) for frame in corpus.values()]),
    }
    return {name: torch.from_numpy(array) for name, array in tensors.items()}


@torch.inference_mode()
def check_model(name, model, tokenizer, max_len):
    """Load the model with a head for two classes and let it read one row of `max_len` tokens, on the CPU (03_tokenize).

    Raises SeriesError where it cannot be loaded, has no embeddings for the tokenizer's ids, or reads only shorter rows: a
    configuration does not tell how long a row may be. (RoBERTa with 514 positions reads 512, XLNet says -1 for no limit.)
    """
    network = helpers.load_model(model, num_labels=2).eval()
    if len(tokenizer) > (known := network.get_input_embeddings().num_embeddings):
        raise SeriesError(
            f"the tokenizer of {name} has {len(tokenizer):,} entries and its model embeddings for {known:,}: they do not "
            "belong together. Take another MODEL_NAME."
        )
    if max_len > LONGEST_ROW:
        raise SeriesError(f"MAX_LEN is {max_len:,}: expected at most {LONGEST_ROW:,}.")
    error = _reads(network, tokenizer, max_len)
    if error is None:
        return _say_if_padding_matters(name, network, tokenizer, max_len)
    fits, too_long = 2, max_len  # halve the distance: ten tries for 512 tokens
    while too_long - fits > 1:
        between = (fits + too_long) // 2
        fits, too_long = (fits, between) if _reads(network, tokenizer, between) else (between, too_long)
    if fits < 3:
        raise SeriesError(f"the model {name} cannot read a sentence ({error}). Take another MODEL_NAME.")
    raise SeriesError(f"MAX_LEN is {max_len}: expected 3 to {fits} for this model, {name}: it reads no longer row.")


def _row(tokenizer, length):
    """Ids [1, length] with the special tokens at their places."""
    first, *middle, last = tokenizer("The cat sat on the mat.")["input_ids"]
    return torch.tensor([[first, *np.resize(middle, length - 2).tolist(), last]])


def _reads(network, tokenizer, length):
    """None if the model reads a row of `length` tokens, else its error."""
    row = _row(tokenizer, length)
    try:
        network(input_ids=row, attention_mask=torch.ones_like(row))
    except (IndexError, RuntimeError, ValueError) as error:  # a position without an embedding, in each family's words
        return error


def _say_if_padding_matters(name, network, tokenizer, max_len):
    row = _row(tokenizer, min(max_len, 10) - 1)
    padded = torch.nn.functional.pad(row, (0, 1), value=tokenizer.pad_token_id)
    mask = torch.nn.functional.pad(torch.ones_like(row), (0, 1))
    change = float((network(input_ids=padded, attention_mask=mask).logits - network(input_ids=row).logits).abs().max())
    if change > 1e-3:
        print(
            f"Padding changes the logits of {name} by {change:.2g}: it reads its last place, and this series pads there."
        )


def set_aside(corpus, fraction, seed):
    """Which sentences of train are for validation: bool [sentences], drawn by scikit-learn's train_test_split (03_tokenize).

    corpus: what read_corpus gives. None are where it brings a validation set of its own, which is said. Of CoLA's format,
    which has marks, sentences are drawn as in the original tutorial; of any other corpus as corpora.cut_off does.

    Raises SeriesError where one side would have no sentence, or a single class: then the MCC is 0 whatever a model
    answers, and cannot choose an epoch. A side of a single sentence is said and let pass.
    """
    from sklearn.model_selection import train_test_split

    other = f"Take another SPLIT_SEED than {seed}, or another VALIDATION_FRACTION than {fraction}."
    labels = corpus["train"]["label"].to_numpy()
    if "validation" in corpus:
        print("The corpus brings a validation set: VALIDATION_FRACTION and SPLIT_SEED change nothing.")
        return np.zeros(len(labels), dtype=bool)
    try:
        if "mark" in corpus["train"]:
            _, aside = train_test_split(np.arange(len(labels)), random_state=seed, test_size=fraction)
            is_validation = np.isin(np.arange(len(labels)), aside)
        else:
            is_validation = corpora.cut_off(corpus["train"], fraction, seed)
    except ValueError as error:  # nothing left to train on
        raise SeriesError(f"{len(labels)} sentences cannot be split so ({error}). {other}") from None
    for purpose, side in {"train on": labels[~is_validation], "validate": labels[is_validation]}.items():
        if len(side) == 1:
            print(f"One sentence to {purpose} is too few for a score that means anything.")
        elif len(set(side)) == 1:
            raise SeriesError(
                f"all {len(side)} sentences to {purpose} have the label {side[0]}: expected both. {other}"
            )
    return is_validation


def cut_note(lengths, max_len, share=0.01):
    """How many sentences `max_len` cuts, in words; if more than `share` of them, with lengths that would do (03_tokenize)."""
    cut = (lengths > max_len).mean()
    note = f"MAX_LEN = {max_len} cuts {cut:.1%} of all sentences"
    if cut <= share:
        return f"{note}."
    enough = int(np.quantile(lengths, 1 - share, method="inverted_cdf"))
    return f"{note}, which is much: {enough} would cut at most {share:.0%}, and {lengths.max()} none."
