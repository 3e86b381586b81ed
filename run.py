#!/usr/bin/env python
"""Execute the notebooks: once, or over a grid of parameters.

  run.py                                         the series 01 to 06, into runs/default/
  run.py -p SEED 7 -p MAX_LEN 128                the same with other parameters
  run.py -p SEED 1 2 3 -p MAX_LEN 64 128         a batch: one run for each combination, into runs/sweep/
  run.py --file grid.yaml --batch night          the same, read from a file

A batch that was stopped, however, goes on when the same command is called again.
"""

# This file knows no machine learning. It knows notebooks/NN_*.ipynb and their `parameters` cells, run folders,
# and JSON files of which it prints a few fields. Every notebook is executed by papermill in a process of its own
# (`notebook_process`) that ends, with its kernel, when the process that started it ends, whatever ends that.

import argparse
import ast
import concurrent.futures
import contextlib
import difflib
import functools
import hashlib
import itertools
import json
import logging
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

sys.modules.setdefault("rfc3987_syntax", None)  # else jsonschema compiles a grammar of web addresses for 2 seconds

import joblib
import nbformat
import papermill
import psutil
import yaml
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent
NOTEBOOKS = ROOT / "notebooks"
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs")).resolve()
TRAINING = "04_train"  # what --processes executes under torchrun
EVALUATION = "05_evaluate"  # what writes metrics.json, and where the runs of a batch end
LAST = "06_save_and_load"  # where a single run ends
GIB_A_RUN = 2  # memory set aside for each run when --jobs is chosen here
LINKED_BYTES = 2**20  # what is shared between runs is linked from this size on, and copied below
WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
console = Console(highlight=False, soft_wrap=True)


class Refused(Exception):
    """What the command line asks for cannot be done; the message says why and what can."""


class Stopped(Exception):
    """The call that this run belongs to has ended."""


# ---------------------------------------------------------------- notebooks and their parameters


class Parameter(NamedTuple):
    name: str
    kind: type
    default: object
    remark: str
    notebook: str


def read_notebooks():
    """{notebook: {name: Parameter}}, in order, of the notebooks that declare RUN or BATCH."""
    logging.getLogger("papermill").setLevel(logging.WARNING)
    notebooks = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        declared = {}
        for name, seen in papermill.inspect_notebook(path).items():
            try:
                default = ast.literal_eval(seen["default"])
            except (SyntaxError, ValueError):
                raise Refused(f"{path.name}: the default of {name} is not a plain literal: {seen['default']}") from None
            kinds = {kind.__name__: kind for kind in (bool, int, float, str)}
            kind = kinds.get(seen["inferred_type_name"], str if default is None else type(default))
            declared[name] = Parameter(name, kind, default, seen["help"], path.stem)
        if "RUN" in declared or "BATCH" in declared:
            notebooks[path.stem] = declared
    return notebooks


def parameters_help(notebooks):
    lines = ["parameters, with their defaults, by notebook:"]
    for notebook, declared in notebooks.items():
        lines += ["", f"  {notebook}"]
        lines += [f"    {p.name:<20} {p.default!r:<12} {p.remark}" for p in declared.values()]
    return "\n".join(lines)


def convert(text, parameter):
    """The value that `text` stands for, of the type that the notebook declares."""
    if parameter.default is None and text.lower() in {"none", "null", "~", ""}:
        return None
    try:
        if parameter.kind is bool:
            return WORDS[text.lower()]
        if parameter.kind is str:
            return text if parameter.name == "RUN" else absolute(text)
        value = parameter.kind(text)
        if not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[parameter.kind]
        none = " or none" if parameter.default is None else ""
        raise Refused(
            f"{parameter.name} must be {wanted}{none}, not {text!r} "
            f"({parameter.notebook}: default {parameter.default!r}; {parameter.remark})"
        ) from None


def absolute(text):
    """A path that is meant from here, made absolute: the notebooks run in another folder."""
    path = Path(text).expanduser()
    meant = text.startswith(("./", "../", "~")) or ("/" in text and path.exists())
    return str(path.resolve()) if meant else text


