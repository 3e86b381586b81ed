"""The notebooks that read a whole sweep: executed when its runs have ended."""

from runner import paths
from runner.execution import execute_notebook
from runner.locks import in_turn
from runner.results import sweep_rows
from runner.state import content_of, is_finished, state_of
from runner.terminal import shown


def compare(runs, comparing, values, name, call):
    """Execute the notebooks that read a whole sweep; returns whether one broke."""
    finished = [run for run in runs if is_finished(run, state_of(run))]
    if not finished:
        return False
    from runner.page import write_page  # takes as long to load as all else together

    folder = paths.RUNS / name
    with in_turn(folder, call):
        for notebook, declared in comparing.items():
            own = {key: values[key][0] for key in declared if key in values}
            if error := execute_notebook(notebook, {"SWEEP": name} | own, folder, call):
                print(f"\n{notebook} failed:\n{error}\n  {shown(folder / 'notebooks' / f'{notebook}.ipynb')}")
                return True
        title = f"{name}: {len(finished)} of {len(runs)} runs finished"
        head, *rows = sweep_rows(runs)
        page = write_page(folder, comparing, title, rows, head, picture=(next(iter(comparing)), "main-figure", 0))
    print(f"\nthe runs compared: {shown(page)}")
    others = sorted({path.parent.name for path in folder.glob("*/metrics.json")} - {run.folder.name for run in runs})
    others = [one for one in others if content_of(folder / one / "state.json").get("status", "finished") == "finished"]
    if others:
        print(f"({len(others)} of them not of this call, such as {others[0]}: --sweep NAME keeps sweeps apart)")
    return False
