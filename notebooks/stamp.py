#!/usr/bin/env python
"""Write the badge and the first code cell into every notebook: `make badges REPOSITORY=owner/name`, once after publishing.

The first code cell is the same in all notebooks. It makes helpers.py importable; in Colab, where a notebook comes alone, it
fetches the project first (docs/colab.md). A notebook that was opened from GitHub says itself where it is from; REPOSITORY is
for copies that do not. Without it, the notebooks keep the one that they have. Called again, this changes nothing.
"""

import argparse
import json
import re
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent
TAG, OLD_TAG = "colab-setup", "bootstrap"
NOBODY = "OWNER.UNKNOWN/REPOSITORY"  # until `make badges`; an owner at GitHub has no dot, so nobody can take this name
HOW = "../docs/colab.md"  # where the badge leads until then
PLACE = re.compile(r'" github\.com/(\S+?)/blob/(\S+)/notebooks/')  # REPOSITORY and BRANCH in the cell

CELL = r"""
import glob, os, re, sys, urllib.parse  # finds helpers; in Colab, where a notebook is alone, fetches them
if "google.colab" in sys.modules and not glob.glob("/content/*/bookkeeping"):
    said = os.popen("curl -sm 2 $COLAB_JUPYTER_IP:$KMP_TARGET_PORT/api/sessions").read() + " github.com/REPOSITORY/blob/BRANCH/notebooks/"
    home, ref = re.findall('github.com/([^"]+?)/blob/([^"]+)/notebooks/', urllib.parse.unquote(said))[0]
    os.system(f"exec 2> /dev/null; cd /content && GIT_TERMINAL_PROMPT=0 git clone -qb '{ref}' --depth 1 https://github.com/{home} project || "
              "ls *.zip drive/MyDrive/*.zip | xargs -I@ sh -c \"unzip -qn '@' '*bookkeeping/*' && unzip -qn '@'\"")
if not [sys.path.insert(0, p) for p in (".", "..", *glob.glob("/content/*")) if glob.glob(p + "/bookkeeping")]:
    raise type("NoProject", (Exception,), {"_render_traceback_": lambda self: [str(self)]})("This notebook's project (helpers.py beside bookkeeping/) is not here: start in its folder or in notebooks/ (papermill: --cwd); in Colab, upload its zip.")
""".strip()  # fmt: skip


def cell(repository, branch):
    return CELL.replace("REPOSITORY", repository).replace("BRANCH", branch)


def badge(name, repository, branch):
    address = f"https://colab.research.google.com/github/{repository}/blob/{branch}/notebooks/{name}"
    return f"[![Open in Colab](open-in-colab.svg)]({HOW if repository == NOBODY else address})"


def stamp(name, text, repository, branch):
    """The text of the notebook `name` with the badge above its title, and with the first code cell."""
    notebook = json.loads(text)
    cells = notebook["cells"]
    title = "".join(cells[0]["source"])
    if "Open in Colab" in title.partition("\n")[0]:
        title = title.partition("\n")[2].lstrip("\n")
    cells[0]["source"] = f"{badge(name, repository, branch)}\n\n{title}".splitlines(keepends=True)
    code = next(cell for cell in cells if cell["cell_type"] == "code")
    if not {TAG, OLD_TAG} & set(code["metadata"].get("tags", [])):
        code = {"cell_type": "code", "execution_count": None, "id": TAG, "metadata": {}, "outputs": [], "source": []}
        cells.insert(1, code)
    code["metadata"] = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": [TAG]}  # folded in Colab and JupyterLab
    code["source"] = cell(repository, branch).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", help="owner/name at GitHub")
    parser.add_argument("--branch", help="the branch that readers get (main)")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="their folder")
    options = parser.parse_args()
    if options.repository and not re.fullmatch(r"[A-Za-z0-9-]+/[\w.-]+", options.repository):
        parser.error(f"REPOSITORY is {options.repository!r}: expected owner/name, as in the address at GitHub.")
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(options.notebooks.glob("[0-9][0-9]_*.ipynb"))}
    named = {place for text in texts.values() for place in PLACE.findall(text)} or {(NOBODY, "main")}
    repository, branch = max(named)
    repository, branch = options.repository or repository, options.branch or branch
    for path, text in texts.items():
        if (new := stamp(path.name, text, repository, branch)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"written: {path.name}")
    print(f"Badges and first cells name {repository}, branch {branch}.")


if __name__ == "__main__":
    sys.exit(main())
