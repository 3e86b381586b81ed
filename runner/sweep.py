"""A sweep: the runs of a grid, each in a folder of its own; what is finished is not repeated."""

import os

from bookkeeping import SeriesError
from bookkeeping.folders import check_apart
from bookkeeping.parameters import typed
from runner import paths
from runner.ahead import look_ahead
from runner.comparison import compare
from runner.grid import make_grid
from runner.locks import calling
from runner.notebooks import EVALUATION, chosen
from runner.parameters import check_place
from runner.places import place_of
from runner.progress import run_sweep
from runner.results import print_failures, sweep_rows
from runner.state import changed_by_hand, code_changed, finished_otherwise, is_finished, made_by_hand, state_of
from runner.terminal import console, print_rows, shown

FOR_WORKERS = ("BERT_DATA", "HF_HUB_OFFLINE", "ACCELERATE_USE_CPU")  # what a cluster's workers are told of this call
ONE_MODEL = ("EXPORT_DIR", "PUSH_TO")  # each run of a sweep would replace what the one before put there


def sweep(options, values, notebooks):
    """A grid of runs, then the notebooks that compare them. Returns the exit code."""
    name = typed("SWEEP", "sweep" if options.sweep is None else options.sweep)
    stems = chosen(notebooks, options.until, EVALUATION)
    comparing = {stem: own for stem, own in notebooks.items() if "SWEEP" in own and EVALUATION in stems}
    check_place(values, comparing | {stem: notebooks[stem] for stem in stems}, "see --until")
    for key in [key for own in comparing.values() for key in own if len(values.get(key, [])) > 1]:
        raise SeriesError(f"{key} takes one value: it belongs to the notebook that compares the runs")
    runs = make_grid(name, values, stems, notebooks)
    check_whole(values, runs, name)
    for run in runs:
        check_folder(run)
    if options.count:
        print(len(runs))
        return 0
    if options.dry_run:
        for index, run in enumerate(runs):
            print(f"{index:4}  {run.name}  {state_of(run).get('status', '')}".rstrip())
        return 0
    if options.index is not None and options.index not in range(len(runs)):
        raise SeriesError(f"--index must be from 0 to {len(runs) - 1}")
    return execute_sweep(options, values, runs, comparing, name)


def check_whole(values, runs, name):
    """Refuse a call without the parameters of its sweep, and one place for the models of several runs."""
    begun = {path.parent.name for path in (paths.RUNS / name).glob("[!.]*/state.json")}
    if not values and (others := sorted(begun - {run.folder.name for run in runs})):
        raise SeriesError(
            f"this call names no parameter, and {shown(paths.RUNS / name)} holds {', '.join(others[:3])}"
            f"{' …' * (len(others) > 3)}: say the same -p as before to go on there, or choose another --sweep"
        )
    one = [key for key in ONE_MODEL if values.get(key, [None]) != [None]]
    if one and len(runs) > 1:
        raise SeriesError(f"{one[0]} is a place for one model, and these are {len(runs)} runs: leave it out")


def check_folder(run):
    """Refuse a run whose folder holds something else that is finished, or that we cannot read."""
    check_apart(run.folder, paths.RUNS)
    state = state_of(run)
    if made_by_hand(run, state):
        raise SeriesError(f"{shown(run.folder)} holds a run made by hand, or its state.json is damaged: move it away")
    if changed_by_hand(run, state):
        raise SeriesError(f"{shown(run.folder)} was finished and then changed by hand: move it away, or delete it")
    if why := finished_otherwise(run, state):
        raise SeriesError(why)


def execute_sweep(options, values, runs, comparing, name):
    picked = runs if options.index is None else [runs[options.index]]
    if options.retry_failed:
        picked = [run for run in picked if state_of(run).get("status") == "failed"]
        if not picked:
            print("none of these runs has failed")
    states = [(run, state_of(run)) for run in picked]
    open_runs = [run for run, state in states if options.again or not is_finished(run, state)]
    if finished := [(run, state) for run, state in states if run not in open_runs]:
        print(f"{len(finished)} of {len(picked)} runs are finished already")
        if older := sum(code_changed(run, state, run.notebooks) for run, state in finished):
            print(f"({older} of them by notebooks with other code than now; --again repeats them)")
    look_ahead(open_runs, options.again)
    environment = {key: os.environ[key] for key in FOR_WORKERS if key in os.environ}
    with calling(processes=options.processes, again=options.again, environment=environment) as call:
        if open_runs:
            place, at_once = place_of(options, len(open_runs), paths.RUNS / name)
            with place as submit:
                many = f"{len(open_runs)} run{'s' * (len(open_runs) > 1)}"
                console.print(f"{many} to do, into {shown(paths.RUNS / name)}, {at_once}")
                run_sweep(open_runs, call, submit)
            for run in open_runs:
                check_folder(run)  # another call may have finished it with other parameters meanwhile
        if options.index is not None:
            return print_failures(picked) and 1
        broken = comparing and compare(runs, comparing, values, name, call)
    print()
    print_rows(sweep_rows(runs))
    return 1 if print_failures(runs) or broken else 0
