"""What the notebooks share: devices, run folders, files, and what an earlier notebook has shown.

Each docstring names the notebook that introduces the function. Nothing here trains or evaluates
by itself: the lesson stands in the notebooks.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import shutil
import time
from pathlib import Path

# Threads of libgomp spin while they wait for each other, by default so long that on an Intel Xeon a step took several
# times as long where another program needed the core. With 10,000 turns it lost little (0.44 s a step of minilm on
# 2 cores, 0.15 s when quiet). On an AMD EPYC the default is as fast, and a tenth faster beside
# another program (results/speed/minilm-savings.md). To be set before torch is imported; other systems ignore it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parent
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs"))
SERIES = ["01_setup", "02_load_cola", "03_tokenize", "04_train", "05_evaluate", "06_save_and_load"]

COLA_FILES = {  # our names → the corpus' own; the tutorial's "test set" is the out-of-domain dev split
    "train": "in_domain_train.tsv",
    "in_domain_dev": "in_domain_dev.tsv",
    "test": "out_of_domain_dev.tsv",
}

_imported = time.time()


class SeriesError(Exception):
    """An error that its message explains: in a notebook it is shown without the traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


# ---------------------------------------------------------------- devices (01)


def pick_device():
    """The torch.device to work on: CUDA, else Apple's MPS, else the CPU (01_setup).

    ACCELERATE_USE_CPU=yes asks for the CPU, as it does for accelerate.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes", "on"}:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device):
    """The device in words, such as "Tesla T4" or "CPU, 2 cores" (01_setup)."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple GPU ({platform.machine()})"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU, {os.cpu_count()} cores ({line.split(':')[1].strip()})"
    return f"CPU, {os.cpu_count()} cores ({platform.processor() or platform.machine()})"


def matrix_speed(device, dtype, rounds=5):
    """Arithmetic speed in FLOP/s of matrix products of BERT's shapes, best of `rounds` (01_setup)."""
    left = torch.ones(512, 768, device=device, dtype=dtype)
    right = torch.ones(768, 3072, device=device, dtype=dtype)
    seconds = []
    for _ in range(rounds + 1):  # the first round warms up
        start = time.perf_counter()
        (left @ right)[0, 0].item()  # .item() waits for a GPU
        seconds.append(time.perf_counter() - start)
    return 2 * 512 * 768 * 3072 / min(seconds[1:])


@functools.cache
def pick_precision(device):
    """accelerate's `mixed_precision` for this device: "bf16", "fp16" or "no" (01_setup).

    CUDA: bf16 where the chip has it, else fp16 with loss scaling, as on the T4. CPU: bf16 only where its
    products are measured to be clearly faster than in fp32; some CPUs know bf16 and are slower with it.
    Elsewhere fp32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and matrix_speed(device, torch.bfloat16) > 1.5 * matrix_speed(device, torch.float32):
        return "bf16"
    return "no"


def versions():
    """{package: version} of everything that can move a result (01_setup)."""
    names = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "pandas", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


# ---------------------------------------------------------------- run folders (02)


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`, which takes its name if the block succeeds (02_load_cola).

    So a file or a folder appears whole or not at all, whenever the process is killed.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        if path.is_dir():
            remove(path)
        os.replace(new, path)
    finally:
        remove(new)


def remove(path):
    """Remove a file or a folder, if it is there (02_load_cola)."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def write_json(path, content):
    """Write `content` to `path` as indented JSON, whole or not at all (02_load_cola)."""
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def run_folder(run, needs=None):
    """The folder runs/<run>, made if it is missing (02_load_cola).

    `needs` names the notebook whose results the caller reads. Raises SeriesError when that notebook
    has not finished there, or an earlier one was run again since.
    """
    folder = RUNS / run
    if needs and needs not in read_run(folder)["notebooks"]:
        raise SeriesError(
            f"this notebook reads what {needs}.ipynb makes, and the run {run!r} has none that is up to date. "
            f"Run {needs}.ipynb first, or all that it needs in one call: python run.py --until {needs} -p RUN {run}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_run(folder):
    """run.json of a run folder: {"run", "versions", "device", "notebooks": {name: record}} (02_load_cola)."""
    try:
        return json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"run": Path(folder).name, "notebooks": {}}
    except ValueError as error:
        raise SeriesError(
            f"run.json of the run {Path(folder).name!r} is damaged ({error}): delete that run folder."
        ) from None


