#!/usr/bin/env python
"""Cut slides from the notebooks: `make slides` writes build/slides/, a page for each notebook, shown without a network.

Which cells make a slide follows from rules, so that no notebook needs tags for it:

* The title and what you will do: the first slide. The set-up, Record and the exercises: none.
* A prose cell is a slide, under the heading of its section; so the question stands alone before its answer appears. A short
  remark, no question, on what was just seen stands below it instead, and appears with the next key.
* A code cell that shows something is a slide: a picture or a table alone, printed text below its code. A table is cut to
  its first rows, code of more than ten lines is left out, printed text of more than twelve lines too.
* The speaker's notes (key S) hold the code that a slide leaves out.

nbconvert makes the pages; reveal.js comes with the package sphinx-revealjs (site/requirements.txt).
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"Set-up", "Record", "Exercises"}
CODE, PRINTED, ROWS, REMARK = 10, 12, 8, 30  # lines that a slide has room for; rows of a table; words
new = nbformat.v4


def sections(text):
    """[(heading or None, its text)] of a prose cell."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    pairs = zip(parts[1::2], parts[2::2])
    return [*([(None, parts[0].strip())] if parts[0].strip() else []), *((head, body.strip()) for head, body in pairs)]


def lines(text):
    return len(text.strip().splitlines())


def cut_table(html):
    """An HTML table with its first rows, and how many there are."""
    head, found, body = html.partition("<tbody>")
    rows = re.findall(r"<tr.*?</tr>", body, re.S)
    if not found or len(rows) <= ROWS:
        return html
    return f"{head}<tbody>{''.join(rows[:ROWS])}</tbody></table><p>… {len(rows)} rows</p></div>"


def shown(cell):
    """What of a code cell's outputs a slide shows: pictures, else tables, and short printed text."""
    pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    if pictures:
        return pictures[:1]
    tables = [output for output in cell.outputs if "<table" in output.get("data", {}).get("text/html", "")]
    for table in tables:
        table.data = {"text/html": cut_table(table.data["text/html"])}
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    short = [new.new_output("stream", name="stdout", text=printed)] if printed and lines(printed) <= PRINTED else []
    return (short if tables and lines(printed) <= 3 or not tables else []) + tables[:1]


def slide(cell, kind="slide"):
    cell.metadata.slideshow = {"slide_type": kind}
    return cell


def code_slides(cell, heading):
    """The slides of a code cell: a heading, the cell with what is shown of it, its code in the notes."""
    outputs = shown(cell)
    if not outputs:
        return []
    picture_or_table = any("data" in output for output in outputs)
    whole = (
        lines(cell.source) <= CODE
        and not picture_or_table
        and lines(cell.source) + sum(lines(output.get("text", "")) for output in outputs) <= CODE + PRINTED - 4
    )
    part = new.new_code_cell(cell.source, outputs=outputs, metadata={"tags": [] if whole else ["no-input"]})
    made = [slide(new.new_markdown_cell(f"## {heading}")), slide(part, "-")]
    return made if whole else [*made, slide(new.new_markdown_cell(f"```python\n{cell.source}\n```"), "notes")]


def deck(notebook):
    """The slides of a notebook, as a notebook."""
    first = notebook.cells[0].source
    title = re.search(r"^# (.+)$", first, re.M)[1]
    will_do = re.search(r"\*\*What you will do:\*\* (.+)", first)[1]
    cells = [slide(new.new_markdown_cell(f"# {title}\n\n{will_do[0].upper()}{will_do[1:]}"))]
    heading, seen = None, False  # whether something was just shown
    for cell in notebook.cells[1:]:
        if cell.cell_type == "code":
            made = code_slides(cell, heading) if heading not in LEFT_OUT else []
            cells, seen = cells + made, bool(made)
            continue
        for head, text in sections(cell.source):
            heading = head or heading
            if seen and head is None and len(text.split()) <= REMARK and "?" not in text:
                cells.append(slide(new.new_markdown_cell(text), "fragment"))
            elif heading not in LEFT_OUT and text:
                cells.append(slide(new.new_markdown_cell(f"## {heading}\n\n{text}")))
            seen = False
    for number, cell in enumerate(cells):
        cell.id = str(number)
    return new.new_notebook(cells=cells, metadata=notebook.metadata)


def write(path, folder):
    """The page of a notebook's slides. Returns their number."""
    notebook = deck(nbformat.read(path, as_version=4))
    settings = Config(
        SlidesExporter={
            "reveal_url_prefix": "reveal",
            "reveal_theme": "white",
            "template_name": "template",
            "extra_template_basedirs": [str(Path(__file__).parent)],
        },
        TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"no-input"}},
    )
    page, _ = SlidesExporter(config=settings).from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    page = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', page)
    (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
    return sum(cell.metadata.slideshow.slide_type == "slide" for cell in notebook.cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build/slides", help="the folder (build/slides)")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    import sphinx_revealjs  # in .venv-site

    reveal = Path(sphinx_revealjs.__file__).parent / "_static/revealjs"
    shutil.copytree(reveal, folder / "reveal", dirs_exist_ok=True)
    for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb")):
        print(f"{folder / path.stem}.html: {write(path, folder)} slides")


if __name__ == "__main__":
    sys.exit(main())
