"""Reading for 07_compare_runs: the run folders of a sweep. What it compares in them stands in lesson/settings.py.

A sweep is a folder below runs/ with a run folder for each combination of parameters, as run.py makes it. A zip of run folders
reads the same. Scores are MCC, times are seconds, a run is called by the name of its folder.
"""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import matthews_corrcoef

import helpers
from bookkeeping import SeriesError, home
from bookkeeping.files import read_json, replacing
from bookkeeping.sums import changed_file
from lesson import settings

TWO = ("unacceptable", "acceptable")  # the classes of runs that are older than their names
READ = ("metrics.json", "history.csv", "predictions.csv")
SHIPPED = helpers.ROOT / "results" / "cola" / "minilm_runs.zip"


@dataclass(frozen=True)
class Sweep:
    """Finished runs, ordered by their settings, and why others were left out. From `values` on, each part is a dict by run."""

    name: str
    what: str  # in words
    folder: Path | None  # None where nothing may be written: the runs that come with the project, and simulated ones
    values: dict  # {parameter: value}, for every run the same names
    metrics: dict  # metrics.json
    histories: dict  # history.csv, a row an epoch, of the runs that have one
    answers: dict  # label and prediction by row, test sentences only, of the runs that have predictions.csv
    records: dict  # {notebook: its record in run.json}
    left_out: dict  # why

    @property
    def levels(self):
        """{parameter: its values in order} of the parameters that have more than one in the sweep."""
        return settings.levels(self.values)

    @property
    def test_sets(self):
        """Lists of runs whose answers name the same rows with the same labels: one test set each."""
        members = {}
        for run, frame in self.answers.items():
            members.setdefault((tuple(frame.index), tuple(frame["label"])), []).append(run)
        return list(members.values())

    @property
    def test_sentences(self):
        """How many sentences each test set has, in words."""
        return " and ".join(str(len(self.answers[members[0]])) for members in self.test_sets) or "unknown"

    def arrays(self, runs):
        """(labels [sentences], predictions [sentences, runs]) of runs that share a test set."""
        predictions = np.stack([self.answers[run]["prediction"].to_numpy() for run in runs], axis=1)
        return self.answers[runs[0]]["label"].to_numpy(), predictions


# ---------------------------------------------------------------- reading run folders


def find(name):
    """The Sweep `name` below runs/. Where there is no runs/sweep yet, that is the runs that come with the project (07_compare_runs).

    Raises SeriesError where there is no such sweep, or nothing in it has finished.
    """
    folder, call = helpers.RUNS / name, home.call("-p", "SEED", "1", "2", "3", "--sweep", name)
    if not folder.is_dir() and name != "sweep":
        raise SeriesError(f"there is no sweep {name!r} below runs/. Make it first, for example: {call}")
    if folder.is_dir():
        sweep = read(folder, name, f"runs/{name}", folder)
    else:
        sweep = read(
            zipfile.Path(SHIPPED),
            name,
            "runs of minilm on CoLA that come with the project (there is no runs/sweep yet)",
        )
    if not sweep.metrics:
        why = "".join(f"\n  {run}: {reason}" for run, reason in sweep.left_out.items())
        raise SeriesError(
            f"the sweep {name!r} holds no finished run. Go on with it: the same call of run.py again, or: {call}{why}"
        )
    if len(kinds := {tuple(metrics.get("classes", TWO)) for metrics in sweep.metrics.values()}) > 1:
        one, other, *_ = sorted(", ".join(names) for names in kinds)
        raise SeriesError(
            f"the sweep {name!r} mixes runs of different classes ({one}; {other}): an MCC on one says nothing of the other. "
            "Compare runs on one corpus; --sweep NAME keeps sweeps apart."
        )
    return sweep


def read(place, name, what, folder=None):
    """The Sweep of the run folders in `place`, a Path or zipfile.Path."""
    found, left_out = {}, {}
    for run in sorted(place.iterdir(), key=lambda path: path.name):
        begun = any((run / file).exists() for file in ["state.json", "metrics.json"])
        if begun and not run.name.startswith("."):
            try:
                found[run.name] = _read_run(run)
            except SeriesError as why:
                left_out[run.name] = str(why)
    for run, first in settings.repeated({run: own["metrics"] for run, own in found.items()}).items():
        del found[run]
        left_out[run] = f"the same parameters as {first}, which counts"
    values = settings.parameters({run: own["metrics"] for run, own in found.items()})
    parts = {
        part: {run: found[run][part] for run in values if found[run][part] is not None}
        for part in ["metrics", "histories", "answers", "records"]
    }
    return Sweep(name, what, folder, values, left_out=left_out, **parts)


