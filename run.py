#!/usr/bin/env python
"""Execute the notebooks: once, or over a grid of parameters.

  run.py                                         the series 01 to 06, into runs/default/
  run.py -p SEED 7 -p MAX_LEN 128                the same with other parameters
  run.py -p SEED 1 2 3 -p MAX_LEN 64 128         a batch: one run for each combination, into runs/sweep/
  run.py --file grid.yaml --batch night          the same, read from a file

A batch that was stopped, however, goes on when the same command is called again.
"""

# This file knows no machine learning. It knows run folders, notebooks/NN_*.ipynb and their parameters (runner/parameters.py),
# and JSON files of which it prints a few fields. Every notebook is executed by runner/kernel.py in a process of its own, which
# ends, with its kernel, when the process that started it ends, whatever ends that.

import argparse
import concurrent.futures
import configparser
import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.modules.setdefault("rfc3987_syntax", None)  # else jsonschema compiles a grammar of web addresses for 2 seconds

import joblib
import nbformat
import psutil
from filelock import FileLock, Timeout
from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.parameters import Refused, check_place, given, parameters_help, read_grid, read_notebooks, typed

ROOT = Path(__file__).resolve().parent
NOTEBOOKS = ROOT / "notebooks"
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs")).resolve()
TRAINING = "04_train"  # what --processes executes under torchrun, and what leaves a checkpoint
EVALUATION = "05_evaluate"  # what writes metrics.json, and where the runs of a batch end
LAST = "06_save_and_load"  # where a single run ends
GIB_A_RUN = 2  # memory set aside for each run when --jobs is chosen here
FOR_WORKERS = ("BERT_DATA", "HF_HUB_OFFLINE", "ACCELERATE_USE_CPU")  # what a cluster's workers are told of this call
console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


class Stopped(Exception):
    """The call that this run belongs to has ended."""


# ---------------------------------------------------------------- runs, and what they share


@dataclass(frozen=True)
class Run:
    """A run folder and what makes it: its parent's notebooks, copied, then the rest of `notebooks`."""

    name: str  # of the folder below RUNS
    notebooks: tuple  # from the first on, the parent's included
    asked: dict  # {name: value}, as asked
    values: dict  # {notebook: {name: value}}, the defaults included
    code: dict  # {notebook: hash of its code and of what it imports}
    parent: "Run | None" = None

    @property
    def folder(self):
        return RUNS / self.name

    @property
    def parameters(self):
        return {name: value for own in self.values.values() for name, value in own.items()}


