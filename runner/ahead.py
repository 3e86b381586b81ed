"""What runs ask for, looked at before the first of their notebooks begins, by a program of the lesson."""

import json
import os
import subprocess
import sys

from bookkeeping import SeriesError
from runner import paths
from runner.state import state_of, still_done

PROGRAM = "lesson.ahead"  # which knows what the parameters mean


def look_ahead(runs, again=False):
    """Raise SeriesError, in the words of the notebook that would, where one of these runs would end in it.

    A notebook that has finished is not asked again, except for `again`: its table may be gone since.
    """
    asked = []
    for run in runs:
        done = {} if again else _done(run)
        values = run.parameters | {name: value for own in run.asked.values() for name, value in own.items()}
        values["RUN"] = str(run.folder)
        asked.append([[notebook for notebook in run.notebooks if notebook not in done], values])
    if not (paths.ROOT / PROGRAM.replace(".", "/")).with_suffix(".py").exists():
        return
    path = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    answer = subprocess.run(
        [sys.executable, "-m", PROGRAM], input=json.dumps(asked), env=environment, cwd=paths.NOTEBOOKS,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip
    if answer.returncode == 2:  # with another it could not look, and the notebooks will say why
        raise SeriesError(answer.stdout.strip())


def _done(run):
    return still_done(run, state_of(run), going_on=False) or (_done(run.parent) if run.parent else {})
