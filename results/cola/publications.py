"""The runs of a sweep, and their ensembles, each with the interval of its test MCC over sentences and over CoLA's publications, and
the lowest and the highest MCC of a single publication.

.venv/bin/python results/cola/publications.py data/cola_public_1.1.zip [runs/SWEEP, or a zip of run folders]

Without a sweep: the runs that come with 07. An ensemble is the mean of the probabilities of all runs of one setting.
"""

import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import helpers
from lesson import corpora, ensembles, intervals, settings, sweeps


def line(name, answers, source):
    """A run in words. `answers`: label and prediction by row."""
    classes = corpora.COLA_CLASSES
    counts = intervals.confusion(answers, classes)
    low, high = np.quantile(helpers.bootstrap_mcc(counts), [0.025, 0.975])
    words = f"{name:30} {helpers.mcc_of_classes(counts):.3f}  sentences {low:.3f} to {high:.3f}  "
    low, high = intervals.over_sources(answers.assign(source=source), classes)["mcc_interval"]
    by = [helpers.mcc_of_classes(intervals.confusion(own, classes)) for _, own in answers.groupby(source.to_numpy())]
    return words + f"publications {low:.2f} to {high:.2f}, each by itself {min(by):.2f} to {max(by):.2f}"


if __name__ == "__main__":
    cola, place = sys.argv[1], Path((sys.argv[2:] or [sweeps.SHIPPED])[0])
    raw = zipfile.Path(cola, "cola_public/raw/")
    source = corpora.read_sentences(raw / corpora.COLA_FILES["test"])["source"]
    sweep = sweeps.read(place if place.is_dir() else zipfile.Path(place), place.name, "")
    table = settings.table(sweep)
    for setting, runs in table.groupby("setting", sort=False):
        print(setting or place.stem)
        for run in runs.index:
            print(" ", line(run, sweep.answers[run], source))
        if members := ensembles.members(sweep, runs.index):
            voted = sweep.answers[members[0]].assign(prediction=ensembles.vote(sweep, members))
            print(" ", line(f"ensemble of {len(members)}", voted, source))
            print(ensembles.compare(sweep, members, 10_000)[0].round(3).to_string())
