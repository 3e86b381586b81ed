"""lesson/tables.py: any table of texts and labels comes back as it was, or ends in one message that says where."""

import csv

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookkeeping import SeriesError
from lesson import tables

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.sampled_from(
    [
        "NA",
        "null",
        "1",
        "1.0",
        "",
        " ",
        '"',
        '""',
        'She said "no".',
        "a,b;c|d\te",
        "two\nlines",
        "two\r\nlines",
        "a\rb",
        "'",
    ]
)
labels = st.sampled_from(["good", "bad", "0", "1", "true", "odd one"])
rows = st.lists(st.tuples(texts, labels), min_size=1, max_size=30)


@settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=rows,
    sep=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    lineterminator=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_any_table_that_pandas_writes_comes_back_or_is_refused(tmp_path, rows, suffix, **dialect):
    path = tmp_path / f"own{suffix}"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False, **dialect)
    try:
        frame, _ = tables.read_table(path)
    except SeriesError as error:
        assert path.name in str(error)
        return
    assert list(zip(frame["text"], frame["label"])) == rows


def test_a_zero_character_is_refused_with_its_line(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\nwhole,good\nha\0lf,good\n", encoding="utf-16")
    with pytest.raises(SeriesError, match="own.csv, line 3: a zero character"):
        tables.read_table(path)
