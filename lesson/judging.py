"""A trained model at work on new sentences, as fast as the machine goes: what predict.py, the door, hands over to."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import helpers
from helpers import SeriesError
from lesson import savings, sources

TOKENS_ON_CPU, TOKENS_ELSEWHERE = 1024, 16384  # a batch: what a core's caches hold; what keeps a GPU busy
DOUBT = 0.25  # logits of the two best classes that are nearer in half precision: fp32 decides
MOST_THREADS = 8  # that share one Python interpreter


def load(name):
    """(model, tokenizer) of a folder or a name on the hub. Raises SeriesError where the head was never trained."""
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        place = path
    elif path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise SeriesError(f"there is no model in {name}: expected a folder that save_pretrained wrote, or a hub name.")
    else:
        try:
            place = sources.hub_model(name)
        except SeriesError as error:
            raise SeriesError(str(error).partition(" Without the hub")[0].replace("MODEL_NAME", "MODEL")) from None
    model, info = helpers.load_model(place, output_loading_info=True)
    if new := sorted([*info["missing_keys"], *info["mismatched_keys"]]):
        raise SeriesError(
            f"{name} was never trained to judge: it has no weights for {', '.join(new)}. Expected a model whose head was "
            "trained, such as runs/default/model after 04_train."
        )
    if model.config.num_labels < 2:
        raise SeriesError(f"{name} gives one number for a sentence: expected a model of two classes or more.")
    return model, helpers.load_tokenizer(place)


def position_limit(model):
    """Tokens that a model's table of positions can tell apart; those that count from padding_idx + 1 lose so many."""
    tables = [part for name, part in model.named_modules() if "position" in name and type(part) is torch.nn.Embedding]
    return min(
        [len(table.weight) - (-1 if table.padding_idx is None else table.padding_idx) - 1 for table in tables]
        or [2**31]
    )


@torch.no_grad()
def with_onednn(model, batch):
    """The model with its linear layers in oneDNN's own layout, or as it was where that does not give the same logits.

    The arithmetic stays fp32. On an AMD EPYC it takes half the time of MKL's, which torch calls otherwise.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # it is made of torch.jit, which is going out of use
            from torch.utils.mkldnn import to_mkldnn

            changed = to_mkldnn(copy.deepcopy(model))
        same = torch.allclose(changed(**batch).logits, model(**batch).logits, atol=1e-4)
    except Exception:  # another anatomy, or a torch without it
        same = False
    return changed if same else model


class Judge:
    """Texts → probabilities float [texts, classes], in their order, from batches of like length on all cores.

    precision: auto, fp32, bf16 or fp16. In half precision the weights are converted once, and whatever comes out close to
    a tie is judged again in fp32, so that the verdicts are those of fp32. `cut` counts texts longer than the model takes.
    """

    def __init__(self, model, tokenizer, precision="auto"):
        device = helpers.pick_device()
        precision = {"auto": helpers.pick_precision(device), "fp32": "no"}.get(precision, precision)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.tokenizer, self.config, self.device, self.cut = tokenizer, model.config, device, 0
        self.about = f"{helpers.device_name(device)}, {'fp32' if dtype is None else precision}"
        self.limit = min(tokenizer.model_max_length, position_limit(model))
        self.exact = model.eval().to(device)
        sample = tokenizer(["The cat sat on the mat.", "It did."], padding=True, return_tensors="pt").to(device)
        savings.only_cls(self.exact, sample)
        self.quick = copy.deepcopy(model).to(dtype) if dtype else None
        cores = 1
        if device.type == "cpu":
            self.exact, cores = with_onednn(self.exact, sample), torch.get_num_threads()
        # A thread a batch, not all threads on every product: none waits for the slowest
        threads = min(cores, MOST_THREADS)
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(cores // threads,))

    def __call__(self, texts):
        encoded = self.tokenizer(texts, truncation=True, max_length=self.limit)
        self.cut += sum(bool(one.overflowing) for one in encoded.encodings)
        logits = self._logits(self.quick or self.exact, encoded, range(len(texts)))
        if self.quick:
            best = logits.topk(2).values
            doubtful = (~(best[:, 0] - best[:, 1] > DOUBT)).nonzero().flatten().tolist()  # nan is a doubt, too
            logits[doubtful] = self._logits(self.exact, encoded, doubtful)
        logits /= getattr(self.config, "calibration_temperature", 1.0)
        return logits.sigmoid() if self.config.problem_type == "multi_label_classification" else logits.softmax(dim=1)

    def _logits(self, model, encoded, rows):
        logits = torch.empty(len(rows), self.config.num_labels)
        place = {row: i for i, row in enumerate(rows)}
        batches = list(self._batches(encoded["input_ids"], rows))
        for (batch, *_), part in zip(
            batches, self.pool.map(lambda batch: self._forward(model, encoded, *batch), batches)
        ):
            logits[[place[row] for row in batch]] = part[: len(batch)]
        return logits

    def _batches(self, ids, rows):
        """(rows, how many rows the batch has, its length), the longest first: as many as the tokens of a batch allow.

        There are few lengths, at most 12 % apart, and one number of rows for each, because oneDNN compiles for every new
        shape and keeps that: megabytes a shape, and without end where every chunk brings new ones.
        """
        most = TOKENS_ON_CPU if self.device.type == "cpu" else TOKENS_ELSEWHERE
        rows = sorted(rows, key=lambda row: -len(ids[row]))
        while rows:
            longest = len(ids[rows[0]])
            step = 1 << max(0, longest.bit_length() - 4)
            length = min(-(-longest // step) * step, self.limit)
            size = max(1, most // length)
            yield rows[:size], size, length
            rows = rows[size:]

    @torch.inference_mode()
    def _forward(self, model, encoded, rows, size, length):
        rows = rows + rows[:1] * (size - len(rows))
        batch = {name: [values[row] for row in rows] for name, values in encoded.items()}
        batch = self.tokenizer.pad(batch, padding="max_length", max_length=length, return_tensors="pt")
        return self._run(model, batch.to(self.device)).float().cpu()

    def _run(self, model, batch):
        return model(**batch).logits
