#!/usr/bin/env python
"""The stick of a workshop, tried: `make test-bundle` unpacks build/bert.zip in an empty folder and runs it without a network.

The commands are those of START.md: `make run` (which sets up .venv from wheels/), workshop/check.py, and a second `make run`,
which has nothing left to do. Where Linux allows it (unshare), they see no network but loopback; elsewhere pip is kept from
its indexes and everything else from the hub by their settings. Takes minutes and 3 GB, so it is no part of `make test`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUT_OFF = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up; exec "$@"', "-"]
NO_NETWORK = (
    "import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(('1.1.1.1', 443)) and 'no network')"
)


def environment(work):
    """What an empty machine would have: nothing of pip's settings, caches or indexes, nothing of run folders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "BERT_", "HF_", "UV_"))}
    own = {"HOME": str(work / "home"), "XDG_CACHE_HOME": str(work / "cache"), "PIP_CONFIG_FILE": os.devnull}
    return kept | own | {"PIP_NO_CACHE_DIR": "1", "PYTHON": sys.executable}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=ROOT / "build/bert.zip")
    bundle = parser.parse_args().bundle
    if not bundle.exists():
        raise SystemExit(f"{bundle} is not there: make bundle writes it.")
    work = Path(tempfile.mkdtemp(dir=bundle.resolve().parent))
    try:
        (work / "home").mkdir()
        with zipfile.ZipFile(bundle) as content:
            content.extractall(work)
        print(f"unpacked: {sum(p.stat().st_size for p in work.rglob('*') if p.is_file()) / 1e6:.0f} MB", flush=True)
        cut_off = CUT_OFF if subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode == 0 else []
        own = environment(work) | ({} if cut_off else {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"})

        def call(*command):
            done = subprocess.run([*cut_off, *command], cwd=work / "bert", env=own, stdout=subprocess.PIPE, text=True)
            print(f"$ {' '.join(command)}\n{done.stdout}", flush=True)
            assert done.returncode == 0, f"exit code {done.returncode}"
            return done.stdout

        if cut_off:
            assert "no network" in call(sys.executable, "-c", NO_NETWORK)
        said = call("make", "run")
        assert "without a network" in said and "test MCC" in said and (work / "bert/runs/default/report.html").exists()
        assert "0 problems: ready" in call(sys.executable, "workshop/check.py")
        again = call("make", "run")
        assert "Setting up" not in again and "test MCC" in again
        print("The bundle works" + ("." if cut_off else " (pip and the hub kept off by settings only)."))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
