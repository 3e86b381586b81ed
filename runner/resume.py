"""How a run is begun, gone on with, or begun anew: a run folder from wherever it stands to its end."""

import shutil
import time

from bookkeeping.files import write_json
from runner.execution import execute_notebook
from runner.locks import locked
from runner.notebooks import TRAINING
from runner.state import code_changed, content_of, differences, is_finished, state_of, write_state
from runner.terminal import duration


def execute_run(run, call, say=None, fresh=False):
    """Bring a run folder to its end from wherever it stands; return its state. Runs here or on a cluster's worker."""
    with locked(run.folder, call, say):
        call.check()
        state = state_of(run)
        failed_in_this_call = state.get("status") == "failed" and state.get("call") == call.alive.name
        if not fresh and (is_finished(run, state) or failed_in_this_call):
            return state
        state = state_to_go_on_from(run, call, fresh, state)
        for notebook in run.notebooks:
            if notebook in state["notebooks"] or state["status"] == "failed":
                continue
            write_state(run, state | {"status": "running", "notebook": notebook})
            parameters = {name: run.asked[name] for name in run.values[notebook] if name in run.asked}
            begin = time.time()
            if error := execute_notebook(notebook, {"RUN": run.name} | parameters, run.folder, call):
                executed = run.folder / "notebooks" / f"{notebook}.ipynb"
                state |= {"status": "failed", "notebook": notebook, "error": error, "executed": str(executed)}
            else:
                state["notebooks"][notebook] = round(time.time() - begin, 1)
                if say:
                    say(f"{notebook:<22} {duration(state['notebooks'][notebook])}")
        if state["status"] != "failed":
            state["status"] = "finished"
        write_state(run, state)  # last: until then the run is a half-finished one
        return state


def state_to_go_on_from(run, call, fresh, state):
    """The state of an unfinished run as this call takes it up: as it was left, or anew where that no longer fits."""
    done = state.get("notebooks")
    if fresh or not done or differences(run, state) or code_changed(run, state, done):
        state = begin_run(run, call, fresh, state.get("code", {}))
    else:
        state = {key: state[key] for key in ("notebooks", "parameters", "code")} | {"status": "running"}
    if code_changed(run, state, [TRAINING]):
        (run.folder / "checkpoint.pt").unlink(missing_ok=True)  # training would go on with other code
    state["call"] = call.alive.name
    state["parameters"] |= run.parameters  # where --until is shorter now, those of later notebooks stay
    state["code"] |= run.code
    return state


def begin_run(run, call, fresh, code):
    """The state of a run at its beginning, in a folder that is empty or a copy of its parent's; `code` as it was."""
    state = {"status": "running", "notebooks": {}, "parameters": {}, "code": code}
    if fresh:  # what the notebooks left stays: they say themselves what of it is stale
        for old in ("run.log", "report.html", "metrics.json"):
            (run.folder / old).unlink(missing_ok=True)
        shutil.rmtree(run.folder / "notebooks", ignore_errors=True)
    else:
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
        write_json(run.folder / "run.json", record | {"run": run.name})
    return state
