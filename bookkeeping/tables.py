"""Tables read and written a chunk at a time: lines of text, CSV and JSON lines as rows (dicts), every one in its order."""

import csv
import io
import json
from itertools import chain, islice
from pathlib import Path

from bookkeeping import SeriesError

ROWS, CHARACTERS = 4096, 2**22  # of a chunk, which is all that is in memory at a time
KINDS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".txt": "txt"}
BINARY = (".xlsx", ".xls", ".ods", ".parquet")  # 02 takes some of them (docs/own_data.md)


def decoded(file, name):
    """The lines of a binary file of UTF-8 as text, each as it is: only a line feed ends one."""
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {line[error.start]:#04x} is not UTF-8"
            raise SeriesError(f"{name}, line {number}: {found}. Save the file as UTF-8.") from None


def read_rows(lines, name, column=None):
    """(rows, the column that holds the text, "csv" or "jsonl") of an input, of which only the top is read here.

    By its name it is CSV (of commas, semicolons, tabs or bars, with a header), JSON lines or plain lines; where the name
    says nothing, it is what it looks like if `column` is given, and plain lines if not. Raises SeriesError with name, line,
    what was found and what was expected.
    """
    suffix = Path(name).suffix.lower()
    if suffix in BINARY:
        raise SeriesError(f"{name}: expected CSV, JSON lines or lines of text, not {suffix}. Save it as CSV.")
    kind, first = KINDS.get(suffix), next(lines, None)
    if first is None:
        raise SeriesError(f"{name} is empty: expected a sentence a line, a CSV with a header, or JSON lines.")
    if column is None and kind in ("txt", None):
        lines = chain([first], lines)
        return ({"sentence": line.removesuffix("\n").removesuffix("\r")} for line in lines), "sentence", "csv"
    above = [first]  # empty lines, and the first that is not
    while not above[-1].strip() and (line := next(lines, None)) is not None:
        above.append(line)
    first, lines = above[-1], chain(above, lines)
    if kind in ("txt", None):
        kind = "jsonl" if first.lstrip().startswith("{") else "csv"
    rows = _json_rows(lines, name) if kind == "jsonl" else _csv_rows(lines, max(",;\t|", key=first.count), name)
    top = []  # down to the first row that has the column
    for row in islice(rows, ROWS):
        top.append(row)
        if column in row or column is None and row:
            break
    columns = list(dict.fromkeys(chain(*top)))
    column = columns[0] if column is None and len(columns) == 1 else column
    if column not in columns:
        problem = "several columns" if column is None else f"no column {column!r}"
        expected = (
            f"--column with one of {', '.join(map(repr, columns))}" if columns else "a header, or objects with a text"
        )
        raise SeriesError(f"{name} has {problem}: expected {expected}.")
    return chain(top if kind == "jsonl" else [], rows), column, kind


def _csv_rows(lines, delimiter, name):
    """First the header as a row of itself, then the rows."""
    csv.field_size_limit(CHARACTERS)  # so much a forgotten quotation mark may swallow
    reader, start, columns = csv.reader(lines, delimiter=delimiter, strict=True), 1, None
    try:
        for fields in reader:
            columns = columns or fields
            if not columns:
                continue  # an empty line above the header
            if len(set(columns)) < len(columns):
                raise csv.Error("two columns have the same name")
            fields = fields or [""] * len(columns)  # an empty line
            if len(fields) != len(columns):
                raise csv.Error(f"{len(fields)} fields where the header has {len(columns)}")
            yield dict(zip(columns, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise SeriesError(
            f"{name}, line {start}: {error}. Mend it: what holds separators, quotation marks or line breaks is quoted."
        ) from None


def _json_rows(lines, name):
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else {}
            if not isinstance(row, dict):
                raise ValueError(f"it is a {type(row).__name__}")
            json.dumps(row, ensure_ascii=False).encode()  # fails for half a character, such as "\ud83d"
        except ValueError as error:
            raise SeriesError(
                f"{name}, line {number}: expected a JSON object a line, found {line[:40]!r} ({error})."
            ) from None
        yield row


def chunks(rows, column, name):
    """Lists of rows that fit into memory together; texts that are missing are None.

    What comes before a bad row is given out before its SeriesError is raised.
    """
    chunk, size, problem = [], 0, None
    try:
        for number, row in enumerate(rows, start=1):
            if not isinstance(text := row.setdefault(column), str | None):
                raise SeriesError(f"{name}, row {number}: {column} is {text!r}: expected text.")
            chunk.append(row)
            size += len(text or "")
            if len(chunk) == ROWS or size > CHARACTERS:
                yield chunk
                chunk, size = [], 0
    except SeriesError as error:
        problem = error
    if chunk:
        yield chunk
    if problem:
        raise problem


def as_text(rows, kind, columns=None):
    """Rows as CSV or JSON lines. `columns`: those of the first chunk, whose header was written; None: this is the first."""
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns or list(rows[0]))
    if columns is None:
        writer.writeheader()
    for row in rows:
        if more := row.keys() - set(writer.fieldnames):
            raise SeriesError(f"a row has a column {min(more)!r} that the first has not: expected --format jsonl.")
        writer.writerow(
            {key: v if isinstance(v, str | None) else json.dumps(v, ensure_ascii=False) for key, v in row.items()}
        )
    return text.getvalue()
