"""The log of a training for TensorBoard, MLflow or Weights & Biases, by accelerate's own trackers (04_train).

It lies in the run folder's tracking/. A training that goes on after a kill goes on in its log, and says nothing twice.
"""

import contextlib
import os
import uuid

from accelerate.tracking import get_available_trackers

from bookkeeping import SeriesError
from bookkeeping.files import remove

PROJECT = "fine-tuning"  # what the trackers put the runs under


def check(track):
    """Raise SeriesError where the package that TRACK names is not installed: accelerate would log nothing, in silence."""
    if track is not None and track not in map(str, get_available_trackers()):
        raise SeriesError(
            f"TRACK is {track!r}, and there is no package {track} here: expected one that is installed. Call pip install "
            f"{track}, or take TRACK = None."
        )


def begin(accelerator, run, used, steps):
    """Open the log of a training of which `steps` steps are done: a new one where there are none, else go on in it.

    used: {name: value} of what the run found by itself, logged with its parameters. What an attempt logged after its last
    checkpoint is taken back (TensorBoard), or not logged again (the others). Raises SeriesError where a tracker fails.
    """
    folder = run.folder / "tracking"
    for old in folder.glob("*") if accelerator.is_main_process and not steps else []:
        if old.name != "mlflow.db":  # which holds many runs, and which this process may have open
            with contextlib.suppress(OSError):
                remove(old)
    if not accelerator.log_with or not accelerator.is_main_process:
        return
    track = str(accelerator.log_with[0])
    kept = folder / f"{track}.txt"  # the tracker's own name for this training
    known = kept.read_text() if kept.exists() else None
    name = known or uuid.uuid4().hex
    asked = {key: value for record in run.records.values() for key, value in record["parameters"].items()}
    options = {
        "tensorboard": {"purge_step": steps + 1},
        "wandb": {"id": name, "name": run.name, "dir": folder, "resume": "allow"},
        "mlflow": {"run_id": known, "run_name": run.name, "logging_dir": (folder / "artifacts").as_uri()},
    }
    folder.mkdir(exist_ok=True)
    try:
        if track == "mlflow":
            import mlflow

            mlflow.end_run()  # of a training cell that was run before
            if "MLFLOW_TRACKING_URI" not in os.environ:  # else its files lie beside the notebook
                mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        accelerator.init_trackers(PROJECT, None if known else asked | run.parameters | used, options)
        if track == "mlflow":
            name = _once(accelerator.trackers[0])
    except Exception as error:  # no account, no network, a damaged file: each has words of its own
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise SeriesError(
            f"TRACK is {track!r}, and its log cannot begin ({found}): expected a tracker that is set up. Mend that, or take "
            "TRACK = None."
        ) from error
    kept.write_text(name)


def _once(tracker):
    """Let an MLflow tracker pass over steps that its run has already: MLflow keeps both. Returns the run's name."""
    import mlflow

    name, log = tracker.tracker.info.run_id, tracker.log
    logged = mlflow.MlflowClient().get_metric_history(name, "batch/loss")
    last = max((point.step for point in logged), default=0)
    tracker.log = lambda values, step: log(values, step=step) if step > last else None
    return name
