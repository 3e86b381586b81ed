"""What the notebooks of a run would refuse, said before the first of them begins: run.py starts this as a program.

Standard input: JSON, [[notebooks to be executed, {parameter: value}], …]. Where one of these would end in a SeriesError over a
table of the reader's own, or a tracker that is not installed, its words are printed, and the exit code is 2.
"""

import functools
import json
import sys

from bookkeeping import SeriesError


def look(notebooks, parameters):
    """Raise the SeriesError that one of these notebooks would raise. What the hub or the series has is left to 02."""
    corpus = parameters.get("CORPUS", "auto")
    if "02_load_cola" in notebooks and corpus not in {"auto", "cola", "practice"} and not corpus.startswith("hub:"):
        load(corpus, parameters.get("TEXT_COLUMN"), parameters.get("LABEL_COLUMN"))
    if "04_train" in notebooks and parameters.get("TRACK"):
        from lesson import tracking  # accelerate with it, and torch

        tracking.check(parameters["TRACK"])


@functools.cache  # the runs of a sweep have most in common
def load(corpus, *columns):
    from lesson import sources, tables

    tables.load(sources.find_corpus(corpus)[1], *columns)


if __name__ == "__main__":
    try:
        for asked in json.load(sys.stdin):
            look(*asked)
    except SeriesError as refused:
        print(refused)
        sys.exit(2)
