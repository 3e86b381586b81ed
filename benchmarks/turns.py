"""Loops in processes of their own that take turns: short rounds on one prepared run folder, only one at work at a time.

No program of its own: train_speed.py and single_savings.py measure with it. What the loops do stands in loops.py.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from unittest import mock

import common
import pandas as pd
import torch
from transformers import AutoConfig

import helpers

# Loops are forked from a process that has imported what takes long: five starts cost one.
CONTEXT = multiprocessing.get_context("spawn")
if "forkserver" in multiprocessing.get_all_start_methods():
    CONTEXT = multiprocessing.get_context("forkserver")
    CONTEXT.set_forkserver_preload(
        ["transformers.trainer", "sklearn.model_selection", "pandas", "matplotlib.pyplot", "nbformat"]
    )

# ---------------------------------------------------------------- in the process of a loop


class Clock:
    """Waits for the parent's word to begin a round, and tells it the round's seconds."""

    def __init__(self, pipe, device):
        self.pipe, self.device = pipe, device

    def start(self):
        self.pipe.recv()
        self.began = time.perf_counter()

    def stop(self, precision):
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()
        self.pipe.send((time.perf_counter() - self.began, precision))


def serve(pipe, function, options):
    """Run a loop; an error is sent as text."""
    warnings.simplefilter("ignore")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            function(Clock(pipe, helpers.pick_device()), **options)
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(str(error) if isinstance(error, helpers.SeriesError) else traceback.format_exc())


def prepare(clock, corpus, model):
    """Fill the run folder, as a loop of one round."""
    clock.start()
    common.execute("02_load_cola", CORPUS=corpus)
    common.execute("03_tokenize", MODEL_NAME=model, VALIDATION_FRACTION=0.01)
    clock.stop("")


# ---------------------------------------------------------------- in the process that measures


class Loop:
    """A loop in its process. With an `environment` of its own, as libraries read it once, the process starts afresh."""

    def __init__(self, name, function, environment=None, **options):
        self.name, self.steps = name, options.get("steps", 1)
        context = multiprocessing.get_context("spawn") if environment else CONTEXT
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, function, options), daemon=True)
        with mock.patch.dict(os.environ, environment or {}):
            self.process.start()
        theirs.close()

    def round(self):
        """Seconds for a step."""
        try:
            with contextlib.suppress(ConnectionError):  # it has ended; what it said last can still be read
                self.pipe.send("go")
            answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            sys.exit(f"{self.name}: its process ended without a word, as it does when memory runs out.")
        if isinstance(answer, str):
            sys.exit(f"{self.name}: {answer}")
        seconds, self.precision = answer
        return seconds / self.steps

    def end(self):
        self.process.terminate()
        self.process.join()


def picked_precision():
    """The precision that 04 takes here, as its PRECISION names it."""
    picked = helpers.pick_precision(helpers.pick_device())
    return "fp32" if picked == "no" else picked


def take_turns(loops, rounds, label=""):
    """Seconds a step, a row a round and a column a loop."""
    seconds = []
    for number in range(rounds):
        turn = loops if number % 2 else loops[::-1]
        seconds.append({loop.name: loop.round() for loop in turn})
        print(f"{label}round {number + 1}:", {n: round(s, 3) for n, s in seconds[-1].items()}, flush=True)
    index = pd.RangeIndex(1, rounds + 1, name="round")
    return pd.DataFrame(seconds, index=index)[[loop.name for loop in loops]]


def options(description):
    """The command line of a benchmark whose loops take turns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="minilm, a folder, or a name on the hub")
    parser.add_argument("--corpus", default="cola", help="cola, practice, or a folder or zip with CoLA's three files")
    parser.add_argument("--rounds", type=int, help="default: 16, from 512 dimensions on 6")
    parser.add_argument("--steps", type=int, help="default: 8, from 512 dimensions on 4; padded loops a quarter")
    return parser.parse_args()


@contextlib.contextmanager
def prepared(options):
    """The corpus in tokens, in a temporary run folder. Yields the model's name; fills rounds and steps."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["BERT_RUNS"] = temporary
        preparing = Loop("prepare", prepare, corpus=options.corpus, model=options.model)
        try:
            preparing.round()
        finally:
            preparing.end()
        header = helpers.load_tokens(Path(temporary, "default"))[1]
        small = AutoConfig.from_pretrained(header["model"]).hidden_size < 512
        options.rounds = options.rounds or (16 if small else 6)
        options.steps = options.steps or (8 if small else 4)
        yield header["name"].split("/")[-1]


def facts(script, options, model):
    """common.facts of a benchmark whose loops took turns; what the call left open is filled in."""
    call = Path(script).name
    call += "" if model == "minilm" else f" --model {model}"
    call += "" if options.corpus == "cola" else f" --corpus {Path(options.corpus).name}"
    return common.facts(f"{call} --rounds {options.rounds} --steps {options.steps}")
