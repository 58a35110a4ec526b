"""What makes a run less than a training of all recordings: said wherever it stands beside others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


def marks(config: Mapping[str, Any]) -> list[str]:
    """Return what a run is: a control, a trial run, a training on a part of the batches; nothing of a whole one.

    Args:
        config: Its configuration, by dotted keys.
    """
    found = [f"control {config['control']}"] if config.get("control") else []
    if (mode := config.get("mode", "train")) != "train":
        found.append(str(mode))
    found += [name for name in ("fast_dev_run", "overfit_batches") if config.get(f"trainer.{name}")]
    return [*found, "limited"] if limits(config) else found


def limits(config: Mapping[str, Any]) -> list[str]:
    """Return the limits of the trainer that leave batches out, as settings.

    Args:
        config: The configuration, by dotted keys.
    """
    values = {f"trainer.{name}": config.get(f"trainer.{name}") for name in _LIMITS}
    return [f"{name}={value}" for name, value in values.items() if is_limit(value)]


def is_limit(value: Any) -> bool:
    """Return whether a limit of batches leaves some out: 1 is one batch, and 1.0 all of them."""
    return value is not None and not (isinstance(value, float) and value == 1)
