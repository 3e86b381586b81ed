#!/usr/bin/env python
"""A trained model judges sentences: for every row that goes in one comes out, in order, with all its columns.

  predict.py runs/default/model sentences.txt                            a sentence a line
  predict.py runs/default/model tickets.csv --column text --output judged.csv
  zcat tickets.jsonl.gz | predict.py owner/name - --column text --all-classes

MODEL is a folder that save_pretrained wrote, or a name on the Hugging Face hub. The input is UTF-8: .csv, .tsv or .jsonl by
its name, else a sentence a line, or with --column what it looks like. A row without text is kept, without a verdict.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from bookkeeping import SeriesError
from bookkeeping.tables import as_text, chunks, decoded, read_rows


def command_line():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="folder of a trained model, or its name on the Hugging Face hub")
    parser.add_argument("input", metavar="FILE", help="lines of text, CSV or JSON lines; - is standard input")
    parser.add_argument("--column", help="the column that holds the text (default: the only one)")
    parser.add_argument("--output", metavar="FILE", help="where the rows go (default: standard output)")
    parser.add_argument("--force", action="store_true", help="replace --output if it is there")
    parser.add_argument(
        "--format", choices=["csv", "jsonl"], help="of what is written (default: that of the input, or csv)"
    )
    parser.add_argument("--all-classes", action="store_true", help="a column for the probability of each class")
    parser.add_argument("--prefix", default="", help="in front of the names of the columns that are added")
    parser.add_argument(
        "--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help="default: %(default)s"
    )
    return parser


def opened(options):
    """The input as a binary file. Raises SeriesError if it is not there, or the output is."""
    output = options.output and Path(options.output)
    if output and output.exists():
        if not options.force:
            raise SeriesError(f"{output} is there already: expected another --output, or --force to replace it.")
        if os.path.exists(options.input) and output.samefile(options.input):
            raise SeriesError(f"{output} is the input: expected another --output.")
    if options.input == "-":
        return sys.stdin.buffer
    if not os.path.exists(options.input) or os.path.isdir(options.input):  # a named pipe will do
        raise SeriesError(
            f"there is no file {options.input}: expected lines of text, CSV or JSON lines, or - for standard input."
        )
    return open(options.input, "rb")


def counted(lines, bar):
    """The lines, each counted by the progress bar as it is read."""
    for line in lines:
        bar.update(len(line))
        yield line


@contextlib.contextmanager
def uninterrupted():
    """Ctrl-C and a polite kill wait for the end of the block; a second one does not."""
    asked = []

    def once(*at):
        if asked:
            raise KeyboardInterrupt
        asked.append(at)

    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt


def add_verdicts(rows, column, judge, names, added):
    """Give each row the columns `added`, None where it has no text; returns how many have one."""
    for row in rows:
        if clash := row.keys() & set(added):
            raise SeriesError(
                f"the input has a column {min(clash)!r} already: expected a --prefix for those that are added."
            )
        row.update(dict.fromkeys(added))
    judged = [row for row in rows if row[column] and row[column].strip()]
    for row, classes in zip(judged, judge([row[column] for row in judged]).tolist() if judged else []):
        best = classes.index(max(classes))
        row.update(zip(added, [names[best], *(round(p, 6) for p in [classes[best], *classes])]))  # as many as there are
    return len(judged)


def predict(options, done):
    """Read, judge, write; returns a sentence about it. `done` counts what is written: {"rows", "judged"}."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(opened(options))
        name = "standard input" if options.input == "-" else options.input
        quiet = not options.output and sys.stdout.isatty()  # rows on a terminal are progress enough
        size = os.fstat(source.fileno()).st_size or None  # a pipe has none
        bar = stack.enter_context(tqdm(total=size, unit="B", unit_scale=True, disable=quiet or None))
        lines = decoded(counted(source, bar), name)
        rows, column, kind = read_rows(lines, name, options.column)
        parts = chunks(rows, column, name)
        parts = chain([next(parts, [])], parts)  # what is wrong at the top is said before a model is loaded
        from lesson.judging import Judge, load

        judge, columns, began = Judge(*load(options.model), options.precision), None, time.perf_counter()
        names = [judge.config.id2label[i] for i in range(judge.config.num_labels)]
        each = [f"probability_{name}" for name in names if options.all_classes]
        added = [options.prefix + name for name in ["prediction", "probability", *each]]
        output = sys.stdout.buffer
        if options.output:
            output = stack.enter_context(open(options.output, "wb" if options.force else "xb"))
        for part in filter(None, parts):
            judged = add_verdicts(part, column, judge, names, added)
            text, columns = as_text(part, options.format or kind, columns), columns or list(part[0])
            with uninterrupted():
                output.write(text.encode())
                output.flush()
                done["rows"] += len(part)
                done["judged"] += judged
            bar.set_postfix_str(f"{done['rows']:,} rows")
    return summary(judge, done, time.perf_counter() - began)


def summary(judge, done, seconds):
    without = done["rows"] - done["judged"]
    rows = f"{done['rows']:,} row" + "s" * (done["rows"] != 1) + (f", {without:,} without text" if without else "")
    rows += f", {judge.cut:,} cut to {judge.limit:,} tokens" if judge.cut else ""
    return f"{rows}; {done['judged'] / seconds:,.0f} a second on {judge.about}"


def main(arguments):
    options, done = command_line().parse_args(arguments), {"rows": 0, "judged": 0}
    try:
        print(predict(options, done), file=sys.stderr)
        return 0
    except BrokenPipeError:  # the reader, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE
    except KeyboardInterrupt:
        problem, code = "stopped.", 130
    except (SeriesError, OSError) as error:
        problem, code = str(error), 2
    so_far = f" {done['rows']:,} rows are written." if done["rows"] else ""
    print(f"predict.py: {problem}{so_far}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # for --help: on Windows a pipe or a file knows 200 characters
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
