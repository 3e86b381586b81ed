"""What the notebooks of a run would refuse, said before the first of them begins: run.py starts this as a program.

Standard input: JSON, [[notebooks to be executed, {parameter: value}], …]. Where one of these would end in a SeriesError over a
table of the reader's own, a model that is not there, a tracker that is not installed or a folder that will not do for the copy,
its words are printed, and the exit code is 2.
"""

import functools
import json
import sys
from pathlib import Path

from bookkeeping import SeriesError


def look(notebooks, parameters):
    """Raise the SeriesError that one of these notebooks would raise. Corpora of the hub or the series are left to 02."""
    corpus = parameters.get("CORPUS", "auto")
    if "02_load_cola" in notebooks and corpus not in {"auto", "cola", "practice"} and not corpus.startswith("hub:"):
        load(corpus, parameters.get("TEXT_COLUMN"), parameters.get("LABEL_COLUMN"))
    model = parameters.get("MODEL_NAME", "auto")
    if "03_tokenize" in notebooks and model not in {"auto", "minilm", "quire"}:
        find_model(model)
    if "04_train" in notebooks and parameters.get("TRACK"):
        from lesson import tracking  # accelerate with it, and torch

        tracking.check(parameters["TRACK"])
    if "06_save_and_load" in notebooks and parameters.get("EXPORT_DIR"):
        from lesson import export

        export.destination(parameters["EXPORT_DIR"], Path(parameters.get("RUN", "default")))


@functools.cache  # the runs of a sweep have most in common
def load(corpus, *columns):
    from lesson import sources, tables

    tables.load(sources.find_corpus(corpus)[1], *columns)


@functools.cache
def find_model(name):
    from lesson import sources

    sources.find_model(name)


if __name__ == "__main__":
    try:
        for asked in json.load(sys.stdin):
            look(*asked)
    except SeriesError as refused:
        print(refused)
        sys.exit(2)
