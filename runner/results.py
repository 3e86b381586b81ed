"""What runs gave, or why they failed, in words and rows of text."""

from pathlib import Path

from runner.notebooks import EVALUATION
from runner.state import is_finished, metrics_of, state_of
from runner.terminal import duration, shown


def score(metrics):
    """(MCC, interval, accuracy, the majority class' accuracy) of the test set, as text; dashes where unknown."""
    test = metrics.get("test", {})
    if not test:
        return ["–"] * 4
    low, high = test["mcc_interval"]
    of_two = max(test["positives"], test["n"] - test["positives"]) / test["n"]  # in older metrics.json
    majority = test.get("majority", {}).get("accuracy", of_two)
    return [f"{test['mcc']:.3f}", f"{low:.3f} to {high:.3f}", f"{test['accuracy']:.3f}", f"{majority:.3f}"]


def seconds_of(state):
    return duration(sum(state.get("notebooks", {}).values()))


def headline(run):
    """What a finished run gave, in a line without its time."""
    if EVALUATION not in run.notebooks:
        return f"{run.folder.name}: {run.notebooks[-1]} done"
    mcc, interval, *_ = score(metrics_of(run))
    return f"{run.folder.name}: test MCC {mcc} ({interval})"


def ending(run, state):
    if state["status"] == "failed":
        return f"{run.folder.name}: FAILED: {state['error'].splitlines()[0]}"
    return f"{headline(run)}, {seconds_of(state)}"


def about_rows(run, state):
    """[name, value] of what a finished run worked with."""
    names = ("corpus", "model", "device") if EVALUATION in run.notebooks else ()
    return [*([name, str(metrics_of(run).get(name, "–"))] for name in names), ["time", seconds_of(state)]]


def score_rows(run):
    """[name, value] of how well the model of a finished run judges; [] where it was not evaluated."""
    if EVALUATION not in run.notebooks:
        return []
    mcc, interval, accuracy, majority = score(metrics_of(run))
    return [
        ["test MCC", f"{mcc}  (95 % interval {interval}; accuracy {accuracy})"],
        ["majority class", f"0.000  (accuracy {majority})"],
    ]


def sweep_rows(runs):
    """The runs of a sweep with their scores, below the names of the columns."""
    rows = [["run", "test MCC", "95 % interval", "accuracy", "majority", "validation MCC", "time"]]
    for run in runs:
        state, metrics = state_of(run), metrics_of(run)
        if not is_finished(run, state):
            rows.append([run.folder.name, state.get("status", "not begun"), *[""] * 5])
            continue
        validation = metrics.get("validation", {}).get("mcc")
        best = "–" if validation is None else f"{validation:.3f}"
        rows.append([run.folder.name, *score(metrics), best, seconds_of(state)])
    return rows


def print_failures(runs):
    """List the failed runs with their errors, like ones together; returns how many there are."""
    failed = [(run, state) for run in runs if (state := state_of(run)).get("status") == "failed"]
    reasons = {}
    for run, state in failed:
        reasons.setdefault((state.get("notebook"), state["error"]), []).append((run, state))
    for (run, state), *others in reasons.values():
        print_failure(run, state)
        if others:
            print(f"  and so did {len(others)} more, for the same reason")
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed. The same command with --retry-failed repeats just those.")
    return len(failed)


def print_failure(run, state):
    notebook = state.get("notebook")
    print(f"\n{run.name} failed{f' in {notebook}' if notebook in run.notebooks else ''}:")
    print("  " + state["error"].replace("\n", "\n  "))
    executed = Path(state.get("executed", run.folder / "notebooks" / f"{notebook}.ipynb"))  # a parent's, perhaps
    for what, path in [("executed notebook", executed), ("log", executed.parent.parent / "run.log")]:
        if path.exists():
            print(f"  {what}: {shown(path)}")
