"""Corpora as people have them, a text and a label a row: tables in any of lesson/formats.py, or a data set of the hub.

Which column is which, what is dropped, how it is split: each guess is said in one sentence, each rule for what is wrong in a
table stands here. Nothing is dropped, shifted or reordered without a word.
"""

import math
import re

import pandas as pd

from bookkeeping import SeriesError
from lesson.corpora import COLA_CLASSES, cut_off, quoting_note, read_sentences
from lesson.formats import LABEL_NAMES, MOST_CLASSES, SUFFIXES, TEXT_NAMES, as_text, named, read_table

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test"}
SPLIT_NAMES |= dict.fromkeys(["validation", "valid", "val", "dev"], "validation")
FEWEST_SENTENCES = 6
TEST_FRACTION, SPLIT_SEED = 0.2, 2018  # of a test set that is cut here

# ---------------------------------------------------------------- which column is which


def find_columns(frame, text_column=None, label_column=None):
    """(name of the text's column, of the label's, sentence with the reason of each). Raises SeriesError for none."""
    if text_column is not None and text_column == label_column:
        columns = ", ".join(map(str, frame.columns))
        raise SeriesError(f"TEXT_COLUMN and LABEL_COLUMN are both {text_column!r}: expected two of {columns}.")
    found, reasons = {}, []
    for what, asked, known in [("LABEL_COLUMN", label_column, LABEL_NAMES), ("TEXT_COLUMN", text_column, TEXT_NAMES)]:
        rest = [name for name in frame if name not in {text_column, label_column, *found.values()}]
        if asked is not None:
            if asked not in frame.columns:
                raise SeriesError(f"{what} is {asked!r}: expected one of {', '.join(map(str, frame.columns))}.")
            found[what], why = asked, "as asked"
        elif (name := named(rest, known)) is not None:
            found[what], why = name, "by its name"
        else:
            found[what], why = _guess(frame[rest], what)
        reasons.append(f"{'labels' if what == 'LABEL_COLUMN' else 'texts'} from column {found[what]!r} ({why})")
    return found["TEXT_COLUMN"], found["LABEL_COLUMN"], ", ".join(reversed(reasons))


def _guess(frame, what):
    lengths = {name: frame[name].str.len().mean() for name in frame}
    if what == "LABEL_COLUMN":
        kinds = {name: frame[name].nunique() for name in frame}
        lengths = {name: lengths[name] for name, n in kinds.items() if 1 < n <= min(MOST_CLASSES, len(frame) / 2)}
    if not lengths:
        raise SeriesError(
            f"no column looks like {'labels: 2 to 100 values that recur' if what == 'LABEL_COLUMN' else 'texts'}. The "
            f"columns are {', '.join(map(str, frame.columns))}: name one as {what}."
        )
    if what == "LABEL_COLUMN":
        return min(lengths, key=lengths.get), "the shortest values that recur"
    return max(lengths, key=lengths.get), "the longest values"


# ---------------------------------------------------------------- a corpus


def is_table(place):
    """Whether a Path is a file that is read here, or a folder with a train file of that kind."""
    if place.is_dir():
        return any(SPLIT_NAMES.get(path.stem.lower()) == "train" for path in _table_files(place))
    return place.suffix.lower() in SUFFIXES


