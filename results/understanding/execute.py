"""08_error_analysis on runs of CoLA, kept with its outputs but for those that show a sentence of CoLA or BLiMP.

  .venv/bin/python results/understanding/execute.py --runs runs/minilm_mean --name minilm --blimp 20

The annotations and BLiMP are fetched as 08 does. Writes 08_NAME.ipynb beside this file.
"""

import argparse
import html
import os
import re
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
sys.path.insert(0, str(ROOT))

LEFT_OUT = "(left out here: it shows sentences of the corpus)\n"
TOGETHER = 5  # words of a corpus that do not follow each other elsewhere by chance


def words(text):
    """The words of a text or a table in HTML, lower case."""
    return re.findall(r"\w+(?:'\w+)*", html.unescape(re.sub(r"<[^>]*>|\x1b\[[\d;]*m", " ", text)).lower())


def pieces(text):
    """All runs of TOGETHER words; of a shorter text, itself."""
    found = words(text)
    return {tuple(found[i : i + TOGETHER]) for i in range(max(1, len(found) - TOGETHER + 1))}


def shown(output):
    """What an output shows, as text, pictures by their alt text."""
    data = {kind: text for kind, text in output.get("data", {}).items() if kind.startswith("text/")}
    alt = [each.get("alt", "") for each in output.get("metadata", {}).values() if isinstance(each, dict)]
    return [*data.values(), output.get("text", ""), *alt]


def without_sentences(notebook, sentences):
    """Take the outputs out that hold TOGETHER words of one of `sentences`, or a whole shorter one; returns how many cells."""
    known = set().union(*map(pieces, sentences))
    short = {len(piece) for piece in known}
    cells = 0
    for cell in notebook.cells:
        texts = [words(text) for output in cell.get("outputs", []) for text in shown(output)]
        if any(
            tuple(text[i : i + n]) in known for text in texts for n in short if n > 1 for i in range(len(text) - n + 1)
        ):
            cell.outputs, cells = [nbformat.v4.new_output("stream", text=LEFT_OUT)], cells + 1
    return cells


def link(match):
    """A link of notebooks/, as it goes from here."""
    return f"]({os.path.relpath(ROOT / 'notebooks' / match[1], FOLDER)})".replace(os.sep, "/")


def with_links(notebook):
    """Let the links of a notebook of notebooks/ lead from here where they led there."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(((?!\w+:|#)[^)\s]+)\)", link, cell.source)


def sentences_of(sweep):
    """[Series] of the sentences of a sweep's first run, which all its runs share."""
    runs = sorted(path.parent for path in sweep.glob("[!.]*/corpus"))
    if not runs:
        sys.exit(f"{sweep} holds no run with a corpus/: expected the folder of a sweep of run.py.")
    return [pd.read_parquet(path)["sentence"] for path in sorted(runs[0].glob("corpus/*.parquet"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, metavar="FOLDER", help="of a finished sweep on CoLA")
    parser.add_argument("--name", required=True, help="of the model, in the file's name")
    parser.add_argument("--blimp", type=int, default=0, metavar="N", help="pairs of each paradigm; 0: none")
    given = parser.parse_args()
    corpora = sentences_of(given.runs)
    os.environ["BERT_RUNS"] = str(given.runs.resolve().parent)
    from lesson import blimp

    try:
        notebook = papermill.execute_notebook(
            str(ROOT / "notebooks" / "08_error_analysis.ipynb"),
            None,
            {"RUN": given.runs.name, "BLIMP_PAIRS": given.blimp},
            cwd=ROOT,
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        sys.exit(f"{error.ename}: {error.evalue}")
    if given.blimp:
        drawn = blimp.blimp(given.blimp)
        corpora += [drawn["acceptable"], drawn["unacceptable"]]
    with_links(notebook)
    cells = without_sentences(notebook, pd.concat(corpora).unique())
    notebook.metadata = {key: notebook.metadata[key] for key in ["kernelspec", "language_info"]}
    notebook.metadata["language_info"].pop("version", None)
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata.get("tags", [])}
    nbformat.write(notebook, FOLDER / f"08_{given.name}.ipynb")
    print(f"08_{given.name}.ipynb: {cells} cells showed sentences and were emptied")


if __name__ == "__main__":
    main()
