"""What the notebooks of a run would refuse, said before the first of them begins: run.py starts this as a program.

Standard input: JSON, [[notebooks to be executed, {parameter: value}], …]. Where one of these would end in a SeriesError over a
table or a model of the reader's own, a row longer than any model of the series reads, a tracker that is not installed or a folder
that will not do for the copy, its words are printed, and the exit code is 2.
"""

import contextlib
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
    model, max_len = parameters.get("MODEL_NAME", "auto"), parameters.get("MAX_LEN", 64)
    if "03_tokenize" in notebooks and (model not in {"auto", "minilm", "quire"} or max_len > 512):
        read_a_row(model, max_len)
    if "04_train" in notebooks and parameters.get("TRACK"):
        from lesson import tracking  # accelerate with it, and torch

        tracking.check(parameters["TRACK"])
    if "06_save_and_load" in notebooks and parameters.get("EXPORT_DIR"):
        from lesson import export

        export.destination(parameters["EXPORT_DIR"], Path(parameters["RUN"]))


@functools.cache  # the runs of a sweep have most in common
def load(corpus, *columns):
    from lesson import sources, tables

    tables.load(sources.find_corpus(corpus)[1], *columns)


@functools.cache
def read_a_row(model, max_len):
    from lesson import sources

    name, folder, _ = sources.find_model(model)
    if Path(folder).is_dir():  # a model that is not fetched yet is left to 03
        import helpers
        from lesson.tokens import check_model

        with contextlib.redirect_stdout(sys.stderr):
            check_model(name, folder, helpers.load_tokenizer(folder), max_len)


if __name__ == "__main__":
    try:
        for asked in json.load(sys.stdin):
            look(*asked)
    except SeriesError as refused:
        print(refused)
        sys.exit(2)
