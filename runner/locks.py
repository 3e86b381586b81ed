"""Who is at work: one call at a time in a run folder, and nothing goes on when its call has ended."""

import contextlib
import itertools
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from runner import paths
from runner.terminal import shown


class Stopped(Exception):
    """The call that this run belongs to has ended."""


@dataclass(frozen=True)
class Call:
    """What all runs of one call of this program share. Its file is there as long as the call lives."""

    alive: Path
    processes: int = 1
    environment: dict = field(default_factory=dict)

    def check(self):
        if not self.alive.exists():
            raise Stopped("the call that asked for this run has ended, or its disk is not shared with this machine")


@contextlib.contextmanager
def calling(**options):
    folder = paths.RUNS / ".calls"
    folder.mkdir(parents=True, exist_ok=True)
    call = Call(folder / uuid.uuid4().hex, **options)
    call.alive.touch()
    try:
        yield call
    finally:
        call.alive.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder, call, say=None):
    """One process at a time in a folder, on this machine or on another that shares the disk."""
    locks = paths.RUNS / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / str(folder.relative_to(paths.RUNS)).replace(os.sep, "+"), poll_interval=0.1)
    for attempt in itertools.count():
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            call.check()
            if say and attempt == 0:
                say(f"waiting for another call that is at work in {shown(folder)}")
    try:
        yield
    finally:
        lock.release()
