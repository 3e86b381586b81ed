"""Three savings that leave the training of 04_train what it is, and make its steps faster. 04 says why they may."""

import torch


def shrink_embeddings(model, ids):
    """Train only the word embeddings of `ids`; returns a function that puts the others back (04_train).

    Returns None, with nothing changed, where another part of the model shares the table.

    Rows that no sentence uses have zero gradients, and without weight decay AdamW leaves them as they are: clipping,
    updating and zeroing them is work for nothing. The ids stay what they were and are translated on their way into
    the table, so models that compute positions from them (RoBERTa, MPNet) see no difference; others raise IndexError.
    """
    table = model.get_input_embeddings()
    if sum(weight is table.weight for module in model.modules() for weight in module.parameters(recurse=False)) > 1:
        return None
    whole, padding_idx = table.weight.detach(), table.padding_idx
    kept = torch.unique(ids.long())
    place = torch.full((len(whole),), -1)
    place[kept] = torch.arange(len(kept))

    table.weight = torch.nn.Parameter(whole[kept])
    table.padding_idx = None if padding_idx is None else int(place[padding_idx])
    table.register_buffer("place", place, persistent=False)
    translate = table.register_forward_pre_hook(lambda module, inputs: (module.place[inputs[0]],))

    def restore():
        translate.remove()
        whole[kept] = table.weight.detach().to(whole.device)
        table.weight, table.padding_idx = torch.nn.Parameter(whole), padding_idx
        del table.place

    return restore


class QuickDropout(torch.nn.Dropout):
    """torch.nn.Dropout for CPUs, from 16 random bits an element where that draws a float (04_train).

    p is rounded to a multiple of 1/65536. The bits come from torch's own generator, so seeds do what they should.
    """

    def forward(self, x):
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        dropped = round(self.p * 2**16)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        keep = bits[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * keep.to(x.dtype).mul_(2**16 / (2**16 - dropped))


def quicken_dropout(model):
    """Let the model's torch.nn.Dropout modules be QuickDropout (04_train)."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = QuickDropout


@torch.no_grad()
def only_cls(model, batch):
    """Let the last layer's feed-forward block work on [CLS] alone: the classifier reads nothing else (04_train).

    Tried on `batch` (without labels). Returns the hook, whose .remove() undoes it, or None, with nothing changed,
    if the logits do not stay the same: a model that reads other positions too, or is built otherwise.
    """
    layers = [module[-1] for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    norms = [module for module in layers[-1].modules() if isinstance(module, torch.nn.LayerNorm)] if layers else []
    if not norms:
        return None
    training, before = model.training, model.eval()(**batch).logits
    hook = norms[0].register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :1],))
    try:
        same = torch.allclose(model(**batch).logits, before, atol=1e-4)
    except (RuntimeError, ValueError, IndexError):  # shapes that do not fit: another anatomy
        same = False
    model.train(training)
    if not same:
        hook.remove()
    return hook if same else None
