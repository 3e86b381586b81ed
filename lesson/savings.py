"""Three savings that leave the training of 04_train what it is, and make its steps faster. 04 says why they may."""

import torch

import helpers


def apply(model, tokens, pad_token_id, weight_decay=0.0):
    """Make the training steps of `model` faster by all that is possible (04_train). load_weights takes what it learns."""
    if weight_decay == 0:
        shrink_embeddings(model, ids_in_use(tokens, pad_token_id))
    batch = helpers.make_batch(tokens, torch.arange(min(16, len(tokens["row"]))), pad_token_id, device=model.device)
    del batch["labels"]
    only_cls(model, batch)
    quicken_dropout(model)


def ids_in_use(tokens, pad_token_id):
    """Sorted ids, int64, of all tokens in the token file and of the padding (04_train)."""
    return torch.unique(torch.cat([tokens["ids"], tokens["ids"].new_tensor([pad_token_id])])).long()


def shrink_embeddings(model, ids):
    """Train only the word embeddings of `ids`, sorted; returns whether that was possible (04_train).

    Nothing is changed where another part of the model shares the table.

    Rows that no sentence uses have zero gradients, and without weight decay AdamW leaves them as they are: clipping,
    updating and zeroing them is work for nothing. The ids stay what they were and are translated on their way into
    the table, so models that compute positions from them (RoBERTa, MPNet) see no difference; others raise IndexError.
    """
    table = model.get_input_embeddings()
    if sum(weight is table.weight for module in model.modules() for weight in module.parameters(recurse=False)) > 1:
        return False
    place = torch.full((len(table.weight),), -1, device=table.weight.device)
    place[ids] = torch.arange(len(ids), device=place.device)
    table.weight = torch.nn.Parameter(table.weight.detach()[ids])
    if table.padding_idx is not None:
        table.padding_idx = int(place[table.padding_idx]) if table.padding_idx in ids else None
    table.register_buffer("place", place, persistent=False)
    table.register_forward_pre_hook(lambda module, inputs: (module.place[inputs[0]],))
    return True


def load_weights(model, weights, ids):
    """Load `weights`, a state_dict, into a whole model, though shrink_embeddings(…, ids) may have cut them (04_train)."""
    table = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is table)
    if len(weights[name]) < len(table):
        weights = weights | {name: table.detach().index_copy(0, ids, weights[name].to(table.device))}
    model.load_state_dict(weights)


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


def only_cls(model, batch):
    """Let the last layer's feed-forward block work on [CLS] alone: the classifier reads nothing else (04_train).

    A last layer that only computes the mean of all tokens gets that mean in place of the tokens.
    Tried on `batch` (without labels). Returns whether the logits stay the same; where they do not, as in a model that
    reads other positions too, or is built otherwise, nothing is changed.
    """
    layers = [module[-1] for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    norms = [module for module in layers[-1].modules() if isinstance(module, torch.nn.LayerNorm)] if layers else []
    if not norms:
        return False
    if model.config._attn_implementation == "sdpa" and getattr(model.config, "classifier_pooling", "") == "mean":
        _same_logits(model, batch, layers[-1], _mean_first)
    return _same_logits(model, batch, norms[0], lambda module, args, kwargs: ((args[0][:, :1],), kwargs))


def _mean_first(layer, args, kwargs):
    """[CLS] and the mean that a layer with zero queries and keys would compute, for it to attend to the mean alone."""
    names = ["hidden_states", "attention_mask"]
    given = dict(zip(names, args)) | {name: kwargs.pop(name) for name in names if name in kwargs}
    hidden, mask = given["hidden_states"], given["attention_mask"]  # the latter is None where nothing is padded
    weights = hidden.new_zeros(len(hidden), 1, hidden.shape[1])
    if mask is not None:
        weights = weights.masked_fill(~mask[:, 0, :1], -torch.inf)
    both = torch.cat([hidden[:, :1], weights.softmax(-1) @ hidden], dim=1)
    return (both, both.new_tensor([0, 1], dtype=torch.bool).expand(len(both), 1, 2, 2), *args[2:]), kwargs


@torch.no_grad()
def _same_logits(model, batch, module, hook):
    """Let `hook` work on what `module` gets, if the logits of `batch` stay the same; returns whether they do."""
    training, before = model.training, model.eval()(**batch).logits
    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        same = torch.allclose(model(**batch).logits, before, atol=1e-4)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, IndexError):  # another anatomy
        same = False
    model.train(training)
    if not same:
        handle.remove()
    return same
