"""The pages say what is so: links lead somewhere, commands exist, parameters and figures are those of the project."""

import ast
import re
import runpy
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
import yaml
from scipy.stats import t

from bookkeeping.parameters import declared

ROOT = Path(__file__).resolve().parent.parent
draw = SimpleNamespace(**runpy.run_path(str(ROOT / "results" / "cola" / "draw.py")))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
EXECUTED = sorted((ROOT / "results").rglob("*.ipynb"))
GENERATED = ("runs", "wheels", "build", "student", "solutions")
OURS = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in GENERATED]
PAGES = [*ROOT.glob("*.md"), *(page for folder in OURS for page in folder.rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page):
    """A page's Markdown, or that of a notebook's cells, without its code."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)


def anchors(page):
    """The names under which the headings of a page can be linked, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"\]\([^)]*\)", "", heading).lower() for heading in headings]
    kept = ("L", "N", "M")  # letters, digits, marks
    return {
        "".join(c for c in text if c in " -_" or unicodedata.category(c)[0] in kept).strip().replace(" ", "-")
        for text in plain
    }


def test_the_readme_is_read_to_the_end():
    assert len(README.encode()) <= 9000


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS, *EXECUTED], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page):
    text = prose(page)
    assert "![](" not in text, "a picture without words for those who cannot see it"
    for link in re.findall(r"\]\(<?([^)\s>]+)", text):
        if re.match(r"\w+:", link):
            continue  # another site: no test here needs a network
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_commands_exist(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for target in re.findall(r"(?:`|^)make ([a-z][\w./]*)", text, re.M):
        assert target in targets or (ROOT / target).is_file(), f"make {target}"
    for program in re.findall(r"(?:python|bin/python) ([\w/]+\.py)", text):
        assert (ROOT / program.removeprefix("/content/project/")).exists(), program  # where Colab has it
    for name in re.findall(r"-p ([A-Z_]+)", text):
        assert name in defaults(), f"-p {name}"


def test_run_py_knows_every_option_that_a_page_names():
    shown = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    calls = [call for page in PAGES for call in re.findall(r"run\.py ([^`\n]*)", page.read_text(encoding="utf-8"))]
    calls += re.findall(r"`(--[^`\n]*)`", (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8"))
    named = {option for call in calls for option in re.findall(r"(?<!\S)--[a-z-]+", call)}
    assert named - set(re.findall(r"--[a-z-]+", shown)) <= {"--cwd"}, "papermill's"


def test_the_series_is_listed():
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/(\w+)\.ipynb\)", README, re.M)
    assert rows == [(path.stem, path.stem) for path in NOTEBOOKS]


def test_the_tree_is_that_of_the_project():
    tree = re.search(r"```\n(notebooks/.*?)```", README, re.S)[1]
    named = [line.split()[0] for line in tree.splitlines()]
    assert [name for name in named if not (ROOT / name).exists()] == []
    code = [
        *(f"{folder.name}/" for folder in OURS if folder.name != "__pycache__"),
        *(p.name for p in ROOT.glob("*.py")),
    ]
    assert sorted(set(code) - set(named) - {"conftest.py"}) == []


# ---------------------------------------------------------------- parameters


def defaults():
    """{parameter: (default, what its cell says of it, [its notebooks])}."""
    found = {}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        for line in source.splitlines():
            name, default, remark = re.fullmatch(r"([A-Z_]+)(?:: \w+)? = (.+?)  # (.+)", line).groups()
            found.setdefault(name, (ast.literal_eval(default), remark, []))[2].append(path.stem[:2])
    return found


def test_the_page_of_parameters_is_that_of_the_notebooks():
    expected = []
    for name, (default, remark, where) in defaults().items():
        own = declared(name, default)
        takes = own.range if own.kind is str and own.range else own.words
        expected += [
            f"| `{name}` | `{default!r}` | {' to '.join(dict.fromkeys([where[0], where[-1]]))} | {remark} | {takes} |"
        ]
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| `[A-Z_]+` \| `.*` \| \d\d", line)]
    assert rows == expected, "docs/parameters.md should have these rows:\n" + "\n".join(expected)


# ---------------------------------------------------------------- figures


def results_table(page):
    """{(model, device): {column: cell}} of the table of results on a page; without devices, each the first of results/cola."""
    lines = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", page.read_text(encoding="utf-8")).splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("| model (learning rate)")]
    header, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start : lines.index("", start)]
    ]
    cells = [dict(zip(header, row)) for row in rows if "acceptable" not in row[0]]
    first = {model: device for model, device in reversed(draw.SETTINGS)}
    models = [row["model (learning rate)"] for row in cells]
    return {(model, row.get("device", first[model])): row for model, row in zip(models, cells)}


