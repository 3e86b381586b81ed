"""What is done of a run: state.json, the runner's own record of a run folder."""

import traceback

from bookkeeping.files import read_json, write_json
from bookkeeping.reading import READERS
from bookkeeping.sums import changed_file
from runner.terminal import shown

LARGE = 10_000_000  # bytes; a sweep of a hundred runs is not read through to say that it is finished


def content_of(path):
    """What a JSON file of a run folder holds; {} where it is missing or damaged, which makes a run begin anew."""
    try:
        content = read_json(path)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def state_of(run):
    """{} or {"status", "parameters", "notebooks": {finished: seconds}, "code", …}."""
    return content_of(run.folder / "state.json")


def metrics_of(run):
    return content_of(run.folder / "metrics.json")


def write_state(run, state):
    write_json(run.folder / "state.json", state, sealed=True)


def differences(run, state):
    """{name: (then, now)} of the parameters of a run folder that are not those of `run`."""
    then, now = state.get("parameters", {}), run.parameters
    return {name: (then[name], now[name]) for name in then.keys() & now.keys() if then[name] != now[name]}


def finished_otherwise(run, state):
    """Why a folder of a sweep is not ours to begin anew: it holds a finished run with other parameters. Else None."""
    if state.get("status") != "finished" or not (changed := differences(run, state)):
        return None
    was = ", ".join(f"{key} {then!r} (now {now!r})" for key, (then, now) in sorted(changed.items()))
    return f"{shown(run.folder)} holds a finished run with {was}: choose another --sweep, or delete it"


def still_done(run, state, going_on=True):
    """{notebook: seconds} of those, from the first on, that finished with the parameters, and the code, of `run`.

    What counts is also what the notebooks recorded themselves in run.json: they may have been run by hand since. Their files
    have to be as they were written; not `going_on`, the code does not matter, and what is large only has to be there.
    """
    recorded = _recorded(run)
    then, files, done = state.get("parameters", {}), recorded.get("files", {}), {}
    for notebook in run.notebooks:
        values = run.values[notebook]
        records = [then]
        reads = notebook in READERS
        if "notebooks" in recorded and not reads:
            records += [recorded["notebooks"].get(notebook, {}).get("parameters", dict.fromkeys(values, ...))]
        same = all(record.get(name, value) == value for record in records for name, value in values.items())
        vouched = reads or notebook in recorded.get("notebooks", [notebook])
        seconds, record = state.get("notebooks", {}).get(notebook), recorded.get("notebooks", {}).get(notebook, {})
        if seconds is None and _was_ending(state, notebook, record):
            seconds = record["seconds"]
        if seconds is None or not same or not vouched:
            break
        if going_on and code_changed(run, state, [notebook]):
            break
        if changed_file(run.folder, files.get(notebook, {}), float("inf") if going_on else LARGE):
            break
        done[notebook] = seconds
    return done


def _was_ending(state, notebook, record):
    """Whether a notebook had recorded its results when its call was killed: only cells that show more were left."""
    at_work = (state.get("status"), state.get("notebook")) == ("running", notebook)
    return at_work and record.get("finished") not in (None, state.get("before"))


def stamp_of(run, notebook):
    """When a notebook last recorded its results in a run folder, as run.json says it, or None."""
    return _recorded(run).get("notebooks", {}).get(notebook, {}).get("finished")


def _recorded(run):
    try:
        return read_json(run.folder / "run.json")
    except ValueError:
        return {"notebooks": {}}  # a damaged one vouches for nothing


def is_finished(run, state):
    return state.get("status") == "finished" and len(still_done(run, state, going_on=False)) == len(run.notebooks)


def changed_by_hand(run, state):
    """Whether a notebook of a run folder was executed by hand, with other parameters, since the runner finished it."""
    known = [notebook for notebook in run.notebooks if notebook in state.get("notebooks", {})]
    done = still_done(run, state, going_on=False)
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
