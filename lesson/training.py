"""What goes on around the loop of 04_train: devices, batches of an epoch, checkpoints, and the record of what was done."""

import contextlib
import copy
import ctypes
import re
import shutil
import time
import zipfile

import accelerate
import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy

import helpers
from helpers import SeriesError, replacing
from lesson import pooling, tracking

EVERY = 40  # steps of an epoch between two signs of life


def make_accelerator(run, precision, track=None):
    """accelerate's Accelerator for the parameters PRECISION and TRACK, the same for a run whenever it is asked for (04_train).

    What "auto" and the number of threads came to is kept in the run folder; of several processes the first decides.
    """
    tracking.check(track)
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc keeps what a model before this one took
        ctypes.CDLL(None).malloc_trim(0)
    device = helpers.pick_device()
    accelerate.state.AcceleratorState._reset_state()  # it refuses another precision in the same kernel
    state = accelerate.PartialState(cpu=device.type == "cpu")
    with state.main_process_first():
        threads = "threads" if state.num_processes == 1 else f"threads of {state.num_processes} processes"
        torch.set_num_threads(run.decided(threads, torch.get_num_threads))
        mixed = {"fp32": "no"}.get(precision, precision)
        if precision == "auto":
            mixed = run.decided("precision", lambda: helpers.pick_precision(device))
    try:
        accelerator = accelerate.Accelerator(
            mixed_precision=mixed, cpu=device.type == "cpu", log_with=track, project_dir=run.folder / "tracking"
        )
        fits = mixed == "no" or accelerator.native_amp
    except ValueError:  # accelerate's word for a device without this precision
        fits = False
    if not fits:
        raise SeriesError(
            f"PRECISION is {precision!r}{f', which came to {mixed} when this run began' if precision == 'auto' else ''}: "
            f"{helpers.device_name(device)} does not train in {mixed}. Take PRECISION = 'fp32', which every device can."
        )
    return accelerator


def parameter_groups(model, weight_decay):
    """The optimizer's parameter groups: matrices decay, biases and LayerNorm do not (04_train)."""
    decay = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    no_decay = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def batches_of_epoch(epoch, tokens, rows, batch_size, seed, accelerator):
    """The epoch's batches of like length; seeds their order and dropout by `seed` and `epoch` alone (04_train).

    So a training that was killed goes on from its last epoch and draws what it would have drawn. A batch with fewer
    sentences than there are processes is left out.
    """
    seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    torch.manual_seed(seed + accelerator.process_index)
    batches = helpers.batches_of_like_length(tokens, rows, batch_size, torch.Generator().manual_seed(seed))
    batches = [batch for batch in batches if len(batch) >= accelerator.num_processes]
    if epoch == 1 and batch_size > len(rows):
        print(f"BATCH_SIZE is {batch_size:,}, and there are {len(rows):,} sentences to train on: one step an epoch")
    if not batches:
        raise SeriesError(
            f"{len(rows)} training sentences in batches of {batch_size} are too few for {accelerator.num_processes} "
            "processes: use one."
        )
    return batches


def train_epoch(model, optimizer, schedule, batches, make_batch, accelerator):
    """Take a step for each of `batches`, which are rows of the token file; returns the mean loss (04_train).

    make_batch: rows → tensors on the device, labels among them. Of several processes, each takes its share of a batch,
    and the gradients are averaged between them. The loss is summed on the device and fetched once in EVERY steps: asking
    a GPU for a number makes it wait.
    """
    model.train()
    total, start, worked = torch.zeros((), device=accelerator.device), time.perf_counter(), "none"
    for step, rows in enumerate(batches, start=1):
        batch = make_batch(rows[accelerator.process_index :: accelerator.num_processes])
        size = f"{step} ({len(rows)} sentences, padded to {batch['input_ids'].shape[1]} tokens)"
        with enough_memory(f"in step {size}; the last step that worked: {worked}"):
            labels = batch.pop("labels")
            summed = cross_entropy(model(**batch).logits, labels, reduction="sum")
            loss = summed * accelerator.num_processes / len(rows)  # the mean over the whole batch
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        total, worked = total + summed.detach(), size
        if step % EVERY == 0:
            print(f"  step {step:>4} of {len(batches)}: {time.perf_counter() - start:4.0f} s, loss {loss.item():.2f}")
        if step % EVERY == 0 or step == len(batches):  # goes to the trackers that TRACK names
            figures = {"batch/loss": loss.item(), "batch/learning_rate": schedule.get_last_lr()[0]}
            accelerator.log(figures, step=schedule.last_epoch)  # which counts steps
    return finite(accelerator.reduce(total).item() / sum(map(len, batches)), optimizer)