def load(place, text_column=None, label_column=None):
    """(splits, classes, said): what a corpus holds, wherever it lies (02_load_cola).

    place: {split: Path} of CoLA's three files; or the Path of a table, or of a folder of tables named train, validation or
    dev, and test; or "hub:owner/name[:config]". splits: {"train", perhaps "validation" and "in_domain_dev", "test":
    DataFrame of source, label (int64, index into classes), sentence, and of CoLA mark}; said: sentences on what was
    guessed, dropped and cut. Raises SeriesError with file, line, what was found and what was expected.
    """
    if isinstance(place, dict):
        splits = {split: read_sentences(path).astype({"label": "int64"}) for split, path in place.items()}
        label, *others = splits["train"]["label"].unique()
        if not others:
            raise SeriesError(
                f"{place['train'].name}: all labels are {label}, and one kind of sentence teaches nothing: expected both, 1 "
                "for acceptable and 0 for not. Add the other kind, or take another CORPUS."
            )
        notes = {place[split].name: quoting_note(frame) for split, frame in splits.items()}
        said = [f"{name}: {note}" for name, note in notes.items() if note]
        if text_column is not None or label_column is not None:
            said.append("CoLA's format has its columns fixed: TEXT_COLUMN and LABEL_COLUMN change nothing.")
        return splits, COLA_CLASSES, said
    parts, said = [], []
    for split, source, frame, how in _tables(place, said):
        if (twice := frame.columns[frame.columns.duplicated()]).size:
            raise SeriesError(f"{source}: two columns are called {twice[0]!r}. Give each a name of its own.")
        text, label, why = find_columns(frame, text_column, label_column)
        said.append(f"{source}: {len(frame):,} records, {how}; {why}.")
        part = pd.DataFrame({"sentence": frame[text], "name": frame[label].str.strip(), "line": frame.index})
        column = split is None and _split_column(source, frame.drop(columns=[text, label]))
        if column:
            said.append(f"Column {column!r} says which split a row is of.")
        part["split"] = frame[column].str.strip().str.lower().map(SPLIT_NAMES).to_numpy() if column else split
        parts.append(part.assign(file=source))
    rows, found = pd.concat(parts, ignore_index=True), len(said)
    rows = _drop(rows, rows["sentence"].str.strip() == "", "without a text", said)
    rows = _drop(rows, rows["name"] == "", "without a label", said)
    spelling = _spelling(rows["name"].unique())
    if other := [f"{name} as {written}" for name, written in sorted(spelling.items()) if name != written]:
        said.append(f"Labels are written in one way: {', '.join(other[:5])}{' …' * (len(other) > 5)}.")
    rows = rows.assign(name=rows["name"].map(spelling))
    rows = _drop(rows, rows.groupby("name")["sentence"].transform("nunique") < 2, "of a class with one text only", said)
    classes = _in_order(rows["name"].unique())
    if not 2 <= len(classes) <= MOST_CLASSES or len(rows) < FEWEST_SENTENCES:
        raise SeriesError(
            f"{parts[0]['file'].iloc[0] if len(parts[0]) else place}: {len(rows)} sentences with {len(classes)} different "
            f"labels: expected at least {FEWEST_SENTENCES}, and 2 to {MOST_CLASSES} classes of two texts or more. "
            + " ".join([*said[found:], "Is another column meant (TEXT_COLUMN, LABEL_COLUMN)?"])
        )
    torn = rows.groupby("sentence")["name"].transform("nunique") > 1
    again = rows.duplicated("sentence") & ~torn
    for found, what in [(again, "with a text that stands above"), (torn, "with a text that stands under two labels")]:
        if found.any():
            said.append(f"Kept: {_count(found)} {what} ({_where(rows[found])}).")
    rows["label"] = rows["name"].map({name: number for number, name in enumerate(classes)}).astype("int64")
    return _split(rows.assign(source=""), said), classes, said


def _count(found):
    return f"{found.sum():,} row{'' if found.sum() == 1 else 's'}"


def _where(rows):
    """Where rows stand, in words: the first five of them."""
    first = rows.head(5).groupby("file", sort=False)["line"]
    words = "; ".join(f"{file}, line {', '.join(map(str, lines))}" for file, lines in first)
    return words + " …" * (len(rows) > 5)


