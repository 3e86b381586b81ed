"""What the notebooks and the runner both keep: files, parameters, records of runs. Neither torch nor papermill here."""


class SeriesError(Exception):
    """An error that its message explains: in a notebook it is shown without the traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]
