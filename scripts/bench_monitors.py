"""Measures the share of monitors and plots in a training: python scripts/bench_monitors.py [rounds=N] [OVERRIDE ...].

The overrides are those of `snnlab train`; without them it trains the packaged default. Seconds are summed around the
callbacks' hooks within one training, so that a changing speed of the machine does not change their share. With rounds=N
it runs N trainings without both, with the monitors and with the plots, in turns, and prints medians of their CPU
seconds, which do not include those of other processes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from snnlab import train
from snnlab.runs.monitors import Monitors
from snnlab.runs.plots.callback import Plots

HOOKS = (
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_validation_batch_end",
    "on_train_end",
)


def time_hooks(kind: type, spent: dict[str, float]) -> None:
    """Let the hooks of a callback add their seconds to `spent`."""
    for name in HOOKS:
        if name in vars(kind):
            setattr(kind, name, _timed(getattr(kind, name), kind.__name__, spent))


def _timed(hook: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return hook(*arguments, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    return run


def compare_in_turns(rounds: int, overrides: list[str]) -> None:
    """Train in turns with and without the callbacks, and print the time that each adds."""
    methods = {
        "neither": ("monitors=null", "plots=null"),
        "monitors": ("plots=null",),
        "pictures": ("monitors=null",),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    train("test=false", *methods["neither"], *overrides, "trainer.max_epochs=1")  # warm-up: reading and compiling
    for _ in range(rounds):
        for name, kwargs in methods.items():
            start = time.process_time()
            train("test=false", *overrides, *kwargs)
            seconds[name].append(time.process_time() - start)
    least = statistics.median(seconds["neither"])
    for name, each in seconds.items():
        least_to_most = f"{min(each):.1f} to {max(each):.1f}"
        print(f"{name}: {statistics.median(each):.1f} s ({least_to_most}), {statistics.median(each) / least - 1:+.1%}")


def measure_share(overrides: list[str]) -> None:
    """Train once, and print the share of the callbacks."""
    spent: dict[str, float] = {}
    for kind in (Monitors, Plots):
        time_hooks(kind, spent)
    fit_s = train("test=false", *overrides).timing["fit_s"]
    for name, seconds in spent.items():
        print(f"{name.lower()}: {seconds:.2f} s of {fit_s:.1f}, {seconds / (fit_s - seconds):.1%} of the rest")


def main(arguments: list[str]) -> None:
    overrides = [argument for argument in arguments if not argument.startswith("rounds=")]
    rounds = [int(argument.partition("=")[2]) for argument in arguments if argument not in overrides]
    if rounds:
        compare_in_turns(rounds[-1], overrides)
    else:
        measure_share(overrides)


if __name__ == "__main__":
    main(sys.argv[1:])
