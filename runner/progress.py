"""Runs on their way: what is printed as each ends, and on a terminal a line on where all of it stands."""

import concurrent.futures
import re
import time

from runner.execution import text_of
from runner.notebooks import cells_of
from runner.results import ending
from runner.resume import bring_to_end
from runner.state import broken_off, state_of
from runner.terminal import bar, console, duration, showing


def run_series(run, call):
    """One run, here, with a bar, in a folder that the caller owns; returns its state."""
    total = sum(len(cells_of(notebook)) + 1 for notebook in run.notebooks)  # papermill adds one with the parameters
    started = time.time()

    def line():
        log = text_of(run.folder / "run.log")
        done = min(total, len(re.findall("^Ending Cell ", log, re.MULTILINE)))  # a call before may have broken off
        ours = r"(Executing|Ending) Cell|\[IPKernelApp\]|\s*$"  # papermill's lines, the kernel's farewell, empty ones
        last = [text for text in log.splitlines() if not re.match(ours, text)]
        what = f"{state_of(run).get('notebook', '')}  {bar(done, total)}"
        return f"{what}  {duration(time.time() - started)}  {''.join(last[-1:])}"

    with showing(line):
        return bring_to_end(run, call, say=console.print)


def run_sweep(open_runs, call, submit):
    """Execute runs side by side, each as the future of submit(run, call); a line for every run that ends."""
    started, total, ended, failed = time.time(), len(open_runs), 0, 0

    def standing():
        """(the runs that go on, the time gone and left), as text."""
        states = [(run, state_of(run)) for run in open_runs]
        ours = [(run, state) for run, state in states if state.get("call") == call.alive.name]
        now = [f"{run.folder.name} {state['notebook']}" for run, state in ours if state["status"] == "running"]
        passed, done = time.time() - started, ended + len(now) / 2  # a run that goes on is half done, on the average
        left = f", about {duration(passed * (total - done) / done)} left" if 0 < ended < total else ""
        return now, f"{duration(passed)} gone{left}"

    def line():
        now, times = standing()
        counts = f"{ended - failed} done, {len(now)} running, {failed} failed"
        return f"{bar(ended, total)}  {counts}  {times}  {' · '.join(now)}"

    with showing(line):
        try:
            waiting = {submit(run, call): run for run in open_runs}
            for future in concurrent.futures.as_completed(waiting):
                run, error = waiting[future], future.exception()
                state = broken_off(run, error) if error else future.result()
                ended, failed = ended + 1, failed + (state["status"] == "failed")
                console.print(f"[{ended}/{total}] {ending(run, state)}; {standing()[1]}")
        except BaseException:
            call.alive.unlink(missing_ok=True)  # so all that still runs ends now, wherever it does
            raise
