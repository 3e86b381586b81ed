"""A copy of the model in a folder of the reader's: whole or not at all, never mixed with what is there (06_save_and_load)."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from bookkeeping import SeriesError
from bookkeeping.files import read_json, remove, replacing, write_json
from bookkeeping.sums import sha256

ROOT = Path(__file__).resolve().parent.parent
MARK = "export.json"  # {"run": of which the copy is, "files": {name: SHA-256}}: by it an earlier export is known


def destination(export_dir, run_folder):
    """The folder that EXPORT_DIR means, a Path, or None for None (06_save_and_load).

    A relative path starts at the project. Raises SeriesError if the copy cannot be made, before any work is done.
    """
    if export_dir is None:
        return None
    try:
        target = (ROOT / Path(export_dir).expanduser()).resolve()
        _refuse_what_is_not_ours(target, export_dir)
        there = [folder for folder in (target, *target.parents) if folder.exists()]
        for folder in there[: 1 + target.exists()]:  # what is replaced, and where it stands
            tempfile.TemporaryDirectory(dir=folder).cleanup()
        needed = sum(path.stat().st_size for path in (run_folder / "model").glob("*"))
        free = shutil.disk_usage(there[0]).free
    except (OSError, RuntimeError, ValueError) as error:
        raise SeriesError(
            f"EXPORT_DIR is {export_dir!r}, which cannot be written ({getattr(error, 'strerror', None) or error}): "
            "expected a folder, or a name for one, in a place where you may write."
        ) from None
    if run_folder.resolve() in (target, *target.parents):
        raise SeriesError(
            f"EXPORT_DIR is {export_dir!r}, in the run folder: expected a folder that no notebook replaces."
        )
    if free < needed:
        raise SeriesError(
            f"EXPORT_DIR is {export_dir!r}, where {free / 1e6:,.0f} MB are free: expected {needed / 1e6:,.0f} MB for the "
            "model. Make room, or name another place."
        )
    return target


def check_model(run, *made_for):
    """Raise SeriesError unless what was made for these runs is of `run`'s model as well (06_save_and_load).

    Another EXPORT_DIR makes no other model: who only wants a copy need not judge and save again.
    """
    for other in made_for:
        if (other.name, other.records["04_train"]) != (run.name, run.records["04_train"]):
            raise SeriesError(
                f"this notebook was begun for {_trained(run)}, and what was made since is of {_trained(other)}: run it again "
                "from its parameters on."
            )


def _trained(run):
    return f"the run {run.name!r}, trained {run.records['04_train']['finished']}"


def fresh_process(program, question):
    """What a Python `program` answers in a process of its own: JSON in on stdin, JSON out on stdout (06_save_and_load)."""
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, input=json.dumps(question), capture_output=True, text=True)
    if done.returncode:
        raise SeriesError(f"the fresh process failed:\n{done.stderr}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def copied(saved, target, run):
    """Yield a copy of the folder `saved` beside `target`, whose place it takes if the block succeeds (06_save_and_load).

    Its files are as readable as the umask lets new files be: safetensors leaves weights readable by their owner alone.
    """
    try:
        _refuse_what_is_not_ours(target, str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*"):  # by a process that was killed while it copied
            if left.suffix[1:].isdigit() and not psutil.pid_exists(int(left.suffix[1:])):
                remove(left)
        with replacing(target) as new:
            new.mkdir()
            for path in saved.iterdir():
                shutil.copyfile(path, new / path.name)
            yield new
            name = Path(run).name if os.path.isabs(run) else run  # a place on this disk is nobody's business
            write_json(new / MARK, {"run": name, "files": {path.name: sha256(path) for path in new.iterdir()}})
    except OSError as error:
        raise SeriesError(
            f"the copy to {target} failed ({error.strerror or error}): make room there, or take another EXPORT_DIR."
        ) from None


def _refuse_what_is_not_ours(target, export_dir):
    """SeriesError unless `target` is free, an empty folder, or what an earlier export left, unchanged."""
    if os.path.ismount(target):
        raise SeriesError(f"EXPORT_DIR is {export_dir!r}, where a disk is mounted: expected a folder on it.")
    if target.exists() and not target.is_dir():
        raise SeriesError(f"EXPORT_DIR is {export_dir!r}, which is a file: expected a folder, or a name that is free.")
    inside = sorted(target.iterdir()) if target.exists() else []
    if others := [path.name for path in inside if not _ours(path)]:
        raise SeriesError(
            f"EXPORT_DIR is {export_dir!r}, a folder that holds {', '.join(others[:5])}{' …' * (len(others) > 5)}: expected "
            "one that is new, empty, or as an earlier export left it. Name another, or move what is in it."
        )


def _ours(path):
    """Whether an earlier export left this file, or is the mark that one leaves."""
    try:
        marked = read_json(path.with_name(MARK))["files"]
        return path.name == MARK or marked.get(path.name) == sha256(path)
    except (AttributeError, KeyError, TypeError, ValueError, IsADirectoryError):  # no mark, or somebody else's
        return False
