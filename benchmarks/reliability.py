"""What is promised, tried: kills, damaged bytes, odd sentences, bad values, networks, disks, and what came of them.

The tests of reliability themselves, with more tries than in a run of the tests. Writes results/reliability/README.md.
"""

import argparse
import collections
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from common import ROOT, facts, table

FILES = ("cells", "properties", "fuzz", "kills", "entry_points")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--times", type=float, default=10, help="tries, in times of those in a run of the tests (10)")
    times = options.parse_args().times
    began = time.time()
    faults = named_faults()
    others = sorted({f"tests/{test.replace('::', '.py::')}" for test in faults.values() if not ours(test)})
    with tempfile.TemporaryDirectory() as folder:
        tried, failed = run([*(f"tests/test_{name}.py" for name in FILES), *others], times, Path(folder))
    page = ROOT / "results" / "reliability" / "README.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    about = facts(f"reliability.py --times {times:g}")
    about |= {name: importlib.metadata.version(name) for name in ("hypothesis", "pytest", "filelock", "papermill")}
    about["minutes"] = round((time.time() - began) / 60)
    lines = [*report(tried, faults, failed), "", *(f"* {name}: {value}" for name, value in about.items())]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(page.read_text(encoding="utf-8"))
    return 1 if failed else 0


def ours(test):
    return test.split("::")[0].removeprefix("test_") in FILES


def named_faults():
    """{fault: module::test} of tests/test_entry_points.py."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_entry_points import FAULTS

    return FAULTS


def run(tests, times, folder):
    """({(fault, promised): Counter of what happened}, {test: its error}) of the tests, with `times` as many tries."""
    environment = os.environ | {"RELIABILITY_TIMES": str(times), "RELIABILITY_TALLY": str(folder / "tally.jsonl")}
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "ACCELERATE_USE_CPU": "yes",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={folder / 'tests.xml'}", *tests]
    subprocess.run(command, cwd=ROOT, env=environment)
    tried = collections.defaultdict(collections.Counter)
    for line in (folder / "tally.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        tried[told["fault"], told["promised"]].update(told["happened"])
    failed = {}
    for case in ElementTree.parse(folder / "tests.xml").iter("testcase"):
        name = f"{case.get('classname').split('.')[-1]}::{case.get('name')}"
        for problem in [*case.findall("failure"), *case.findall("error"), *case.findall("skipped")]:
            failed[name] = f"{problem.tag}: {(problem.get('message') or '').splitlines()[0][:200]}"
    return tried, failed


def report(tried, faults, failed):
    """The page as lines: what was counted, the tests of single faults, and what broke."""
    rows = []
    for (fault, promised), happened in tried.items():
        came = "; ".join(f"{count:,} {what}" for what, count in happened.most_common())
        rows.append([fault, f"{sum(happened.values()):,}", promised, came])
    lines = [
        "# Reliability",
        "",
        "Each fault was brought about for real; the last column is what happened, counted.",
        "",
    ]
    lines += table({"fault": ":--", "tried": "--:", "promised": ":--", "happened": ":--"}, rows)
    lines += ["", "Single faults, each with the test that brings it about through the door people use:", ""]
    told = []
    for fault, test in faults.items():
        broken = [problem for name, problem in failed.items() if name.split("[")[0] == test]
        told.append([fault, f"`{test}`", "; ".join(broken) or "as promised"])
    lines += table({"fault": ":--", "test": ":--", "happened": ":--"}, told)
    lines += ["", f"Tests that did not pass: {len(failed) or 'none'}.", ""]
    return lines + [f"* `{name}`: {problem}" for name, problem in failed.items()]


if __name__ == "__main__":
    sys.exit(main())
