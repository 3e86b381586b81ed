"""What the notebooks share: devices, run folders, files, and what an earlier notebook has shown.

Each docstring names the notebook that introduces the function. Nothing here trains or evaluates
by itself: the lesson stands in the notebooks.
"""

import contextlib
import functools
import inspect
import json
import os
import platform
import sys
import time
from pathlib import Path

# Threads of libgomp spin while they wait for each other, by default so long that on an Intel Xeon a step took several
# times as long where another program needed the core. With 10,000 turns it lost little (0.44 s a step of minilm on
# 2 cores, 0.15 s when quiet). On an AMD EPYC the default is as fast, and beside another program it takes 0.6 to 0.9 times
# as long (results/speed/minilm-savings.md). To be set before torch is imported; other systems ignore it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch

from bookkeeping import SeriesError
from bookkeeping.files import replacing, write_json  # noqa: F401
from bookkeeping.runs import NEEDS, Run, check_parameters, read_run, versions  # noqa: F401
from bookkeeping.sums import sha256  # noqa: F401
from lesson.corpora import COLA_FILES, read_sentences, read_split  # noqa: F401

ROOT = Path(__file__).resolve().parent
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs"))
SERIES = list(NEEDS)  # 01_setup to 06_save_and_load


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


def matrix_speed(device, dtype, rounds=5, rows=512):
    """Arithmetic speed in FLOP/s of matrix products of BERT's shapes, best of `rounds` (01_setup)."""
    left = torch.ones(rows, 768, device=device, dtype=dtype)
    right = torch.ones(768, 3072, device=device, dtype=dtype)
    seconds = []
    for _ in range(rounds + 1):  # the first round warms up
        start = time.perf_counter()
        (left @ right)[0, 0].item()  # .item() waits for a GPU
        seconds.append(time.perf_counter() - start)
    return 2 * rows * 768 * 3072 / min(seconds[1:])


@functools.cache
def pick_precision(device):
    """accelerate's `mixed_precision` for this device: "bf16", "fp16" or "no" (01_setup).

    CUDA: bf16 where the chip has it, else fp16 with loss scaling, as on the T4. CPU: bf16 only where its
    products are measured to be clearly faster than in fp32; some CPUs know bf16 and are slower with it.
    Elsewhere fp32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

    def gain(**size):
        return matrix_speed(device, torch.bfloat16, **size) / matrix_speed(device, torch.float32, **size)

    # a CPU that does not know bf16 takes seconds for a product of full size: 16 rows tell as much
    if device.type == "cpu" and gain(rounds=3, rows=16) > 0.1 and gain() > 1.5:
        return "bf16"
    return "no"


# ---------------------------------------------------------------- run folders (01)


def begin(notebook, namespace):
    """Check the parameters in `namespace`, which is globals(), and open the run folder for `notebook` (01_setup).

    Returns a bookkeeping.runs.Run: .folder, .parameters, .records of the notebooks before, and .finish(...), which writes
    files and record. Raises SeriesError for a parameter out of its range, or when an earlier notebook has to be run first.
    """
    return Run(notebook, namespace, RUNS, device_name(pick_device()))


def source(function):
    """Show a helper's source in a notebook: one copy of the code, in sight where it is taught (01_setup)."""
    return _Code(inspect.getsource(function).rstrip())


class _Code(str):
    def _repr_mimebundle_(self, include=None, exclude=None):
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        box = "background: #f7f7f7; color: #1a1a1a; padding: 0.6em; overflow-x: auto; font-family: monospace"
        # else JupyterLab paints the code's own ground black in the dark, and breaks its lines anywhere on a phone
        inner = "background: none; color: inherit; margin: 0; white-space: pre; word-break: normal"
        page = highlight(self, PythonLexer(), HtmlFormatter(noclasses=True, cssstyles=box, prestyles=inner))
        return {"text/plain": str(self), "text/html": page}


def show(figure, alt):
    """Show a matplotlib figure with `alt`, a sentence for those who cannot see it (01_setup)."""
    from IPython.display import display
    from matplotlib.pyplot import close

    display(figure, metadata={"image/png": {"alt": alt}})
    close(figure)


# Of seaborn's palette "colorblind", but that its second and fourth colour are one for many who do not see red or green, and
# its first and third nearly one for those who do not see blue: the first six here stay apart for all (tests/test_colours.py).
PALETTE = "#0173b2 #de8f05 #c0232c #222222 #949494 #56b4e9 #029e73 #cc78bc #ca9161 #ece133".split()


def set_theme():
    """seaborn's look for all plots: colours that everybody tells apart, text as it is, dollar signs included (01_setup)."""
    import seaborn

    seaborn.set_theme(style="whitegrid", palette=PALETTE, rc={"text.parse_math": False, "figure.figsize": (8, 3)})


def roadmap(step):
    """The picture of the series with step number `step` marked (01_setup)."""
    from IPython.display import SVG

    drawing = (ROOT / "notebooks" / "roadmap.svg").read_text(encoding="utf-8")
    return SVG(drawing.replace(f'id="step-{step}"', f'id="step-{step}" class="here"'))


# ---------------------------------------------------------------- tokens and batches (03)