def short_hash(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


@functools.cache
def cells_of(notebook):
    return nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells


@functools.cache
def code_of(notebook):
    """A hash of a notebook's code, and of the modules beside this file that it imports, itself or through others."""
    code = ["\n".join(cell.source for cell in cells_of(notebook) if cell.cell_type == "code")]
    seen = set()
    for text in code:  # which grows
        for name in set(re.findall(r"^\s*(?:import|from)\s+(\w+)", text, re.MULTILINE)) - seen:
            seen.add(name)
            if (ROOT / f"{name}.py").exists():
                code.append((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    return short_hash(sorted(code))


def make_run(name, stems, asked, notebooks, parent=None):
    values = {
        stem: {p.name: asked.get(p.name, p.default) for p in notebooks[stem].values() if p.name != "RUN"}
        for stem in stems
    }
    return Run(name, tuple(stems), asked, values, {stem: code_of(stem) for stem in stems}, parent)


def folder_name(text, option):
    """`text` as the name of a folder below RUNS: none that is hidden, above, or elsewhere."""
    parts = Path(text).parts
    if not parts or not all(re.fullmatch(r"[\w=+-][\w.,=+-]*", part) for part in parts):
        raise Refused(f"{option} must be a plain name (letters, digits, . , = + - _ and /), not {text!r}")
    return "/".join(parts)


def slug(value):
    """A value as part of a folder's name, on any file system."""
    text = "none" if value is None else str(value)
    safe = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII)[-40:].strip("-.")
    return safe if safe == (text or None) else f"{safe}-{short_hash(text)[:4]}".lstrip("-")


def make_grid(batch, values, stems, notebooks):
    """The runs of a batch, in order, each with the chain of shared folders that it starts from."""
    names = [name for stem in stems for name in notebooks[stem] if name in values]  # in the notebooks' order
    varying = [name for name in names if len(values[name]) > 1]
    runs = []
    for combination in itertools.product(*(values[name] for name in names)):
        asked = dict(zip(names, combination, strict=True))
        parent = None
        for position, stem in enumerate(stems):
            if position and any(name in varying for name in notebooks[stem]):
                shared = make_run("", stems[:position], asked, notebooks)
                key = short_hash([shared.values, shared.code])
                parent = replace(shared, name=f"{batch}/.shared/{stems[position - 1]}-{key}", parent=parent)
        label = ",".join(f"{name}={slug(asked[name])}" for name in varying or names) or "run"
        label = label if len(label) < 150 else f"{label[:140]}-{short_hash(label)}"
        runs.append(make_run(f"{batch}/{label}", stems, asked, notebooks, parent))
    if len({run.name.casefold() for run in runs}) < len(runs):
        raise Refused("two of the values would give folders of one name on some file systems")
    return runs


def patiently(action):
    """action(). On Windows a file that another process has open cannot be replaced, or read just then: try for 1 s."""
    for _ in range(10):
        with contextlib.suppress(PermissionError):
            return action()
        time.sleep(0.1)
    return action()


def read_json(path):
    """What a JSON file holds; {} only where it is missing or damaged, for {} makes a run begin anew."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return json.loads(patiently(lambda: path.read_text(encoding="utf-8")))
    return {}


def write_json(path, content):
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    new.write_text(json.dumps(content, indent=1), encoding="utf-8")
    patiently(lambda: os.replace(new, path))


def state_of(run):
    """state.json, this file's own record of a run folder: status, parameters, the finished notebooks, …"""
    return read_json(run.folder / "state.json")


def differences(run, state):
    """{name: (then, now)} of the parameters of a run folder that are not those of `run`."""
    then, now = state.get("parameters", {}), run.parameters
    return {name: (then[name], now[name]) for name in then.keys() & now.keys() if then[name] != now[name]}


def is_finished(run, state):
    same_end = set(run.notebooks) <= state.get("notebooks", {}).keys()
    return state.get("status") == "finished" and same_end and not differences(run, state)


def code_changed(run, state, notebooks):
    """Whether one of these notebooks has other code now than when this run folder was last at work."""
    then, now = state.get("code", {}), run.code
    return any(then[name] != now[name] for name in notebooks if name in then and name in now)


# ---------------------------------------------------------------- executing


@dataclass(frozen=True)
class Call:
    """What all runs of one call of this program share. Its file is there as long as the call lives."""

    alive: Path
    processes: int = 1
    environment: dict = field(default_factory=dict)

    def check(self):
        if not self.alive.exists():
            raise Stopped("the call that asked for this run has ended, or its disk is not shared with this machine")


@contextlib.contextmanager
def calling(**options):
    folder = RUNS / ".calls"
    folder.mkdir(parents=True, exist_ok=True)
    call = Call(folder / uuid.uuid4().hex, **options)
    call.alive.touch()
    try:
        yield call
    finally:
        call.alive.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder, call, say=None):
    """One process at a time in a folder, on this machine or on another that shares the disk."""
    locks = RUNS / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / str(folder.relative_to(RUNS)).replace(os.sep, "+"), poll_interval=0.1)
    for attempt in itertools.count():
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            call.check()
            if say and attempt == 0:
                say(f"waiting for another call that is at work in {shown(folder)}")
    try:
        yield
    finally:
        lock.release()


def execute_run(run, call, say=None, fresh=False):
    """Bring a run folder to its end from wherever it stands; return its state. Runs here or on a cluster's worker."""
    with locked(run.folder, call, say):
        call.check()
        state = state_of(run)
        failed_in_this_call = state.get("status") == "failed" and state.get("call") == call.alive.name
        if not fresh and (is_finished(run, state) or failed_in_this_call):
            return state
        done = state.get("notebooks")
        if fresh or not done or differences(run, state) or code_changed(run, state, done):
            state = begin_run(run, call, fresh, state.get("code", {}))
        else:
            state = {key: state[key] for key in ("notebooks", "parameters", "code")} | {"status": "running"}
        if code_changed(run, state, [TRAINING]):
            (run.folder / "checkpoint.pt").unlink(missing_ok=True)  # training would go on with other code
        state["call"] = call.alive.name
        state["parameters"] |= run.parameters  # where --until is shorter now, those of later notebooks stay
        state["code"] |= run.code
        for notebook in run.notebooks:
            if notebook in state["notebooks"] or state["status"] == "failed":
                continue
            write_json(run.folder / "state.json", state | {"status": "running", "notebook": notebook})
            parameters = {name: run.asked[name] for name in run.values[notebook] if name in run.asked}
            begin = time.time()
            error = execute_notebook(notebook, {"RUN": run.name} | parameters, run.folder, call)
            if error:
                executed = run.folder / "notebooks" / f"{notebook}.ipynb"
                state |= {"status": "failed", "notebook": notebook, "error": error, "executed": str(executed)}
            else:
                state["notebooks"][notebook] = round(time.time() - begin, 1)
                if say:
                    say(f"{notebook:<22} {duration(state['notebooks'][notebook])}")
        if state["status"] != "failed":
            state["status"] = "finished"
        write_json(run.folder / "state.json", state)  # last: until then the run is a half-finished one
        return state


