"""What goes on around the loop of 04_train: checkpoints."""

import torch

from helpers import replacing


def save_checkpoint(folder, same, model, optimizer, schedule, history, best):
    """Write what 04_train needs to go on after a kill, at the end of an epoch (04_train).

    `same`: what a later call must have in common for the checkpoint to be its own.
    """
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    state |= {"schedule": schedule.state_dict(), "history": history, "best": best, "same": same}
    with replacing(folder / "checkpoint.pt") as new:
        torch.save(state, new)


def load_checkpoint(folder, same, model, optimizer, schedule):
    """Put model, optimizer and schedule back where save_checkpoint left them (04_train).

    Returns (history, best weights); ([], None) if there is no checkpoint of a run with this `same`.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return [], None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # half a disk, another version: whatever it is, starting anew is right
        print(f"the checkpoint cannot be read ({type(error).__name__}): starting anew")
        return [], None
    if state["same"] != same:
        print("the checkpoint is of a run with other parameters: starting anew")
        return [], None
    for part, name in [(model, "model"), (optimizer, "optimizer"), (schedule, "schedule")]:
        part.load_state_dict(state[name])
    print(f"going on after epoch {len(state['history'])}")
    return state["history"], state["best"]


def drop_checkpoint(folder):
    """Remove the checkpoint of a training that ended (04_train)."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)
