"""What PyTorch's optimizers keep of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Held(NamedTuple):
    """What an optimizer holds.

    Attributes:
        states: Numbers that it keeps of each weight from step to step.
        passing: Numbers of each weight of a tensor that come and go while that tensor is changed.
    """

    states: int
    passing: int


_HELD = {
    "SGD": Held(0, 0),
    "Adam": Held(2, 2),
    "AdamW": Held(2, 2),
    "NAdam": Held(2, 2),
    "RAdam": Held(2, 2),
    "Adamax": Held(2, 1),
    "RMSprop": Held(1, 1),
    "Adagrad": Held(1, 1),
    "Adadelta": Held(2, 2),
}
# Settings that ask for one number more.
_ONE_MORE = ("amsgrad", "momentum", "centered")


def held_by(target: str, settings: Mapping[str, Any]) -> Held | None:
    """Return what an optimizer holds; None of one that is not PyTorch's, or rare.

    Args:
        target: Its class with its module, `torch.optim.Adam`.
        settings: Its arguments by name.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("torch.optim") or name not in _HELD:
        return None
    states, passing = _HELD[name]
    decays = bool(settings.get("weight_decay")) and name != "AdamW"  # which changes the weights themselves
    return Held(states + sum(bool(settings.get(setting)) for setting in _ONE_MORE), passing + decays)