def as_found(metrics, trained):
    """A run's parameters, with what it became in place of "auto" and None: runs apart may have found other things."""
    found = {"CORPUS": metrics.get("corpus"), "MODEL_NAME": metrics.get("model")}
    found |= {name: trained.get(name.lower()) for name in ["PRECISION", "POOLING", "LEARNING_RATE"]}
    found["PRECISION"] = {"no": "fp32"}.get(found["PRECISION"], found["PRECISION"])  # Accelerate's word
    asked = metrics["parameters"]
    return asked | {name: found[name] for name in found if found[name] and asked.get(name, ...) in ("auto", None)}


def _read_run(folder):
    """{part of a Sweep: what it holds of one run}. Raises SeriesError with why the run is left out."""
    status = _json(folder / "state.json").get("status", "finished")  # a run made by hand has no state.json
    if status != "finished":
        raise SeriesError(status)
    if not (folder / "metrics.json").exists():
        raise SeriesError("finished without 05_evaluate")
    record = _json(folder / "run.json")
    if "04_train" in (known := record.get("notebooks", {})) and "05_evaluate" not in known:
        raise SeriesError("trained again since 05_evaluate: run that, too")
    written = {name: sum for own in record.get("files", {}).values() for name, sum in own.items() if name in READ}
    if isinstance(folder, Path) and (name := changed_file(folder, written)):
        raise SeriesError(f"{name} is not as it was written: it was damaged, changed or removed since")
    metrics = _json(folder / "metrics.json")
    history = _csv(folder / "history.csv", ["epoch", "validation_mcc"])
    answers = _csv(folder / "predictions.csv", ["split", "row", "label", "prediction"])
    try:
        score = settings.scores(metrics)["test"]
        {**metrics["parameters"]}  # names with values
        if answers is not None:
            answers = answers[answers["split"] == "test"].set_index("row").sort_index()
            again = matthews_corrcoef(answers["label"].astype(int), answers["prediction"].astype(int))
            if not np.isclose(again, score, atol=1e-6):
                raise SeriesError(f"test MCC {score:.3f} in metrics.json, {again:.3f} from predictions.csv")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SeriesError(f"metrics.json or predictions.csv is damaged ({type(error).__name__}: {error})") from None
    history = None if history is None else history.set_index("epoch")
    metrics["parameters"] = as_found(metrics, record.get("notebooks", {}).get("04_train", {}))
    return {"metrics": metrics, "histories": history, "answers": answers, "records": record.get("notebooks", {})}


def _json(path):
    if not path.exists():
        return {}
    try:
        content = read_json(path) if isinstance(path, Path) else json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SeriesError(f"{path.name} is damaged ({error})") from None
    if not isinstance(content, dict):
        raise SeriesError(f"{path.name} is damaged (it holds {type(content).__name__}, not names with values)")
    return content


def _csv(path, columns):
    """DataFrame, or None where the file is missing."""
    if not path.exists():
        return None
    try:
        with path.open("r", encoding="utf-8") as file:
            frame = pd.read_csv(file)
    except (ValueError, OSError) as error:
        raise SeriesError(f"{path.name} is damaged ({error})") from None
    if missing := [name for name in columns if name not in frame]:
        raise SeriesError(f"{path.name} has no column {missing[0]}")
    return frame


def pack(folders, path):
    """Zip the run folders of several sweeps, without texts or weights and without the machine's paths, so that `read` takes it."""
    with replacing(path) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for run in [path.parent for folder in folders for path in sorted(Path(folder).glob("[!.]*/metrics.json"))]:
            for name in ["metrics.json", "run.json", "history.csv", "predictions.csv"]:
                text = re.sub(r'"/[^"]*/([^"/]+)"', r'"\1"', (run / name).read_text(encoding="utf-8"))
                entry = zipfile.ZipInfo(f"{run.parent.name},{run.name}/{name}")  # its date is a constant
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, text)
