#!/usr/bin/env python
"""The series as a book of static pages: `make site` writes build/site/. Nothing is executed; the outputs are the committed ones.

The pages are the README, the notebooks, docs/, workshop/ and results/, as they are: this copies them, mends what means
something else in a book (a link to a notebook leads to its page, one to the code to the repository), and calls Sphinx with
myst-nb. Links that lead nowhere are errors. The pages are read without a network, from a disk as well.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
SOURCE, OUT = ROOT / "build/site-source", ROOT / "build/site"
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "workshop/*.md", "recipes/README.md", "results/README.md", "results/*/README.md", "data/practice/README.md"]  # fmt: skip
FOLDED = {
    "colab-setup": "hide-input",
    "parameters": "hide-input",
    "solution": "hide-cell",
}  # a notebook's tag: myst-nb's
REPOSITORY = re.compile(r"colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/([^/]+)/")


def repository():
    """(https address of the repository, branch) that `make badges` wrote into the notebooks; (None, None) before."""
    found = REPOSITORY.search((ROOT / "notebooks/01_setup.ipynb").read_text(encoding="utf-8"))
    return (f"https://github.com/{found[1]}", found[2]) if found else (None, None)


def mended(text, page, home, branch):
    """A page's Markdown with links that hold in a book: to files that are no pages, into the repository, if there is one."""

    def link(match):
        target, _, place = match[2].partition("#")
        if re.match(r"[a-z]+:", match[2]) or not target:
            return match[0]
        path = (page.parent / target).resolve()
        if path in WANTED or path.suffix in {".png", ".svg", ".pdf", ".csv"}:
            return match[0]
        if path.is_dir() and path / "README.md" in WANTED:
            return f"{match[1]}({target.rstrip('/')}/README.md)"
        name = path.relative_to(ROOT).as_posix()
        return (
            f"{match[1]}({home}/blob/{branch}/{name})" if home else match[1][1:-1] if match[1][0] == "[" else match[0]
        )

    return re.sub(r"(\[[^\]\n]*\])\(([^)\s]+)\)", link, text)


WANTED = {path for pattern in [*PAGES, "notebooks/[0-9][0-9]_*.ipynb"] for path in ROOT.glob(pattern)}


def heading_first(notebook):
    """Without the badge, which the page's own launch button replaces, and without the Set-up's code, which folds away."""
    first = notebook.cells[0]
    first.source = re.sub(r"^\[!\[Open in Colab\].*\n+", "", first.source)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata.tags = tags + [FOLDED[tag] for tag in tags if tag in FOLDED]
        for output in cell.get("outputs", []):
            describe(output)
    return notebook


def describe(output):
    """Mend an output for a page: a picture gets its alt text; code loses colours that are too pale on a page of another one."""
    data = output.get("data", {})
    if '<div class="highlight"' in data.get("text/html", ""):
        data["text/html"] = re.sub(r'<span style="[^"]*">', "<span>", data["text/html"])
    if "image/png" in data:
        alt = output.metadata.get("image/png", {}).get("alt", "").replace('"', "&quot;")
        picture = "".join(data["image/png"].split())
        output["data"] = nbformat.NotebookNode(
            {"text/html": f'<img alt="{alt}" src="data:image/png;base64,{picture}">'}
        )


def copy_pages(home, branch):
    shutil.rmtree(SOURCE, ignore_errors=True)
    for path in WANTED:
        to = SOURCE / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            to.write_text(mended(path.read_text(encoding="utf-8"), path, home, branch), encoding="utf-8")
            continue
        notebook = heading_first(nbformat.read(path, as_version=4))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = mended(cell.source, path, home, branch)
        nbformat.write(notebook, to)
    for pattern in ["results/**/*.png", "results/**/*.csv", "workshop/*.pdf", "notebooks/*.svg"]:
        for path in ROOT.glob(pattern):
            (SOURCE / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, SOURCE / path.relative_to(ROOT))
    for name in ["conf.py", "index.md", "book.css"]:
        shutil.copy(ROOT / "site" / name, SOURCE / name)


def finished(page):
    """A page whose tables call no empty cell a heading, and can be scrolled by keys."""
    page = re.sub(r"<th([^>]*)>\s*(<p>\s*</p>)?\s*</th>", r"<td\1></td>", page)
    return page.replace('class="pst-scrollable-table-container"', 'class="pst-scrollable-table-container" tabindex="0"')


def main():
    home, branch = repository()
    copy_pages(home, branch)
    shutil.rmtree(OUT, ignore_errors=True)
    settings = [f"-Drepository={home or ''}", f"-Dbranch={branch or 'main'}"]
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "1", *settings, SOURCE, OUT]
    if code := subprocess.run(command).returncode:
        return code
    pages = [path for path in OUT.rglob("*.html") if "_static" not in path.parts]
    for path in pages:
        path.write_text(finished(path.read_text(encoding="utf-8")), encoding="utf-8")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()) / 1e6
    print(f"{OUT.relative_to(ROOT)}/index.html: {len(pages)} pages, {size:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