def read_grid(path):
    """{name: [texts]} from a YAML file of `NAME: value` and `NAME: [values]`.

    All scalars are read as text, and typed later by the notebook: 3e-5 stays a number and `no` a word.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} must hold lines such as `SEED: [1, 2, 3]` or `MAX_LEN: 64`")
    grid = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
    for name, texts in grid.items():
        if not texts or not all(isinstance(text, str) for text in texts):
            raise Refused(f"{path}: {name} must be one value or a list of values")
    return grid


def typed(asked, notebooks):
    """{name: [texts]} with each name checked and each value of the type its notebook declares."""
    declared = {name: p for own in notebooks.values() for name, p in own.items()}
    values = {}
    for name, texts in asked.items():
        if name not in declared:
            near = difflib.get_close_matches(name.upper(), declared, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Refused(f"no notebook declares {name}.{hint} The parameters are: {', '.join(sorted(declared))}")
        values[name] = list(dict.fromkeys(convert(text, declared[name]) for text in texts))
    return values


def folder_name(text, option):
    parts = Path(text).parts
    if not parts or not all(re.fullmatch(r"[\w.,=+-]+", part) and part.strip(".") for part in parts):
        raise Refused(f"{option} must be a plain name (letters, digits, . , = + - _ and /), not {text!r}")
    return text


# ---------------------------------------------------------------- runs, and what they share


@dataclass(frozen=True)
class Run:
    """A run folder and what makes it: its parent's notebooks, copied, then the rest of `notebooks`."""

    name: str  # of the folder below RUNS
    notebooks: tuple  # from the first on, the parent's included
    asked: dict  # {name: value}, as asked
    values: dict  # {notebook: {name: value}}, the defaults included
    code: dict  # {notebook: hash of its code}
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


def make_run(name, stems, asked, notebooks, parent=None):
    values = {
        stem: {p.name: asked.get(p.name, p.default) for p in notebooks[stem].values() if p.name != "RUN"}
        for stem in stems
    }
    code = {stem: short_hash([cell.source for cell in cells_of(stem) if cell.cell_type == "code"]) for stem in stems}
    return Run(name, tuple(stems), asked, values, code, parent)


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


def read_json(path):
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def write_json(path, content):
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    new.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(new, path)


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


def code_changed(run, state):
    return any(run.code[name] != state["code"][name] for name in run.notebooks if name in state["notebooks"])


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
        if fresh or not state.get("notebooks") or differences(run, state) or code_changed(run, state):
            state = begin_run(run, call, fresh)
        else:
            state = {"status": "running", "notebooks": state["notebooks"]}
        state |= {"call": call.alive.name, "parameters": run.parameters, "code": run.code}
        for notebook in run.notebooks:
            if notebook in state["notebooks"] or state["status"] == "failed":
                continue
            write_json(run.folder / "state.json", state | {"status": "running", "notebook": notebook})
            parameters = {name: run.asked[name] for name in run.values[notebook] if name in run.asked}
            begin = time.time()
            error = execute_notebook(notebook, {"RUN": run.name} | parameters, run.folder, call)
            if error:
                executed = run.folder / "notebooks" / f"{notebook}.ipynb"
                state |= {
                    "status": "failed",
                    "notebook": notebook,
                    "error": error,
                    "executed": str(executed),
                }
            else:
                state["notebooks"][notebook] = round(time.time() - begin, 1)
                if say:
                    say(f"{notebook:<22} {duration(state['notebooks'][notebook])}")
        if state["status"] != "failed":
            state["status"] = "finished"
        write_json(run.folder / "state.json", state)  # last: until then the run is a half-finished one
        return state


def begin_run(run, call, fresh):
    """The state of a run at its beginning, in a folder that is empty or a copy of its parent's."""
    state = {"status": "running", "notebooks": {}}
    if not fresh:
        shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "run.log").unlink(missing_ok=True)
    write_json(run.folder / "state.json", state | {"call": call.alive.name, "notebook": "begins"})
    if run.parent:
        parent = execute_run(run.parent, call)
        if parent["status"] == "failed":
            return state | {key: parent[key] for key in ("status", "notebook", "error", "executed")}
        state["notebooks"] = dict(parent["notebooks"])
        ours = shutil.ignore_patterns("state.json", "run.log")
        shutil.copytree(
            run.parent.folder,
            run.folder,
            copy_function=link_or_copy,
            ignore=ours,
            dirs_exist_ok=True,
        )
        record = read_json(run.folder / "run.json")
        write_json(run.folder / "run.json", record | {"run": run.name})
    return state


