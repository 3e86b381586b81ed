"""What the benchmarks share: a notebook's cells executed in this process, and results with device and versions.

No program of its own. It makes helpers and lesson importable, so the benchmarks import it first.
"""

import ast
import contextlib
import datetime
import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")  # before the benchmark adds to it
os.environ["MPLBACKEND"] = "agg"  # nobody looks at the notebooks' pictures
sys.path.insert(0, str(ROOT))

import helpers  # noqa: E402
from lesson import savings  # noqa: E402

SAVINGS = {  # what a step of 04 does without it → the function of lesson/savings.py
    "all word embeddings": "shrink_embeddings",
    "the whole last layer": "only_cls",
    "torch's dropout": "quicken_dropout",
}

# ---------------------------------------------------------------- notebooks in this process


def execute(notebook, until=None, **parameters):
    """Execute a notebook's cells, all or up to the one tagged `until`. Returns its variables and that cell's source."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    cells = [(cell.source, cell.metadata.get("tags", [])) for cell in cells if cell.cell_type == "code"]
    if until and not any(until in tags for _, tags in cells):
        raise helpers.SeriesError(
            f"{notebook}.ipynb has no code cell tagged {until!r}, which is what is timed: tag it."
        )
    variables = {}
    for source, tags in cells:
        if until in tags:
            return variables, source
        if "colab-setup" not in tags:
            exec(compile(source, notebook, "exec"), variables)
        if "parameters" in tags:
            variables.update(parameters)
    return variables, None


def training_steps(**parameters):
    """04 up to its first step. Returns its variables, and the loop over the steps: code that reads `batches` from them."""
    variables, source = execute("04_train", until="training-loop", **parameters)
    before, steps = split_at_steps(source)
    exec(before, variables)
    return variables, steps


def split_at_steps(source):
    """04's training cell as two code objects: what comes before an epoch's first step, and what takes all its steps."""
    tree = ast.parse(source)
    for i, epochs in enumerate(tree.body):
        for j, statement in enumerate(epochs.body if isinstance(epochs, ast.For) else []):
            names = [node for node in ast.walk(statement) if getattr(node, "id", "") == "batches"]
            if any(isinstance(node.ctx, ast.Load) for node in names):
                first = f"{ast.unparse(epochs.target)} = next(iter({ast.unparse(epochs.iter)}))"
                before = [*tree.body[:i], *ast.parse(first).body, *epochs.body[:j]]
                return [compile(ast.Module(part, []), "04_train", "exec") for part in (before, [statement])]
    raise helpers.SeriesError(
        "the cell of 04_train.ipynb tagged 'training-loop' has no statement that reads `batches` inside a loop over the "
        "epochs, which is what the benchmarks time. Whoever rewrote it: let split_at_steps in benchmarks/common.py find it."
    )


def switch_off(names):
    """Let these functions of lesson/savings.py do nothing in this process."""
    for name in names:
        getattr(savings, name)  # an error, should it no longer be called that
        setattr(savings, name, lambda *_, **__: None)


# ---------------------------------------------------------------- results


def facts(call):
    """What stands below a table. `call`: the benchmark and its options, without a path of this machine."""
    import torch

    return {
        "command": f"`.venv/bin/python benchmarks/{call}`",
        "device": helpers.device_name(helpers.pick_device()),
        "instruction sets": instruction_sets(),
        "threads": torch.get_num_threads(),
        "processes that wanted a core before the start (load average)": f"{LOAD:.1f}",
        "date": datetime.date.today().isoformat(),
    } | helpers.versions()


def instruction_sets():
    """Which of the CPU's matrix instructions that matter here are there, in words."""
    import torch

    text = torch.backends.cpu.get_cpu_capability()
    with contextlib.suppress(OSError):
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
        for flag in ["amx_bf16", "avx512_bf16"]:
            text += f", {flag} {'yes' if flag in flags else 'no'}"
    return text


def spread(figures, unit="", low=0.0, high=1.0):
    """Median and, in brackets, two quantiles of a Series in words; by default the smallest and the largest."""
    return f"{figures.median():.3g}{unit} ({figures.quantile(low):.3g}–{figures.quantile(high):.3g})"


def table(columns, rows):
    """Lines of a Markdown table. `columns`: {heading: alignment, such as "--:"}; `rows`: lists of text."""
    lines = [" | ".join(row) for row in [columns, *rows]]
    lines = [f"| {line} |" for line in lines]
    return [lines[0], f"|{'|'.join(columns.values())}|", *lines[1:]]


def draw_bars(path, seconds, labels, colours, xlabel, title):
    """Horizontal bars of `seconds`, a Series, on a logarithmic axis; the finding is the title."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    fig, ax = plt.subplots(figsize=(9, 3.6))
    ax.barh(seconds.index, seconds, color=colours)
    for y, (value, label) in enumerate(zip(seconds, labels)):
        ax.text(value * 1.06, y, label, va="center")
    ax.invert_yaxis()
    ax.set_xscale("log")
    low, high = seconds.min(), seconds.max()
    ax.set_xlim(low / 2, high * (high / low) ** 0.35 * 2)
    ax.set_xlabel(f"{xlabel} (logarithmic)")
    ax.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    fig.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)


def write_results(csv, frame, page, lines, facts):
    """Write the figures as CSV, and a Markdown page of `lines` with the facts below; print the page."""
    for path in [csv, page]:
        path.parent.mkdir(parents=True, exist_ok=True)
    frame.round(4).to_csv(csv)
    text = "\n".join([*lines, "", *(f"* {name}: {value}" for name, value in facts.items())])
    page.write_text(text + "\n", encoding="utf-8")
    print(text)