def load_tokens(folder):
    """The token file of a run folder, memory-mapped (03_tokenize).

    Returns (tokens, header). tokens: "ids" int32 [tokens], all sentences end to end; "offsets" int64
    [sentences + 1]; "labels" int64, "split" int8 (index into SPLITS) and "row" int32 [sentences].
    header: {"name" and "model" that the ids are for, "max_len", "pad_token_id"}.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "tokens.safetensors", framework="pt") as file:
            tokens = {name: file.get_tensor(name) for name in file.keys()}
            header = json.loads(file.metadata()["header"])
        if sys.platform == "win32":  # where nobody can replace a file that is mapped, such as 03 when it runs again
            tokens = {name: tensor.clone() for name, tensor in tokens.items()}
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise SeriesError(f"tokens.safetensors of this run cannot be read ({error}): run 03_tokenize again.") from None
    return tokens, header


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
    batch = {"input_ids": input_ids, "attention_mask": mask.long(), "labels": tokens["labels"][rows]}
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

    Raises SeriesError if it cannot be loaded, or does not know plain English, which is how a tokenizer looks whose
    files were not found.
    """
    with _saying_what_is_wrong("tokenizer", model):
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


def load_model(model, classes=None, output_loading_info=False, **options):
    """AutoModelForSequenceClassification in fp32, without progress bars or load reports (04_train).

    classes: names, for a head with as many outputs. It is new and random, so seed before you call, unless `model` is a
    folder that was fine-tuned for as many.
    With output_loading_info, returns (model, {"missing_keys": new weights, "mismatched_keys": of a head of other size}).
    Raises SeriesError if the model cannot be loaded, or has no trained weights for a part of its encoder.
    """
    if classes:
        numbered = dict(enumerate(classes))
        options |= {"id2label": numbered, "label2id": {name: number for number, name in numbered.items()}}
    options |= {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with _saying_what_is_wrong("model", model):
        loaded, info = _quiet_transformers().AutoModelForSequenceClassification.from_pretrained(model, **options)
    if loaded.config.is_encoder_decoder:
        raise SeriesError(f"the model {model} is an encoder with a decoder: expected an encoder, such as BERT.")
    info["mismatched_keys"] = sorted(name for name, *_ in info["mismatched_keys"])
    inside = f"{loaded.base_model_prefix}."
    untrained = [name for name in [*info["missing_keys"], *info["mismatched_keys"]] if name.startswith(inside)]
    if untrained := sorted(name for name in untrained if "pooler" not in name):
        raise SeriesError(
            f"the model {model} has no weights that fit {len(untrained)} parts of its encoder, such as {untrained[0]}: "
            "its files are incomplete or of another model. Copy or download it again, or take another MODEL_NAME."
        )
    return (loaded, info) if output_loading_info else loaded


@contextlib.contextmanager
def _saying_what_is_wrong(part, model):
    """Turn whatever the library raises while it loads `model` into one SeriesError with the way out."""
    try:
        yield
    except Exception as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        pointers = [path.name for path in Path(model).glob("*.*") if b"git-lfs" in path.read_bytes()[:200]]
        if pointers:
            found = f"{', '.join(pointers)}: a pointer of git-lfs, not the file itself; 'git lfs pull' brings it"
        elif Path(model).is_absolute() and not Path(model).is_dir():
            found = "the folder is gone"
        raise SeriesError(
            f"the {part} of {model} cannot be loaded ({found}). Expected what save_pretrained writes for an encoder that "
            "AutoModelForSequenceClassification knows, whole: copy or download it again, or take another MODEL_NAME."
        ) from error


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
    """Matthews' correlation of label and prediction, from the four counts: numbers, or arrays of many (05_evaluate).

    0 where a class is never predicted or never occurs, as in scikit-learn (Matthews 1975).
    """
    tn, fp, fn, tp = (np.asarray(count, dtype=float) for count in (tn, fp, fn, tp))
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, below, out=np.zeros_like(below), where=below > 0)


def mcc_of_classes(confusion):
    """MCC from confusion matrices [..., classes, classes], labels by row: of two classes what `mcc` gives (05_evaluate).

    Of more classes it is the same correlation, of label and prediction as vectors with a 1 (Gorodkin 2004).
    """
    confusion = np.asarray(confusion, dtype=float)
    true, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    n = true.sum(axis=-1)
    above = n * np.trace(confusion, axis1=-2, axis2=-1) - (true * said).sum(axis=-1)
    below = np.sqrt((n**2 - (true**2).sum(axis=-1)) * (n**2 - (said**2).sum(axis=-1)))
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def bootstrap_mcc(counts, samples=10_000, seed=0):
    """Array [samples] of the MCCs of resampled test sets; counts: a confusion matrix, or tn, fp, fn, tp (05_evaluate).

    Drawing sentences with replacement is drawing which cell each adds to (Efron's bootstrap, 1979).
    """
    counts, classes = np.ravel(counts), round(np.size(counts) ** 0.5)
    n, generator, step = counts.sum(), np.random.default_rng(seed), max(1, 4_000_000 // counts.size)  # memory
    sizes = np.diff([*range(0, samples, step), samples])
    drawn = (generator.multinomial(n, counts / n, size=size).reshape(-1, classes, classes) for size in sizes)
    return np.concatenate([mcc_of_classes(part) for part in drawn])