def link_or_copy(source, target):
    """Large files are linked: what writes in a run folder writes beside and renames, so no link is written through."""
    if os.path.getsize(source) >= LINKED_BYTES and not source.endswith(".ipynb"):
        with contextlib.suppress(OSError):
            return os.link(source, target)
    return shutil.copy2(source, target)


def execute_notebook(notebook, parameters, folder, call):
    """Execute one notebook in a process of its own, its output in folder/notebooks/. Returns its error, or None."""
    executed = folder / "notebooks" / f"{notebook}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    for old in [executed, *executed.parent.glob(f"rank*/{executed.name}")]:
        old.unlink(missing_ok=True)
    task = {
        "notebook": notebook,
        "parameters": parameters,
        "executed": str(executed),
        "many": False,
    }
    launcher, environment = [], os.environ | call.environment | {"BERT_RUNS": str(RUNS)}
    if call.processes > 1 and notebook == TRAINING:
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={call.processes}",
        ]
        task["many"] = True
        if not gpus():
            environment["ACCELERATE_USE_CPU"] = "yes"
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // call.processes)))
    command = [sys.executable, *launcher, str(ROOT / "run.py"), "--notebook", json.dumps(task)]
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


def notebook_process(task):
    """What the process of one notebook does (run.py --notebook TASK). Under torchrun there is one for each rank.

    Its standard input is a pipe that the process which started it holds open.
    """
    from ipykernel.kernelspec import write_kernel_spec

    rank = os.environ["RANK"] if task["many"] else "0"
    executed = Path(task["executed"])
    if rank != "0":
        executed = executed.parent / f"rank{rank}" / executed.name
        executed.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        threading.Thread(target=end_with_starter, args=[scratch], daemon=True).start()
        # the kernel is this Python, whatever kernels the machine knows; and it shares no file with other kernels
        write_kernel_spec(f"{scratch}/kernels/this_python")
        tempfile.tempdir = scratch
        if os.name == "posix" and len(scratch) < 80:  # sockets of its own, so no race with others for a port
            sockets = Config(KernelManager={"transport": "ipc", "ip": f"{scratch}/socket"})
        else:
            sockets = Config()
        os.environ |= {
            "JUPYTER_PATH": scratch,
            "JUPYTER_RUNTIME_DIR": scratch,
            "IPYTHONDIR": f"{scratch}/ipython",
        }
        os.environ |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "MPLBACKEND": ""}  # inline plots
        logging.basicConfig(format="%(message)s")
        logging.getLogger("papermill").setLevel(logging.INFO)
        for attempt in (1, 2):
            try:
                papermill.execute_notebook(
                    NOTEBOOKS / f"{task['notebook']}.ipynb", executed, task["parameters"], kernel_name="this_python",
                    cwd=NOTEBOOKS, progress_bar=False, log_output=rank == "0", start_timeout=120, config=sockets,
                )  # fmt: skip
                return 0
            except papermill.PapermillExecutionError as error:
                print(error, file=sys.stderr)
                return 1
            except DeadKernelError:
                print("the kernel was killed, perhaps because the memory was full", file=sys.stderr)
                return 1
            except Exception as error:  # a kernel that did not start, or took another one's port
                if attempt == 2:
                    raise
                print(f"{type(error).__name__}: {error}; once more", file=sys.stderr)


def end_with_starter(scratch):
    """End this process and its kernel as soon as the process that started it closes the pipe, or dies."""
    os.read(0, 1)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(130)


# ---------------------------------------------------------------- one run, many runs


def cores():
    return joblib.cpu_count(only_physical_cores=True)


def gpus():
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them, without loading torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in {"", "-1"}]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
        return [str(number) for number in range(len(re.findall("^GPU ", listed, re.MULTILINE)))]
    return []


