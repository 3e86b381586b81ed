"""The bare arithmetic of a training step: what no loop with these matrices can undercut. Timed by train_speed.py.

No program of its own.
"""

import time

import torch
import transformers
from loops import BATCH_SIZE, prepared_tokens, samples

import helpers


def bound(clock, steps, **_):
    """For each weight matrix of the layers, its product forward and the two backward, with the batch's real tokens.

    Attention's products, the head and everything else are left out. In the precision that is the fastest here.
    """
    tokens, header, rows = prepared_tokens()
    lengths = tokens["offsets"].diff()
    batches = helpers.batches_of_like_length(tokens, rows, BATCH_SIZE)
    most = max(int(lengths[batch].sum()) for batch in batches)
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    precisions |= {"fp16": torch.float16} if clock.device.type == "cuda" else {}
    matrices = layer_matrices(header["model"])
    ways = {name: products(matrices, most, clock.device, dtype) for name, dtype in precisions.items()}
    usual = int(lengths[rows].float().mean() * BATCH_SIZE)
    fastest = min(ways, key=lambda name: seconds_of(ways[name], usual, clock.device))
    for sample in samples(batches, lengths.tolist(), steps):
        counts = [int(lengths[batch].sum()) for batch in sample]
        clock.start()
        for n in counts:
            ways[fastest](n)
        clock.stop(fastest)


def layer_matrices(model):
    """Shapes (out, into) of the weight matrices in the layers of a model."""
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(model))
    stacks = [stack for stack in model.modules() if isinstance(stack, torch.nn.ModuleList)]
    return list({id(m): m.weight.shape for s in stacks for m in s.modules() if isinstance(m, torch.nn.Linear)}.values())


def products(matrices, most, device, dtype):
    """A function that does all products of a batch of n tokens, `most` at most. Buffers are made once for each shape."""
    buffers = {}
    for out, into in set(matrices):
        shapes = [(most, into), (most, out), (out, into), (most, out), (most, into), (out, into)]
        buffers[out, into] = [torch.randn(shape, device=device).to(dtype) for shape in shapes]

    def step(n):
        for shape in matrices:
            x, upstream, weight, y, to_x, to_weight = buffers[tuple(shape)]
            torch.matmul(x[:n], weight.T, out=y[:n])
            torch.matmul(upstream[:n], weight, out=to_x[:n])
            torch.matmul(upstream[:n].T, x[:n], out=to_weight)

    return step


def seconds_of(step, n, device):
    """Of step(n), best of three, the first left out."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        step(n)
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])
