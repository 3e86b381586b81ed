"""Where a run folder may lie: not among files that are no run's, and not in another run's folder."""

from pathlib import Path

from bookkeeping import SeriesError, home

RECORDS = ("run.json", "state.json")  # what makes a folder a run's


def run_folder(name, runs):
    """The folder that RUN names: `name` below the folder `runs`, or elsewhere where it is a full path.

    Raises SeriesError where it leads to files that are no run's, or into a Google Drive that is not mounted.
    """
    folder = Path(runs) / name
    home.check_drive("RUN", folder)
    if folder.exists() and not folder.is_dir():
        raise SeriesError(f"RUN is {name!r}, which is a file: expected a folder, or a name that is free.")
    ours = any((folder / record).exists() for record in RECORDS)
    if folder.is_dir() and not ours and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise SeriesError(
            f"RUN is {name!r}, a folder with files that are no run's: a run writes and removes files in its folder. "
            f"Name a new one, such as {f'{name}/run1'!r}."
        )
    return folder


def check_apart(folder, runs):
    """Raise SeriesError where a run folder lies in another run's, or another in it: who begins a run anew empties its folder."""
    below = [path.parent for record in RECORDS for path in folder.rglob(record)]
    above = [path for path in folder.parents if path == folder.parent or Path(runs) in path.parents]
    for other in [*above, *sorted(below)]:
        if other != folder and any((other / record).exists() for record in RECORDS):
            raise SeriesError(
                f"{folder} and the run in {other} lie one within the other: a run that begins anew would take the other with "
                "it. Choose another name, or move one of them away."
            )
