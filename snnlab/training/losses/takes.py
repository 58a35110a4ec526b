"""Which targets a loss is for."""

from __future__ import annotations

from snnlab.errors import ConfigError
from snnlab.events.targets import Targets
from snnlab.training.losses.contract import LOSSES, REGULARISERS, Part

_OF: dict[Targets, str] = {"class": "classes", "value": "values", "steps": "labels at each step"}


def check_takes(loss: Part, name: str, targets: Targets, place: str = "loss") -> None:
    """Refuse a loss that is for other targets.

    Args:
        loss: The loss.
        name: Its `type`.
        targets: The data's.
        place: Where it stands.

    Raises:
        ConfigError: naming a loss that is for these targets.
    """
    if targets in loss.takes:
        return
    losses = (other for other in LOSSES if other not in REGULARISERS)
    able = [other for other in losses if targets in getattr(LOSSES.get(other, place), "takes", ())]
    instead = f"{place}{'=' if place == 'loss' else '.type='}{able[0]}"
    more = " or another of them, see snnlab list losses" if len(able) > 1 else ""
    raise ConfigError(f"{place}: {name} is for {_OF[loss.takes[0]]}, data.targets={targets} needs {instead}{more}")