def begin_run(run, call, fresh, code):
    """The state of a run at its beginning, in a folder that is empty or a copy of its parent's; `code` as it was."""
    state = {"status": "running", "notebooks": {}, "parameters": {}, "code": code}
    if fresh:  # what the notebooks left stays: they say themselves what of it is stale
        for old in ("run.log", "report.html", "metrics.json"):
            (run.folder / old).unlink(missing_ok=True)
        shutil.rmtree(run.folder / "notebooks", ignore_errors=True)
    else:
        (run.folder / "run.json").unlink(missing_ok=True)  # first: without state.json it means a run made by hand
        shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / "state.json", state | {"call": call.alive.name, "notebook": "begins"})
    if run.parent:
        parent = execute_run(run.parent, call)
        if parent["status"] == "failed":
            return state | {key: parent[key] for key in ("status", "notebook", "error", "executed")}
        state["notebooks"] = dict(parent["notebooks"])
        ours = shutil.ignore_patterns("state.json", "run.log")
        shutil.copytree(run.parent.folder, run.folder, ignore=ours, dirs_exist_ok=True)
        record = read_json(run.folder / "run.json")
        write_json(run.folder / "run.json", record | {"run": run.name})
    return state


def execute_notebook(notebook, parameters, folder, call):
    """Execute one notebook in a process of its own, its output in folder/notebooks/. Returns its error, or None."""
    executed = folder / "notebooks" / f"{notebook}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    for old in [executed, *executed.parent.glob(f"rank*/{executed.name}")]:
        old.unlink(missing_ok=True)
    task = {"notebook": str(NOTEBOOKS / f"{notebook}.ipynb"), "parameters": parameters, "executed": str(executed)}
    task["many"] = call.processes > 1 and notebook == TRAINING
    launcher, environment = [], os.environ | call.environment | {"BERT_RUNS": str(RUNS)}
    if task["many"]:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={call.processes}"]
        if not gpus():
            environment["ACCELERATE_USE_CPU"] = "yes"
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // call.processes)))
    command = [sys.executable, *launcher, str(ROOT / "runner" / "kernel.py"), json.dumps(task)]
    with open(folder / "run.log", "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, cwd=NOTEBOOKS,
            start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                call.check()
                time.sleep(0.1)
        finally:
            process.stdin.close()  # which ends the process and its kernel, if they are still there
            process.wait()
    return error_of(executed, folder / "run.log") if process.returncode else None


def error_of(executed, log):
    """The error that an executed notebook ends with, or else the last lines of the log."""
    notebooks = [executed, *sorted(executed.parent.glob(f"rank*/{executed.name}"))]
    cells = [cell for notebook in notebooks for cell in read_json(notebook).get("cells", [])]
    for output in [output for cell in cells for output in cell.get("outputs", [])]:
        if output["output_type"] == "error":
            return "\n".join(f"{output['ename']}: {output['evalue']}".splitlines()[:20])
    lines = [line for line in text_of(log).splitlines() if line.strip()] or ["no output"]
    return "\n".join([lines[-1], *lines[-5:-1]])


# ---------------------------------------------------------------- one run, many runs


def cores():
    return joblib.cpu_count(only_physical_cores=True)


def gpus():
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them, without loading torch."""
    if configparser.ConfigParser.BOOLEAN_STATES.get(os.environ.get("ACCELERATE_USE_CPU", "").lower()):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in {"", "-1"}]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
        return [str(number) for number in range(len(re.findall("^GPU ", listed, re.MULTILINE)))]
    return []


def check_gpus(processes):
    if processes > 1 and 0 < len(gpus()) < processes:
        raise Refused(f"--processes {processes} needs a GPU for each, and this machine has {len(gpus())} to give")


def places(jobs, processes, count):
    """A list with the environment of each of the runs that go on at once: a GPU each, or a share of the cores."""
    cards = gpus()
    if cards:
        shares = [",".join(cards[i : i + processes]) for i in range(0, len(cards) - processes + 1, processes)]
        return [{"CUDA_VISIBLE_DEVICES": shares[i % len(shares)]} for i in range(min(count, jobs or len(shares)))]
    fitting = int(psutil.virtual_memory().available / 2**30 / GIB_A_RUN)
    most = 1 if sys.platform == "darwin" else max(1, min(cores() // processes, fitting))
    jobs = min(count, jobs or most)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // (jobs * processes)))
    return [{"OMP_NUM_THREADS": threads} for _ in range(jobs)]


@contextlib.contextmanager
def this_machine(places):
    """(executor, function to submit): the threads wait for the processes that do the work, one at each place."""
    free = places.copy()  # as many as there are threads, so never empty where one is taken

    def execute(run, call):
        place = free.pop()
        try:
            return execute_run(run, replace(call, environment=call.environment | place))
        finally:
            free.append(place)

    with concurrent.futures.ThreadPoolExecutor(len(places)) as executor:
        yield executor, execute


@contextlib.contextmanager
def cluster(address):
    """(executor, function to submit). Not joblib's Dask backend: it hangs for ever when a run killed four workers.

    Workers that a nanny keeps have OMP_NUM_THREADS=1, and their notebooks too, unless it was set where they started.
    """
    try:
        import distributed
    except ImportError:
        raise Refused("--backend dask needs the package distributed: pip install 'dask[distributed]'") from None
    try:
        client = distributed.Client(address, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Refused(f"no Dask scheduler answers at {address}: {error}") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what befalls the scheduler is said below
    with client:
        if not client.nthreads():
            console.print(f"no worker has joined {address} yet: the runs begin when one does")
        executor = client.get_executor(pure=False)
        try:
            yield executor, execute_run
        except concurrent.futures.CancelledError:
            raise Refused(f"the Dask scheduler at {address} went away; with a new one the same call goes on") from None
        finally:
            if client.status == "running":
                executor.shutdown(wait=False)  # waiting has no end where no worker is left


def bar(done, total):
    return f"{'━' * (24 * done // total):╌<24} {done}/{total}"


def showing(line):
    """Keep the text that line() gives up to date on a terminal; leave it out where the output goes to a file."""
    if not console.is_terminal:
        return contextlib.nullcontext()

    def text():
        return Text(line(), no_wrap=True, overflow="ellipsis")

    return Live(get_renderable=text, console=console, refresh_per_second=2, transient=True)


def run_series(run, call):
    """One run, here, with a bar; returns its state."""
    total = sum(len(cells_of(notebook)) + 1 for notebook in run.notebooks)  # papermill adds one with the parameters
    started = time.time()

    def line():
        log = text_of(run.folder / "run.log")
        done = len(re.findall("^Ending Cell ", log, re.MULTILINE))
        ours = r"(Executing|Ending) Cell|\[IPKernelApp\]|\s*$"  # papermill's lines, the kernel's farewell, empty ones
        last = [text for text in log.splitlines() if not re.match(ours, text)]
        what = f"{state_of(run).get('notebook', '')}  {bar(done, total)}"
        return f"{what}  {duration(time.time() - started)}  {''.join(last[-1:])}"

    with showing(line):
        return execute_run(run, call, say=console.print, fresh=True)


def run_batch(open_runs, call, executor, function):
    """Execute runs side by side; a line for every run that ends, and on a terminal one on where all stand."""
    started, total, ended, failed = time.time(), len(open_runs), 0, 0

    def standing():
        """(the runs that go on, the time gone and left), as text."""
        states = [(run, state_of(run)) for run in open_runs]
        ours = [(run, state) for run, state in states if state.get("call") == call.alive.name]
        now = [f"{run.folder.name} {state['notebook']}" for run, state in ours if state["status"] == "running"]
        passed, done = time.time() - started, ended + len(now) / 2  # a run that goes on is half done, on the average
        left = f", about {duration(passed * (total - done) / done)} left" if 0 < ended < total else ""
        return now, f"{duration(passed)} gone{left}"

    def line():
        now, times = standing()
        counts = f"{ended - failed} done, {len(now)} running, {failed} failed"
        return f"{bar(ended, total)}  {counts}  {times}  {' · '.join(now)}"

    with showing(line):
        try:
            waiting = {executor.submit(function, run, call): run for run in open_runs}
            for future in concurrent.futures.as_completed(waiting):
                run, error = waiting[future], future.exception()
                state = broken_off(run, error) if error else future.result()
                ended, failed = ended + 1, failed + (state["status"] == "failed")
                console.print(f"[{ended}/{total}] {ending(run, state)}; {standing()[1]}")
        except BaseException:
            call.alive.unlink(missing_ok=True)  # so all that still runs ends now, wherever it does
            raise


def broken_off(run, error):
    """The state of a run that ended by an error of ours, not of a notebook; the traceback goes to its log."""
    state = state_of(run) | {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / "state.json", state)
    with open(run.folder / "run.log", "a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    return state


# ---------------------------------------------------------------- what the reader sees


def duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def shown(path):
    """A path as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)


