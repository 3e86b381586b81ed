"""A training step of 04 beside the loop that everybody copies, the HF Trainer, and the bare arithmetic.

  .venv/bin/python benchmarks/train_speed.py [--model minilm] [--corpus cola] [--rounds 16] [--steps 8]

Every loop lives in a process of its own; they take turns in short rounds, on the same sentences, and only one works at
a time. 04 is the notebook's own code: its cells are executed up to the loop over the steps, and that loop is timed.
Writes results/speed/<model>.csv, .md and .png. About 4 minutes with `minilm`, 7 at base size (which needs 10 GB of
memory) on two CPU cores.
"""

import argparse
import ast
import contextlib
import datetime
import io
import itertools
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BATCH_SIZE = 32
LOOPS = {  # name → what it is; "{}" is the precision that it ran in
    "HF Trainer, defaults": "padded to 128 as run_glue does; batch 32, no evaluation, saving or logging; {}",
    "tutorial": "padded to 64, for-loop AdamW, `.item()` every step; {}",
    "HF Trainer, best flags": "like lengths together, padded to the batch, fused AdamW, no loader processes; {}",
    "04": "the loop of notebook 04; {}",
    "arithmetic bound": "only the matrix products of all layers, on the real tokens; {}",
}
IMPORTED_ONCE = ["transformers.trainer", "sklearn.model_selection", "pandas", "matplotlib.pyplot", "nbformat"]
PADDED = ["HF Trainer, defaults", "tutorial"]  # every step costs the same, and much: fewer steps a round

# ---------------------------------------------------------------- in the process of a loop


class Clock:
    """Waits for the parent's word to begin a round, and tells it the round's seconds."""

    def __init__(self, pipe, device):
        self.pipe, self.device = pipe, device

    def start(self):
        self.pipe.recv()
        self.began = time.perf_counter()

    def stop(self, precision):
        import torch

        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()
        self.pipe.send((time.perf_counter() - self.began, precision))


def samples(batches, lengths, steps):
    """Without end, a round's batches: one from each of `steps` equal parts of an epoch sorted by length.

    Batches of like length differ in cost by a factor of ten. So each round takes a systematic sample, every
    (epoch / steps)th batch from a random start, the same start for all loops in the same round. Its expected cost is
    the epoch's mean, as with a plain random sample, and it scatters far less.
    """
    whole = [batch for batch in batches if len(batch) == BATCH_SIZE]
    whole.sort(key=lambda batch: max(lengths[int(row)] for row in batch))
    rng = random.Random(0)
    while True:
        start = rng.random()
        sample = [whole[int((start + i) * len(whole) / steps)] for i in range(steps)]
        rng.shuffle(sample)
        yield sample


def notebook_cells(name):
    """The code cells of a notebook but its bootstrap cell, as (source, tags)."""
    import nbformat

    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "bootstrap" not in tags:
            yield cell.source, tags


def execute(name, **parameters):
    """Execute a notebook's cells in this process."""
    variables = {}
    for source, tags in notebook_cells(name):
        exec(compile(source, name, "exec"), variables)
        if "parameters" in tags:
            variables.update(parameters)


def split_at_loop(source):
    """04's training cell as two code objects, what comes before the first step and the loop over the steps; or None."""
    tree = ast.parse(source)
    for i, epochs in enumerate(tree.body):
        if isinstance(epochs, ast.For) and ast.unparse(epochs.target) == "epoch":
            for j, steps in enumerate(epochs.body):
                if isinstance(steps, ast.For) and ast.unparse(steps.iter) == "enumerate(batches, start=1)":
                    before = [*tree.body[:i], *ast.parse("epoch = 1").body, *epochs.body[:j]]
                    return [compile(ast.Module(part, []), "04_train", "exec") for part in (before, [steps])]
    return None


