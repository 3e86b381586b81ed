"""Which tokens a verdict rests on, by integrated gradients (Sundararajan et al. 2017) from captum (08_error_analysis)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from bookkeeping import SeriesError


def attributions(model, tokenizer, sentence, steps=50):
    """(DataFrame with token and attribution, gap) of the last class's logit over the first's (08_error_analysis).

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
    return frame, float(gap)


def bars(frame):
    """Picture of attributions, (figure, a sentence for those who cannot see it): a bar a token (08_error_analysis)."""
    figure, ax = plt.subplots(figsize=(7, 1.2 + 0.25 * len(frame)))
    places = np.arange(len(frame)).astype(str)  # a token may occur twice
    order = ["towards acceptable", "towards unacceptable"]
    kinds = np.where(frame["attribution"] < 0, *order[::-1])
    sns.barplot(x=frame["attribution"].to_numpy(), y=places, hue=kinds, hue_order=order, dodge=False, ax=ax)
    ax.set_yticks(range(len(frame)), frame["token"])
    most = frame.loc[frame["attribution"].abs().idxmax(), "token"]
    ax.set(xlabel="part of the difference of the logits", ylabel="", title=f"The verdict leans most on {most!r}")
    sns.move_legend(ax, "upper center", bbox_to_anchor=(0.5, -0.9 / figure.get_figheight()), ncols=2, frameon=False)
    return figure, f"A bar for each of {len(frame)} tokens, how far it moves the verdict. It leans most on {most!r}."
