#!/usr/bin/env python
"""What people see, looked at in headless Chromium: `make browser`, `make browser WHAT="slides site"`, `make browser WHAT=01`.

* A notebook is opened in JupyterLab and run from the menu; then each output is photographed, at 1366 and 390 pixels, light
  and dark. An error output, a missing picture, or a table or picture that is cut off is a fault.
* Slides: each is photographed; one that is larger than its page is a fault.
* The site: each page at both widths, in both colours, is photographed and given to axe, which looks for faults of
  accessibility (WCAG 2 A and AA, order of headings); a page wider than the screen, a link that leads nowhere, and anything
  fetched from elsewhere are faults too.

The pictures lie in build/browser/. It runs in the environment of the site (site/requirements.txt), JupyterLab in .venv.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "build/browser"
WIDTHS, COLOURS = (1366, 390), ("light", "dark")
RUN = 600  # seconds that a notebook may take
OVERFLOWING = """() => [...document.querySelectorAll('.jp-OutputArea-output')].flatMap(area => {
  const found = [];
  for (const img of area.querySelectorAll('img, svg')) {
    if (img.tagName === 'IMG' && (!img.complete || !img.naturalWidth)) found.push('a picture is missing');
    if (img.getBoundingClientRect().width > area.getBoundingClientRect().width + 2) found.push('a picture is cut off');
  }
  for (const table of area.querySelectorAll('table')) {
    const frame = table.closest('.jp-OutputArea-output');
    if (table.scrollWidth > frame.clientWidth + 2 && !/auto|scroll/.test(getComputedStyle(frame).overflowX))
      found.push('a table is cut off');
  }
  return found;
})"""


@contextlib.contextmanager
def served(folder):
    """The address of a folder, on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextlib.contextmanager
def jupyterlab():
    """The address of a JupyterLab of its own: settings, run folders and notebooks are copies that go away."""
    with tempfile.TemporaryDirectory() as work:
        project = Path(work) / "project"
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
        bin = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin")
        own = {name: f"{work}/{name}" for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}  # fmt: skip
        alone = {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes", "CUDA_VISIBLE_DEVICES": ""}
        command = [bin / "jupyter-lab", "--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=x"]
        server = subprocess.Popen(command, cwd=project, env=os.environ | own | alone, stderr=subprocess.PIPE, text=True)
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            threading.Thread(target=server.stderr.read, daemon=True).start()
            yield address
        finally:
            server.terminate()
            server.wait(30)


def kernels(address):
    with urllib.request.urlopen(f"{address}/api/kernels?token=x") as answer:
        return json.load(answer)


def run_from_the_menu(page, address, name):
    """Open a notebook, Run → Run All Cells, and wait for its kernel to be idle."""
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?token=x&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=120_000)
    page.wait_for_function("() => document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')", timeout=120_000)
    page.evaluate("() => jupyterapp?.commands.execute('notebook:clear-all-cell-outputs')") if False else None
    page.click("#jp-mainmenu-run, .lm-MenuBar-item:has-text('Run')")
    page.click(".lm-Menu-item:has-text('Run All Cells')")
    end = time.monotonic() + RUN
    time.sleep(5)
    while time.monotonic() < end:
        if not page.query_selector(".jp-Notebook .jp-InputArea-prompt:has-text('[*]')") and all(
            kernel["execution_state"] == "idle" for kernel in kernels(address)
        ):
            return
        time.sleep(2)
    raise TooLate(f"{name} did not end within {RUN} s")


def look_at_notebook(page, address, name):
    """The faults of a notebook that was run. JupyterLab makes outputs only where one looks: so it is scrolled through."""
    faults = []
    for width in WIDTHS:
        for colour in COLOURS:
            page.set_viewport_size({"width": width, "height": 900})
            theme = f"JupyterLab {colour.capitalize()}"
            page.evaluate(THEME, theme)
            time.sleep(2)
            faults += [f"{name}, {width} px, {colour}: {what}" for what in photograph(page, f"{name}-{width}-{colour}")]
    return faults


THEME = """theme => { const app = window.jupyterapp || window.jupyterlab; return app.commands.execute('apputils:change-theme', {theme}); }"""
