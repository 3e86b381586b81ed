"""report.html: the executed notebooks of a run below each other, on one page. Only formulas need a network."""

import re

import nbformat
from nbconvert import HTMLExporter

PAGE = """{% extends 'lab/index.html.j2' %}{% block html_head_js %}{% endblock %}{% block html_head_js_mermaidjs %}
{% endblock %}{% block html_head_js_mathjax %}{% set page %}{{ super() }}{% endset %}
{{ page | replace('<script src', '<script async src') }}{% endblock %}"""


def write_page(folder, notebooks, pictures):
    """Write folder/report.html from folder/notebooks/; returns its path. `pictures`: the folder of linked images."""
    contents = "\n".join(f"* [{notebook}](#{notebook})" for notebook in notebooks)
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {folder.name}\n{contents}")])
    for notebook in notebooks:
        executed = nbformat.read(folder / "notebooks" / f"{notebook}.ipynb", as_version=4)
        page.metadata |= {"language_info": executed.metadata.get("language_info", {}), "title": folder.name}
        page.cells.append(nbformat.v4.new_markdown_cell(f'<a id="{notebook}"></a>\n\n---'))
        for number, cell in enumerate(executed.cells):
            cell.id = f"{notebook}-{number}"
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](#\1)", cell.source)
        page.cells += executed.cells
    exporter = HTMLExporter(raw_template=PAGE, embed_images=True)
    html, _ = exporter.from_notebook_node(page, {"metadata": {"path": str(pictures), "name": folder.name}})
    (folder / "report.html").write_text(html, encoding="utf-8")
    return folder / "report.html"