def finite(loss, optimizer):
    """`loss`, if it is a number. Raises SeriesError that names LEARNING_RATE if not (04_train)."""
    if np.isfinite(loss):
        return loss
    used = optimizer.param_groups[0]["initial_lr"]
    raise SeriesError(f"the loss is {loss}: the steps are too large. Try a lower LEARNING_RATE than {used:g}.")


@contextlib.contextmanager
def enough_memory(where):
    """Say in one SeriesError `where` the memory of CPU or GPU came to its end, and what to lower (04_train)."""
    try:
        yield
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # torch.OutOfMemoryError is a RuntimeError, and CPUs raise the bare one
        if isinstance(error, RuntimeError) and not re.search("out of memory|not enough memory|allocate", str(error)):
            raise
        raise SeriesError(f"out of memory {where}. Take a smaller BATCH_SIZE, or a smaller MAX_LEN in 03.") from error


def best_epoch(history):
    """The epoch with the highest validation MCC, of several the one with the lowest loss; and a sentence (04_train)."""
    best = max(history, key=lambda row: (row["validation_mcc"], -row["validation_loss"]))
    tied = [row["epoch"] for row in history if row["validation_mcc"] == best["validation_mcc"]]
    why = f"the highest validation MCC, {best['validation_mcc']:.3f}"
    if len(tied) > 1:
        why = f"of epochs {', '.join(map(str, tied))}, equal in MCC, the lowest validation loss, {best['validation_loss']:.3f}"
    return best["epoch"], f"epoch {best['epoch']} is kept: {why}"


