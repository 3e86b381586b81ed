"""The training loops that train_speed.py and single_savings.py time, each without end, a round at a time.

No program of its own. Every loop gets a turns.Clock, and starts and stops it around the `steps` of a round.
"""

import itertools
import os
import random
import shutil

import common
import torch

import helpers
from lesson import pooling

BATCH_SIZE = 32


def prepared_tokens():
    """The token file of the run folder that turns.prepared has filled, what it says of the model, and the rows to train on."""
    tokens, header = helpers.load_tokens(helpers.RUNS / "default")
    return tokens, header, helpers.rows_of(tokens, "train")


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


def notebook_04(clock, steps, precision="auto", pooling="auto", without=(), compiled=False, **_):
    """04's own cells up to the loop over the steps, then that loop, each round with other batches of its epoch.

    `without`: the functions of lesson/savings.py that do nothing in it; `compiled`: its layers went through
    torch.compile, one graph for all lengths.
    """
    common.switch_off(without)
    run = f"loop-{os.getpid()}"  # a run folder has one owner, and 04 works in several processes here
    shutil.copytree(helpers.RUNS / "default", helpers.RUNS / run)
    variables, loop = common.training_steps(RUN=run, PRECISION=precision, POOLING=pooling)
    stacks = [module for module in variables["model"].modules() if isinstance(module, torch.nn.ModuleList)]
    for layer in itertools.chain.from_iterable(stacks if compiled else []):
        layer.compile(dynamic=True)
    precision = variables["accelerator"].mixed_precision
    lengths = prepared_tokens()[0]["offsets"].diff().tolist()
    for sample in samples(variables["batches"], lengths, steps):
        variables["batches"] = sample
        clock.start()
        exec(loop, variables)
        clock.stop("fp32" if precision == "no" else precision)


def tutorial(clock, steps, **_):
    """The loop of McCormick and Ryan (2019) with today's library: everything padded to 64."""
    from transformers import get_linear_schedule_with_warmup

    tokens, header, rows = prepared_tokens()
    data = helpers.make_batch(tokens, rows, header["pad_token_id"], length=64)
    data = torch.utils.data.TensorDataset(data["input_ids"], data["attention_mask"], data["labels"])
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    device = clock.device
    model = helpers.load_model(header["model"], num_labels=2).to(device).train()
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


def trainer_defaults(clock, steps, rounds):
    """The HF Trainer as it comes, padded to 128."""
    _hf_trainer(clock, steps, rounds, length=128)


def trainer_best(clock, steps, rounds, precision):
    """The HF Trainer with the flags that make it fastest, in this precision, on the model that 04 trains."""
    import transformers

    collator = transformers.DataCollatorWithPadding(helpers.load_tokenizer(prepared_tokens()[1]["model"]))
    sorting = {"train_sampling_strategy": "group_by_length"}
    if not hasattr(transformers.TrainingArguments, "train_sampling_strategy"):
        sorting = {"group_by_length": True}  # as transformers 5.0 has it
    flags = sorting | {"optim": "adamw_torch_fused"}
    flags |= {} if precision == "fp32" else {precision: True}
    _hf_trainer(clock, steps, rounds, precision, collator=collator, reads_as_04=True, **flags)


def _hf_trainer(clock, steps, rounds, precision="fp32", length=None, collator=None, reads_as_04=False, **flags):
    """The HF Trainer in one train() call, held between the rounds by a callback; all of a step's work is in its time.

    Only the order of its batches is ours: its own sampler fills them, and `samples` picks the round's. `reads_as_04`: its
    classifier reads what POOLING "auto" is for this model, else [CLS], as the library's does.
    """
    import transformers

    tokens, header, rows = prepared_tokens()
    singles = (helpers.make_batch(tokens, row[None], header["pad_token_id"], length) for row in rows)
    sentences = [{name: tensor[0].tolist() for name, tensor in single.items()} for single in singles]

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

    flags |= {"per_device_train_batch_size": BATCH_SIZE, "num_train_epochs": 1, "use_cpu": clock.device.type == "cpu"}
    flags |= {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    model = helpers.load_model(header["model"], num_labels=2)
    if reads_as_04:
        pooling.decide(model, header)
    args = transformers.TrainingArguments(output_dir=str(helpers.RUNS / "trainer"), **flags)
    Held(model=model, args=args, train_dataset=sentences, data_collator=collator, callbacks=[Gate()]).train()