def text_of(path):
    with contextlib.suppress(OSError):
        return re.sub(r"\x1b\[[\d;]*m", "", path.read_text(encoding="utf-8", errors="replace"))
    return ""


def score(metrics):
    """(MCC, interval, accuracy, the majority class' accuracy) of the test set, as text; dashes where unknown."""
    test = metrics.get("test", {})
    if not test:
        return ["–"] * 4
    low, high = test["mcc_interval"]
    majority = max(test["positives"], test["n"] - test["positives"]) / test["n"]
    return [f"{test['mcc']:.3f}", f"{low:.3f} to {high:.3f}", f"{test['accuracy']:.3f}", f"{majority:.3f}"]


def seconds_of(state):
    return duration(sum(state.get("notebooks", {}).values()))


def ending(run, state):
    if state["status"] == "failed":
        return f"{run.folder.name}: FAILED: {state['error'].splitlines()[0]}"
    mcc, interval, *_ = score(read_json(run.folder / "metrics.json"))
    what = f"test MCC {mcc} ({interval})" if EVALUATION in run.notebooks else f"{run.notebooks[-1]} done"
    return f"{run.folder.name}: {what}, {seconds_of(state)}"


def print_rows(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_series(run, state, page):
    rows = [["time", seconds_of(state)]]
    if EVALUATION in run.notebooks:
        metrics = read_json(run.folder / "metrics.json")
        mcc, interval, accuracy, majority = score(metrics)
        rows = [[name, str(metrics.get(name, "–"))] for name in ("corpus", "model", "device")] + rows
        rows += [["test MCC", f"{mcc}  (95 % interval {interval}; accuracy {accuracy})"]]
        rows += [["majority class", f"0.000  (accuracy {majority})"]]
    rows += [["notebooks", shown(run.folder / "notebooks" / f"{notebook}.ipynb")] for notebook in run.notebooks]
    print_rows([*rows, ["all on one page", shown(page)]])


def print_batch(runs):
    rows = [["run", "test MCC", "95 % interval", "accuracy", "majority", "validation MCC", "time"]]
    for run in runs:
        state, metrics = state_of(run), read_json(run.folder / "metrics.json")
        if not is_finished(run, state):
            rows.append([run.folder.name, state.get("status", "not begun"), *[""] * 5])
            continue
        validation = metrics.get("validation", {}).get("mcc")
        best = "–" if validation is None else f"{validation:.3f}"
        rows.append([run.folder.name, *score(metrics), best, seconds_of(state)])
    print_rows(rows)


def print_failures(runs):
    """List the failed runs with their errors, like ones together; returns how many there are."""
    failed = [(run, state) for run in runs if (state := state_of(run)).get("status") == "failed"]
    reasons = {}
    for run, state in failed:
        reasons.setdefault((state.get("notebook"), state["error"]), []).append((run, state))
    for (run, state), *others in reasons.values():
        print_failure(run, state)
        if others:
            print(f"  and so did {len(others)} more, for the same reason")
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed. The same command with --retry-failed repeats just those.")
    return len(failed)


def print_failure(run, state):
    notebook = state.get("notebook")
    print(f"\n{run.name} failed{f' in {notebook}' if notebook in run.notebooks else ''}:")
    print("  " + state["error"].replace("\n", "\n  "))
    executed = Path(state.get("executed", run.folder / "notebooks" / f"{notebook}.ipynb"))  # a parent's, perhaps
    for what, path in [("executed notebook", executed), ("log", executed.parent.parent / "run.log")]:
        if path.exists():
            print(f"  {what}: {shown(path)}")


# ---------------------------------------------------------------- command line


def command_line(notebooks):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=parameters_help(notebooks), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "-p",
        dest="parameters",
        metavar=("NAME", "VALUE"),
        nargs="+",
        action="append",
        default=[],
        help="a parameter and its value, or several values for a batch; may be repeated",
    )
    add("--file", help="YAML file of parameters, `NAME: value` or `NAME: [values]`; -p overrides it")
    add("--until", metavar="NOTEBOOK", help="the last notebook to execute (default: 06, in a batch 05)")
    add("--processes", type=positive, default=1, metavar="N", help=f"execute {TRAINING} in N processes, under torchrun")
    batch = parser.add_argument_group("batches")
    add = batch.add_argument
    add("--batch", metavar="NAME", help="folder of the batch below runs/ (default: sweep)")
    add("--jobs", type=positive, metavar="N", help="runs at once, here (default: one a GPU, or one a core)")
    add("--retry-failed", action="store_true", help="execute just the runs that failed")
    add("--index", type=int, metavar="I", help="execute just run number I of the grid, from 0 (for arrays of jobs)")
    add("--count", action="store_true", help="print how many runs the grid has")
    add("--dry-run", action="store_true", help="print the runs with their numbers")
    add("--backend", choices=["local", "dask"], default="local", help="where the runs are executed (default: local)")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="of the Dask scheduler, such as tcp://host:8786 (threads of a run: OMP_NUM_THREADS of its worker)",
    )
    return parser


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def check_options(options, many):
    """Refuse options that would do nothing."""
    dask = options.backend == "dask"
    if dask != bool(options.scheduler):
        raise Refused("--backend dask and --scheduler ADDRESS, such as tcp://host:8786, need each other")
    if options.jobs and (dask or options.index is not None):
        raise Refused("--jobs says how many runs go on at once on this machine: not with --backend dask or --index")
    if not many and (dask or options.jobs):
        raise Refused("--jobs and --backend are for batches: give a parameter several values, or --batch NAME")