def _table_files(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _tables(place, said):
    """[(split or None, its source in words, DataFrame of text, how it was read)]. What is left out, `said` names."""
    if isinstance(place, str):
        return _from_hub(place.removeprefix("hub:"), said)
    if place.is_file():
        return [(None, place.name, *read_table(place))]
    files = {}
    for path in _table_files(place):
        split = SPLIT_NAMES.get(path.stem.lower())
        if split in files:
            raise SeriesError(f"{place.name}: {files[split].name} and {path.name} are both {split}: keep one of them.")
        if split:
            files[split] = path
        else:
            said.append(f"Left out: {path.name}, whose name is of no split ({', '.join(SPLIT_NAMES)}).")
    return [(split, path.name, *read_table(path)) for split, path in files.items()]


def _from_hub(asked, said):
    name, _, config = asked.partition(":")
    try:
        import datasets

        loaded = datasets.load_dataset(name, config or None)
    except Exception as error:  # whatever the hub or the network did: the reader needs the way out
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise SeriesError(
            f"CORPUS is 'hub:{asked}': the data set cannot be loaded ({reason}). Expected hub:owner/name or "
            "hub:owner/name:config, the library datasets (pip install datasets), and a network; a file of your own needs neither."
        ) from None
    tables = []
    for split, part in loaded.items():
        frame = part.to_pandas()
        for column, kind in part.features.items():
            if isinstance(kind, datasets.ClassLabel):
                frame[column] = [kind.int2str(int(value)) if value >= 0 else None for value in frame[column]]
        frame.index = pd.RangeIndex(1, 1 + len(frame))
        if split in SPLIT_NAMES:
            tables.append((SPLIT_NAMES[split], f"{name}, {split}", as_text(frame), "of the Hugging Face hub"))
        else:
            said.append(f"Left out: the split {split!r} of {name}, {len(part):,} rows.")
    if "train" not in {split for split, *_ in tables}:
        raise SeriesError(f"CORPUS is 'hub:{asked}': its splits are {', '.join(loaded)}: expected one named train.")
    return tables


def _split_column(source, frame):
    """The column that says which split a row is of: train is among its values, and test or validation. None without one.

    Raises SeriesError where it also has other values: whoever keeps a test set aside would not have it trained on.
    """
    for name in frame:
        splits = frame[name].str.strip().str.lower().map(SPLIT_NAMES)
        if splits.isin(["train"]).any() and splits.isin(["test", "validation"]).any():
            if splits.isna().any():
                line = frame.index[splits.isna()][0]
                raise SeriesError(
                    f"{source}, line {line}: {frame.loc[line, name]!r} in column {name!r}, which tells the split elsewhere: "
                    f"expected {', '.join(SPLIT_NAMES)}. Fill in or remove these {splits.isna().sum():,} rows, or the column."
                )
            return name
    return None


def _drop(rows, bad, what, said):
    """`rows` without the bad ones, which `said` then counts and names."""
    if bad.any():
        said.append(f"Dropped: {_count(bad)} {what} ({_where(rows[bad])}).")
    return rows[~bad]


def _in_order(names):
    """Class names in order: numbers as numbers, words as words. Of two, the second is the positive one."""
    return sorted(names, key=float if _are_numbers(names) else None)


def _are_numbers(names):
    try:
        return all(math.isfinite(float(name)) for name in names)  # nan has no place in an order
    except ValueError:
        return False


def _spelling(names):
    """{label: how it is written}: 1.0 as 1 where all are numbers, True as true where all are true or false.

    Programs differ in this: pandas writes whole numbers as 1.0 where one is lacking. 01 and 1 may be two codes.
    """
    if {name.lower() for name in names} <= {"true", "false"}:
        return {name: name.lower() for name in names}
    if _are_numbers(names):
        return {name: re.sub(r"^(-?(?:0|[1-9][0-9]*))\.0+$", r"\1", name) for name in names}
    return {name: name for name in names}


def _split(rows, said):
    """{split: its rows}. A test set that is not given is cut from train: stratified, copies of a text on one side."""
    rows = rows.assign(split=rows["split"].fillna("train"))
    if not (rows["split"] == "test").any():
        train = rows[rows["split"] == "train"]
        cut = train.index[cut_off(train, TEST_FRACTION, SPLIT_SEED)]
        rows.loc[cut, "split"] = "test"
        said.append(f"No test set is given: {len(cut):,} rows are cut off as one, by class, copies of a text together.")
    if rows.loc[rows["split"] == "train", "label"].nunique() < 2:
        raise SeriesError(
            "all sentences to train on are of one class: expected two or more. Give other splits, or none."
        )
    for split, part in rows.groupby("split"):
        known, labels = (_in_order(of["name"].unique()) for of in (rows[rows["split"] == "train"], part))
        if not set(known) & set(labels):
            raise SeriesError(
                f"{part['file'].iloc[0]}: the {split} set's labels are {', '.join(labels[:5])}, those to train on "
                f"{', '.join(known[:5])}: expected the same, spelt alike. Mend the labels, or leave this set out."
            )
    if unseen := sorted(set(rows["name"]) - set(rows.loc[rows["split"] == "train", "name"])):
        said.append(f"Nothing to train on has the label {', '.join(unseen)}: the model cannot learn it.")
    parts = {split: rows[rows["split"] == split] for split in ("train", "validation", "test")}
    columns = ["source", "label", "sentence"]
    return {split: part[columns].reset_index(drop=True) for split, part in parts.items() if len(part)}
