"""kill -9 at random moments: the same call then ends as if nothing had been, and repeats nothing that was finished.

Ten kills a run of the tests, at other moments each time (a failure prints the seeds). Most are of the notebooks' cells in a
process of their own, some of run.py with its kernels, on notebooks that do little and on the real ones.
"""

import contextlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from tally import tally, tries
from test_series import declared, execute, history, results, runs, series, tiny  # noqa: F401
from toy import call, executed, kernels, start, wait_until

import helpers
from bookkeeping.files import read_json
from runner.state import content_of

SERIES = helpers.SERIES[1:5]  # 02 to 05


def draw_seed():
    seed = random.randrange(10**9)
    print("seed", seed)
    return random.Random(seed)


def stamps(folder):
    """{notebook: when it finished} of what is finished in a run folder."""
    with contextlib.suppress(ValueError):
        return {
            name: record["finished"] for name, record in read_json(folder / "run.json").get("notebooks", {}).items()
        }


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.suffix[1:].isdigit()]


def outcome(folder):
    """All figures of a run, its history and its weights."""
    weights = (folder / "model/model.safetensors").read_bytes()
    return results(folder) | {"model": weights, "checkpoint": (folder / "checkpoint.pt").exists()}


# ---------------------------------------------------------------- the notebooks' cells


def go_on(runs, run, parameters, said):  # noqa: F811
    """Execute those of 02 to 05 that have not finished in a run folder, as a reader would who comes back."""
    torch.set_num_threads(1)  # with more, libgomp does not live through a fork
    helpers.RUNS = runs
    os.chdir(helpers.ROOT / "notebooks")
    with open(said, "w", buffering=1) as file, contextlib.redirect_stdout(file):
        for notebook in SERIES:
            if notebook not in helpers.read_run(runs / run)["notebooks"]:
                own = [target.id for target in declared(notebook)]
                execute(notebook, **{name: value for name, value in ({"RUN": run} | parameters).items() if name in own})
                print(f"done: {notebook} {time.time()}")
        print("all done")


@pytest.fixture(scope="module")
def forked(tiny):  # noqa: F811
    """Start go_on for a run in a process that has all libraries in memory already; returns it, and a file of what it says."""
    context = multiprocessing.get_context("fork")

    def fork(run):
        said = helpers.RUNS / f"{run}.txt"
        said.touch()
        process = context.Process(target=go_on, args=(helpers.RUNS, run, tiny, said))
        process.start()
        return process, said

    series("warm", **tiny)  # what the notebooks import
    return fork


def ended(process, said):
    process.join()
    assert process.exitcode == 0 and "all done" in said.read_text(), said.read_text()[-2000:]


@pytest.fixture(scope="module")
def undisturbed(forked):
    """(outcome, {notebook: seconds}) of a run that nobody kills."""
    times = [time.time()]
    process, said = forked("undisturbed")
    ended(process, said)
    times += [float(line.split()[-1]) for line in said.read_text().splitlines() if line.startswith("done: ")]
    return outcome(helpers.RUNS / "undisturbed"), dict(zip(SERIES, np.diff(times)))


def test_notebooks_killed_at_any_moment_end_the_same(forked, undisturbed):
    expected, seconds = undisturbed
    promised = "equal bit for bit; nothing finished is repeated; no half file stays"
    with tally("kill -9 of 02 to 05, in one process", promised) as came:
        for number in range(tries(6)):
            draw, run = draw_seed(), f"killed{number}"
            notebook = draw.choice(SERIES)  # each as often: the plots of 02 take most of the time
            process, said = forked(run)
            while process.is_alive() and said.read_text().count("done: ") < SERIES.index(notebook):
                time.sleep(0.01)
            process.join(draw.uniform(0, seconds[notebook]))
            process.kill()
            process.join()
            done = stamps(helpers.RUNS / run)
            ended(*forked(run))
            after = stamps(helpers.RUNS / run)
            assert outcome(helpers.RUNS / run) == expected and not leftovers(helpers.RUNS / run)
            assert {name: after[name] for name in done} == done, "nothing finished is repeated"
            came(f"equal; killed in {SERIES[len(done)]}" if len(done) < len(SERIES) else "equal; had just ended")
            shutil.rmtree(helpers.RUNS / run)


# ---------------------------------------------------------------- run.py


