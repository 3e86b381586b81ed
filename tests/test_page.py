"""report.html, of the committed notebooks and of made-up ones, as an HTML parser sees it."""

import re
import shutil

import nbformat
import pytest
from bs4 import BeautifulSoup

from runner import paths
from runner.page import write_page
from runner.pictures import describe, opening

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ROWS = [
    ["test MCC", "0.277  (95 % interval 0.135 to 0.414; accuracy 0.731)"],
    ["majority class", "0.000  (accuracy 0.706)"],
]


def page_of(folder, *arguments, **options):
    return BeautifulSoup(write_page(folder, *arguments, **options).read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """(names, page) of the committed notebooks 01 to 06."""
    folder = tmp_path_factory.mktemp("default")
    (folder / "notebooks").mkdir()
    notebooks = sorted(path for path in paths.NOTEBOOKS.glob("0[1-6]_*.ipynb"))
    for path in notebooks:
        shutil.copy(path, folder / "notebooks")
    names = [path.stem for path in notebooks]
    return names, page_of(folder, names, "default: test MCC 0.277", ROWS, picture=("04_train", "learning-curve", -1))


def shown(*outputs, source="", **metadata):
    cell = nbformat.v4.new_code_cell("", metadata=metadata)
    cell.outputs = [nbformat.v4.new_output("display_data", data) for data in outputs]
    return [nbformat.v4.new_markdown_cell(source), cell]


def write(folder, name, cells):
    (folder / "notebooks").mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"notebooks/{name}.ipynb")


def test_solutions_are_closed_and_hold_their_text(series):
    names, page = series
    sources = [(paths.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8") for name in names]
    details = page.find_all("details")
    assert len(details) == sum(source.count("<details>") for source in sources) > 0
    for solution in details:
        summary = solution.find("summary").get_text()
        assert not solution.has_attr("open") and len(solution.get_text().replace(summary, "").strip()) > 20


def test_every_picture_says_what_it_shows(series):
    pictures = series[1].find_all("img")
    assert len(pictures) > 10 and [str(one)[:80] for one in pictures if len(one.get("alt", "")) < 20] == []
    assert not [one["src"][:40] for one in pictures if not one["src"].startswith("data:image/")]


def test_the_page_opens_with_the_result(series):
    names, page = series
    assert page.title.get_text() == "default: test MCC 0.277"
    top = page.find("main").find(class_="jp-Cell")
    assert top.find("h1").get_text().startswith("default: test MCC 0.277")
    assert [[cell.get_text() for cell in row.find_all("td")] for row in top.find_all("tr")] == ROWS
    order = [element.name for element in top.find_all(["h1", "table", "img", "ul"])]
    assert order == ["h1", "table", "img", "ul"]
    curves = [img["src"] for img in page.find_all("img") if img["src"] == top.find("img")["src"]]
    assert len(curves) == 2, "the picture stands in 04_train, too"
    assert [link["href"] for link in top.find("ul").find_all("a")] == [f"#{name}" for name in names]
    assert all(page.find(id=name) for name in names)
    assert page.find("a", href="#02_load_cola") and not page.find("a", href=re.compile(r"^\d\d_\w+\.ipynb"))


def test_code_in_outputs_is_code(series, tmp_path):
    """Whether it comes as a markdown block or as HTML."""
    assert series[1].select_one(".jp-OutputArea-output.jp-RenderedHTMLCommon .highlight pre")
    markdown = {"text/markdown": "```python\ndef f():\n    return 1\n```", "text/plain": "f"}
    html = {"text/html": '<div class="highlight"><pre><span class="k">def</span> f():</pre></div>', "text/plain": "f"}
    write(tmp_path, "01_a", shown(markdown, html))
    page = page_of(tmp_path, ["01_a"], "a", ROWS)
    assert len(page.select(".jp-OutputArea-output.jp-RenderedHTMLCommon .highlight pre .k")) >= 2
    style = "".join(sheet.get_text() for sheet in page.find_all("style"))
    assert ".jp-RenderedHTMLCommon pre, .jp-RenderedText pre { font-family: var(--jp-code-font-family) }" in style
    assert "@media (prefers-color-scheme: dark)" in style and style.count("--jp-layout-color0:") == 2


def test_alt_is_a_pictures_own_or_what_stands_above_it():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>Six boxes</title></svg>'
    cells = [
        *shown({"image/png": PIXEL}),
        *shown(
            {"image/png": PIXEL},
            {"image/svg+xml": svg},
            source="# Curves\n\n**Loss** [falls](x.md), e.g. `a`: so. Then not.",
        ),
        *shown({"image/jpeg": PIXEL}, source="## Which is best?\n\n* one\n"),
        *shown({"image/png": PIXEL}, source="Look."),
    ]
    cells[-1].outputs[0].metadata["image/png"] = {"alt": "A line"}
    describe(cells)
    alts = [own["alt"] for cell in cells for output in cell.get("outputs", []) for own in output.metadata.values()]
    assert alts[0] == "a picture without a description"
    assert alts[1:] == [
        "Curves: Loss falls, e.g. a: so.",
        "Six boxes",
        "Which is best? Loss falls, e.g. a: so.",
        "A line",
    ]


def test_the_picture_on_top_is_the_one_with_the_tag():
    cells = (
        shown({"image/png": "first"}) + shown({"image/png": "tagged"}, tags=["curve"]) + shown({"image/png": "last"})
    )
    describe(cells)
    assert opening(cells, "curve", -1)[0] == "tagged"
    assert opening(cells, "none", -1)[0] == "last" and opening(cells, "none", 0)[0] == "first"
    assert opening(shown({"text/plain": "x"}), "curve", -1) is None


def test_linked_pictures_are_taken_in_and_solutions_around_them_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    (tmp_path / "badge.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    text = '[![Open](badge.svg)](https://example.org/a.svg)\n\n<details><summary>S</summary>\n\n<img src="badge.svg" alt="x">\n'
    write(
        tmp_path,
        "01_a",
        [nbformat.v4.new_markdown_cell(text + "\nthe text\n\n</details>\n\nbehind ![no](missing.svg)")],
    )
    page = page_of(tmp_path, ["01_a"], "a", ROWS)
    sources = [img["src"].split(",")[0] for img in page.find_all("img")]
    assert sources == ["data:image/svg+xml;base64"] * 2 + ["missing.svg"]
    assert page.find("a", href="https://example.org/a.svg")
    assert "the text" in page.find("details").get_text() and "behind" not in page.find("details").get_text()


def test_a_sweep_opens_with_the_table_of_its_runs(tmp_path):
    write(tmp_path, "07_compare", shown({"image/png": PIXEL}, source="# Runs side by side"))
    head, row = ["run", "test MCC"], ["SEED=1,CORPUS=<x>", "0.1"]
    page = page_of(tmp_path, {"07_compare": {}}, "sweep: 1 of 1 runs", [row], head, ("07_compare", "main-figure", 0))
    top = page.find("main").find(class_="jp-Cell")
    assert [cell.get_text() for cell in top.find_all("th")] == head and [
        td.get_text() for td in top.find_all("td")
    ] == row
    assert top.find("img")["alt"] == "Runs side by side"
