"""How a run is begun, gone on with, or begun anew: a run folder from wherever it stands to its end."""

import datetime
import os
import shutil
import time
from dataclasses import replace

from bookkeeping.files import patiently, write_json
from bookkeeping.reading import READERS
from runner.execution import execute_notebook
from runner.locks import in_turn
from runner.notebooks import TRAINING
from runner.state import (
    code_changed,
    content_of,
    finished_otherwise,
    is_finished,
    made_by_hand,
    stamp_of,
    state_of,
    still_done,
    write_state,
)
from runner.terminal import duration, shown


def execute_run(run, call, say=None):
    """Bring a run folder to its end, when nobody else is at work in it; return its state. Here or on a cluster's worker."""
    with in_turn(run.folder, call, say):
        state = state_of(run)
        if state.get("call") != call.alive.name and (why := finished_otherwise(run, state)):
            return {"status": "failed", "error": why}  # not written down: the folder is another call's
        return bring_to_end(run, call, say)


def bring_to_end(run, call, say=None):
    """Bring a run folder to its end from wherever it stands; return its state. The caller owns the folder."""
    call.check()
    state = state_of(run)
    ours = state.get("call") == call.alive.name
    if is_finished(run, state) and (ours or not call.again) or ours and state.get("status") == "failed":
        return state
    state = state_to_go_on_from(run, call, state, say)
    if state["threads"]:
        call = replace(call, environment=call.environment | {"OMP_NUM_THREADS": state["threads"]})
    for notebook in run.notebooks:
        if notebook in state["notebooks"] or state["status"] == "failed":
            continue
        write_state(run, state | {"status": "running", "notebook": notebook, "before": stamp_of(run, notebook)})
        begin = time.time()
        if error := execute_notebook(notebook, {"RUN": run.name} | run.asked[notebook], run.folder, call):
            executed = run.folder / "notebooks" / f"{notebook}.ipynb"
            state |= {"status": "failed", "notebook": notebook, "error": error, "executed": str(executed)}
        else:
            state["notebooks"][notebook] = round(time.time() - begin, 1)
            if say:
                say(f"{notebook:<22} {duration(state['notebooks'][notebook])}")
    if state["status"] != "failed":
        state |= {"status": "finished", "finished": datetime.datetime.now().astimezone().isoformat(" ", "seconds")}
    write_state(run, state)  # last: until then the run is a half-finished one
    if state["status"] == "finished":
        shutil.rmtree(kept_aside(run), ignore_errors=True)
    return state


def state_to_go_on_from(run, call, state, say):
    """The state of an unfinished run as this call takes it up: as it was left, or anew where that no longer fits."""
    done = still_done(run, state)
    known = [name for name in run.notebooks if name in state.get("notebooks", {}) and name not in READERS]
    stale = state.get("status") == "finished" and (call.again or len(done) < len(known))
    if stale or len(done) < (len(run.parent.notebooks) if run.parent else 1):
        state = begin_run(run, call, state, say)
    else:
        if len(done) == len(run.notebooks):
            done = state["notebooks"]  # --until is shorter than it was
        if say:
            say(f"going on: {', '.join(done)} had finished")
        state = {key: state.get(key) for key in ("parameters", "code", "threads")} | {
            "notebooks": done,
            "status": "running",
        }
    if code_changed(run, state, [TRAINING]):
        (run.folder / "checkpoint.pt").unlink(missing_ok=True)  # training would go on with other code
    state["call"] = call.alive.name
    state["parameters"] |= run.parameters  # where --until is shorter now, those of later notebooks stay
    state["code"] |= run.code
    return state


def begin_run(run, call, before, say):
    """The state of a run at its beginning, in a folder that is empty or a copy of its parent's; `before`: as it was."""
    state = {"status": "running", "notebooks": {}, "parameters": {}, "code": before.get("code", {})}
    # as many threads when it goes on: sums of other parts round to other results
    state["threads"] = call.environment.get("OMP_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    if before.get("status") == "finished" or made_by_hand(run, before):
        set_aside(run, say)
    (run.folder / "run.json").unlink(missing_ok=True)  # first: without state.json it means a run made by hand
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_state(run, state | {"call": call.alive.name, "notebook": "begins"})
    if run.parent:
        parent = execute_run(run.parent, call)
        if parent["status"] == "failed":
            return state | {key: parent[key] for key in ("status", "notebook", "error", "executed")}
        state["notebooks"] = dict(parent["notebooks"])
        ours = shutil.ignore_patterns("state.json", "run.log")
        shutil.copytree(run.parent.folder, run.folder, ignore=ours, dirs_exist_ok=True)
        record = content_of(run.folder / "run.json")
        write_json(run.folder / "run.json", record | {"run": run.name}, sealed=True)
    return state


def kept_aside(run):
    """The folder that keeps what stood in a run folder before, until the new run has finished."""
    return run.folder.parent / ".before" / run.folder.name


def set_aside(run, say):
    kept = kept_aside(run) / datetime.datetime.now().strftime("%Y-%m-%dT%H.%M.%S")
    kept.parent.mkdir(parents=True, exist_ok=True)
    patiently(lambda: os.replace(run.folder, kept))
    if say:
        say(f"what stood in {run.name} is kept in {shown(kept)} until this run has finished")