def workers(folder):
    """The living processes whose run folders lie in `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("BERT_RUNS") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_in(process, folder, notebook, after):
    """Kill run.py so many seconds after it began a notebook in a run folder below `folder`. Nothing of it may live on."""
    began = time.time()
    while process.poll() is None and notebook not in at_work(folder, began):
        time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
    process.kill()
    process.communicate()
    wait_until(lambda: not workers(folder))


def at_work(folder, since):
    """Names of the notebooks that run.py has at work below `folder`, begun after the time `since`."""
    states = [content_of(path) for path in written(folder, "state.json") if path.stat().st_mtime > since]
    return {state.get("notebook") for state in states if state.get("status") == "running"}


def written(folder, name):
    return [path for path in folder.rglob(name) if ".before" not in path.parts]


def all_stamps(folder):
    return {path.parent: stamps(path.parent) or {} for path in written(folder, "run.json")}


def test_a_killed_sweep_of_small_notebooks_repeats_nothing(small):
    """How often each notebook was begun is written down."""
    asked, folder = ["-p", "SEED", 1, 2, "-p", "NAP", 1], small / "runs"
    promised = "nothing finished is repeated; no process stays"

    def begun():
        """{(run, notebook): how often it was begun} of what run.py has noted as finished."""
        noted = {path.parent: content_of(path).get("notebooks", {}) for path in written(folder, "state.json")}
        noted = [(run.relative_to(folder).as_posix(), name) for run, names in noted.items() for name in names]
        counts = executed(small) if noted else {}
        return {(run, name): counts.get(run, "").count(name[:2]) for run, name in noted}

    with tally("kill -9 of run.py at a sweep of small notebooks", promised) as came:
        for _ in range(tries(1)):
            draw, before = draw_seed(), {}
            for _ in range(2):
                process = start(small, *asked)
                kill_in(process, folder, draw.choice(["02_load", "03_cut", "04_train", "04_train"]), draw.uniform(0, 3))
                assert not kernels(small) and begun().items() >= before.items()
                before = begun()
            code, output = call(small, *asked)
            assert code == 0, output
            assert begun().items() >= before.items() and len(begun()) > len(before) - 1
            came("went on")
            came("went on")
            shutil.rmtree(folder)
            (small / "executed.txt").unlink()


@pytest.mark.slow
def test_run_py_killed_twice_ends_the_same(tiny, undisturbed, tmp_path):  # noqa: F811
    """The real thing, as a user calls it: kernels, papermill, the table and the page. If tried more often, also as a sweep."""
    promised = "equal bit for bit; nothing finished is repeated; no process stays"
    expected, _ = undisturbed
    with tally("kill -9 of run.py with the real notebooks", promised) as came:
        for number in range(tries(1)):
            draw, folder = draw_seed(), tmp_path / f"runs{number}"
            sweep = number % 2 == 1
            asked = ["-p", "SEED", "42", "43", "--until", "05"] if sweep else ["-p", "RUN", "x"]
            command = [sys.executable, str(helpers.ROOT / "run.py"), *asked]
            for name, value in tiny.items():
                command += ["-p", name, str(value)]
            how = {
                "env": os.environ | {"BERT_RUNS": str(folder), "OMP_NUM_THREADS": "1"},
                "cwd": tmp_path,
                "text": True,
            }
            how |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            before = {}
            for notebook in sorted(draw.choices(SERIES, weights=[1, 1, 3, 1], k=2)):
                kill_in(subprocess.Popen(command, **how), folder, notebook, draw.uniform(0, 8))
                now = all_stamps(folder)
                for run, done in before.items():
                    assert {name: now[run].get(name) for name in done} == done, "nothing finished is repeated"
                before = now
            done = subprocess.run(command, **how)
            assert done.returncode == 0, done.stdout[-3000:]
            now = all_stamps(folder)
            for run, stamped in before.items():
                assert {name: now[run].get(name) for name in stamped} == stamped, "nothing finished is repeated"
            assert outcome(folder / ("sweep/SEED=42" if sweep else "x")) == expected
            if not sweep:
                is_reported(folder / "x", done.stdout)
            assert not workers(folder)
            for _ in range(2):
                came(f"{'a sweep' if sweep else 'a series'}, equal")
            shutil.rmtree(folder)


def is_reported(folder, said):
    """The notebooks 01 to 06 were executed, and stand in the page; the table says what came out."""
    assert sorted(helpers.read_run(folder)["notebooks"]) == helpers.SERIES
    assert {path.stem for path in (folder / "notebooks").glob("*.ipynb")} >= set(helpers.SERIES)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") >= 8, "the plots are in the page"
    metrics = read_json(folder / "metrics.json")
    for word in ["corpus", "model", "MCC", "report.html", f"{metrics['test']['mcc_interval'][0]:.2f}"]:
        assert word in said, said
