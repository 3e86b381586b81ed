"""report.html: what a run or a sweep gave, and below it the executed notebooks, on one page."""

import base64
import html
import mimetypes
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from bookkeeping.files import replacing
from runner import paths
from runner.pictures import describe, opening

TEMPLATE = Path(__file__).with_name("page.html.j2")
LINKED = re.compile(r"""(?<=\]\()[\w./-]+(?=[)\s])|(?<=\ssrc=")[\w./-]+(?=")""")  # in ![…](LINK), <img src="LINK">


def write_page(folder, notebooks, title, rows, head=None, picture=None):
    """Write folder/report.html from folder/notebooks/; returns its path.

    It opens with `title`, the table `rows` below the names of its columns, `head`, and a picture:
    (notebook, tag of a cell, which to take where no cell has the tag: 0 the first, -1 the last).
    """
    executed = {name: nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4) for name in notebooks}
    for notebook in executed.values():
        describe(notebook.cells)
    shown = opening(executed[picture[0]].cells, *picture[1:]) if picture and picture[0] in executed else None
    page = nbformat.v4.new_notebook(metadata=next(iter(executed.values())).metadata | {"title": title})
    page.cells = [nbformat.v4.new_markdown_cell(top(title, rows, head, shown, notebooks))]
    for name, notebook in executed.items():
        page.cells += [nbformat.v4.new_markdown_cell(f'<a id="{name}"></a>\n\n---'), *notebook.cells]
        for number, cell in enumerate(notebook.cells):
            cell.id = f"{name}-{number}"
            if cell.cell_type == "markdown":
                cell.source = LINKED.sub(embedded, re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](#\1)", cell.source))
    exporter = HTMLExporter(raw_template=TEMPLATE.read_text(encoding="utf-8"))
    content, _ = exporter.from_notebook_node(page)
    with replacing(folder / "report.html") as new:
        new.write_text(content, encoding="utf-8")
    return folder / "report.html"


def top(title, rows, head, picture, notebooks):
    """What the page opens with, as markdown."""
    table = [[("th", cell) for cell in head]] if head else []
    table += [[("td", cell) for cell in row] for row in rows]
    lines = ["<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for tag, cell in row) + "</tr>" for row in table]
    parts = [f"# {title}", "\n".join(["<table>", *lines, "</table>"])]
    if picture:
        content, alt = picture
        parts.append(f'<img src="data:image/png;base64,{content}" alt="{html.escape(alt)}">')
    return "\n\n".join([*parts, "\n".join(f"* [{name}](#{name})" for name in notebooks)])


def embedded(link):
    """A linked picture beside the notebooks as a data: address; any other link as it is.

    nbconvert's own embed_images closes a <details> before its text, for it parses each piece of HTML by itself.
    """
    path, (kind, _) = paths.NOTEBOOKS / link[0], mimetypes.guess_type(link[0])
    if not (kind or "").startswith("image/") or not path.is_file():
        return link[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
