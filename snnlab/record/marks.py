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
    trainer = {key.removeprefix("trainer."): value for key, value in config.items() if key.startswith("trainer.")}
    found = [f"control {config['control']}"] if config.get("control") else []
    if (mode := config.get("mode", "train")) != "train":
        found.append(str(mode))
    if trainer.get("fast_dev_run"):
        found.append("fast_dev_run")
    if trainer.get("overfit_batches"):
        found.append("overfit_batches")
    return [*found, "limited"] if limits(config) else found


def limits(config: Mapping[str, Any]) -> list[str]:
    """Return the limits of the trainer that leave batches out, as settings.

    Args:
        config: The configuration, by dotted keys.
    """
    values = {name: config.get(f"trainer.{name}") for name in _LIMITS}
    # 1 is one batch, and 1.0 all of them.
    return [
        f"trainer.{name}={value}"
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and value == 1)
    ]