class Checkpoint:
    """A training between its epochs: its history, the best weights so far, and a file to go on from (04_train).

    history: [{"epoch", "training_loss", "validation_loss", "validation_accuracy", "validation_mcc", "seconds"}, …].
    best: the weights of the best epoch, as state_dict gives them.
    """

    def __init__(self, run, model, optimizer, schedule, accelerator):
        """Go on from the run folder's checkpoint where it was made under the same conditions, else begin anew.

        Changes model, optimizer and schedule only if the whole checkpoint is sound and fits.
        """
        self.run, self.path, self.history, self.best = run, run.folder / "checkpoint.pt", [], None
        self.finished = False
        self.accelerator, self.network = accelerator, accelerator.unwrap_model(model)
        self.parts = {"optimizer": optimizer, "schedule": schedule}
        self.parts |= {"scaler": accelerator.scaler} if accelerator.scaler else {}
        self.used = {
            "learning_rate": optimizer.param_groups[0]["initial_lr"],
            "pooling": pooling.of(self.network),
            "precision": accelerator.mixed_precision,
            "device": helpers.device_name(accelerator.device),
            "threads": torch.get_num_threads(),
            "processes": accelerator.num_processes,
        }
        self.same = run.parameters | self.used | {"tokens": helpers.sha256(run.folder / "tokens.safetensors")}
        self.same |= {
            name: version for name, version in helpers.versions().items() if name in {"torch", "transformers"}
        }
        said = self.used | {"precision": {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)}
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items()))
        if self.path.exists():
            self._load()
        self._look_for_room()
        tracking.begin(accelerator, run, self.used, schedule.last_epoch)

    def _load(self):
        fresh = {name: copy.deepcopy(part.state_dict()) for name, part in self.parts.items()}
        try:
            with zipfile.ZipFile(self.path) as file:  # torch does not look at the checksums that it writes
                if damaged := file.testzip():
                    raise ValueError(damaged)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if other := [name for name in self.same if state["same"].get(name) != self.same[name]]:
                print(f"the checkpoint is of a run with other parameters ({', '.join(other)}): starting anew")
                return
            self._check_form(state)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
        except Exception as error:  # half a disk, another program's file: whatever it is, starting anew is right
            print(f"the checkpoint cannot be used ({type(error).__name__}): starting anew")
            for name, part in self.parts.items():
                part.load_state_dict(fresh[name])
            return
        self.network.load_state_dict(state["model"])
        self.history, self.best = state["history"], state["best"]
        print(f"going on after epoch {len(self.history)}")

    def _check_form(self, state):
        """Raise ValueError where `state` is not of this model and optimizer."""
        form = {name: (tensor.shape, tensor.dtype) for name, tensor in self.network.state_dict().items()}
        for weights in [state["model"], state["best"]]:
            if {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()} != form:
                raise ValueError("weights of another form")
        parameters = [parameter for group in self.parts["optimizer"].param_groups for parameter in group["params"]]
        for i, moments in state["optimizer"]["state"].items():
            if not moments["exp_avg"].shape == moments["exp_avg_sq"].shape == parameters[i].shape:
                raise ValueError("moments of another form")
        epochs = [row["epoch"] for row in state["history"] if {"training_loss", "seconds"} <= row.keys()]
        if epochs != list(range(1, len(state["history"]) + 1)) or len(epochs) > self.run.parameters["EPOCHS"]:
            raise ValueError("another history")
        best_epoch(state["history"])

    def _bytes(self):
        """What a checkpoint takes: the weights, AdamW's two means of each, and the best weights."""
        return 4 * sum(tensor.nbytes for tensor in self.network.state_dict().values())

    def _look_for_room(self):
        """Raise SeriesError before training where the disk has no room for two checkpoints, the old and the new one."""
        there = self.path.stat().st_size if self.path.exists() else 0
        with enough_room(self.path, needed := 2 * self._bytes() - there):
            disk = shutil.disk_usage(self.path.parent)
            if disk.total and disk.free < needed:  # some network disks say 0 of everything
                raise OSError(f"{disk.free / 1e6:,.0f} MB are free")

    def save(self, **result):
        """Note an epoch's result, keep its weights if they are the best so far, and write the checkpoint."""
        finite(result["validation_loss"], self.parts["optimizer"])
        self.history.append(result)
        print(", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in result.items()))
        if best_epoch(self.history)[0] == result["epoch"]:
            self.best = copy.deepcopy(self.network.state_dict())
        figures = {f"epoch/{name}": value for name, value in result.items() if name != "epoch"}
        self.accelerator.log(figures, step=self.parts["schedule"].last_epoch)  # before the checkpoint: none is left out
        if self.accelerator.is_main_process:
            state = {name: part.state_dict() for name, part in self.parts.items()}
            state |= {"model": self.network.state_dict(), "best": self.best, "history": self.history, "same": self.same}
            with enough_room(self.path, self._bytes()), replacing(self.path) as new:
                torch.save(state, new)

    def table(self):
        """The history as a DataFrame by epoch. Raises SeriesError if epochs are missing."""
        import pandas as pd

        if len(self.history) < self.run.parameters["EPOCHS"]:
            raise SeriesError(
                f"{len(self.history)} of {self.run.parameters['EPOCHS']} epochs are trained: run the training cell, "
                "which goes on from its last checkpoint."
            )
        return pd.DataFrame(self.history).set_index("epoch")

    def finish(self, model):
        """Write history and model, record what was used, and last remove the checkpoint.

        model: function that writes the model to the folder it is given.
        """
        table = self.table()
        if self.accelerator.is_main_process:
            with enough_room(self.run.folder / "model", self._bytes()):
                self.run.finish(
                    files={"history.csv": table.to_csv, "model": model},
                    **self.used,
                    best_epoch=best_epoch(self.history)[0],
                    train_seconds=round(float(table["seconds"].sum()), 1),
                )
            self.path.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()  # of several processes, the others may read what the first has written
        self.finished = True
        if self.accelerator.log_with:
            self.accelerator.end_training()

    def kept_model(self):
        """Folder of this training's model. Raises SeriesError before `finish` has written it: another's may lie there (04_train)."""
        if not self.finished:
            raise SeriesError(
                "This training is not recorded yet, so its model is not kept: run the cells up to “Record” first."
            )
        return self.run.folder / "model"


@contextlib.contextmanager
def enough_room(path, needed):
    """Say in one SeriesError how many bytes are needed where, if a file cannot be written (04_train)."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have words of their own
        if isinstance(error, RuntimeError) and not re.search(
            "inline_container|unexpected pos|StreamWriter", str(error)
        ):
            raise
        raise SeriesError(
            f"{path.name} cannot be written to the run folder {path.parent} ({str(error).splitlines()[0]}): about "
            f"{needed / 1e6:,.0f} MB are needed there. Make room, or set BERT_RUNS to a folder on another disk."
        ) from error


def check_saved(folder, model, batch):
    """Load what was saved in `folder` and compare it with `model`. Raises SeriesError where it does not come back.

    `batch`: what helpers.make_batch gives, on the CPU (04_train).
    """
    del batch["labels"]
    for path in folder.glob("*.safetensors"):  # which safetensors leaves readable by its owner alone
        path.chmod((folder / "config.json").stat().st_mode)
    with torch.inference_mode():
        ours, theirs = (each.eval()(**batch).logits for each in (model, helpers.load_model(folder)))
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-4):
        raise SeriesError(
            f"the model that was saved does not come back as it was ({type(model).__name__}): the library cannot save "
            "this kind of model. Take another MODEL_NAME in 03_tokenize."
        )
