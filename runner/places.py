"""Where the runs of a sweep are executed: side by side on this machine, or on a Dask cluster."""

import concurrent.futures
import contextlib
from dataclasses import replace

from bookkeeping.files import write_json
from runner.cluster import cluster
from runner.devices import check_gpus, shares
from runner.resume import execute_run
from runner.state import content_of
from runner.terminal import console


def place_of(options, count, folder):
    """Where `count` runs of the sweep in `folder` are executed, and how many of them at once, in words."""
    if options.backend == "dask":
        return cluster(options.scheduler), "as many at once as the Dask workers have threads"
    check_gpus(options.processes)
    if options.index is not None:
        return this_machine([{}]), "by itself"  # the array's scheduler has dealt out cores and GPUs
    here = shares(options.jobs, options.processes, count)
    threads = decided_threads(folder, here[0].get("OMP_NUM_THREADS"))
    here = [place | ({"OMP_NUM_THREADS": threads} if threads else {}) for place in here]
    return this_machine(here), f"{len(here)} at once" + (
        f", {threads} threads each" if threads not in {None, "1"} else ""
    )


def decided_threads(folder, proposed):
    """The threads of a run of the sweep in `folder`: those of its first call, for other numbers round sums otherwise."""
    path = folder / ".shared" / "decided.json"
    decided = content_of(path)
    if "threads" not in decided:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"threads": proposed})
        return proposed
    if decided["threads"] != proposed:
        console.print(f"threads of a run: {decided['threads']}, as this sweep began, and not {proposed}")
    return decided["threads"]


@contextlib.contextmanager
def this_machine(environments):
    """submit(run, call) → future. Threads wait for the processes that do the work, one in each environment."""
    free = environments.copy()  # as many as there are threads, so never empty where one is taken

    def execute(run, call):
        environment = free.pop()
        try:
            return execute_run(run, replace(call, environment=call.environment | environment))
        finally:
            free.append(environment)

    with concurrent.futures.ThreadPoolExecutor(len(environments)) as executor:
        yield lambda run, call: executor.submit(execute, run, call)