def notebook_04(clock, tokens, about, rows, steps, without=(), compiled=False, **_):
    """04's own cells up to the loop over the steps, then that loop, each round with other batches of its epoch.

    `without` names functions of savings.py that do nothing in it; `compiled`: its layers went through torch.compile,
    one graph for all lengths.
    """
    import torch

    import savings

    for name in without:
        getattr(savings, name)  # an error, should it no longer be called that
        setattr(savings, name, lambda *_: None)
    variables = {}
    for source, _tags in notebook_cells("04_train"):
        if parts := split_at_loop(source):
            break
        exec(compile(source, "04_train", "exec"), variables)
    else:
        raise LookupError(
            "04_train.ipynb has no `for step, … in enumerate(batches, start=1):` inside a `for epoch in …:`, which is "
            "what this benchmark times. Whoever rewrote that loop: let split_at_loop find the new one."
        )
    before, loop = parts
    exec(before, variables)
    stacks = [module for module in variables["model"].modules() if isinstance(module, torch.nn.ModuleList)]
    for layer in itertools.chain.from_iterable(stacks if compiled else []):
        layer.compile(dynamic=True)
    for sample in samples(variables["batches"], tokens["offsets"].diff().tolist(), steps):
        variables["batches"] = sample
        clock.start()
        exec(loop, variables)
        clock.stop({"no": "fp32"}.get(variables["precision"], variables["precision"]))