def places(jobs, processes, count):
    """A list with the environment of each of the runs that go on at once: a GPU each, or a share of the cores."""
    cards = gpus()
    if cards:
        shares = [",".join(cards[i : i + processes]) for i in range(0, len(cards), processes)]
        jobs = jobs or min(count, len(shares))
        return [{"CUDA_VISIBLE_DEVICES": shares[i % len(shares)]} for i in range(jobs)]
    fitting = int(psutil.virtual_memory().available / 2**30 / GIB_A_RUN)
    jobs = jobs or max(1, min(count, cores() // processes, fitting, 1 if sys.platform == "darwin" else count))
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // (jobs * processes)))
    return [{"OMP_NUM_THREADS": threads} for _ in range(jobs)]


def execute_at_a_place(run, call, free):
    place = free.get()
    try:
        return execute_run(run, replace(call, environment=call.environment | place))
    finally:
        free.put(place)


@contextlib.contextmanager
def this_machine(places):
    """(executor, function to submit): the threads wait for the processes that do the work, one at each place."""
    free = queue.SimpleQueue()
    for place in places:
        free.put(place)
    with concurrent.futures.ThreadPoolExecutor(len(places)) as executor:
        yield executor, functools.partial(execute_at_a_place, free=free)


@contextlib.contextmanager
def cluster(address):
    """(executor, function to submit). Not joblib's Dask backend: it hangs for ever when a run killed four workers."""
    if not address:
        raise Refused("--backend dask needs --scheduler ADDRESS, such as tcp://host:8786")
    try:
        import distributed
    except ImportError:
        raise Refused("--backend dask needs the package distributed: pip install 'dask[distributed]'") from None
    try:
        client = distributed.Client(address, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Refused(f"no Dask scheduler answers at {address}: {error}") from None
    with client, client.get_executor(pure=False) as executor:
        yield executor, execute_run


def run_series(run, call):
    """One run, here, with a bar; returns its state."""
    total = sum(len(cells_of(notebook)) + 1 for notebook in run.notebooks)  # papermill adds one with the parameters
    started = time.time()

    def line():
        log = text_of(run.folder / "run.log")
        done = len(re.findall("^Ending Cell ", log, re.MULTILINE))
        last = [text for text in log.splitlines() if text.strip() and not re.match("(Executing|Ending) Cell", text)]
        notebook = state_of(run).get("notebook", "")
        return bar(notebook, done, total, f"{duration(time.time() - started)}  {''.join(last[-1:])}")

    with showing(line):
        return execute_run(run, call, say=console.print, fresh=True)


def run_batch(open_runs, call, executor, function):
    """Execute runs side by side; a line for every run that ends, and on a terminal one on where all stand."""
    started, ended, failed = time.time(), 0, 0

    def running():
        states = [(run, state_of(run)) for run in open_runs]
        ours = [(run, state) for run, state in states if state.get("call") == call.alive.name]
        return [f"{run.folder.name} {state['notebook']}" for run, state in ours if state["status"] == "running"]

    def times(now):
        passed = time.time() - started
        done = ended + len(now) / 2  # a run that goes on is half done, on the average
        left = f", about {duration(passed * (len(open_runs) - done) / done)} left" if 0 < ended < len(open_runs) else ""
        return f"{duration(passed)} gone{left}"

    def line():
        now = running()
        counts = f"{ended - failed} done, {len(now)} running, {failed} failed"
        return bar(counts, ended, len(open_runs), f"{times(now)}  {' · '.join(now)}")

    with showing(line):
        try:
            waiting = {executor.submit(function, run, call): run for run in open_runs}
            for future in concurrent.futures.as_completed(waiting):
                run, error = waiting[future], future.exception()
                state = {"status": "failed", "error": f"{type(error).__name__}: {error}"} if error else future.result()
                ended, failed = ended + 1, failed + (state["status"] == "failed")
                if error:
                    run.folder.mkdir(parents=True, exist_ok=True)
                    write_json(run.folder / "state.json", state_of(run) | state)
                console.print(
                    f"[{ended}/{len(open_runs)}] {ending(run, state)}; {times(running())}",
                    markup=False,
                )
        except BaseException:
            call.alive.unlink(missing_ok=True)  # so all that still runs ends now, wherever it does
            raise


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


def bar(what, done, total, text):
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    text = Text(text, no_wrap=True, overflow="ellipsis")
    grid.add_row(what, ProgressBar(total, done, width=24), f"{done}/{total}", text)
    return grid


def showing(line):
    """A line that is kept up to date on a terminal, and left out where the output goes to a file."""
    if not console.is_terminal:
        return contextlib.nullcontext()
    return Live(get_renderable=line, console=console, refresh_per_second=2, transient=True)


def score(metrics):
    """(MCC, interval, accuracy, the majority class' accuracy) of the test set, as text; dashes where unknown."""
    test = metrics.get("test", {})
    if not test:
        return ["–"] * 4
    low, high = test["mcc_interval"]
    majority = max(test["positives"], test["n"] - test["positives"]) / test["n"]
    return [
        f"{test['mcc']:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{test['accuracy']:.3f}",
        f"{majority:.3f}",
    ]


def seconds_of(state):
    return duration(sum(state.get("notebooks", {}).values()))


def ending(run, state):
    if state["status"] == "failed":
        return f"{run.folder.name}: FAILED: {state['error'].splitlines()[0]}"
    mcc, interval, *_ = score(read_json(run.folder / "metrics.json"))
    return f"{run.folder.name}: test MCC {mcc} ({interval}), {seconds_of(state)}"


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
    """List the failed runs with their errors; returns how many there are."""
    failed = [(run, state) for run in runs if (state := state_of(run)).get("status") == "failed"]
    for run, state in failed:
        print_failure(run, state)
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed. The same command with --retry-failed repeats just those.")
    return len(failed)


def print_failure(run, state):
    print(f"\n{run.name} failed in {state.get('notebook', '?')}:")
    print("  " + state["error"].replace("\n", "\n  "))
    executed = Path(state.get("executed", run.folder / "notebooks" / "–"))
    print(f"  executed notebook: {shown(executed)}\n  log: {shown(executed.parent.parent / 'run.log')}")


PAGE = """{% extends 'lab/index.html.j2' %}{% block html_head_js %}{% endblock %}{% block html_head_js_mermaidjs %}
{% endblock %}{% block html_head_js_mathjax %}{% set page %}{{ super() }}{% endset %}
{{ page | replace('<script src', '<script async src') }}{% endblock %}"""


def write_page(folder, notebooks):
    """folder/report.html: the executed notebooks below each other, pictures included. Only formulas need a network."""
    from nbconvert import HTMLExporter

    contents = "\n".join(f"* [{notebook}](#{notebook})" for notebook in notebooks)
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {folder.name}\n{contents}")])
    for notebook in notebooks:
        executed = nbformat.read(folder / "notebooks" / f"{notebook}.ipynb", as_version=4)
        page.metadata |= {
            "language_info": executed.metadata.get("language_info", {}),
            "title": folder.name,
        }
        page.cells.append(nbformat.v4.new_markdown_cell(f'<a id="{notebook}"></a>\n\n---'))
        for number, cell in enumerate(executed.cells):
            cell.id = f"{notebook}-{number}"
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](#\1)", cell.source)
        page.cells += executed.cells
    exporter = HTMLExporter(raw_template=PAGE, embed_images=True)
    html, _ = exporter.from_notebook_node(page, {"metadata": {"path": str(NOTEBOOKS), "name": folder.name}})
    (folder / "report.html").write_text(html, encoding="utf-8")
    return folder / "report.html"


# ---------------------------------------------------------------- command line


def command_line(notebooks):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=parameters_help(notebooks),
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    add(
        "--until",
        metavar="NOTEBOOK",
        help="the last notebook to execute (default: 06, in a batch 05)",
    )
    add(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help=f"execute {TRAINING} in N processes, under torchrun",
    )
    batch = parser.add_argument_group("batches")
    add = batch.add_argument
    add("--batch", metavar="NAME", help="folder of the batch below runs/ (default: sweep)")
    add("--jobs", type=int, metavar="N", help="runs at once (default: one a GPU, or one a core)")
    add("--retry-failed", action="store_true", help="execute just the runs that failed")
    add(
        "--index",
        type=int,
        metavar="I",
        help="execute just run number I of the grid, from 0 (for arrays of jobs)",
    )
    add("--count", action="store_true", help="print how many runs the grid has")
    add("--dry-run", action="store_true", help="print the runs with their numbers")
    add("--backend", choices=["local", "dask"], default="local", help="where the runs are executed")
    add("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, such as tcp://host:8786")
    return parser


def given(parameters):
    """{name: [texts]} of the -p options."""
    asked = {}
    for name, *texts in parameters:
        if not texts:
            raise Refused(f"-p {name} needs a value: -p NAME VALUE [VALUE ...]")
        if name in asked:
            raise Refused(f"-p {name} is given twice; several values go behind one -p: -p {name} VALUE VALUE")
        asked[name] = texts
    return asked


def chosen(notebooks, until, default):
    """The notebooks of a run: those that declare RUN, up to the one that --until names."""
    series = [name for name, declared in notebooks.items() if "RUN" in declared]
    ends = [name for name in series if name.startswith(until)] if until else [default]
    if not ends:
        raise Refused(f"--until {until}: no such notebook. There are: {', '.join(series)}")
    return [name for name in series if name <= ends[0]]


def check_place(values, stems, hint):
    """Refuse parameters of notebooks that are not executed: they would do nothing."""
    for name in values:
        if not any(name in declared for declared in stems.values()):
            raise Refused(f"{name} belongs to a notebook that this call leaves out: {hint}")


def series(options, values, notebooks):
    """The whole series once, anew. Returns the exit code."""
    stems = chosen(notebooks, options.until, LAST)
    check_place(values, {stem: notebooks[stem] for stem in stems}, "see --until, and --batch")
    asked = {name: value for name, (value,) in values.items()}
    name = folder_name(asked.pop("RUN", notebooks[stems[0]]["RUN"].default), "RUN")
    run = make_run(name, stems, asked, notebooks)
    with calling(processes=options.processes) as call:
        state = run_series(run, call)
    if state["status"] == "failed":
        print_failure(run, state)
        return 1
    page = write_page(run.folder, stems)
    print()
    print_series(run, state, page)
    return 0


def batch(options, values, notebooks):
    """A grid of runs, then the notebooks that compare them. Returns the exit code."""
    name = folder_name(options.batch or "sweep", "--batch")
    stems = chosen(notebooks, options.until, EVALUATION)
    comparing = {stem: declared for stem, declared in notebooks.items() if "BATCH" in declared}
    check_place(values, comparing | {stem: notebooks[stem] for stem in stems}, "see --until")
    runs = make_grid(name, values, stems, notebooks)
    for run in runs:
        if (state := state_of(run)).get("status") == "finished" and (changed := differences(run, state)):
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
        older = sum(code_changed(run, state) for run, state in finished)
        print(f"{len(finished)} of {len(picked)} runs are finished already")
        if older:
            print(f"({older} of them by notebooks with other code than now; to repeat a run, delete its folder)")
    with contextlib.ExitStack() as stack:
        for_workers = {name: os.environ[name] for name in ("BERT_DATA", "HF_HUB_OFFLINE") if name in os.environ}
        call = stack.enter_context(calling(processes=options.processes, environment=for_workers))
        if options.backend == "dask":
            where = cluster(options.scheduler)
        elif options.index is not None:
            where = this_machine([{}])  # the array's scheduler has dealt out cores and GPUs
        else:
            where = this_machine(places(options.jobs, options.processes, max(1, len(open_runs))))
        run_batch(open_runs, call, *stack.enter_context(where))
        if options.index is not None:
            return print_failures(picked) and 1
        broken = compare(runs, comparing, values, name, call)
    print()
    print_batch(runs)
    return 1 if print_failures(runs) or broken else 0


def compare(runs, comparing, values, name, call):
    """Execute the notebooks that read a whole batch; returns whether one broke."""
    if not any(is_finished(run, state_of(run)) for run in runs):
        return False
    folder = RUNS / name
    with locked(folder, call):
        for notebook, declared in comparing.items():
            own = {key: values[key][0] for key in declared if key in values}
            if error := execute_notebook(notebook, {"BATCH": name} | own, folder, call):
                print(f"\n{notebook} failed:\n{error}\n  {shown(folder / 'notebooks' / f'{notebook}.ipynb')}")
                return True
        if comparing:
            print(f"\nthe runs compared: {shown(write_page(folder, comparing))}")
    return False


def main(arguments):
    if arguments[:1] == ["--notebook"]:
        return notebook_process(json.loads(arguments[1]))
    try:
        notebooks = read_notebooks()
        options = command_line(notebooks).parse_args(arguments)
        asked = (read_grid(options.file) if options.file else {}) | given(options.parameters)
        values = typed(asked, notebooks)
        many = options.batch or options.retry_failed or options.count or options.dry_run or options.index is not None
        if many or any(len(own) > 1 for own in values.values()):
            if {"RUN", "BATCH"} & values.keys():
                raise Refused("the runs of a batch are named by what varies, and the batch by --batch NAME")
            return batch(options, values, notebooks)
        return series(options, values, notebooks)
    except Refused as refused:
        print(f"run.py: {refused}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped):
        print("\nStopped. The same command goes on: a batch where it stood, a single run from its beginning.")
        return 130


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
