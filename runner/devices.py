"""The cores and GPUs of this machine, and how runs that go on at once share them. torch is not loaded for it."""

import configparser
import contextlib
import os
import re
import subprocess
import sys

import psutil

from bookkeeping import SeriesError

GIB_A_RUN = 2  # memory set aside for each run when --jobs is chosen here


def cores():
    import joblib  # which takes a quarter of the time that a call needs to begin

    return joblib.cpu_count(only_physical_cores=True)


def gpus():
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if configparser.ConfigParser.BOOLEAN_STATES.get(os.environ.get("ACCELERATE_USE_CPU", "").lower()):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in {"", "-1"}]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
        return [str(number) for number in range(len(re.findall("^GPU ", listed, re.MULTILINE)))]
    return []


def check_gpus(processes):
    if processes > 1 and sys.platform == "win32":  # pytorch issue 139990, cpython issue 78961
        raise SeriesError("--processes needs Linux or macOS: on Windows processes of torchrun do not find each other")
    if processes > 1 and 0 < len(gpus()) < processes:
        raise SeriesError(f"--processes {processes} needs a GPU for each, and this machine has {len(gpus())} to give")


def shares(jobs, processes, count):
    """A list with the environment of each of the runs that go on at once: a GPU each, or a share of the cores."""
    cards = gpus()
    if cards:
        hands = [",".join(cards[i : i + processes]) for i in range(0, len(cards) - processes + 1, processes)]
        return [{"CUDA_VISIBLE_DEVICES": hands[i % len(hands)]} for i in range(min(count, jobs or len(hands)))]
    fitting = int(psutil.virtual_memory().available / 2**30 / GIB_A_RUN)
    most = 1 if sys.platform == "darwin" else max(1, min(cores() // processes, fitting))
    jobs = min(count, jobs or most)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // (jobs * processes)))
    return [{"OMP_NUM_THREADS": threads} for _ in range(jobs)]
