"""Files that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from bookkeeping import SeriesError


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`, which takes its name if the block succeeds (02_load_cola).

    So a file or a folder appears whole or not at all, whenever the process is killed.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        if path.is_dir():
            patiently(lambda: remove(path))
        patiently(lambda: os.replace(new, path))
    finally:
        with contextlib.suppress(
            OSError
        ):  # such as of a disk that cannot be written, whose error is on its way already
            remove(new)


@contextlib.contextmanager
def writing(folder):
    """Say in one SeriesError where files cannot be written and how much room is there, as on a full or locked disk."""
    try:
        yield
    except BrokenPipeError:  # of whom reads what is printed
        raise
    except OSError as error:
        there = next(place for place in (folder, *folder.parents) if place.is_dir())
        free = f"{shutil.disk_usage(there).free / 1e6:,.1f} MB are free in {there}"
        raise SeriesError(
            f"{error.filename2 or error.filename or folder}: {error.strerror or error} ({free}). Expected a place where files "
            "can be written: make room, or set BERT_RUNS to a folder of yours on another disk."
        ) from error


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def write_json(path, content, sealed=False):
    """Write `content` to `path` as indented JSON, whole or not at all; sealed: with a checksum that read_json looks at."""
    if sealed:
        content = content | {"checksum": _checksum(content)}
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path):
    """What a JSON file holds, without its checksum; {} where it is missing. Raises ValueError where it is damaged."""
    try:
        content = json.loads(patiently(lambda: Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    if isinstance(content, dict) and content.pop("checksum", None) not in (None, _checksum(content)):
        raise ValueError("its checksum is of other content")
    return content


def _checksum(content):
    """16 hexadecimal digits of JSON content, however it is laid out."""
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def patiently(action):
    """action(). On Windows a file that another process has open cannot be replaced, or read just then: try for 1 s."""
    for _ in range(10):
        with contextlib.suppress(PermissionError):
            return action()
        time.sleep(0.1)
    return action()
