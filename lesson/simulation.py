"""Simulated runs, whose true effect is known: for the exercise of 07_compare_runs and for benchmarks/verdict.py."""

import io
import itertools
import json
import zipfile

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, matthews_corrcoef

from lesson import chance, sweeps

# Fitted to runs of minilm on CoLA (results/cola/README.md): shares of label 1 and of answer 1, MCC, agreement between runs.
POSITIVES, BIAS, SKILL, SHARED = 0.686, 1.01, 0.675, 0.8
SPREAD = 0.05  # standard deviation of the skill over seeds


def answers(skills, sentences=516, generator=None):
    """(labels [sentences], predictions [sentences, runs]) 0/1 of simulated runs, one for each of `skills`.

    A run says 1 where the label, as far as its skill sees it, the look of the sentence, the same for all runs, and chance
    add up to more than 0.
    """
    generator = generator or np.random.default_rng(0)
    labels = (generator.random(sentences) < POSITIVES).astype(int)
    look = generator.normal(0, SHARED**0.5, (sentences, 1))
    luck = generator.normal(0, (1 - SHARED) ** 0.5, (sentences, len(skills)))
    evidence = np.asarray(skills) * (labels[:, None] - POSITIVES)
    return labels, (BIAS + evidence + look + luck > 0).astype(int)


def skills(effect, seeds, generator, spread=SPREAD):
    """Array [2 × seeds]: skills of the runs of two settings; `effect` is added to those of the second."""
    return SKILL + generator.normal(0, spread, 2 * seeds) + effect * (np.arange(2 * seeds) >= seeds)


def make_up(effect=0.0, seeds=5):
    """A Sweep of simulated runs, `seeds` for each value of PADDING; `effect` is added to the skill of max_length (07_compare_runs)."""
    generator = np.random.default_rng(0)
    drawn = skills(effect, seeds, generator)
    splits = {split: answers(drawn, generator=generator) for split in ["validation", "test"]}
    archive = zipfile.ZipFile(io.BytesIO(), "w")
    for run, (padding, seed) in enumerate(itertools.product(["longest", "max_length"], range(1, seeds + 1))):
        metrics = dict.fromkeys(["model", "corpus", "device"], "simulated") | {"train_seconds": 60.0}
        metrics["parameters"] = {"PADDING": padding, "SEED": seed}
        frames = []
        for split, (label, predictions) in splits.items():
            frames.append(pd.DataFrame({"label": label, "prediction": predictions[:, run]}).assign(split=split))
            metrics[split] = _figures(label, predictions[:, run])
        curve = metrics["validation"]["mcc"] * np.array([0.6, 1.0, 0.97])
        history = pd.DataFrame({"epoch": [1, 2, 3], "validation_mcc": curve})
        folder = f"PADDING={padding},SEED={seed}"
        archive.writestr(f"{folder}/metrics.json", json.dumps(metrics))
        archive.writestr(f"{folder}/history.csv", history.to_csv(index=False))
        archive.writestr(f"{folder}/predictions.csv", pd.concat(frames).rename_axis("row").to_csv())
    return sweeps.read(zipfile.Path(archive), None, "simulated runs, no model")


def _figures(label, prediction):
    """The figures of one split as 05_evaluate writes them, as far as 07_compare_runs reads them."""
    interval = np.quantile(chance.resampled_mccs(label, prediction[:, None], 1000), [0.025, 0.975])
    return {
        "mcc": matthews_corrcoef(label, prediction),
        "mcc_interval": interval.tolist(),
        "accuracy": accuracy_score(label, prediction),
        "collapsed": len(set(prediction)) == 1,
    }
