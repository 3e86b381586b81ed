"""A finished run, opened to be read: nothing is locked, and nothing is written into its folder (08_error_analysis)."""

from bookkeeping import SeriesError, home
from bookkeeping.runs import Run, check_parameters, read_run, run_folder

READERS = {"08_error_analysis"}  # notebooks that declare RUN and leave no record in its folder


class FinishedRun(Run):
    """The run that RUN names in a notebook's variables: .name, .folder, .records of its notebooks, .parameters.

    Raises SeriesError for a parameter out of its range, where the run has not finished 05_evaluate, and where one of its files
    is not as its notebook wrote it.
    """

    def __init__(self, namespace, runs):
        """`namespace`: the notebook's variables, globals(); `runs`: folder of the run folders."""
        self.parameters = check_parameters(namespace)
        self.name = self.parameters.pop("RUN")
        self.folder = run_folder(self.name, runs)
        self.records, self._needs = read_run(self.folder)["notebooks"], "05_evaluate"
        if self._needs not in self.records:
            raise SeriesError(
                f"this notebook reads a finished run, and {self.name!r} has no results of {self._needs}.ipynb that are up to "
                f"date. Make them first: {home.call(self._needs, self.name)}"
            )
        self._check_files()

    def finish(self, *_, **__):
        raise TypeError("a finished run is read, not written")
