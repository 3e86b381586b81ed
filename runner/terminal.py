"""How things are said on the terminal: times, paths, tables, and a line that keeps itself up to date."""

import contextlib
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def shown(path):
    """A path as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)


def print_rows(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def bar(done, total):
    return f"{'━' * (24 * done // total):╌<24} {done}/{total}"


def showing(line):
    """Keep the text that line() gives up to date on a terminal; leave it out where the output goes to a file."""
    if not console.is_terminal:
        return contextlib.nullcontext()

    def text():
        return Text(line(), no_wrap=True, overflow="ellipsis")

    return Live(get_renderable=text, console=console, refresh_per_second=2, transient=True)
