#!/usr/bin/env python
"""One zip for a stick: the project, a wheel of everything it needs, CoLA if it lies in data/, and START.md: `make bundle`.

  workshop/bundle.py                                              for this system and this Python
  workshop/bundle.py linux:3.11 windows:3.12 macos:3.13           for these
  workshop/bundle.py --list windows:3.12                          only what would be in it, and what the index lacks

The versions are those of constraints.txt. uv finds what each system needs beside them (such as colorama on Windows), pip
fetches it. For Linux torch is the CPU build, a tenth of the one with CUDA; that of Windows and macOS is one anyway.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLA = "data/cola_public_1.1.zip"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
CUDA = re.compile(r"nvidia-|cuda-|triton\b|cuda==")  # what the CPU build does without
MANY = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)] + [
    "manylinux2014_x86_64",
    "linux_x86_64",
]
SYSTEMS = {  # name: (what uv calls it, what pip calls it)
    "linux": ("x86_64-manylinux_2_28", MANY),
    "windows": ("x86_64-pc-windows-msvc", ["win_amd64"]),
    "macos": ("aarch64-apple-darwin", ["macosx_14_0_arm64"]),  # the oldest that torch has wheels for
}
HERE = f"{ {'win32': 'windows', 'darwin': 'macos'}.get(sys.platform, 'linux') }:{sys.version_info[0]}.{sys.version_info[1]}"


def target(text):
    """("linux", "3.11") of linux:3.11."""
    system, _, version = text.partition(":")
    if system not in SYSTEMS or version not in {"3.11", "3.12", "3.13"}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {'|'.join(SYSTEMS)}:3.11|3.12|3.13, such as windows:3.12")
    return system, version


def call(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, **options)


def needed(system, version):
    """The pinned requirements of a system, a line each."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["-c", "constraints.txt", "--python-platform", SYSTEMS[system][0], "--python-version", f"{version}.9"]
    done = call(*command, "requirements.txt", env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"})
    if done.returncode:
        raise SystemExit(f"{system}, Python {version}: uv finds no set of packages:\n{done.stderr.strip()}")
    return [line for line in done.stdout.splitlines() if line and not (system == "linux" and CUDA.match(line))]


def pip(command, system, version, *arguments, extra=()):
    """Call pip for another system than this one; wheels only."""
    platforms = [word for name in SYSTEMS[system][1] for word in ("--platform", name)]
    there = [
        "--python-version",
        f"{version}.9",
        "--implementation",
        "cp",
        *platforms,
        "--only-binary=:all:",
        "--no-deps",
    ]
    return call(
        sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *there, *extra, *arguments
    )


def fetch(system, version, wheels, extra):
    """Fetch the wheels of a system into a folder; wget has none and is built, which gives one for every system."""
    pins = needed(system, version)
    torch, wget = ([pin for pin in pins if pin.startswith(name)] for name in ("torch==", "wget=="))
    rest = [pin for pin in pins if pin not in torch + wget]
    index = extra or ["--index-url", CPU_TORCH] if system == "linux" else extra
    for what, arguments in [(torch, index), (rest, extra)]:
        done = pip("download", system, version, "-d", wheels, *what, extra=arguments)
        if done.returncode:
            raise SystemExit(
                f"{system}, Python {version}: pip could not fetch all wheels:\n{done.stderr.strip()[-2000:]}"
            )
    built = call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, *wget, *extra)
    if built.returncode:
        raise SystemExit(f"{wget[0]}: no wheel could be built:\n{built.stderr.strip()[-2000:]}")
    if system == "linux" and not list(wheels.glob(f"torch-*+cpu-cp{version.replace('.', '')}-*.whl")):
        raise SystemExit("pip found torch with CUDA only: name an index or a folder that has the CPU build, by --pip.")
    return len(pins)


def lacking(system, version, extra):
    """(number of packages, those that have no wheel for the system at the index), asked one by one."""
    pins = needed(system, version)
    asked = [pin for pin in pins if not pin.startswith("wget==")]
    with tempfile.TemporaryDirectory() as nothing:
        check = ["--dry-run", "--target", nothing, "--no-cache-dir"]
        if not pip("install", system, version, *check, *asked, extra=extra).returncode:
            return len(pins), []
        return len(pins), [pin for pin in asked if pip("install", system, version, *check, pin, extra=extra).returncode]


def project_files():
    """The files of the project: those that git knows or would take, and CoLA."""
    listed = call("git", "ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode:
        raise SystemExit("`make bundle` asks git which files belong to the project, and this is no clone of it.")
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return sorted({*names, COLA} if (ROOT / COLA).exists() else names)


def start_page(targets, wheels):
    """START.md, for this bundle."""
    text = Path(__file__).with_name("START.template").read_text(encoding="utf-8")
    names = {"linux": "Linux (x86-64)", "windows": "Windows (64 bit)", "macos": "macOS 14 or newer (Apple chip)"}
    rows = [f"* {names[system]}, Python {version}" for system, version in targets]
    corpus = (
        "CoLA lies in `data/` and is taken by itself."
        if (ROOT / COLA).exists()
        else "CoLA is not on it: the practice corpus is taken."
    )
    return text.replace("@TARGETS@", "\n".join(rows)).replace("@CORPUS@", corpus).replace("@WHEELS@", str(wheels))


def write(out, targets, wheels):
    """The zip: whole, or not there. Wheels are compressed already and stored as they are."""
    half = out.with_suffix(".part")
    files = sorted(wheels.glob("*.whl"))
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("bert/START.md", start_page(targets, len(files)))
        for name in project_files():
            bundle.write(ROOT / name, f"bert/{name}")
        for path in files:
            bundle.write(path, f"bert/wheels/{path.name}", zipfile.ZIP_STORED)
    half.replace(out)
    return len(files)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", type=target, metavar="SYSTEM:PYTHON", help=f"here: {HERE}")
    parser.add_argument("--out", type=Path, default=ROOT / "build/bert.zip", help="the zip (build/bert.zip)")
    parser.add_argument(
        "--pip", default="", help="for pip: where else the wheels are, such as --pip='--find-links folder'"
    )
    parser.add_argument(
        "--list", action="store_true", help="fetch nothing: say what is needed, and what the index lacks"
    )
    options = parser.parse_args()
    targets, extra = options.targets or [target(HERE)], shlex.split(options.pip)
    if options.list:
        for system, version in targets:
            number, absent = lacking(system, version, extra)
            print(
                f"{system}, Python {version}: {number} packages; {', '.join(absent) or 'none'} without a wheel at this index"
            )
        return
    options.out.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.resolve().parent) as folder:
        for system, version in targets:
            print(f"{system}, Python {version}: {fetch(system, version, Path(folder), extra)} packages", flush=True)
        number = write(options.out, targets, Path(folder))
    print(f"{options.out.name}: {options.out.stat().st_size / 1e6:.0f} MB, {number} wheels")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # on Windows a pipe or a file knows 200 characters
    main()
