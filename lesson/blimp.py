"""Minimal pairs: of the practice corpus, and BLiMP's 67,000 (Warstadt et al. 2020, TACL 8:377; CC BY 4.0) (08_error_analysis)."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

import helpers
from bookkeeping import SeriesError
from lesson import sources
from lesson.judging import Judge

BLIMP = "BLiMP.zip"
BLIMP_SHA256 = "172a1a714d72e72a89e8384dd531483f3d0f8a9aee3d33dccaf7992d8cecbb73"
BLIMP_ADDRESSES = (  # one host, for no other is known: the branch, and the commit that stays where the branch goes on
    "https://github.com/alexwarstadt/blimp/raw/master/BLiMP.zip",
    "https://github.com/alexwarstadt/blimp/raw/3e56b06fcabca9b30822fc66435fca6b1aa40bb1/BLiMP.zip",
)
BLIMP_BYTES = 5_000_000  # more than the zip has (2,354,164)
PARADIGMS, PAIRS = 67, 1000
PUBLISHED = Path(helpers.ROOT, "results", "understanding", "published.csv")


def blimp(pairs, seed=0, folder=None):
    """DataFrame with phenomenon, paradigm, acceptable, unacceptable: `pairs` of the 1,000 of each paradigm, drawn (08_error_analysis).

    The zip is fetched as CoLA is, or lies in `folder` (default: data/). Raises SeriesError where it cannot be had, or is not
    67 paradigms of 1,000 pairs.
    """
    known = (BLIMP_SHA256, BLIMP_BYTES, BLIMP_ADDRESSES)
    zipped = zipfile.ZipFile(sources.fetch("BLiMP", BLIMP, known, "set BLIMP_PAIRS = 0", folder))
    names = sorted(name for name in zipped.namelist() if name.startswith("data/") and name.endswith(".jsonl"))
    found = {name: [json.loads(line) for line in zipped.read(name).splitlines()] for name in names}
    short = [name for name, rows in found.items() if len(rows) != PAIRS]
    if len(names) != PARADIGMS or short:
        raise SeriesError(
            f"{BLIMP} holds {len(names)} paradigms, {len(short)} of them not of {PAIRS:,} pairs: expected {PARADIGMS} of {PAIRS:,}. "
            "Fetch it again, or set BLIMP_PAIRS = 0."
        )
    dice = np.random.default_rng(seed)
    rows = [own[i] for own in found.values() for i in sorted(dice.choice(PAIRS, pairs, replace=False))]
    names = {"UID": "paradigm", "sentence_good": "acceptable", "sentence_bad": "unacceptable"}
    frame = pd.DataFrame(rows)[list(names)].rename(columns=names)
    of = pd.read_csv(PUBLISHED, index_col="paradigm")[
        "phenomenon"
    ]  # the paper's 12; the files have s-selection besides
    return frame.assign(phenomenon=frame["paradigm"].map(of))


def judge_of(model, run):
    """Texts → probabilities [texts, classes], in fp32, cut at the run's MAX_LEN (08_error_analysis)."""
    tokenizer = helpers.load_tokenizer(run.folder / "model")
    tokenizer.model_max_length = run.records["03_tokenize"]["parameters"]["MAX_LEN"]
    return Judge(model, tokenizer, "fp32")


def untrained(run, classes):
    """The run's model as it was before training: the same encoder, a new head from the run's seed (08_error_analysis)."""
    from accelerate.utils import set_seed

    record = run.records["03_tokenize"]
    asked = record["parameters"]["MODEL_NAME"]
    model = sources.find_model(record["model"] if asked == "auto" else asked)[1]
    set_seed(run.records["04_train"]["parameters"]["SEED"])
    return helpers.load_model(model, classes)


def ranked(pairs, judge):
    """`pairs` with good and bad, the probability of the last class for either twin, and right: whether good is higher (08_error_analysis)."""
    good, bad = (judge(pairs[twin].tolist())[:, -1].numpy() for twin in ("acceptable", "unacceptable"))
    return pairs.assign(good=good, bad=bad, right=good > bad)


def shares(answers, by):
    """DataFrame, a row a value of the column `by`: n pairs, share ranked rightly, its exact interval low, high (08_error_analysis).

    The column is called accuracy, as in the literature. Lowest first.
    """
    rows = answers.groupby(by)["right"]
    table = rows.agg(n="size", accuracy="mean")
    table[["low", "high"]] = [tuple(binomtest(int(own.sum()), len(own)).proportion_ci()) for _, own in rows]
    return table.sort_values("accuracy")


def published(by="paradigm"):
    """DataFrame of others' shares, by paradigm or mean by phenomenon: ngram, lstm, txl, gpt2, people (08_error_analysis)."""
    table = pd.read_csv(PUBLISHED)
    if by == "paradigm":
        return table.set_index("paradigm").drop(columns="phenomenon")
    return table.drop(columns="paradigm").groupby("phenomenon").mean()
