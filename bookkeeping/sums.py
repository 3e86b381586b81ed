"""SHA-256 of the files that a run vouches for. No format but a zip notices a damaged byte by itself: ids and weights would be others."""

import hashlib
from pathlib import Path


def sha256(path):
    """Hexadecimal SHA-256 of a file (02_load_cola)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums(path, name):
    """{name: SHA-256} of a file, or of those in a folder, each with `name` and a slash before its own."""
    inside = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    return {Path(name, one.relative_to(path)).as_posix(): sha256(one) for one in inside}


def content_sum(path, most_bytes):
    """SHA-256 of a file, or of the names and the content of those in a folder; of more than `most_bytes` there, their size."""
    if path.is_file():
        return sha256(path)
    inside = sorted(one for one in path.rglob("*") if one.is_file())
    size = {one: one.stat().st_size for one in inside}
    about = [(str(one.relative_to(path)), sha256(one) if size[one] <= most_bytes else size[one]) for one in inside]
    return hashlib.sha256(repr(about).encode()).hexdigest()


def changed_file(folder, files, most_bytes=float("inf")):
    """The first of `files`, {name: SHA-256}, that is not in `folder` as it was written, or None.

    Files of more than `most_bytes`, or with None for a sum, only have to be there.
    """
    for name, before in files.items():
        path = Path(folder, name)
        if not path.is_file() or before and path.stat().st_size <= most_bytes and sha256(path) != before:
            return name
    return None
