"""Ways to judge sentences that predict_speed.py times, each built in a process of its own.

No program of its own. A builder takes a model folder and returns (list of texts → array of verdicts, what it is in words).
"""

import sys
import tempfile
from pathlib import Path

import common  # noqa: F401
import numpy as np
import torch

import helpers
from lesson import judging


def way(clock, build, folder, texts, dev, verdicts, packages, steps, **options):
    """Judge the dev sentences once, for their verdicts, and then a part of `texts`, `steps` of them, round after round."""
    sys.path += [packages] if packages else []  # behind our own: nothing of ours is replaced
    judge, about = build(folder, **options)
    np.save(verdicts, judge(dev))
    part = texts[:: len(texts) // steps][:steps]
    while True:
        clock.start()
        judge(part)
        clock.stop(about)


def pipeline(folder, size, arranged="as they come", dtype=torch.float32):
    """The library's own, at a batch size."""
    from transformers import logging, pipeline

    logging.disable_progress_bar()
    own = pipeline("text-classification", folder, device=helpers.pick_device(), dtype=dtype, batch_size=size)
    number = {label: i for i, label in own.model.config.id2label.items()}

    def judge(texts):
        order = np.argsort([len(text) if arranged == "sorted" else 0 for text in texts], kind="stable")
        verdicts = np.empty(len(texts), dtype=int)
        verdicts[order] = [number[answer["label"]] for answer in own([texts[i] for i in order])]
        return verdicts

    def one_by_one(texts):
        return np.array([number[own(text)[0]["label"]] for text in texts])

    return (judge, f"batches of {size}, {arranged}") if size > 1 else (one_by_one, "one by one")


def verdicts_of(judge):
    return lambda texts: judge(texts).argmax(dim=1).numpy()


def ours(folder, precision="auto", doubt=judging.DOUBT):
    judging.DOUBT = doubt
    judge = judging.Judge(*judging.load(folder), precision)
    return verdicts_of(judge), judge.about.rpartition(", ")[2]


def int8_torch(folder):
    judging.with_onednn = lambda model, sample: model
    judge = judging.Judge(*judging.load(folder), "fp32")
    judge.exact = torch.ao.quantization.quantize_dynamic(judge.exact, {torch.nn.Linear}, dtype=torch.qint8)
    return verdicts_of(judge), "int8"


class OnnxJudge(judging.Judge):
    """Judge's batches and threads, its last layer on [CLS] alone as well, and ONNX Runtime's arithmetic."""

    def _run(self, session, batch):
        return torch.from_numpy(session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})[0])


def onnx(folder, int8=False):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    judging.with_onednn = lambda model, sample: model
    judge = OnnxJudge(*judging.load(folder), "fp32")
    sample = dict(judge.tokenizer(["The cat sat on the mat.", "It did."], padding=True, return_tensors="pt"))
    shapes = {name: {0: "sentences", 1: "tokens"} for name in sample}
    with tempfile.TemporaryDirectory() as temporary:
        file = str(Path(temporary, "model.onnx"))
        torch.onnx.export(
            judge.exact, kwargs=sample, f=file, dynamo=True, dynamic_shapes=shapes, output_names=["logits"]
        )
        if int8:
            quantize_dynamic(file, file := f"{file}.int8", weight_type=QuantType.QInt8, per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a thread a batch
        judge.exact = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return verdicts_of(judge), f"onnxruntime {onnxruntime.__version__}"
