"""Where the runs of a batch are executed: side by side on this machine, or on a Dask cluster."""

import concurrent.futures
import contextlib
from dataclasses import replace

from runner.cluster import cluster
from runner.devices import check_gpus, shares
from runner.resume import execute_run


def place_of(options, count):
    """Where `count` runs are executed, and how many of them at once, in words."""
    if options.backend == "dask":
        return cluster(options.scheduler), "as many at once as the Dask workers have threads"
    check_gpus(options.processes)
    if options.index is not None:
        return this_machine([{}]), "by itself"  # the array's scheduler has dealt out cores and GPUs
    here = shares(options.jobs, options.processes, count)
    return this_machine(here), f"{len(here)} at once"


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