def chosen(notebooks, until, default):
    """The notebooks of a run: those that declare RUN, up to the one that --until names."""
    series = [name for name, declared in notebooks.items() if "RUN" in declared]
    ends = [name for name in series if name.startswith(until)] if until else [default]
    if not ends:
        raise Refused(f"--until {until}: no such notebook. There are: {', '.join(series)}")
    return [name for name in series if name <= ends[0]]


def series(options, values, notebooks):
    """The whole series once, anew. Returns the exit code."""
    stems = chosen(notebooks, options.until, LAST)
    check_place(values, {stem: notebooks[stem] for stem in stems}, "see --until, and --batch")
    asked = {name: value for name, (value,) in values.items()}
    name = folder_name(asked.pop("RUN", notebooks[stems[0]]["RUN"].default), "RUN")
    run = make_run(name, stems, asked, notebooks)
    check_gpus(options.processes)
    console.print(f"{' to '.join(dict.fromkeys([stems[0], stems[-1]]))}, into {shown(run.folder)}")
    with calling(processes=options.processes) as call:
        state = run_series(run, call)
    if state["status"] == "failed":
        print_failure(run, state)
        return 1
    from runner.page import write_page  # takes as long to load as all else together

    page = write_page(run.folder, stems, NOTEBOOKS)
    print()
    print_series(run, state, page)
    return 0


