"""The formats that a table of texts and labels comes in: CSV, JSON, Parquet, Excel.

pandas and pyarrow read them; here stand the guesses about a file, each said in words.
"""

import csv
import json
import re

import pandas as pd

from bookkeeping import SeriesError

DELIMITED, JSON, EXCEL = {".csv", ".tsv"}, {".jsonl", ".ndjson", ".json"}, {".xlsx", ".xls"}
SUFFIXES = DELIMITED | JSON | EXCEL | {".parquet"}
TEXT_NAMES = ["text", "sentence", "review", "content", "message", "question", "comment", "title", "utterance", "query"]
LABEL_NAMES = ["label", "labels", "class", "category", "target", "topic", "intent", "sentiment", "y", "rating"]
MOST_CLASSES = 100
RECORDS_TO_GUESS_FROM = 20_000


def read_table(path):
    """DataFrame of text, a row a record, "" where nothing stands; its index is the line at which the record begins.

    Returns (frame, sentence on how it was read). Raises SeriesError with file and line where it cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITED:
            return _read_delimited(path)
        if suffix in JSON:
            return _read_json(path)
        if suffix in EXCEL:
            frame = pd.read_excel(path, header=None, dtype=str, keep_default_na=False)
        else:
            frame = pd.read_parquet(path)
    except ImportError as error:
        raise SeriesError(f"{path.name}: {error}. Install it, or save the table as CSV in UTF-8.") from None
    except SeriesError:
        raise
    except Exception as error:  # a damaged Excel or Parquet file has many words for it
        found = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise SeriesError(f"{path.name} cannot be read ({found}). Save it anew, or as CSV in UTF-8.") from None
    frame.index = pd.RangeIndex(1, 1 + len(frame))
    if suffix == ".parquet":
        return as_text(frame), "Parquet"
    frame, header = _with_header(as_text(frame), path)
    return frame, f"Excel, its first sheet, {header}"


def _read_delimited(path):
    encoding = _encoding(path)
    with open(path, encoding=encoding, newline="") as file:
        head = file.read(1_000_000)
    if not head.strip():
        raise SeriesError(f"{path.name} is empty: expected a line per record.")
    # where lines end in \n, a \r is a character like others; pandas takes it for an end unless told
    ends = {"lineterminator": "\n"} if "\n" in head and not head.partition("\n")[0].endswith("\r") else {}
    delimiter, quoting = _dialect(path, head.splitlines()[0], encoding=encoding, **ends)
    try:
        frame = _parse(path, delimiter, quoting, encoding=encoding, **ends)
    except pd.errors.ParserError as error:
        raise SeriesError(f"{path.name}: {_reason(error)}. Mend that line, or save the file anew as CSV.") from None
    begins = (
        frame.apply(lambda column: column.str.count(r"\r\n|\n|\r")).sum(axis=1).add(1).cumsum().shift(fill_value=0) + 1
    )
    frame.index = begins.astype(int)
    name = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}[delimiter]
    frame, header = _with_header(frame, path)
    return frame, f"{name} between the fields{'' if quoting == csv.QUOTE_MINIMAL else ', no quoting'}, {header}"


def _encoding(path):
    """UTF-16 where the file says so, as spreadsheets write it; else UTF-8, or a SeriesError with the line."""
    with open(path, "rb") as file:
        if file.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            with open(path, encoding="utf-16", newline="") as text:
                for number, line in enumerate(text, start=1):
                    if "\0" in line:  # older pandas reads it as nothing
                        raise SeriesError(f"{path.name}, line {number}: a zero character. Remove it.")
            return "utf-16"
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if b"\0" in line:
                raise SeriesError(
                    f"{path.name}, line {number}: a zero byte, as in UTF-16 without its mark. Save the file as CSV in UTF-8."
                )
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise SeriesError(
                    f"{path.name}, line {number}: byte {byte:#04x} is not UTF-8. Save the file as CSV in UTF-8."
                ) from None
    return "utf-8-sig"


def _parse(source, delimiter, quoting, **options):
    return pd.read_csv(
        source, sep=delimiter, quoting=quoting, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False,
        na_filter=True, na_values=[], **options,
    )  # fmt: skip


def _dialect(path, first_line, **options):
    """(delimiter, quoting) by which a file's first records (whole ones: a text may hold line breaks) have two fields or more.

    Of several, that whose header has names that are known here, then that which leaves the fewest fields empty, as where a
    row ends early. Quotation marks are text only where none encloses a field.
    """
    order = ["\t", ",", ";", "|"] if path.suffix.lower() == ".tsv" else [",", ";", "\t", "|"]
    fitting, problem = [], None
    for delimiter in order:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            try:
                frame = _parse(path, delimiter, quoting, nrows=RECORDS_TO_GUESS_FROM, **options)
            except pd.errors.ParserError as error:
                problem = problem or (_reason(error) if delimiter in first_line else None)
                continue
            if quoting == csv.QUOTE_NONE and frame.apply(lambda column: column.str.fullmatch('".*"')).any(axis=None):
                break
            if frame.shape[1] > 1:
                known = all(named(frame.iloc[0], names) is not None for names in (TEXT_NAMES, LABEL_NAMES))
                fitting.append((known, (frame != "").to_numpy().mean(), delimiter, quoting))
            break
    if not fitting:
        problem = problem or "one column where a text and a label were expected, with , ; tab or | between them"
        raise SeriesError(f"{path.name}: {problem}. Mend the file, or save it anew as CSV.")
    best = max(fitting, key=lambda one: one[:2])  # of equals the first
    return best[2], best[3]


def _reason(error):
    text = str(error).splitlines()[0]
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"line {found[2]}: {found[3]} fields where {found[1]} were expected"
    if found := re.search(r"EOF inside string starting at row (\d+)", text):
        return f"line {int(found[1]) + 1}: a quotation mark that is never closed"
    return text


def _with_header(frame, path):
    """(the rows that are not empty, with the first as names of the columns where it is one, in words whether).

    It is one where a text's and a label's usual names are in it, or where a column whose values recur does not hold its value.
    """
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise SeriesError(f"{path.name} is empty: expected a line per record.")
    first, rest = frame.iloc[0].str.strip(), frame.iloc[1:]
    repeated = [column for column in frame if 1 < rest[column].nunique() <= min(MOST_CLASSES, len(rest) / 2)]
    known = all(named(first, names) is not None for names in (TEXT_NAMES, LABEL_NAMES))
    if known or any(first[column] not in set(rest[column].str.strip()) for column in repeated):
        rest.columns = [name or str(number) for number, name in enumerate(first)]
        return rest, "the first line names the columns"
    frame.columns = [str(number) for number in range(frame.shape[1])]
    return frame, "no line of names"


def _read_json(path):
    """(frame, how it was read) of objects, one a line, or in a .json file all in one array."""
    encoding = _encoding(path)
    with open(path, encoding=encoding, newline="\n") as file:
        if path.suffix.lower() == ".json" and file.read(1000).lstrip().startswith("["):
            file.seek(0)
            return _frame_of(_records_of_array(path, file.read()), path), "one JSON array"
        file.seek(0)
        return _frame_of(_records_of_lines(path, file), path), "JSON lines"


def _records_of_lines(path, lines):
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                or_array = ", or one array of objects" * (path.suffix.lower() == ".json")
                raise SeriesError(
                    f"{path.name}, line {number}: not JSON ({error}). Expected one object a line{or_array}."
                ) from None


def _records_of_array(path, text):
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise SeriesError(f"{path.name}, line {line}: not JSON ({error}). Expected one array of objects.") from None
    end, decoder = text.index("[") + 1, json.JSONDecoder()
    line = text.count("\n", 0, end) + 1
    for record in records:  # where each begins, json does not say of a whole array
        begin = re.compile(r"[\s,]*").match(text, end).end()
        line += text.count("\n", end, begin)
        yield line, record
        _, end = decoder.raw_decode(text, begin)
        line += text.count("\n", begin, end)


def _frame_of(records, path):
    """DataFrame of text, of (line, object) of each record; its index is the lines."""
    columns, lines = {}, []
    for number, record in records:
        if not isinstance(record, dict):
            raise SeriesError(f"{path.name}, line {number}: {type(record).__name__} where an object was expected.")
        if re.search("[\ud800-\udfff]", "".join(value for value in record.values() if isinstance(value, str))):
            raise SeriesError(f"{path.name}, line {number}: half a character (a lone surrogate). Mend the line.")
        for name in record.keys() - columns.keys():
            columns[name] = [None] * len(lines)
        lines.append(number)
        for name, values in columns.items():
            values.append(record.get(name))
    return as_text(pd.DataFrame(columns, index=lines, dtype=object))


def as_text(frame):
    """Every value as text: 1.0 as 1, true as true, nothing as nothing."""

    def text(value):
        if isinstance(value, str):
            return value
        if pd.api.types.is_list_like(value):
            return str(value)
        if pd.isna(value):
            return ""
        if isinstance(value, bool) or type(value).__name__ == "bool":
            return str(bool(value)).lower()
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    return frame.astype(object).map(text).astype(object).rename(columns=str)


def named(names, known):
    """That of `names` which is one of the `known` ones, of several the first known; else None."""
    lowered = {str(name).strip().lower(): name for name in names}
    return next((lowered[name] for name in known if name in lowered), None)
