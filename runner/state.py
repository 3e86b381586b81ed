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


def still_done(run, state, code_matters=True):
    """{notebook: seconds} of those, from the first on, that finished with the parameters, and the code, of `run`.

    What counts is also what the notebooks recorded themselves in run.json: they may have been run by hand since.
    """
    recorded = content_of(run.folder / "run.json").get("notebooks")
    then, done = state.get("parameters", {}), {}
    for notebook in run.notebooks:
        values = run.values[notebook]
        records = [then]
        if recorded is not None:
            records += [recorded.get(notebook, {}).get("parameters", dict.fromkeys(values, ...))]
        same = all(record.get(name, value) == value for record in records for name, value in values.items())
        vouched = recorded is None or notebook in recorded
        if notebook not in state.get("notebooks", {}) or not same or not vouched:
            break
        if code_matters and code_changed(run, state, [notebook]):
            break
        done[notebook] = state["notebooks"][notebook]
    return done


def is_finished(run, state):
    return state.get("status") == "finished" and len(still_done(run, state, code_matters=False)) == len(run.notebooks)


def changed_by_hand(run, state):
    """Whether a notebook of a run folder was executed by hand, with other parameters, since the runner finished it."""
    known = [notebook for notebook in run.notebooks if notebook in state.get("notebooks", {})]
    done = still_done(run, state, code_matters=False)
    return state.get("status") == "finished" and len(done) < len(known) and not differences(run, state)


def made_by_hand(run, state):
    return not state and (run.folder / "run.json").exists()


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
