"""Which tokens a verdict rests on, by integrated gradients (Sundararajan et al. 2017) from captum, and attention (08_error_analysis)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

import helpers
from bookkeeping import SeriesError
from lesson import pooling


def attributions(model, tokenizer, sentence, steps=50):
    """(DataFrame with token, attribution, special; gap) of the last class's logit over the first's (08_error_analysis).

    An attribution says how much a token moves that difference of logits, beside [PAD] in its place; their sum is the whole
    difference up to `gap`, the error of `steps` steps. The special tokens stay in place.
    """
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError:
        raise SeriesError("captum, which computes attributions, is not installed here: pip install captum") from None
    device = next(model.parameters()).device
    batch = tokenizer(sentence, return_tensors="pt", truncation=True).to(device)
    ids = batch.pop("input_ids")
    special = tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
    blank = ids.clone()
    blank[0, [not each for each in special]] = tokenizer.pad_token_id

    def forward(ids, *rest):
        logits = model(input_ids=ids, **dict(zip(batch, rest))).logits
        return logits[:, -1] - logits[:, 0]

    explain = LayerIntegratedGradients(forward, model.eval().get_input_embeddings())
    parts, gap = explain.attribute(
        ids, blank, additional_forward_args=tuple(batch.values()), n_steps=steps, return_convergence_delta=True
    )
    tokens = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    frame = pd.DataFrame({"token": tokens, "attribution": parts.sum(dim=-1)[0].detach().cpu().numpy()})
    return frame.assign(special=np.array(special, dtype=bool)), float(gap)


def attention(folder, tokenizer, sentence):
    """Attention weights [layer, head, token that looks, token looked at] of the model in `folder`, rows of sum 1 (08_error_analysis).

    Without the layer that 04 builds for the mean, which has learned nothing: it looks at all tokens alike.
    """
    model = helpers.load_model(folder, attn_implementation="eager").eval()  # the quicker kinds keep no weights
    with torch.inference_mode():
        output = model(**tokenizer(sentence, return_tensors="pt", truncation=True), output_attentions=True)
    if not output.attentions:
        raise SeriesError(
            f"{type(model).__name__} gives no attention weights: leave this cell out, the others need none."
        )
    built = pooling.of(model) == "mean" and not hasattr(type(model.config)(), "classifier_pooling")
    return torch.stack(output.attentions[: -1 if built else None])[:, 0].numpy()


def looked_at(weights):
    """Share of all attention that each token gets [layer, head, token], the mean over those that look (08_error_analysis)."""
    return weights.mean(axis=2)


def agreeing(frame, weights):
    """How many heads look most at the word that carries the most attribution, special tokens set apart (08_error_analysis)."""
    words = ~frame["special"].to_numpy()
    if not words.any():
        return 0
    most = frame.loc[words, "attribution"].abs().to_numpy().argmax()
    return int((looked_at(weights)[..., words].argmax(axis=-1) == most).sum())


def beside(frame, weights, layer, head):
    """Picture of attributions and of one head, counted from 1, (figure, a sentence for those who cannot see it) (08_error_analysis)."""
    layers, heads = weights.shape[:2]
    if not (1 <= layer <= layers and 1 <= head <= heads):
        raise SeriesError(
            f"layer {layer}, head {head}: expected a layer from 1 to {layers} and a head from 1 to {heads}."
        )
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 1.9 + 0.25 * len(frame)), width_ratios=[1, 1.3], layout="tight"
    )
    said = _bars(frame, left)
    tokens = frame["token"].tolist()
    look = {"vmin": 0, "vmax": 1, "cmap": "Blues", "xticklabels": tokens, "yticklabels": tokens}
    sns.heatmap(weights[layer - 1, head - 1], ax=right, **look)  # as in 01
    most = tokens[looked_at(weights)[layer - 1, head - 1].argmax()]
    title = f"Layer {layer}, head {head} looks most at {most!r}"
    right.set(xlabel="looked at", ylabel="looks", title=title)
    return figure, f"A bar for each of {len(frame)} tokens. {said}. Beside it a heat map of attention. {title}."


def _bars(frame, ax):
    places = np.arange(len(frame)).astype(str)  # a token may occur twice
    order = ["towards acceptable", "towards unacceptable"]
    kinds = np.where(frame["attribution"] < 0, *order[::-1])
    sns.barplot(x=frame["attribution"].to_numpy(), y=places, hue=kinds, hue_order=order, dodge=False, ax=ax)
    ax.set_yticks(range(len(frame)), frame["token"])
    title = f"The verdict leans most on {frame.loc[frame['attribution'].abs().idxmax(), 'token']!r}"
    ax.set(xlabel="part of the difference of the logits", ylabel="", title=title)
    sns.move_legend(ax, "upper center", bbox_to_anchor=(0.5, -0.9 / ax.figure.get_figheight()), ncols=1, frameon=False)
    return title
