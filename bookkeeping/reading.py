"""A finished run, opened to be read: nothing is locked, and nothing is written into its folder (08_error_analysis)."""

from pathlib import Path

from bookkeeping import SeriesError, home
from bookkeeping.folders import run_folder
from bookkeeping.runs import Run, check_parameters, read_run

READERS = {"08_error_analysis"}  # notebooks that declare RUN and leave no record in its folder


class FinishedRun(Run):
    """The run that RUN names in a notebook's variables: .name, .folder, .records of its notebooks, .parameters.

    Where RUN names a sweep, it is the first of its runs that has finished 05_evaluate. Raises SeriesError for a parameter out
    of its range, where the run has not finished 05_evaluate, and where one of its files is not as its notebook wrote it.
    """

    def __init__(self, namespace, runs):
        """`namespace`: the notebook's variables, globals(); `runs`: folder of the run folders."""
        self.parameters = check_parameters(namespace)
        self._needs = "05_evaluate"
        self.name = self._one_of(self.parameters.pop("RUN"), runs)
        self.folder = run_folder(self.name, runs)
        self.records = read_run(self.folder)["notebooks"]
        if self._needs not in self.records:
            raise SeriesError(
                f"this notebook reads a finished run, and {self.name!r} has no results of {self._needs}.ipynb that are up to "
                f"date. Make them first: {home.call('--until', self._needs, '-p', 'RUN', self.name)}"
            )
        self._check_files()

    def _one_of(self, name, runs):
        """`name`, or where that is the folder of a sweep, the first of its finished runs."""
        folder = Path(runs) / name
        inside = sorted(path.parent.name for path in folder.glob("[!.]*/run.json"))
        if (folder / "run.json").exists() or not inside:
            return name
        finished = [each for each in inside if self._needs in read_run(folder / each)["notebooks"]]
        if not finished:
            raise SeriesError(
                f"RUN is {name!r}, a sweep of {len(inside)} runs, none of which has finished {self._needs}: expected one that "
                "has. Go on with the sweep: the same call of run.py again."
            )
        return f"{name}/{finished[0]}"

    def finish(self, *_, **__):
        raise TypeError("a finished run is read, not written")