def batch(options, values, notebooks):
    """A grid of runs, then the notebooks that compare them. Returns the exit code."""
    name = folder_name(options.batch or "sweep", "--batch")
    stems = chosen(notebooks, options.until, EVALUATION)
    comparing = {stem: own for stem, own in notebooks.items() if "BATCH" in own and EVALUATION in stems}
    check_place(values, comparing | {stem: notebooks[stem] for stem in stems}, "see --until")
    for key in [key for own in comparing.values() for key in own if len(values.get(key, [])) > 1]:
        raise Refused(f"{key} takes one value: it belongs to the notebook that compares the runs")
    runs = make_grid(name, values, stems, notebooks)
    for run in runs:
        state = state_of(run)
        if not state and (run.folder / "run.json").exists():
            raise Refused(f"{shown(run.folder)} holds a run made by hand, or its state.json is damaged: move it away")
        if state.get("status") == "finished" and (changed := differences(run, state)):
            was = ", ".join(f"{key} {then!r} (now {now!r})" for key, (then, now) in sorted(changed.items()))
            raise Refused(f"{shown(run.folder)} holds a finished run with {was}: choose another --batch, or delete it")
    if options.count:
        print(len(runs))
        return 0
    if options.dry_run:
        for index, run in enumerate(runs):
            print(f"{index:4}  {run.name}  {state_of(run).get('status', '')}".rstrip())
        return 0
    if options.index is not None and options.index not in range(len(runs)):
        raise Refused(f"--index must be from 0 to {len(runs) - 1}")
    return execute_batch(options, values, runs, comparing, name)