def tutorial(clock, tokens, about, rows, device, steps, **_):
    """The loop of McCormick and Ryan (2019) with today's library: everything padded to 64."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    import helpers

    data = helpers.make_batch(tokens, rows, about["pad_token_id"], length=64)
    data = torch.utils.data.TensorDataset(data["input_ids"], data["attention_mask"], data["labels"])
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    model = helpers.load_model(about["model"], num_labels=2).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, eps=1e-8, weight_decay=0.0, foreach=False, fused=False)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, 4 * len(loader))
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    total = 0.0
    while True:
        clock.start()
        for input_ids, mask, labels in itertools.islice(batches, steps):
            model.zero_grad()
            outputs = model(input_ids.to(device), attention_mask=mask.to(device), labels=labels.to(device))
            total += outputs.loss.item()
            outputs.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        clock.stop("fp32")


def hf_trainer(clock, tokens, about, rows, device, steps, rounds, best=False, precision="fp32", **_):
    """The HF Trainer in one train() call, held between the rounds by a callback; all of a step's work is in its time.

    Only the order of its batches is ours: its own sampler fills them, and `samples` picks the round's.
    """
    import torch
    import transformers

    import helpers

    length = None if best else 128
    sentences = []
    for row in rows:
        batch = helpers.make_batch(tokens, row[None], about["pad_token_id"], length)
        sentences.append({name: tensor[0].tolist() for name, tensor in batch.items()})

    class Held(transformers.Trainer):
        def _get_train_sampler(self, *args):
            indices = torch.tensor(list(super()._get_train_sampler(*args)))
            lengths = [len(sentence["input_ids"]) for sentence in sentences]
            picked = itertools.islice(samples(indices.split(BATCH_SIZE), lengths, steps), rounds + 3)
            return [int(i) for sample in picked for batch in sample for i in batch]

    class Gate(transformers.TrainerCallback):
        def on_epoch_begin(self, *_args, **_options):
            clock.start()

        def on_step_end(self, _args, state, _control, **_options):
            if state.global_step % steps == 0:
                clock.stop(precision)
                clock.start()

    options = {"per_device_train_batch_size": BATCH_SIZE, "num_train_epochs": 1, "use_cpu": device.type == "cpu"}
    options |= {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    collator = None
    if best:
        options |= {"train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"}
        options |= {} if precision == "fp32" else {precision: True}
        collator = transformers.DataCollatorWithPadding(helpers.load_tokenizer(about["model"]))
    Held(
        model=helpers.load_model(about["model"], num_labels=2),
        args=transformers.TrainingArguments(output_dir=str(helpers.RUNS / "trainer"), **options),
        train_dataset=sentences,
        data_collator=collator,
        callbacks=[Gate()],
    ).train()


def bound(clock, tokens, about, rows, device, steps, **_):
    """For each weight matrix of the layers, its product forward and the two backward, with the batch's real tokens.

    Attention's products, the head and everything else are left out. Buffers are made once for each shape.
    """
    import torch
    import transformers

    import helpers

    with torch.device("meta"):
        model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(about["model"]))
    stacks = [stack for stack in model.modules() if isinstance(stack, torch.nn.ModuleList)]
    matrices = {id(m): m.weight.shape for s in stacks for m in s.modules() if isinstance(m, torch.nn.Linear)}
    lengths = tokens["offsets"].diff()
    batches = helpers.batches_of_like_length(tokens, rows, BATCH_SIZE)
    most = max(int(lengths[batch].sum()) for batch in batches)

    def products(dtype):
        """A function that does all products of a batch of n tokens."""
        buffers = {}
        for out, into in set(matrices.values()):
            shapes = [(most, into), (most, out), (out, into), (most, out), (most, into), (out, into)]
            buffers[out, into] = [torch.randn(shape, device=device).to(dtype) for shape in shapes]

        def step(n):
            for shape in matrices.values():
                x, upstream, weight, y, to_x, to_weight = buffers[tuple(shape)]
                torch.matmul(x[:n], weight.T, out=y[:n])
                torch.matmul(upstream[:n], weight, out=to_x[:n])
                torch.matmul(upstream[:n].T, x[:n], out=to_weight)

        return step

    def seconds(step):
        n, times = int(lengths[rows].float().mean() * BATCH_SIZE), []
        for _ in range(4):
            began = time.perf_counter()
            step(n)
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()
            times.append(time.perf_counter() - began)
        return min(times[1:])

    names = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type == "cuda":
        names["fp16"] = torch.float16
    ways = {name: products(dtype) for name, dtype in names.items()}
    fastest = min(ways, key=lambda name: seconds(ways[name]))
    for sample in samples(batches, lengths.tolist(), steps):
        counts = [int(lengths[batch].sum()) for batch in sample]
        clock.start()
        for n in counts:
            ways[fastest](n)
        clock.stop(fastest)


def serve(pipe, name, options):
    """Run one loop, or the notebooks before it, and send an error as text."""
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    try:
        import helpers

        with contextlib.redirect_stdout(io.StringIO()):
            if name == "prepare":
                execute("02_load_cola", CORPUS=options["corpus"])
                execute("03_tokenize", MODEL_NAME=options["model"], VALIDATION_FRACTION=0.01)
                pipe.send((0, ""))
                return
            tokens, about = helpers.load_tokens(helpers.run_folder("default", needs="03_tokenize"))
            rows, device = helpers.rows_of(tokens, "train"), helpers.pick_device()
            function = {"tutorial": tutorial, "04": notebook_04, "arithmetic bound": bound}.get(name, hf_trainer)
            function(clock=Clock(pipe, device), tokens=tokens, about=about, rows=rows, device=device, **options)
    except Exception as error:
        explained = type(error).__name__ in {"SeriesError", "LookupError"}
        with contextlib.suppress(OSError):
            pipe.send(str(error) if explained else traceback.format_exc())


# ---------------------------------------------------------------- in the process that measures


class Loop:
    """A loop in its process. Forked from one that has imported everything: five starts cost one.

    With `spins`, the OpenMP library's turns of waiting, the process starts afresh: the library reads them once.
    """

    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    )

    def __init__(self, name, spins=None, **options):
        self.name, self.steps = name, options.get("steps", 1)
        context = self.context if spins is None else multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, options), daemon=True)
        usual = os.environ.get("GOMP_SPINCOUNT")
        os.environ |= {} if spins is None else {"GOMP_SPINCOUNT": str(spins)}
        self.process.start()
        os.environ |= {} if usual is None else {"GOMP_SPINCOUNT": usual}
        theirs.close()

    def round(self):
        """Seconds for a step of 32 sentences."""
        self.pipe.send("go")
        return self.answer() / self.steps

    def answer(self):
        try:
            message = self.pipe.recv()
        except EOFError:
            sys.exit(f"{self.name}: its process ended without a word, as it does when memory runs out.")
        if isinstance(message, str):
            sys.exit(f"{self.name}: {message}")
        seconds, self.precision = message
        return seconds

    def end(self):
        self.process.terminate()
        self.process.join()


def start_loops(rounds, steps, device):
    """All loops, warm; the Trainer's best flags in the precision that is faster here."""
    loops = []
    for name in LOOPS:
        options = {"rounds": rounds, "steps": max(1, steps // 4) if name in PADDED else steps}
        if name == "HF Trainer, best flags":
            import helpers

            precisions = {"fp32", {"no": "fp32"}.get(helpers.pick_precision(device), helpers.pick_precision(device))}
            precisions |= {"bf16"} if device.type == "cpu" else set()
            candidates = [Loop(name, best=True, precision=p, **options) for p in sorted(precisions)]
        else:
            candidates = [Loop(name, **options)]
        times = [candidate.round() for candidate in candidates]
        if name not in PADDED:
            times = [candidate.round() for candidate in candidates]
        fastest = times.index(min(times))
        for i, candidate in enumerate(candidates):
            if i == fastest:
                loops.append(candidate)
            else:
                candidate.end()
        print(f"{name}: {times[fastest]:.3g} s a step while warming up, {loops[-1].precision}", flush=True)
    return loops


def instruction_sets():
    """Which of the CPU's matrix instructions that matter here are there, in words."""
    import torch

    text = torch.backends.cpu.get_cpu_capability()
    with contextlib.suppress(OSError):
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
        for flag in ["amx_bf16", "avx512_bf16"]:
            text += f", {flag} {'yes' if flag in flags else 'no'}"
    return text


def draw(path, name, summary, finding):
    """Horizontal bars on a logarithmic axis, 04 in colour."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    fig, ax = plt.subplots(figsize=(9, 3.6))
    colours = ["#33658a" if loop == "04" else "#f6ae2d" if "bound" in loop else "#a9b8c4" for loop in summary.index]
    ax.barh(summary.index, summary["median"], color=colours)
    for y, (median, ratio) in enumerate(zip(summary["median"], summary["ratio"])):
        ax.text(median * 1.06, y, f"{median:.3g} s" + ("" if ratio == 1 else f"  ({ratio:.2g} × 04)"), va="center")
    ax.invert_yaxis()
    ax.set_xscale("log")
    low, high = summary["median"].min(), summary["median"].max()
    ax.set_xlim(low / 2, high * (high / low) ** 0.35 * 2)
    ax.set_xlabel(f"seconds for a step of {BATCH_SIZE} sentences, {name} (logarithmic)")
    ax.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle(finding, x=0.01, ha="left", fontsize=11)
    fig.tight_layout()
    fig.savefig(path, dpi=120)


def report(frame, precisions, name, about):
    """Write the table, the figures behind it, and the picture."""
    folder = ROOT / "results" / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    frame.round(4).to_csv(folder / f"{name}.csv", index_label="round")
    ratios = frame.div(frame["04"], axis=0)
    middle = ratios.median()
    finding = (
        f"{name}: 04 is {middle['tutorial']:.2g} times as fast as the tutorial's loop, "
        f"{middle['HF Trainer, best flags']:.2g} times as fast as the HF Trainer at its best"
    )
    summary = frame.agg(["median", "min", "max"]).T.assign(ratio=middle)
    draw(folder / f"{name}.png", name, summary, finding)

    def scatter(column, unit=""):
        return f"{column.median():.3g}{unit} ({column.min():.3g}–{column.max():.3g})"

    lines = [
        f"# Seconds for a training step of {BATCH_SIZE} sentences: {name}",
        "",
        f"04 is {middle['tutorial']:.3g} times as fast as the tutorial's loop, {middle['HF Trainer, defaults']:.3g} times as "
        f"fast as the HF Trainer at its defaults and {middle['HF Trainer, best flags']:.3g} times as fast as at its best "
        f"flags. It takes {1 / middle['arithmetic bound']:.3g} times the arithmetic bound.",
        "",
        "| loop | what it is | seconds a step | in times of 04 |",
        "|:--|:--|--:|--:|",
    ]
    for loop, what in LOOPS.items():
        row = [loop, what.format(precisions[loop]), scatter(frame[loop]), scatter(ratios[loop], " ×")]
        lines.append("| " + " | ".join(row) + " |")
    lines += [
        "",
        f"Medians (min–max) over {len(frame)} round{'s' * (len(frame) > 1)} in which the loops took turns; ratios are taken within a round. A step "
        f"is {BATCH_SIZE} sentences; loops whose batches differ in length are timed on a systematic sample of an epoch's "
        "batches. The bound counts every layer for every real token; 04 leaves out the last layer's feed-forward block but "
        "for [CLS]. All loops run with the thread settings of helpers.py.",
        "",
        f"![{finding}]({name}.png)",
        "",
        *(f"* {key}: {value}" for key, value in about.items()),
    ]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def add_options(parser):
    parser.add_argument("--model", default="minilm", help="minilm, a folder, or a name on the hub")
    parser.add_argument("--corpus", default="cola", help="cola, practice, or a folder or zip with CoLA's three files")
    parser.add_argument("--rounds", type=int, help="default: 16, from 512 dimensions on 6")
    parser.add_argument("--steps", type=int, help="default: 8, from 512 dimensions on 4; padded loops a quarter")


@contextlib.contextmanager
def prepared(options):
    """The corpus in tokens, in a temporary run folder. Yields `about` of the token file; fills rounds and steps."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ |= {"BERT_RUNS": temporary, "MPLBACKEND": "agg"}  # before helpers and matplotlib are imported
        sys.path.insert(0, str(ROOT))
        Loop.context.set_forkserver_preload(IMPORTED_ONCE)
        import helpers  # sets how threads wait, for the processes too

        prepare = Loop("prepare", corpus=options.corpus, model=options.model)
        try:
            from transformers import AutoConfig

            prepare.answer()
        finally:
            prepare.end()
        about = helpers.load_tokens(Path(temporary, "default"))[1]
        small = AutoConfig.from_pretrained(about["model"]).hidden_size < 512
        options.rounds = options.rounds or (16 if small else 6)
        options.steps = options.steps or (8 if small else 4)
        yield about


def facts(script, options, name, load):
    """What stands below a table: command, device, threads, versions."""
    import torch

    import helpers

    asked = "" if name == "minilm" else f" --model {name}"
    asked += "" if options.corpus == "cola" else f" --corpus {Path(options.corpus).name}"
    return {
        "command": f"`.venv/bin/python benchmarks/{script}{asked} --rounds {options.rounds} --steps {options.steps}`",
        "device": helpers.device_name(helpers.pick_device()),
        "instruction sets": instruction_sets(),
        "threads": torch.get_num_threads(),
        "processes that wanted a core before the start (load average)": f"{load:.1f}",
        "date": datetime.date.today().isoformat(),
    } | helpers.versions()


def load_average():
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def take_turns(loops, rounds, label=""):
    """Seconds a step, a row a round and a column a loop."""
    import pandas as pd

    seconds = []
    for number in range(rounds):
        turn = loops if number % 2 else loops[::-1]
        seconds.append({loop.name: loop.round() for loop in turn})
        print(f"{label}round {number + 1}:", {n: round(s, 3) for n, s in seconds[-1].items()}, flush=True)
    return pd.DataFrame(seconds, index=range(1, rounds + 1))[[loop.name for loop in loops]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options, load = parser.parse_args(), load_average()
    with prepared(options) as about:
        import helpers

        loops = start_loops(options.rounds, options.steps, helpers.pick_device())
        try:
            frame = take_turns(loops, options.rounds)
        finally:
            for loop in loops:
                loop.end()
        name = about["name"].split("/")[-1]
        precisions = {loop.name: loop.precision for loop in loops}
        report(frame, precisions, name, facts("train_speed.py", options, name, load))


if __name__ == "__main__":
    main()
