#!/usr/bin/env python
"""What people see, looked at in headless Chromium: `make browser`, or a part: `make browser WHAT="01_setup slides site"`.

* A notebook is opened in JupyterLab and run from the menu. Then each output is photographed, at 1366 and 390 pixels, light
  and dark. An error, a missing picture, or a picture or table that is cut off is a fault.
* slides: each is photographed; what is larger than its page, or loaded from elsewhere, is a fault.
* site: each page is photographed at both widths in both colours, and given to axe, which looks for faults of accessibility
  (WCAG 2 A and AA, order of headings). A page wider than the screen is a fault, a link that leads nowhere, or anything that
  is loaded from elsewhere. Its search finds a word.

The pictures lie in build/browser/. It runs in the environment of the site (site/requirements.txt); JupyterLab runs in .venv.
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

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "build/browser"
ALONE = {"HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "yes", "CUDA_VISIBLE_DEVICES": ""}
WIDTHS, COLOURS = (1366, 390), ("light", "dark")
PATIENCE = int(os.environ.get("PATIENCE", 900))  # seconds that a notebook may take
SETTINGS = {  # of JupyterLab: all cells are drawn, and it asks nothing
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "best-practice"],
    "rules": {"region": {"enabled": False}},
}  # the theme's sidebar
CUT_OFF = """() => [...document.querySelectorAll('.jp-OutputArea-output')].flatMap(output => {
  const edge = Math.min(innerWidth, document.querySelector('.jp-NotebookPanel').getBoundingClientRect().right) + 2;
  const scrolls = e => e && !e.matches('.jp-Notebook') && (
    /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth || scrolls(e.parentElement));
  return [...output.querySelectorAll('img, svg, table')].flatMap(e => [
    ...(e.tagName == 'IMG' && !e.naturalWidth ? ['a picture is missing'] : []),
    ...(e.getBoundingClientRect().right > edge && !scrolls(e) ? [`${e.tagName} is cut off`] : [])]);
})"""
TOO_LARGE = """() => { const slide = Reveal.getCurrentSlide(), frame = slide.getBoundingClientRect(), scale = Reveal.getScale();
  return [...slide.querySelectorAll(':not(.notes, .notes *)')].some(e => { const r = e.getBoundingClientRect();
    return r.height && ((r.bottom - frame.top) / scale > 720 || (r.right - frame.left) / scale > 1300); }); }"""


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


# ---------------------------------------------------------------- notebooks


def answering(log):
    """The address that a server wrote into its log, as soon as it answers there."""
    for _ in range(120):
        time.sleep(1)
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{found[0]}/api"):
                return found[0]
    raise SystemExit(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def jupyterlab():
    """(address, folder) of a JupyterLab at work on a copy of the project, with settings of its own; all of it goes away."""
    with tempfile.TemporaryDirectory() as work:
        project, settings = Path(work) / "project", Path(work) / "settings"
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
        for name, values in SETTINGS.items():
            path = settings / f"@jupyterlab/{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        own = {name: f"{work}/{name}" for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}  # fmt: skip
        own |= ALONE | {"JUPYTERLAB_SETTINGS_DIR": str(settings)}
        program = ROOT / ".venv" / ("Scripts/jupyter-lab" if os.name == "nt" else "bin/jupyter-lab")
        command = [
            program,
            "--no-browser",
            "--allow-root",
            "--port=0",
            "--IdentityProvider.token=x",
            "--expose-app-in-browser",
        ]
        said = Path(work) / "log"
        with said.open("w") as log:
            server = subprocess.Popen(command, cwd=project, env=os.environ | own, stderr=log)
        try:
            yield answering(said), project
        finally:
            server.terminate()
            server.wait(30)


def run_from_the_menu(page, address, name):
    """Open a notebook, choose Run → Run All Cells, and wait for its end."""
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?token=x&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", state="attached", timeout=120_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000)
    for command in ("notebook:expand-all-headings", "notebook:clear-all-cell-outputs"):
        page.evaluate(f"() => jupyterapp.commands.execute('{command}')")
    deadline, prompts = time.monotonic() + PATIENCE, ""
    while "*" in prompts or not re.search(r"\d", prompts):
        assert time.monotonic() < deadline, f"{name} did not end within {PATIENCE} s"
        if not re.search(r"[*\d]", prompts):  # a menu that has just opened takes no click, on a busy machine for long
            page.keyboard.press("Escape")
            page.click(".lm-MenuBar-item:has-text('Run')")
            time.sleep(2)
            page.click(".lm-Menu-item:has-text('Run All Cells')")
        time.sleep(5)
        prompts = "".join(page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents())
    if page.locator(".jp-SideBar .lm-mod-current").count():  # a phone has no room for the list of files
        page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")


def look_at_outputs(page, name, width, colour):
    """Faults of the outputs at one width in one colour; each is photographed."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(
        f"() => jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {colour.capitalize()}'}})"
    )
    time.sleep(3)
    for number, area in enumerate(page.locator(".jp-CodeCell .jp-OutputArea:has(.jp-OutputArea-child):visible").all()):
        area.scroll_into_view_if_needed()
        area.screenshot(path=PICTURES / f"{name}-{number:02}-{width}-{colour}.png")
    return [f"{name}, {width} px, {colour}: {what}" for what in page.evaluate(CUT_OFF)]


