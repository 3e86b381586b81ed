"""What a call may say, whether it holds together, and whether it asks for the series once or for a sweep."""

import argparse
import re

from bookkeeping import SeriesError
from bookkeeping.files import writing
from runner import paths
from runner.notebooks import TRAINING, read_notebooks
from runner.parameters import given, parameters_help, read_grid, values_of
from runner.series import series
from runner.sweep import sweep


def follow(arguments, description):
    """Do what the arguments of a call ask for, after all of them were checked. Returns the exit code."""
    notebooks = read_notebooks()
    arguments = [re.sub(r"^-(?=[\d.])", " -", text) for text in arguments]  # else argparse takes -1e-5 for an option
    whole = parser(description, notebooks)
    options, unknown = whole.parse_known_args(arguments)
    if unknown:
        whole.error(f"{unknown[0]!r} is no option: a parameter is given as -p SEED 3; --help lists all of them")
    asked = (read_grid(options.file) if options.file else {}) | given(options.parameters)
    values = values_of(asked, notebooks)
    many = (
        options.sweep is not None
        or options.retry_failed
        or options.count
        or options.dry_run
        or options.index is not None
    )
    many = many or any(len(own) > 1 for own in values.values())
    check_options(options, many)
    if many and {"RUN", "SWEEP"} & values.keys():
        raise SeriesError("the runs of a sweep are named by what varies, and the sweep by --sweep NAME")
    with writing(paths.RUNS):
        return (sweep if many else series)(options, values, notebooks)


def parser(description, notebooks):
    whole = argparse.ArgumentParser(
        description=description, epilog=parameters_help(notebooks), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = whole.add_argument
    several = "a parameter and its value, or several values for a sweep; may be repeated"
    words = ("NAME", "VALUE")
    add("-p", dest="parameters", metavar=words, nargs="+", action="append", default=[], help=several)
    add("--file", help="YAML file of parameters, `NAME: value` or `NAME: [values]`; -p overrides it")
    add("--until", metavar="NOTEBOOK", help="the last notebook to execute (default: 06, in a sweep 05)")
    add("--processes", type=positive, default=1, metavar="N", help=f"execute {TRAINING} in N processes, under torchrun")
    add("--again", action="store_true", help="repeat what is finished; the old result stays until the new one is whole")
    add_sweep_options(whole.add_argument_group("sweeps").add_argument)
    return whole


def add_sweep_options(add):
    add("--sweep", "--batch", dest="sweep", metavar="NAME", help="folder of the sweep below runs/ (default: sweep)")
    add("--jobs", type=positive, metavar="N", help="runs at once, here (default: one a GPU, or one a core)")
    add("--retry-failed", action="store_true", help="execute just the runs that failed")
    add("--index", type=int, metavar="I", help="execute just run number I of the grid, from 0 (for arrays of jobs)")
    add("--count", action="store_true", help="print how many runs the grid has")
    add("--dry-run", action="store_true", help="print the runs with their numbers")
    add("--backend", choices=["local", "dask"], default="local", help="where the runs are executed (default: local)")
    of_dask = "of the Dask scheduler, such as tcp://host:8786 (threads of a run: OMP_NUM_THREADS of its worker)"
    add("--scheduler", metavar="ADDRESS", help=of_dask)


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def check_options(options, many):
    """Refuse options that would do nothing."""
    dask = options.backend == "dask"
    if dask != bool(options.scheduler):
        raise SeriesError("--backend dask and --scheduler ADDRESS, such as tcp://host:8786, need each other")
    if options.jobs and (dask or options.index is not None):
        raise SeriesError("--jobs says how many runs go on at once on this machine: not with --backend dask or --index")
    if not many and (dask or options.jobs):
        raise SeriesError("--jobs and --backend are for sweeps: give a parameter several values, or --sweep NAME")
