"""Kind and range of every parameter, declared once: the notebooks check by it, and run.py before it begins anything.

The defaults and what a parameter is for stand in the notebooks, in the cell tagged `parameters`.
"""

import configparser
import math
import re
from dataclasses import dataclass
from pathlib import Path

from bookkeeping import SeriesError

WORDS = configparser.ConfigParser.BOOLEAN_STATES  # true, yes, on, 1; false, no, off, 0
EMPTY = {"", "~", "null"}  # as YAML writes nothing
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name or a path"}


@dataclass(frozen=True)
class Declared:
    """What values a parameter takes. `fits`: value → bool; `range`: the same in words, behind "expected"."""

    kind: type
    fits: object = None
    range: str = ""
    or_none: bool = False

    @property
    def words(self):
        return KINDS[self.kind] + (" or none" if self.or_none else "") + (f", {self.range}" if self.range else "")


def whole(low, high, **options):
    return Declared(int, lambda value: low <= value <= high, f"{low} or more, and at most {high:,}", **options)


def number(fits, words, **options):
    return Declared(float, fits, words, **options)


def one_of(*choices, **options):
    return Declared(str, lambda value: value in choices, f"{', '.join(choices[:-1])} or {choices[-1]}", **options)


def is_folder_name(text):
    """Whether `text` names a folder below runs/: none above or elsewhere, and none hidden but a sweep's own .shared."""
    plain = r"\.shared|[\w=+-][\w.,=+-]*"
    return bool(text) and len(text) <= 200 and all(re.fullmatch(plain, part) for part in text.split("/"))


def is_run_folder(text):
    """Whether `text` names a folder below runs/, or a folder elsewhere by its full path, with no way back up in it."""
    path = Path(text)
    elsewhere = path.is_absolute() and len(path.parts) > 2 and ".." not in path.parts and text.isprintable()
    return is_folder_name(text) or elsewhere and all(len(part) <= 200 for part in path.parts)


FOLDER_NAME = "a plain name of at most 200 letters, digits, . , = + - _ and /"
SEEDS = whole(0, 2**32 - 1)  # what numpy takes

DECLARED = {
    "RUN": Declared(str, is_run_folder, f"{FOLDER_NAME}, or the full path of a folder"),
    # 02_load_cola
    "CORPUS": Declared(str),
    "TEXT_COLUMN": Declared(str, or_none=True),
    "LABEL_COLUMN": Declared(str, or_none=True),
    # 03_tokenize; the model says how long a sentence may be at most
    "MODEL_NAME": Declared(str),
    "MAX_LEN": Declared(int, lambda value: value >= 3, "3 ([CLS], one piece, [SEP]) or more"),
    "VALIDATION_FRACTION": number(lambda value: 0 < value < 1, "a share between 0 and 1, such as 0.1"),
    "SPLIT_SEED": SEEDS,
    # 04_train
    "SEED": SEEDS,
    "EPOCHS": whole(1, 10_000),
    "BATCH_SIZE": whole(1, 100_000),
    "LEARNING_RATE": number(lambda value: value > 0, "more than 0", or_none=True),
    "WEIGHT_DECAY": number(lambda value: value >= 0, "0 or more"),
    "WARMUP_FRACTION": number(lambda value: 0 <= value < 1, "0 or more and less than 1"),
    "POOLING": one_of("auto", "cls", "mean"),
    "PADDING": one_of("longest", "max_length"),
    "PRECISION": one_of("auto", "fp32", "bf16", "fp16"),
    "TRACK": one_of("tensorboard", "mlflow", "wandb", or_none=True),
    # 05_evaluate
    "BOOTSTRAP_SAMPLES": whole(100, 10_000_000),  # an interval needs its tails
    # 06_save_and_load
    "EXPORT_DIR": Declared(str, or_none=True),
    "PUSH_TO": Declared(str, or_none=True),
    # 07_compare_runs
    "SWEEP": Declared(str, is_folder_name, FOLDER_NAME),
    "COMPARE": Declared(str, or_none=True),
    "RESAMPLES": whole(100, 1_000_000),
    # 08_error_analysis
    "BLIMP_PAIRS": whole(0, 1000),
}

READ = {"CORPUS", "MODEL_NAME"}  # may name a file or folder: with other content the results are others
NO_RESULT = {"RUN", "TRACK"}  # with others the results are the same: neither recorded nor compared


def declared(name, default=None, kind=None):
    """What is declared of a parameter; of one that is not, as in a notebook of your own: `kind`, or like its default."""
    kind = kind or (type(default) if type(default) in KINDS else str)
    return DECLARED.get(name) or Declared(kind, or_none=default is None)


def typed(name, value, default=None, kind=None):
    """`value` as the parameter's kind, whether it came as text or not. Raises SeriesError with what was expected.

    Text from a command line or a YAML file stands for what it says: "5e-5" for a number, "none" for None.
    """
    own = declared(name, default, kind)
    if own.or_none and (value is None or isinstance(value, str) and value.lower() in EMPTY | {"none"}):
        return None
    try:
        converted = _convert(value, own.kind)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise SeriesError(f"{name} is {_short(value)}: expected {own.words}.") from None
    if own.fits and not own.fits(converted):
        raise SeriesError(f"{name} is {_short(converted)}: expected {own.range}{', or none' if own.or_none else ''}.")
    return converted


def _convert(value, kind):
    if kind is str:
        if isinstance(value, bool) or not isinstance(value, str | int) or str(value).lower() in EMPTY:
            raise ValueError
        return str(value)
    if kind is bool:
        return value if isinstance(value, bool) else WORDS[str(value).lower()]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    if isinstance(value, str) and re.match(r"\s*[+-]?0[\d_]", value):
        raise ValueError  # 010 is 10 to Python and 8 to YAML
    converted = int(value) if kind is int and isinstance(value, str | int) else float(value)
    if not math.isfinite(converted) or kind is int and converted != int(converted):
        raise ValueError
    return kind(converted)


def _short(value):
    return text if len(text := repr(value)) <= 80 else f"{text[:77]}…"
