"""Who is at work: one call at a time in a run folder, and nothing goes on when its call has ended."""

import contextlib
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from bookkeeping import SeriesError, locks
from runner import paths
from runner.leftovers import clear

BEAT, SILENCE = 5, 600  # seconds between the signs of life of a call, and without one until it counts as dead
_beats = {}  # {file of a call: (its last sign of life, when we saw it)}


class Stopped(Exception):
    """The call that this run belongs to has ended."""


@dataclass(frozen=True)
class Call:
    """What all runs of one call of this program share. Its file is there, and touched, as long as the call lives."""

    alive: Path
    processes: int = 1
    again: bool = False  # whether what is finished is repeated
    environment: dict = field(default_factory=dict)

    def check(self):
        """Raise Stopped if the call has ended. Only this machine's clock is asked: others on the disk may have another."""
        try:
            beat = self.alive.stat().st_mtime
        except FileNotFoundError:
            beat = None
        seen, when = _beats.get(self.alive, (None, 0.0))
        if beat is not None and beat != seen:
            _beats[self.alive] = (beat, time.monotonic())
        elif beat is None or time.monotonic() - when > SILENCE:
            raise Stopped("the call that asked for this run has ended, or its disk is not shared with this machine")


@contextlib.contextmanager
def calling(**options):
    folder = paths.RUNS / ".calls"
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    call = Call(folder / f"{socket.gethostname()},{os.getpid()},{uuid.uuid4().hex}", **options)
    call.alive.touch()
    ended = threading.Event()

    def beat():
        while not ended.wait(BEAT) and call.alive.exists():
            with contextlib.suppress(OSError):
                os.utime(call.alive)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield call
    finally:
        ended.set()
        call.alive.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder):
    """Own a run folder. Raises SeriesError that says who is at work there, if somebody is."""
    lock = locks.acquire(folder, "run.py")
    try:
        yield
    finally:
        if lock:
            lock.release()


@contextlib.contextmanager
def in_turn(folder, call, say=None):
    """Own a run folder as soon as nobody else does: runs of one sweep may be asked for by several calls."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(alone(folder))
                break
            except SeriesError as busy:
                call.check()
                if say:
                    say(f"waiting: {str(busy).partition('. ')[0]}")
                    say = None
                time.sleep(0.2)
        yield
