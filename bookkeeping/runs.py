"""The run folder, which is all that passes between notebooks: what one has finished, with which parameters."""

import datetime
import importlib.metadata
import platform
import time
from pathlib import Path

from bookkeeping import SeriesError, locks
from bookkeeping.files import read_json, remove, replacing, sha256, sums, write_json
from bookkeeping.parameters import DECLARED, typed

# every notebook of the series, and the one whose results it reads
NEEDS = {
    "01_setup": None,
    "02_load_cola": None,
    "03_tokenize": "02_load_cola",
    "04_train": "03_tokenize",
    "05_evaluate": "04_train",
    "06_save_and_load": "04_train",
}


def check_parameters(namespace):
    """{name: value} of the declared parameters among a notebook's variables, each put back there as its kind.

    Raises SeriesError for a value that its declaration does not take.
    """
    values = {name: typed(name, namespace[name]) for name in DECLARED if name in namespace}
    namespace.update(values)
    return values


def read_run(folder):
    """run.json of a run folder: {"run", "versions", "device", "notebooks": {name: record}, "files"} (02_load_cola).

    files: {notebook: {name of a file that it wrote: SHA-256}}.
    """
    try:
        return {"run": Path(folder).name, "notebooks": {}, "files": {}} | read_json(Path(folder) / "run.json")
    except (TypeError, ValueError) as error:
        raise SeriesError(
            f"run.json of the run {Path(folder).name!r} is damaged ({error}): delete that run folder."
        ) from None


def changed_file(folder, files, most_bytes=float("inf")):
    """The first of `files`, {name: SHA-256}, that is not in `folder` as it was written, or None.

    Files of more than `most_bytes` only have to be there.
    """
    for name, sum in files.items():
        path = Path(folder, name)
        if not path.is_file() or path.stat().st_size <= most_bytes and sha256(path) != sum:
            return name
    return None


def versions():
    """{package: version} of everything that can move a result (01_setup)."""
    names = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "pandas", "scikit-learn")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


_owned = []  # [folder, lock] of the run folder that this process works in


def _release():
    if _owned:
        _owned.pop().release()
        _owned.clear()


class Run:
    """One notebook at work in a run folder, from its parameters cell to its record in run.json.

    folder: Path, made if it is missing. parameters: {name: value} it began with, which is what is recorded.
    records: {notebook: record} of the notebooks before it.
    """

    def __init__(self, notebook, namespace, runs, device):
        """`namespace`: the notebook's variables, globals(); `runs`: folder of the run folders; `device`: in words.

        Raises SeriesError for a parameter out of its range, and when the notebook whose results this one reads has not
        finished in this run folder, or an earlier one was run again since.
        """
        self.notebook, self.device, self._namespace = notebook, device, namespace
        self.parameters = check_parameters(namespace)
        self.name = self.parameters.pop("RUN")
        self.folder = runs / self.name
        self.records = read_run(self.folder)["notebooks"]
        self._needs, self._began = NEEDS[notebook], time.time()
        if self._needs and self._needs not in self.records:
            raise SeriesError(
                f"this notebook reads what {self._needs}.ipynb makes, and the run {self.name!r} has none that is up to "
                f"date. Run {self._needs}.ipynb first, or all that it needs in one call: "
                f"python run.py --until {self._needs} -p RUN {self.name}"
            )
        self._lock()
        self._check_that_files_are_whole()
        self.folder.mkdir(parents=True, exist_ok=True)

    def decided(self, what, decide):
        """What was decided for this run folder about `what` the first time: decide(), a JSON value, kept in run.json.

        So a run that goes on, and all runs that start from the same folder, do not depend on what the machine is like
        at another moment.
        """
        content = read_run(self.folder)
        if what not in content.setdefault("decided", {}):
            content["decided"][what] = decide()
            write_json(self.folder / "run.json", content, sealed=True)
        return content["decided"][what]

    def _lock(self):
        """Own the run folder from here until `finish`; this process owns one at a time."""
        if _owned and _owned[0] != self.folder:
            _release()
        if not _owned and (lock := locks.acquire(self.folder, f"{self.notebook}.ipynb")):
            _owned[:] = [self.folder, lock]

    def finish(self, files=None, **results):
        """Write a notebook's results, and last its record: parameters, `results`, seconds (02_load_cola).

        files: {name in the run folder: function that writes it to the path it is given}. The old record and those of the
        later notebooks, which read these results, are dropped first: whatever is killed midway, run.json never vouches
        for a mixture. 01_setup makes nothing that others read, so it drops nothing but its own.
        """
        self._lock()
        self._check_that_nothing_changed()
        series = list(NEEDS)
        stale = series[series.index(self.notebook) :] if self.notebook != "01_setup" else [self.notebook]
        content = read_run(self.folder)
        for part in ("notebooks", "files"):
            content[part] = {name: record for name, record in content[part].items() if name not in stale}
        write_json(self.folder / "run.json", content, sealed=True)
        for leftover in [path for path in self.folder.glob(".*") if path.suffix[1:].isdigit()]:
            remove(leftover)  # what `replacing` had begun in a process that was killed
        written = {}
        for name, write in (files or {}).items():
            with replacing(self.folder / name) as new:
                write(new)
                written |= sums(new, name)
        finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        seconds = round(time.time() - self._began, 1)
        record = {"parameters": self.parameters, **results, "seconds": seconds, "finished": finished}
        content |= {"run": self.name, "versions": versions(), "device": self.device}
        content["notebooks"][self.notebook], content["files"][self.notebook] = record, written
        write_json(self.folder / "run.json", content, sealed=True)
        _release()

    def _check_that_files_are_whole(self):
        """Raise SeriesError where a file of the notebooks that this one builds on is not as they wrote it.

        No format but a zip notices a damaged byte by itself: weights or ids would be others, and so all that follows.
        """
        before, files = self._needs, read_run(self.folder)["files"]
        while before:
            if name := changed_file(self.folder, files.get(before, {})):
                raise SeriesError(
                    f"{name} in the run {self.name!r} is not as {before}.ipynb wrote it: it was damaged, changed or removed "
                    f"since. Run {before}.ipynb again, and what follows."
                )
            before = NEEDS[before]

    def _check_that_nothing_changed(self):
        """Refuse to vouch for a mixture: of old and new parameters, or of old and new results of an earlier notebook."""
        for name, then in self.parameters.items():
            if (now := typed(name, self._namespace[name])) != then:
                raise SeriesError(
                    f"{name} was {then!r} when this notebook began, and is {now!r} now. What was made in between may be of "
                    "either: run the notebook again from its parameters on."
                )
        if self._needs and read_run(self.folder)["notebooks"].get(self._needs) != self.records[self._needs]:
            raise SeriesError(f"{self._needs} was run again while this notebook was at work: run this one again, too.")
