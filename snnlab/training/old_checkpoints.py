"""Checkpoints of older versions, brought into today's form when they are read."""

from __future__ import annotations

from typing import Any

import torch

# What keeps a state in checkpoints had the name of its class for a key, which changes when the class is renamed.
KEYS = {
    "MetricsCSV": "metrics_csv",
    "RisenLoss": "risen_loss",
    "Selection": "selection",
    "SilenceWarning": "silent_layers",
    "Timing": "timing",
}


def bring_up_to_date(checkpoint: dict[str, Any]) -> None:
    """Change in place what is said otherwise today."""
    callbacks = checkpoint.get("callbacks", {})
    for old, new in KEYS.items():
        if old in callbacks:
            callbacks[new] = callbacks.pop(old)
    _separate_average(checkpoint)


def _separate_average(checkpoint: dict[str, Any]) -> None:
    """Put the average of the weights, which the module kept beside them, where Lightning's callback has it."""
    state = checkpoint["state_dict"]
    own = {name: value for name, value in state.items() if not name.startswith("average.")}
    updates, checkpoint["state_dict"] = int(state.get("average._extra_state", 0)), own
    if updates:
        names = ((name, f"average.{name.removeprefix('network.').replace('.', '/')}") for name in own)
        checkpoint["state_dict"] = own | {name: state[old] for name, old in names if old in state}
        checkpoint["current_model_state"] = own
        checkpoint["averaging_state"] = {"n_averaged": torch.tensor(updates)}
        said = {"latest_update_step": checkpoint.get("global_step", 0), "updates": updates}
        checkpoint.setdefault("callbacks", {})["average"] = said