def execute_batch(options, values, runs, comparing, name):
    picked = runs if options.index is None else [runs[options.index]]
    if options.retry_failed:
        picked = [run for run in picked if state_of(run).get("status") == "failed"]
    states = [(run, state_of(run)) for run in picked]
    open_runs = [run for run, state in states if not is_finished(run, state)]
    if finished := [(run, state) for run, state in states if is_finished(run, state)]:
        print(f"{len(finished)} of {len(picked)} runs are finished already")
        if older := sum(code_changed(run, state, run.notebooks) for run, state in finished):
            print(f"({older} of them by notebooks with other code than now; to repeat a run, delete its folder)")
    environment = {key: os.environ[key] for key in FOR_WORKERS if key in os.environ}
    with calling(processes=options.processes, environment=environment) as call:
        if open_runs:
            where, at_once = place_of(options, len(open_runs))
            with where as (executor, function):
                many = f"{len(open_runs)} run{'s' * (len(open_runs) > 1)}"
                console.print(f"{many} to do, into {shown(RUNS / name)}, {at_once}")
                run_batch(open_runs, call, executor, function)
        if options.index is not None:
            return print_failures(picked) and 1
        broken = comparing and compare(runs, comparing, values, name, call)
    print()
    print_batch(runs)
    return 1 if print_failures(runs) or broken else 0


def place_of(options, count):
    """Where `count` runs are executed, and how many of them at once, in words."""
    if options.backend == "dask":
        return cluster(options.scheduler), "as many at once as the Dask workers have threads"
    check_gpus(options.processes)
    if options.index is not None:
        return this_machine([{}]), "by itself"  # the array's scheduler has dealt out cores and GPUs
    here = places(options.jobs, options.processes, count)
    return this_machine(here), f"{len(here)} at once"


def compare(runs, comparing, values, name, call):
    """Execute the notebooks that read a whole batch; returns whether one broke."""
    if not any(is_finished(run, state_of(run)) for run in runs):
        return False
    from runner.page import write_page  # takes as long to load as all else together

    folder = RUNS / name
    with locked(folder, call):
        for notebook, declared in comparing.items():
            own = {key: values[key][0] for key in declared if key in values}
            if error := execute_notebook(notebook, {"BATCH": name} | own, folder, call):
                print(f"\n{notebook} failed:\n{error}\n  {shown(folder / 'notebooks' / f'{notebook}.ipynb')}")
                return True
        print(f"\nthe runs compared: {shown(write_page(folder, comparing, NOTEBOOKS))}")
    others = sorted({path.parent.name for path in folder.glob("*/metrics.json")} - {run.folder.name for run in runs})
    others = [one for one in others if read_json(folder / one / "state.json").get("status", "finished") == "finished"]
    if others:
        print(f"({len(others)} of them not of this call, such as {others[0]}: --batch NAME keeps batches apart)")
    return False


def main(arguments):
    try:
        notebooks = read_notebooks(NOTEBOOKS)
        options = command_line(notebooks).parse_args(arguments)
        asked = (read_grid(options.file) if options.file else {}) | given(options.parameters)
        values = typed(asked, notebooks)
        many = options.batch or options.retry_failed or options.count or options.dry_run or options.index is not None
        many = many or any(len(own) > 1 for own in values.values())
        check_options(options, many)
        if many and {"RUN", "BATCH"} & values.keys():
            raise Refused("the runs of a batch are named by what varies, and the batch by --batch NAME")
        return (batch if many else series)(options, values, notebooks)
    except (Refused, PermissionError) as refused:
        print(f"run.py: {refused}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped):
        print("\nStopped. The same command goes on: a batch where it stood; a single run repeats 01 to 03, and its")
        print("training goes on after the last epoch that it finished.")
        return 130


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
