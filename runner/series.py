"""The series once: the notebooks one after the other into one run folder, anew."""

from bookkeeping.parameters import typed
from runner.devices import check_gpus
from runner.grid import make_run
from runner.locks import calling
from runner.notebooks import LAST, TRAINING, chosen
from runner.parameters import check_place
from runner.progress import run_series
from runner.results import about_rows, headline, print_failure, score_rows
from runner.terminal import console, print_rows, shown


def series(options, values, notebooks):
    """Execute what the call asks for and print what it gave. Returns the exit code."""
    stems = chosen(notebooks, options.until, LAST)
    check_place(values, {stem: notebooks[stem] for stem in stems}, "see --until, and --batch")
    asked = {name: value for name, (value,) in values.items()}
    name = typed("RUN", asked.pop("RUN", notebooks[stems[0]]["RUN"].default))
    run = make_run(name, stems, asked, notebooks)
    check_gpus(options.processes)
    console.print(f"{' to '.join(dict.fromkeys([stems[0], stems[-1]]))}, into {shown(run.folder)}")
    with calling(processes=options.processes) as call:
        state = run_series(run, call)
    if state["status"] == "failed":
        print_failure(run, state)
        return 1
    from runner.page import write_page  # takes as long to load as all else together

    about, scores = about_rows(run, state), score_rows(run)
    page = write_page(run.folder, stems, headline(run), scores + about, picture=(TRAINING, "learning-curve", -1))
    places = [["notebooks", shown(run.folder / "notebooks")], ["all on one page", shown(page)]]
    print()
    print_rows(about + scores + places)
    return 0
