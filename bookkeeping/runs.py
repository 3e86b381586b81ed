"""The run folder, which is all that passes between notebooks: what one has finished, with which parameters."""

import datetime
import importlib.metadata
import os
import platform
import time
from pathlib import Path

from bookkeeping import SeriesError, home, locks
from bookkeeping.files import read_json, remove, replacing, write_json, writing
from bookkeeping.folders import check_apart, run_folder
from bookkeeping.parameters import DECLARED, NO_RESULT, typed
from bookkeeping.sums import changed_file, sums

home.settle()  # first of all: every notebook gets here by `import helpers`

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
        asked = check_parameters(namespace)
        self.name, self.parameters = asked["RUN"], {name: asked[name] for name in asked if name not in NO_RESULT}
        self.folder = run_folder(self.name, runs)
        check_apart(self.folder, runs)
        before, records = list(NEEDS)[: list(NEEDS).index(notebook)], read_run(self.folder)["notebooks"]
        self.records = {name: record for name, record in records.items() if name in before}
        self._needs, self._began = NEEDS[notebook], time.time()
        if self._needs and self._needs not in self.records:
            raise SeriesError(
                f"this notebook reads what {self._needs}.ipynb makes, and the run {self.name!r} has none that is up to "
                f"date. Run {self._needs}.ipynb first, or all that it needs in one call: "
                f"{home.call('--until', self._needs, '-p', 'RUN', self.name)}"
            )
        with writing(self.folder):
            self._lock()
            self._check_files()
            self.folder.mkdir(parents=True, exist_ok=True)

    def decided(self, what, decide):
        """What was decided for this run folder about `what` the first time: decide(), a JSON value, kept in run.json.

        So a run that goes on, and all runs that start from the same folder, do not depend on what the machine is like
        at another moment.
        """
        content = read_run(self.folder)
        if what not in content.setdefault("decided", {}):
            content["decided"][what] = decide()
            with writing(self.folder):
                write_json(self.folder / "run.json", content, sealed=True)
        return content["decided"][what]

    def _lock(self):
        """Own the run folder from here until `finish`; this process owns one at a time.

        Of several processes that train one model (torchrun), the first owns it for all.
        """
        if os.environ.get("RANK", "0") != "0":
            return
        if _owned and _owned[0] != self.folder:
            _release()
        if not _owned and (lock := locks.acquire(self.folder, f"{self.notebook}.ipynb")):
            _owned[:] = [self.folder, lock]

    def finish(self, files=None, **results):
        """Write a notebook's results, and last its record: parameters, `results`, seconds (02_load_cola).

        files: {name in the run folder: function that writes it to the path it is given}; an earlier notebook's stays its own.
        The old record and those of the later notebooks, which read these results, are dropped first: whatever is killed
        midway, run.json never vouches for a mixture. 01_setup makes nothing that others read.
        """
        self.check_unchanged()
        with writing(self.folder):
            content, owners = self._without_stale(files or {})
            for name, write in (files or {}).items():
                with replacing(self.folder / name) as new:
                    write(new)
                    for file, checksum in sums(new, name).items():
                        content["files"][owners.get(file, self.notebook)][file] = checksum
            finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            took = {"seconds": round(time.time() - self._began, 1), "finished": finished}
            content |= {"run": self.name, "versions": versions(), "device": self.device}
            content["notebooks"][self.notebook] = {"parameters": self.parameters, **results, **took}
            write_json(self.folder / "run.json", content, sealed=True)
        _release()

    def _without_stale(self, rewritten):
        """(run.json without what `finish` replaces, written so; {rewritten file: its notebook}). Half-written files are removed."""
        series, content = list(NEEDS), read_run(self.folder)
        stale = series[series.index(self.notebook) :] if self.notebook != "01_setup" else [self.notebook]
        for part in ("notebooks", "files"):
            content[part] = {name: record for name, record in content[part].items() if name not in stale}
        owners = {name: notebook for notebook, own in content["files"].items() for name in own if name in rewritten}
        files = {by: own | {name: None for name in own if name in rewritten} for by, own in content["files"].items()}
        content["files"] = files | {self.notebook: {}}  # None: old or new, until `finish` knows
        write_json(self.folder / "run.json", content, sealed=True)
        hidden = [*self.folder.glob(".*"), *self.folder.glob("model/.*")]
        for leftover in [path for path in hidden if path.suffix[1:].isdigit()]:
            remove(leftover)
        return content, owners

    def _check_files(self):
        """Raise SeriesError where a file of the notebooks that this one builds on is not as they wrote it."""
        before, files = self._needs, read_run(self.folder)["files"]
        while before:
            if name := changed_file(self.folder, files.get(before, {})):
                raise SeriesError(
                    f"{name} in the run {self.name!r} is not as {before}.ipynb wrote it: it was damaged, changed or removed "
                    f"since. Run {before}.ipynb again, and what follows."
                )
            before = NEEDS[before]

    def check_unchanged(self):
        """Refuse a mixture of old and new parameters, or of old and new results of an earlier notebook (04_train).

        Owns the run folder again, if it was given back by `finish`.
        """
        for name, then in (self.parameters | {"RUN": self.name}).items():
            if (now := typed(name, self._namespace[name])) != then:
                raise SeriesError(
                    f"{name} was {then!r} when this notebook began, and is {now!r} now. What was made in between may be of "
                    "either: run the notebook again from its parameters on."
                )
        self._lock()
        if self._needs and read_run(self.folder)["notebooks"].get(self._needs) != self.records[self._needs]:
            raise SeriesError(f"{self._needs} was run again while this notebook was at work: run this one again, too.")
