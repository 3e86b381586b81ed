"""Runs on a Dask cluster that shares the disk with this machine."""

import concurrent.futures
import contextlib
import logging

import bookkeeping
import runner
from bookkeeping import SeriesError
from runner.resume import execute_run
from runner.terminal import console


@contextlib.contextmanager
def cluster(address):
    """submit(run, call) → future. Not joblib's Dask backend: it hangs for ever when a run killed four workers.

    Workers that a nanny keeps have OMP_NUM_THREADS=1, and their notebooks too, unless it was set where they started.
    """
    try:
        import distributed
    except ImportError:
        raise SeriesError("--backend dask needs the package distributed: pip install 'dask[distributed]'") from None
    try:
        client = distributed.Client(address, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SeriesError(f"no Dask scheduler answers at {address}: {error}") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what befalls the scheduler is said below
    with client:
        if not client.nthreads():
            console.print(f"no worker has joined {address} yet: the runs begin when one does")
        executor = client.get_executor(pure=False)
        try:
            yield lambda run, call: executor.submit(*packed(execute_run, run, call))
        except concurrent.futures.CancelledError:
            raise SeriesError(
                f"the Dask scheduler at {address} went away; with a new one the same call goes on"
            ) from None
        finally:
            if client.status == "running":
                executor.shutdown(wait=False)  # waiting has no end where no worker is left


def packed(function, *arguments):
    """(function, argument) that do function(*arguments) in a process that knows neither this project nor its folders."""
    import cloudpickle

    for package in (runner, bookkeeping):
        cloudpickle.register_pickle_by_value(package)
    content = cloudpickle.dumps((function, *arguments))

    def unpack(content):  # pickled by value because it is local
        import pickle

        function, *arguments = pickle.loads(content)
        return function(*arguments)

    return unpack, content
