"""The series once: the notebooks one after the other into one run folder; what is finished there is not repeated."""

from bookkeeping.folders import check_apart, run_folder
from bookkeeping.parameters import typed
from runner import paths
from runner.ahead import look_ahead
from runner.devices import check_gpus
from runner.grid import make_run
from runner.locks import alone, calling
from runner.notebooks import LAST, TRAINING, chosen
from runner.parameters import check_place
from runner.progress import run_series
from runner.results import about_rows, headline, print_failure, score_rows
from runner.state import code_changed, is_finished, state_of
from runner.terminal import console, print_rows, shown


def series(options, values, notebooks):
    """Execute what the call asks for and print what it gave. Returns the exit code."""
    stems = chosen(notebooks, options.until, LAST)
    check_place(values, {stem: notebooks[stem] for stem in stems}, "see --until, and --sweep")
    asked = {name: value for name, (value,) in values.items()}
    name = typed("RUN", asked.pop("RUN", notebooks[stems[0]]["RUN"].default))
    check_apart(run_folder(name, paths.RUNS), paths.RUNS)  # it may hold files of something else, too
    run = make_run(name, stems, asked, notebooks)
    check_gpus(options.processes)
    with alone(run.folder):
        return execute_alone(run, options)


def execute_alone(run, options):
    from runner.page import write_page  # takes as long to load as all else together

    state = state_of(run)
    whole = " to ".join(dict.fromkeys([run.notebooks[0], run.notebooks[-1]]))
    if is_finished(run, state) and not options.again and not code_changed(run, state, run.notebooks):
        console.print(f"{whole} finished in {shown(run.folder)} on {state.get('finished')}; --again repeats them")
    else:
        look_ahead([run], options.again)
        console.print(f"{whole}, into {shown(run.folder)}")
        # a finished run of notebooks with other code is repeated, too
        with calling(processes=options.processes, again=options.again or is_finished(run, state)) as call:
            state = run_series(run, call)
    if state["status"] == "failed":
        print_failure(run, state)
        return 1
    about, scores = about_rows(run, state), score_rows(run)
    page = write_page(
        run.folder, run.notebooks, headline(run), scores + about, picture=(TRAINING, "learning-curve", -1)
    )
    places = [["notebooks", shown(run.folder / "notebooks")], ["all on one page", shown(page)]]
    print()
    print_rows(about + scores + places)
    return 0