@contextlib.contextmanager
def finishing(folder, notebook, parameters):
    """Write a notebook's results inside this block; its record is added to run.json last (02_load_cola).

    Its old record and those of the later notebooks, which read these results, are dropped first: whatever
    is killed midway, run.json never vouches for a mixture. Yields the record, a dict, to be filled.
    01_setup makes nothing that others read, so it drops nothing but its own.
    """
    content = read_run(folder)
    stale = SERIES[SERIES.index(notebook) :] if notebook != "01_setup" else [notebook]
    content["notebooks"] = {name: record for name, record in content["notebooks"].items() if name not in stale}
    write_json(folder / "run.json", content)
    for leftover in [path for path in folder.glob(".*") if path.suffix[1:].isdigit()]:
        remove(leftover)  # what `replacing` had begun in a process that was killed
    record = {"parameters": parameters}
    yield record
    record["seconds"] = round(time.time() - _imported, 1)
    record["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content["versions"], content["device"] = versions(), device_name(pick_device())
    content["notebooks"][notebook] = record
    write_json(folder / "run.json", content)


def source(function):
    """Show a helper's source in a notebook: one copy of the code, in sight where it is taught (03_tokenize)."""
    from IPython.display import Markdown

    return Markdown(f"```python\n{inspect.getsource(function)}```")


def roadmap(step):
    """The picture of the series with step number `step` marked (01_setup)."""
    from IPython.display import SVG

    drawing = (ROOT / "notebooks" / "roadmap.svg").read_text(encoding="utf-8")
    return SVG(drawing.replace(f'id="step-{step}"', f'id="step-{step}" class="here"'))


# ---------------------------------------------------------------- files and sentences (02)


def sha256(path):
    """Hexadecimal SHA-256 of a file (02_load_cola)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sentences(path):
    """Read a pathlib or zipfile Path in CoLA's format: DataFrame with source, label, mark, sentence (02_load_cola).

    Four tab-separated columns, no header, no quoting, UTF-8. Raises SeriesError with file, line, what was
    found and what was expected.
    """
    import pandas as pd

    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SeriesError(
            f"{path.name}, line {line}: byte {content[error.start]:#04x} is not UTF-8. Save the file as UTF-8."
        ) from None
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise SeriesError(
            f"{path.name} is empty: expected a line per sentence, source <tab> label <tab> mark <tab> sentence."
        )
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != 4:
            problem = f"{len(row)} tab-separated columns where 4 were expected (source, label, mark, sentence)"
        elif row[1] not in {"0", "1"}:
            problem = f"label {row[1]!r} where 0 (unacceptable) or 1 (acceptable) was expected"
        elif not row[3].strip():
            problem = "an empty sentence where text was expected"
        else:
            continue
        raise SeriesError(f"{path.name}, line {number}: {problem}. Mend or remove the line.")
    frame = pd.DataFrame(rows, columns=["source", "label", "mark", "sentence"])
    return frame.astype({"label": "int8"})


# ---------------------------------------------------------------- tokens and batches (03)


def load_tokens(folder):
    """The token file of a run folder, memory-mapped (03_tokenize).

    Returns (tokens, about). tokens: "ids" int32 [tokens], all sentences end to end; "offsets" int64
    [sentences + 1]; "labels" int64, "split" int8 (index into SPLITS) and "row" int32 [sentences].
    about: {"model", "max_len", "pad_token_id"}.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "tokens.safetensors", framework="pt") as file:
            tokens = {name: file.get_tensor(name) for name in file.keys()}
            about = json.loads(file.metadata()["about"])
    except (SafetensorError, FileNotFoundError) as error:
        raise SeriesError(f"tokens.safetensors of this run cannot be read ({error}): run 03_tokenize again.") from None
    return tokens, about


SPLITS = ["train", "validation", "in_domain_dev", "test"]


def rows_of(tokens, split):
    """Positions [n] int64 of one split's sentences in the token file (03_tokenize)."""
    return (tokens["split"] == SPLITS.index(split)).nonzero().squeeze(1)


