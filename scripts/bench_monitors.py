"""Which part of a training the monitors and pictures take: python scripts/bench_monitors.py [OVERRIDE ...].

The overrides are those of `snnlab train`; the packaged default is trained for 4 epochs where none sets another number.
Seconds are summed around the callbacks' hooks within one training, so that a machine that is now fast and now slow
cannot bend their share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from snnlab import train
from snnlab.record.monitors.callback import Monitors
from snnlab.record.pictures.callback import Pictures

HOOKS = (
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_validation_batch_end",
    "on_train_end",
)


def clocked(kind: type, spent: dict[str, float]) -> None:
    """Let the hooks of a callback add up the seconds that they take."""
    for name in HOOKS:
        if name in vars(kind):
            setattr(kind, name, _clocked(getattr(kind, name), kind.__name__, spent))


def _clocked(hook: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return hook(*arguments, **more)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began

    return run


def main(overrides: list[str]) -> None:
    spent: dict[str, float] = {}
    for kind in (Monitors, Pictures):
        clocked(kind, spent)
    if not any(override.startswith("trainer.max_epochs=") for override in overrides):
        overrides = [*overrides, "trainer.max_epochs=4"]
    fit_s = train("test=false", *overrides).timing["fit_s"]
    for name, seconds in spent.items():
        print(f"{name.lower()}: {seconds:.2f} s of {fit_s:.1f}, {seconds / (fit_s - seconds):.1%} of the rest")


if __name__ == "__main__":
    main(sys.argv[1:])
