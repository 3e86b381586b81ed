"""What is done of a run: state.json, the runner's own record of a run folder."""

import traceback

from bookkeeping.files import read_json, write_json


def content_of(path):
    """What a JSON file of a run folder holds; {} where it is missing or damaged, which makes a run begin anew."""
    try:
        return read_json(path)
    except ValueError:
        return {}


def state_of(run):
    """{} or {"status", "parameters", "notebooks": {finished: seconds}, "code", …}."""
    return content_of(run.folder / "state.json")


def metrics_of(run):
    return content_of(run.folder / "metrics.json")


def write_state(run, state):
    write_json(run.folder / "state.json", state)


def differences(run, state):
    """{name: (then, now)} of the parameters of a run folder that are not those of `run`."""
    then, now = state.get("parameters", {}), run.parameters
    return {name: (then[name], now[name]) for name in then.keys() & now.keys() if then[name] != now[name]}


def is_finished(run, state):
    same_end = set(run.notebooks) <= state.get("notebooks", {}).keys()
    return state.get("status") == "finished" and same_end and not differences(run, state)


def code_changed(run, state, notebooks):
    """Whether one of these notebooks has other code now than when this run folder was last at work."""
    then, now = state.get("code", {}), run.code
    return any(then[name] != now[name] for name in notebooks if name in then and name in now)


def broken_off(run, error):
    """The state of a run that ended by an error of ours, not of a notebook; the traceback goes to its log."""
    state = state_of(run) | {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    run.folder.mkdir(parents=True, exist_ok=True)
    write_state(run, state)
    with open(run.folder / "run.log", "a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    return state