def make_batch(tokens, rows, pad_token_id, length=None, device="cpu"):
    """Pad the sentences `rows` to the longest of them, or to `length` tokens (03_tokenize).

    Returns {"input_ids", "attention_mask": int64 [len(rows), longest], "labels": int64 [len(rows)]}.
    """
    starts, ends = tokens["offsets"][rows], tokens["offsets"][rows + 1]
    lengths = ends - starts
    positions = torch.arange(length or int(lengths.max()))
    mask = positions < lengths[:, None]
    input_ids = torch.full(mask.shape, pad_token_id)
    input_ids[mask] = tokens["ids"][(starts[:, None] + positions)[mask]].long()
    batch = {
        "input_ids": input_ids,
        "attention_mask": mask.long(),
        "labels": tokens["labels"][rows],
    }
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def batches_of_like_length(tokens, rows, batch_size, generator=None):
    """Split `rows` into batches of sentences of like length, in random order (03_tokenize).

    Sorting a shuffled list keeps chance among sentences of one length; the batches are shuffled again,
    so that an epoch does not run from short to long. Without a generator: longest first, no chance.
    """
    lengths = tokens["offsets"].diff()[rows]
    if generator is None:
        return rows[lengths.argsort(stable=True, descending=True)].split(batch_size)
    shuffled = torch.randperm(len(rows), generator=generator)
    batches = rows[shuffled[lengths[shuffled].argsort(stable=True)]].split(batch_size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


# ---------------------------------------------------------------- models (03, 04)


def _quiet_transformers():
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_tokenizer(model):
    """The model's own tokenizer, its built-in truncation and padding switched off (03_tokenize).

    Raises SeriesError if it does not know plain English, which is how a tokenizer looks whose files
    were not found.
    """
    tokenizer = _quiet_transformers().AutoTokenizer.from_pretrained(model)
    if not tokenizer.is_fast:
        raise SeriesError(f"{model} has no fast tokenizer, which this series needs to be quick on a large corpus.")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    known = tokenizer("The cat sat on the mat.")["input_ids"]
    if len(tokenizer) < 1000 or tokenizer.unk_token_id in known or tokenizer.pad_token_id is None:
        raise SeriesError(
            f"the tokenizer of {model} has {len(tokenizer)} entries, padding id {tokenizer.pad_token_id}, and reads a plain "
            f"sentence as {known}: its files are missing or not those of an encoder for English text."
        )
    return tokenizer


def load_model(model, **options):
    """AutoModelForSequenceClassification in fp32, without progress bars or load reports (04_train).

    The head is new and random unless `model` is a folder that was fine-tuned: seed before you call.
    """
    transformers = _quiet_transformers()
    return transformers.AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32, **options)


def save_checkpoint(folder, same, model, optimizer, schedule, history, best):
    """Write what 04_train needs to go on after a kill, at the end of an epoch (04_train).

    `same`: what a later call must have in common for the checkpoint to be its own.
    """
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    state |= {"schedule": schedule.state_dict(), "history": history, "best": best, "same": same}
    with replacing(folder / "checkpoint.pt") as new:
        torch.save(state, new)


def load_checkpoint(folder, same, model, optimizer, schedule):
    """Put model, optimizer and schedule back where save_checkpoint left them (04_train).

    Returns (history, best weights); ([], None) if there is no checkpoint of a run with this `same`.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return [], None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # half a disk, another version: whatever it is, starting anew is right
        print(f"the checkpoint cannot be read ({type(error).__name__}): starting anew")
        return [], None
    if state["same"] != same:
        print("the checkpoint is of a run with other parameters: starting anew")
        return [], None
    for part, name in [(model, "model"), (optimizer, "optimizer"), (schedule, "schedule")]:
        part.load_state_dict(state[name])
    print(f"going on after epoch {len(state['history'])}")
    return state["history"], state["best"]


def drop_checkpoint(folder):
    """Remove the checkpoint of a training that ended (04_train)."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)


@torch.inference_mode()
def predict(model, tokens, rows, pad_token_id, precision="no", batch_size=64):
    """Logits [len(rows), classes] fp32 on the CPU, in the order of `rows` (04_train).

    Like lengths share a batch and nothing waits for a batch to finish: the results are fetched at the end.
    """
    model.eval()
    device = next(model.parameters()).device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    order = tokens["offsets"].diff()[rows].argsort(stable=True, descending=True)
    logits = []
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        for batch_rows in rows[order].split(batch_size):
            batch = make_batch(tokens, batch_rows, pad_token_id, device=device)
            batch.pop("labels")
            logits.append(model(**batch).logits.float())
    return torch.empty(len(rows), logits[0].shape[1]).index_copy_(0, order, torch.cat(logits).cpu())


# ---------------------------------------------------------------- scores (05)


def mcc(tn, fp, fn, tp):
    """Matthews' correlation of confusion counts: numbers, or arrays for many matrices at once (05_evaluate).

    0 where a class is never predicted or never occurs, as in scikit-learn (Matthews 1975).
    """
    tn, fp, fn, tp = (np.asarray(count, dtype=float) for count in (tn, fp, fn, tp))
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, below, out=np.zeros_like(below), where=below > 0)


def bootstrap_mcc(counts, samples=10_000, seed=0):
    """Array [samples] of the MCCs of resampled test sets; counts: array tn, fp, fn, tp (05_evaluate).

    Drawing sentences with replacement is drawing their counts (the bootstrap of Efron 1979).
    """
    n = counts.sum()
    return mcc(*np.random.default_rng(seed).multinomial(n, counts / n, size=samples).T)
