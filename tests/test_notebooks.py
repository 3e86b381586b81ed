"""What the notebooks look like as files: tags, counts, ids, no errors, nothing of a machine; and how they read."""

import ast
import re
from pathlib import Path
from statistics import median, quantiles

import nbformat
import papermill
import pytest

import helpers

PATHS = sorted(Path(helpers.ROOT, "notebooks").glob("[0-9][0-9]_*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def tagged(name, tag):
    return [cell for cell in code_cells(name) if tag in cell.metadata.get("tags", [])]


def test_the_series_is_complete():
    assert list(NOTEBOOKS)[: len(helpers.SERIES)] == helpers.SERIES


@every_notebook
def test_the_file_is_valid_and_normalised(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [str(i) for i in range(len(notebook.cells))], "run make refresh"
    assert (
        set(notebook.metadata) <= {"kernelspec", "language_info"} and "version" not in notebook.metadata.language_info
    )
    assert all(
        set(cell.metadata) <= {"tags", "jp-MarkdownHeadingCollapsed", "jupyter", "cellView"} for cell in notebook.cells
    )


@every_notebook
def test_it_is_committed_executed_in_order_without_errors(name):
    assert [cell.execution_count for cell in code_cells(name)] == list(range(1, len(code_cells(name)) + 1))
    for cell in code_cells(name):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source


@every_notebook
def test_nothing_of_a_machine_is_in_it(name):
    text = PATHS[list(NOTEBOOKS).index(name)].read_text(encoding="utf-8")
    assert not re.search(r"(/home/|/root/|/Users/|/tmp/|/work/|/private/var|[A-Z]:\\\\)", text)
    assert "application/vnd.jupyter.widget-view+json" not in text


@every_notebook
def test_parameters_are_plain_literals_with_a_remark(name):
    (cell,) = tagged(name, "parameters")
    statements = ast.parse(cell.source).body
    lines = cell.source.splitlines()
    assert len(statements) == len(lines), "one parameter a line"
    for statement, line in zip(statements, lines):
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        assert re.search(r"  # \w", line), "each with a remark"
    seen = papermill.inspect_notebook(PATHS[list(NOTEBOOKS).index(name)])
    assert len(seen) == len(lines), "papermill drops lines that it cannot read, such as those with a second ="


def test_a_parameter_lives_in_one_notebook_and_run_in_all():
    declared = {name: set(re.findall(r"^([A-Z_]+)", tagged(name, "parameters")[0].source, re.M)) for name in NOTEBOOKS}
    for name in helpers.SERIES:
        assert "RUN" in declared[name]
    rest = [parameter for own in declared.values() for parameter in own - {"RUN", "BATCH"}]
    assert len(rest) == len(set(rest))


def test_the_colab_setup_is_the_same_everywhere_and_imports_nothing_of_colab():
    sources = {tagged(name, "colab-setup")[0].source for name in NOTEBOOKS}
    assert len(sources) == 1
    assert '"google.colab" in sys.modules' in sources.pop()


@every_notebook
def test_the_setup_comes_first_and_folds_away(name):
    """Title, ## Set-up (folded in JupyterLab) with the cells for Colab, parameters and run folder, then the next heading."""
    title, setup, colab, parameters, begin, following = NOTEBOOKS[name].cells[:6]
    assert setup.source.startswith("## Set-up\n") and setup.metadata.get("jp-MarkdownHeadingCollapsed") is True
    assert colab.metadata.tags == ["colab-setup"] and parameters.metadata.tags == ["parameters"]
    assert "helpers.begin(" in begin.source or name not in helpers.SERIES
    assert "helpers.roadmap(" in begin.source
    assert following.source.startswith("## "), "the fold ends where the lesson begins"


@every_notebook
def test_it_reads_as_a_lesson(name):
    cells = NOTEBOOKS[name].cells
    first = cells[0].source
    assert re.search(rf"^# {name[:2]} · ", first, re.M) and "Open in Colab" in first.splitlines()[0]
    for promise in ["What you will do", "What you need", "How long it takes"]:
        assert promise in first
    assert len(words(NOTEBOOKS[name].cells[0])) < 90
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in ["## Summary", "## Exercises", "<details>"]:
        assert part in prose
    assert prose.count("<details>") == prose.count("</details>") >= 2
    for target in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", prose):
        assert Path(helpers.ROOT, "notebooks", target).exists(), target
    seen = [cell for cell in cells[5:] if "solution" not in cell.metadata.get("tags", [])]  # solutions are folded
    kinds = "".join("m" if cell.cell_type == "markdown" else "c" for cell in seen)
    assert "ccc" not in kinds, "three code cells in a row"
    assert not any(cell.source.rstrip().endswith(";") for cell in code_cells(name))


@every_notebook
def test_the_headings_are_in_order(name):
    """One title, then sections of one level, the last of them with the exercises: for those who jump from heading to heading."""
    prose = "\n\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")
    headings = re.findall(r"^(#+) (.+)$", re.sub(r"```.*?```", "", prose, flags=re.S), re.M)
    assert [level for level, _ in headings] == ["#"] + ["##"] * (len(headings) - 1)
    titles = [title for _, title in headings]
    assert titles[-2:] == ["Summary", "Exercises"] and len(set(titles)) == len(titles)


@every_notebook
def test_what_can_be_compared_is_compared(name):
    outputs = [cell for cell in code_cells(name) if cell.outputs]
    compared = [cell for cell in outputs if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert len(compared) >= 3, "nbval compares too little to notice anything"
    for cell in compared:
        for output in cell.outputs:
            text = output.get("text", "")
            assert not re.search(r"\d+\.\d+ ?(s|seconds|ms|milliseconds)\b", text), "times differ from run to run"


@every_notebook
def test_every_picture_is_described(name):
    for cell in code_cells(name):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 5, f"a figure without alt text, see helpers.show:\n{cell.source}"


def test_the_roadmap_is_described_and_styles_nothing_but_itself():
    drawing = Path(helpers.ROOT, "notebooks", "roadmap.svg").read_text(encoding="utf-8")
    assert "<title>" in drawing and "<desc>" in drawing and 'role="img"' in drawing
    for number, name in enumerate(NOTEBOOKS, start=1):
        assert f'id="step-{number}"' in drawing, name
    rules = re.search("<style>(.*)</style>", drawing, re.S)[1].split("}")
    assert all(rule.strip().startswith(".roadmap") for rule in rules if rule.strip())


# ---------------------------------------------------------------- rhythm

CELLS = {  # at most, all cells counted; three exercises that check themselves are 11: stub, solution, check; one or two more questions
    "01_setup": 27 + 11,
    "02_load_cola": 21 + 11,
    "03_tokenize": 27 + 11,
    "04_train": 46 + 12,
    "05_evaluate": 39 + 11,
    "06_save_and_load": 24 + 12,
    "07_compare_runs": 38 + 11,
    "08_error_analysis": 42 + 16,
}
OF_EXERCISES = {"exercise", "solution", "check"}
LOOP = ".backward("  # the one cell that may be long


def words(cell):
    return re.findall(r"\S*\w\S*", cell.source)


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


@every_notebook
def test_there_are_no_more_cells_than_a_reader_stays_for(name):
    assert len(NOTEBOOKS[name].cells) <= CELLS[name]


def test_the_series_has_a_rhythm():
    """Explain, a few lines of code, look: as measured in notebooks that people like to read."""
    lesson = [cell for name in NOTEBOOKS if name < "08" for cell in NOTEBOOKS[name].cells]
    assert sum(not OF_EXERCISES & set(cell.metadata.get("tags", [])) for cell in lesson) <= 240
    code = [
        cell for name in NOTEBOOKS for cell in code_cells(name) if "colab-setup" not in cell.metadata.get("tags", [])
    ]
    assert median(len(lines(cell)) for cell in code) <= 6
    assert quantiles([len(lines(cell)) for cell in code], n=10)[-1] < 15
    for cell in code:
        assert len(lines(cell)) <= 20 or LOOP in cell.source, cell.source
    prose = [cell for notebook in NOTEBOOKS.values() for cell in notebook.cells if cell.cell_type == "markdown"]
    assert median(len(words(cell)) for cell in prose) <= 35
    assert (
        sum(len(words(cell)) for cell in prose) <= 7_400
    )  # of 01 to 07 at most 6,260: a fifth fewer than before they were rewritten


def test_a_model_speaks_early():
    shown = [
        i for i, cell in enumerate(NOTEBOOKS["01_setup"].cells[:9]) if ".logits" in cell.source and cell.get("outputs")
    ]
    assert shown, "01 shows what a model says by cell 8"


def test_the_reader_s_own_sentence_is_judged_early():
    """By cell 150 of the series, exercises not counted."""
    lesson = [
        cell
        for notebook in NOTEBOOKS.values()
        for cell in notebook.cells
        if not OF_EXERCISES & set(cell.metadata.get("tags", []))
    ]
    (place,) = [i for i, cell in enumerate(lesson, start=1) if cell.source.startswith("yours = ")]
    assert (
        place <= 150
        and ["acceptable (" in line for line in "".join(o.text for o in lesson[place - 1].outputs).splitlines()]
        == [True] * 3
    )


# ---------------------------------------------------------------- words

GLOSSARY = {  # notebook: terms that it explains, in italics, where they first occur in the series; | is or
    "01_setup": "token, vector, embedding, layer, attention, attention head, hidden state, [CLS], classifier|head, logits, "
    "softmax, pre-training, masked word, fine-tuning, weights, fp32, bf16",
    "02_load_cola": "corpus, label, class balance, majority class, accuracy, MCC, minimal pair, in-domain, out-of-domain",
    "03_tokenize": "tokenizer, WordPiece, special tokens, [SEP], [PAD], padding, attention mask, truncation, batch, "
    "validation set, seed",
    "04_train": "pooling, cross-entropy, loss, gradient, backward pass, optimizer, AdamW, step, epoch, learning rate, schedule, "
    "warmup, clipping, dropout, weight decay, over-fitting, checkpoint, mixed precision",
    "05_evaluate": "prediction, confusion matrix, true positive, false positive, bootstrap, confidence interval, collapse, "
    "clustered, jackknife, bag of words, balanced accuracy, F1, macro F1, AUROC, calibrated, expected calibration error, "
    "temperature",
    "06_save_and_load": "safetensors, pipeline, export",
    "07_compare_runs": "sweep, spread|standard deviation, paired test, power, false alarm, best of n, ensemble",
    "08_error_analysis": "feature, false discovery rate, paradigm, invariance, attribution, integrated gradients",
}
EVERYDAY = {"step", "power", "export", "collapse", "schedule"}  # may also occur before, in their everyday sense


def prose_of(name):
    """A notebook's running text: without headings, code, and the targets of links."""
    cells = [cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown"]
    text = re.sub(r"^#.*$", "", "\n\n".join(cells), flags=re.M)
    text = re.sub(r"\*`([^`\n]+)`\*", r"*\1*", text)  # a term in italics that is code as well
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S))


def occurrences(term, text):
    """[(position, whether in italics)] of a term, in the plural too."""
    forms = "|".join(re.escape(form) for form in term.split("|"))
    italics = [match.span() for match in re.finditer(r"(?<![*\w])\*(?![*\s])[^*]+(?<!\s)\*(?![*\w])", text)]
    return [
        (match.start(), any(start < match.start() and match.end() < end for start, end in italics))
        for match in re.finditer(rf"(?<!\w)({forms})s?(?!\w)", text, re.I)
    ]


@every_notebook
def test_a_term_is_explained_where_it_first_occurs(name):
    before = "\n".join(prose_of(earlier) for earlier in NOTEBOOKS if earlier < name)
    problems = []
    for term in GLOSSARY[name].split(", "):
        found = occurrences(term, prose_of(name))
        if not any(italic for _, italic in found):
            problems.append(f"{term}: nowhere in italics")
        elif term not in EVERYDAY and not found[0][1]:
            problems.append(f"{term}: in italics only after it was used")
        if term not in EVERYDAY and occurrences(term, before):
            problems.append(f"{term}: used in an earlier notebook")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "term, text, italic",
    [
        ("token", "Some *tokens*, a token, tokenized.", [True, False]),
        ("token", "A **token**: 2 * token * 3", [False, False]),
        ("[CLS]", "*[CLS]* and [CLS]", [True, False]),
        ("classifier|head", "A *classifier*, or *head*. Heads", [True, True, False]),
    ],
)
def test_italics_are_found(term, text, italic):
    assert [whether for _, whether in occurrences(term, text)] == italic


RESAMPLING = {"05_evaluate", "07_compare_runs"}
SENTENCES = r"sentence|padd|token|BATCH_SIZE|length|loader"


@every_notebook
def test_bootstrap_is_resampling_and_a_batch_is_sentences(name):
    """One word, one meaning: what Colab needs is its set-up, and a set of runs is a sweep."""
    for cell in code_cells(name):
        assert "bootstrap" not in cell.metadata.get("tags", [])
    prose = prose_of(name)
    if name not in RESAMPLING:
        assert "bootstrap" not in prose.lower()
    assert not re.search(r"batch(es)? of runs|runs? of (a|one|the) batch", prose, re.I)
    if name == "07_compare_runs":
        for sentence in re.split(r"(?<=[.:?])\s", prose):
            assert not re.search(r"\bbatch", sentence, re.I) or re.search(SENTENCES, sentence), sentence


# ---------------------------------------------------------------- helpers


def test_every_helper_is_used_and_documented():
    import inspect

    used = "\n".join(cell.source for name in NOTEBOOKS for cell in code_cells(name)) + inspect.getsource(helpers)
    for name, function in inspect.getmembers(helpers, inspect.isfunction):
        if function.__module__ == "helpers" and not name.startswith("_"):
            assert len(re.findall(rf"\b{name}\b", used)) >= 2, f"{name} is used nowhere"
            assert re.search(r"\(\d\d_?\w*(, \d\d)*\)", function.__doc__), f"{name}: the notebook that introduces it"
