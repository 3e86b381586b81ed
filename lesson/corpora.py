"""Corpora as files: CoLA's own format, checked line by line, and what 02 keeps of any corpus."""

import pandas as pd

from bookkeeping import SeriesError

COLA_FILES = {  # our names → the corpus' own; the tutorial's "test set" is the out-of-domain dev split
    "train": "in_domain_train.tsv",
    "in_domain_dev": "in_domain_dev.tsv",
    "test": "out_of_domain_dev.tsv",
}
COLA_CLASSES = ["unacceptable", "acceptable"]  # 0 and 1
LONGEST_SENTENCE = 100_000  # characters; what is longer is a file that was read wrongly


def read_sentences(path):
    """Read a pathlib or zipfile Path in CoLA's format: DataFrame with source, label, mark, sentence (02_load_cola).

    Four tab-separated columns, no header, no quoting, UTF-8. Raises SeriesError with file, line, what was
    found and what was expected.
    """
    content = _bytes(path)
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SeriesError(
            f"{path.name} is in UTF-16, as spreadsheets write it: expected UTF-8. Save the file as UTF-8."
        )
    try:
        lines = content.decode("utf-8").lstrip("\ufeff").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SeriesError(
            f"{path.name}, line {line}: byte {content[error.start]:#04x} is not UTF-8. Save the file as UTF-8."
        ) from None
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise SeriesError(
            f"{path.name} is empty: expected a line per sentence, source <tab> label <tab> mark <tab> sentence."
        )
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != 4:
            problem = f"{len(row)} tab-separated columns where 4 were expected (source, label, mark, sentence)"
        elif row[1] not in {"0", "1"}:
            problem = f"label {row[1]!r} where 0 (unacceptable) or 1 (acceptable) was expected"
        elif not row[3].strip():
            problem = "an empty sentence where text was expected"
        elif any("\r" in part for part in row):
            problem = "a carriage return (\\r) in the middle, which other programs take for the end of the line"
        elif len(row[3]) > LONGEST_SENTENCE:
            problem = f"a sentence of {len(row[3]):,} characters where {LONGEST_SENTENCE:,} are the most"
        else:
            continue
        raise SeriesError(f"{path.name}, line {number}: {problem}. Mend or remove the line.")
    frame = pd.DataFrame(rows, columns=["source", "label", "mark", "sentence"])
    return frame.astype({"label": "int8"})


def read_split(folder, split):
    """The sentences of one split of a run folder: DataFrame with source, label (int64), sentence, a row each (03_tokenize).

    No rows where the corpus has no such split. Raises SeriesError where an older version of 02 wrote the folder.
    """
    path = folder / "corpus" / f"{split}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    if not path.with_name("train.parquet").exists():
        raise SeriesError(f"the run {folder.name!r} has no corpus/train.parquet: run 02_load_cola again.")
    return pd.DataFrame({"source": [], "label": [], "sentence": []}).astype({"label": "int64"})


def _bytes(path):
    try:
        return path.read_bytes()
    except Exception as error:  # a damaged or locked zip has many words for it
        raise SeriesError(
            f"{path} cannot be read ({error}): expected a file that is whole and that you may read. Copy or download it again."
        ) from None


def cut_off(frame, fraction, seed):
    """Which rows to set aside: bool [rows], of each class its share of `fraction`, copies of a text on one side (02, 03).

    frame: DataFrame of sentence and label. Each class comes at least once where each has two texts or more and both sides
    can hold one. Raises ValueError, scikit-learn's, where nothing would be left.
    """
    from sklearn.model_selection import train_test_split

    texts = frame.drop_duplicates("sentence")
    by_class = texts["label"].value_counts()
    size = max(round(fraction * len(texts)), 1)
    stratified = by_class.min() > 1 and len(by_class) <= len(texts) // 2
    size = max(size, len(by_class)) if stratified else size
    by = texts["label"] if stratified and len(texts) - size >= len(by_class) else None
    _, aside = train_test_split(texts["sentence"], test_size=size, random_state=seed, stratify=by)
    return frame["sentence"].isin(set(aside)).to_numpy()


def counts(frame, classes):
    """How many sentences each class has, in words; of more than ten classes the largest and the smallest (02_load_cola)."""
    of = frame["label"].map(dict(enumerate(classes))).value_counts()
    if len(of) > 10:
        return f"{len(of)} classes: {of.index[0]} {of.iloc[0]:,} to {of.index[-1]} {of.iloc[-1]:,}"
    return ", ".join(f"{of.get(name, 0):,} {name}" for name in classes)


def quoting_note(frame):
    """One sentence where a file looks as if a program had written it with quoting, else None (02_load_cola).

    By the format's rule quotation marks are ordinary characters; pandas' to_csv, for one, adds and doubles them.
    """
    quoted = frame["sentence"].str.fullmatch(r'".*""[^"]+"".*"')
    if not quoted.any():
        return None
    first = frame.index[quoted][0] + 1
    return (
        f"{quoted.sum()} sentences begin and end with a quotation mark and hold doubled ones (line {first} is the first): they "
        "are taken as they stand. If a program wrote them so, write the file again without quoting."
    )