def look_at_notebook(page, address, name):
    committed = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in committed["cells"] for output in cell.get("outputs", [])]
    run_from_the_menu(page, address, name)
    faults = [
        f"{name}: {error.splitlines()[-1]}"
        for error in page.locator("[data-mime-type$='error'], [data-mime-type$='stderr']").all_inner_texts()
    ]
    expected = sum("image/png" in output.get("data", {}) for output in outputs)
    pictures = page.locator(".jp-OutputArea-output img").count()
    if pictures < expected:
        faults.append(f"{name}: {pictures} pictures where {expected} are committed")
    for width in WIDTHS:
        for colour in COLOURS:
            faults += look_at_outputs(page, name, width, colour)
    return faults


def look_at_notebooks(page, names):
    """One after the other, as they feed each other; what the first needs is made by run.py."""
    faults = []
    with jupyterlab() as (address, project):
        before = [path.stem for path in sorted(project.glob("notebooks/[0-9]*.ipynb")) if path.stem < min(names)]
        if before:
            python = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            until = min(before[-1], "06_save_and_load")  # 07 makes nothing that 08 reads
            subprocess.run([python, "run.py", "--until", until], cwd=project, env=os.environ | ALONE, check=True)
        for name in names:
            faults += look_at_notebook(page, address, name)
            print(f"{name}: {len(list(PICTURES.glob(f'{name}-[0-9]*')))} pictures", flush=True)
            page.evaluate("() => jupyterapp.commands.execute('kernelmenu:shutdown')")
    return faults


# ---------------------------------------------------------------- slides and site


def look_at_slides(page, folder):
    faults = []
    page.set_viewport_size({"width": 1280, "height": 720})
    with served(folder) as address:
        for path in sorted(folder.glob("[0-9]*.html")):
            page.goto(f"{address}/{path.name}")
            page.wait_for_function("() => window.Reveal && Reveal.isReady()")
            for number in range(page.evaluate("Reveal.getTotalSlides()")):
                page.evaluate(f"Reveal.slide({number}, 0, 99)")
                time.sleep(0.3)  # until what was asked for has faded in
                page.screenshot(path=PICTURES / f"slides-{path.stem}-{number + 1:02}.png")
                if page.evaluate(TOO_LARGE):
                    faults.append(f"slides of {path.stem}, {number + 1}: larger than its page")
            print(f"slides of {path.stem}: {number + 1}", flush=True)
    return faults


def dead_links(folder):
    """Links within the site that lead to no file, or to no place in it."""
    pages = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    places = {path.resolve(): set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    for path, text in texts.items():
        for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
            if re.match(r"[a-z]+:|//", link):
                continue
            name, _, place = urllib.request.unquote(link).partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path.resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (place and target in places and place not in places[target]):
                yield f"{path.relative_to(folder)}: {link} leads nowhere"


def look_at_site(page, folder):
    faults = list(dead_links(folder))
    with served(folder) as address:
        elsewhere = []
        page.on("request", lambda request: elsewhere.append(request.url))
        for path in sorted(folder.rglob("*.html")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name.startswith("_static/"):
                continue
            for width in WIDTHS:
                for colour in COLOURS:
                    page.set_viewport_size({"width": width, "height": 900})
                    page.emulate_media(color_scheme=colour)
                    page.goto(f"{address}/{path.relative_to(folder).as_posix()}")
                    page.screenshot(
                        path=PICTURES / f"site-{name.replace('/', '-')}-{width}-{colour}.png", full_page=True
                    )
                    where = f"site/{name}, {width} px, {colour}"
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    faults += [f"{where}: the page is {wide} px wide"] if wide > width else []
                    for found in Axe().run(page, options=RULES).response["violations"]:
                        nodes = "; ".join(str(node["target"]) for node in found["nodes"][:3])
                        faults.append(f"{where}: {found['id']} ({found['impact']}, {len(found['nodes'])}): {nodes}")
            print(f"site/{name}", flush=True)
        page.goto(f"{address}/search.html?q=padding")
        page.wait_for_timeout(5000)
        found = page.locator("#search-results li a[href*='03_tokenize']").count()
        faults += [] if found else ["the site's search for 'padding' does not find 03_tokenize"]
        faults += sorted(
            {f"loaded from elsewhere: {url}" for url in elsewhere if not url.startswith((address, "data:", "blob:"))}
        )
    return faults


def main():
    notebooks = [path.stem for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*notebooks, "slides", "site", []], help="all of it")
    what = parser.parse_args().what or [*notebooks, "slides", "site"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    faults = []
    with sync_playwright() as play:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")  # else that of playwright install
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if hasattr(os, "geteuid") and not os.geteuid() else []
        )
        page = browser.new_page()
        page.set_default_timeout(60_000)
        if asked := [name for name in notebooks if name in what]:
            faults += look_at_notebooks(page, asked)
        for part, look in [("slides", look_at_slides), ("site", look_at_site)]:
            faults += look(page, ROOT / "build" / part) if part in what else []
        browser.close()
    print(*faults, f"{len(faults)} faults; pictures in {PICTURES.relative_to(ROOT)}/", sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
