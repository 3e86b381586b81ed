"""What 01_setup looks at inside a model beside its cells: the part that guesses a hidden word."""

import matplotlib.pyplot as plt
import torch
from transformers import AutoModelForMaskedLM


@torch.inference_mode()
def guess_hidden(folder, tokenizer, text, count=3):
    """{token: probability} of the `count` likeliest tokens where `text` has [MASK] (01_setup).

    None where the model in `folder` came without the part that was trained to guess.
    """
    model, about = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if about["missing_keys"]:
        return None
    inputs = tokenizer(text, return_tensors="pt")
    hidden = inputs["input_ids"][0] == tokenizer.mask_token_id
    likeliest = model.eval()(**inputs).logits[0][hidden].softmax(-1)[0].topk(count)
    return dict(zip(tokenizer.convert_ids_to_tokens(likeliest.indices.tolist()), likeliest.values.tolist()))


def draw_hidden(words, guesses=None):
    """A figure of a sentence whose word [MASK] is looked for from all others; `guesses` as of guess_hidden (01_setup)."""
    figure, ax = plt.subplots(figsize=(6.4, 2))
    places = [0.0]
    for word, following in zip(words, words[1:]):
        places.append(places[-1] + 0.25 * (len(word) + len(following)) / 2 + 0.45)
    asked = words.index("[MASK]")
    for place, word in zip(places, words):
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "C0"}
        if word == "[MASK]":
            box |= {"facecolor": "#f6ae2d", "edgecolor": "#7a4b00", "linewidth": 2}
        else:
            bend = {
                "arrowstyle": "-|>",
                "color": "C0",
                "connectionstyle": f"arc3,rad={-0.3 if place < places[asked] else 0.3}",
            }
            ax.annotate("", xy=(places[asked], 0.35), xytext=(place, 0.35), arrowprops=bend)
        ax.text(place, 0, word, ha="center", va="center", fontsize=10, bbox=box)
    below = ", ".join(f"{word} {share:.0%}" for word, share in guesses.items()) if guesses else "which word was here?"
    ax.text(places[asked], -0.9, below, ha="center", va="center", fontweight="bold")
    ax.set(xlim=(-0.8, places[-1] + 0.8), ylim=(-1.3, 1.9), title="Every other word helps to guess the hidden one")
    ax.axis("off")
    return figure