def numbers(cell):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", cell)]


@pytest.mark.parametrize("page, fewest", [("README.md", 3), ("results/cola/README.md", len(draw.SETTINGS))])
def test_scores_are_those_of_the_runs(page, fewest):
    runs, quoted = draw.load(), results_table(ROOT / page)
    assert len(quoted) >= fewest
    for setting, row in quoted.items():
        own, timed = runs[setting], draw.SETTINGS[setting][1]
        mcc, seeds, one = own.test_mcc, sorted({own.seed.min(), own.seed.max()}), len(own) == 1
        interval = [own.test_low.mean(), own.test_high.mean()] if one else [((own.test_high - own.test_low) / 2).mean()]
        # runs.csv has four digits, so what was rounded to three from all of them may be off by a little more than half
        for column, expected, off in [
            ("seeds", [len(own), *(seeds if "(" in row["seeds"] else [])], 0),
            ("validation MCC", [own.validation_mcc.mean()], 0.00056),
            ("test MCC", [mcc.mean()], 0.00056),
            ("spread (range)", [] if one else [mcc.std(), mcc.min(), mcc.max()], 0.00056),
            ("95 % of one run", interval, 0.00056 if one else 0.0056),
            ("accuracy", [own.test_accuracy.mean()], 0.00056),
            ("training", [own.query(timed).train_seconds.mean() / 60] if timed else [], 0.51),
        ]:
            assert numbers(row[column]) == pytest.approx(expected, abs=off, rel=0), (setting, column)


def test_the_readme_says_how_far_the_seed_moves_a_score():
    mcc = draw.load()["`minilm` (1e-4)", "AMD, bf16"].test_mcc
    apart = t.ppf(0.975, len(mcc) - 1) * 2**0.5 * mcc.std()
    assert f"may lie {apart:.2f} apart (95 %)" in README


def test_the_readme_says_how_fast_04_is():
    seconds = pd.read_csv(ROOT / "results" / "speed" / "minilm.csv", index_col="round")
    times = seconds.div(seconds["04"], axis=0).median()
    assert f"{times['tutorial']:.1f} times as fast as the tutorial's loop" in README
    assert (
        f"{times['HF Trainer, best flags']:.2f} times as fast as the Hugging Face Trainer at its best flags" in README
    )


@pytest.mark.parametrize("folder, model", [(f, m) for f in ("", "intel") for m in ("minilm", "all-mpnet-base-v2")])
def test_the_page_of_speed_is_that_of_the_measurements(folder, model):
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    cells = [[cell.strip("* ") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    seconds = pd.read_csv(ROOT / "results" / "speed" / folder / f"{model}.csv", index_col="round")
    column = 1 + (model != "minilm") + 2 * (folder == "intel")
    times = seconds.div(seconds["04"], axis=0).median()
    of_04 = {row[0]: row[column] for row in cells if len(row) == 5}
    assert numbers(of_04["the tutorial's loop"])[0] == pytest.approx(times["tutorial"], abs=0.051)
    assert numbers(of_04["HF Trainer, defaults"])[0] == pytest.approx(times["HF Trainer, defaults"], abs=0.051)
    assert numbers(of_04["HF Trainer, best flags"])[0] == pytest.approx(times["HF Trainer, best flags"], abs=0.0051)
    assert numbers(of_04["the bare arithmetic"])[0] == pytest.approx(1 / times["arithmetic bound"], abs=0.051)


def test_the_picture_is_drawn(tmp_path):
    draw.draw(draw.load(), tmp_path / "seeds.png")
    assert (tmp_path / "seeds.png").read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------- habits


def test_the_citation_is_of_this_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    holder = re.search(r"Copyright \(c\) \d+ (.+)", (ROOT / "LICENSE").read_text(encoding="utf-8"))[1]
    assert citation["cff-version"] == "1.2.0" and citation["license"] == "MIT"
    assert citation["title"] == README.splitlines()[0].removeprefix("# ")
    assert [author["name"] for author in citation["authors"]] == [holder]


def test_pre_commit_normalises_as_make_refresh_does():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (refresh,) = re.findall(r"nbstripout (.+) notebooks/\*\.ipynb", makefile)
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (entry,) = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"] if hook["id"] == "nbstripout"]
    assert entry.split()[1:] == refresh.split()
