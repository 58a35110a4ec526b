"""`snnlab find`: proposes a learning rate from a few training steps."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path

from snnlab.cli.options import figure_file, split_options
from snnlab.config.compose import compose_experiment
from snnlab.console import console_logging, quiet_lightning
from snnlab.errors import ConfigError, did_you_mean
from snnlab.spec.override_texts import key_of

USAGE = """usage: snnlab find lr [--figure FILE] [--config-dir DIR] [OVERRIDES]

Propose a learning rate from a few steps of the training that the overrides, those of snnlab train, describe. The rate
grows with each step; the proposal is the rate at which the loss falls fastest. Parameter groups with their own rate
keep it, and the scheduler is off. It plots the curve and prints the override for snnlab train; it writes nothing else
and changes no setting.

  --from 1e-6  --to 1  --steps 100

  snnlab find lr model=conv_lif optimizer=sgd --to 10
"""
FINDS = ("lr",)
NUMBERS = ("--from", "--to", "--steps")
_LEAST_STEPS = 10


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    what, *rest = arguments or [""]
    if what not in FINDS:
        wrong = f"there is nothing '{what}' to find" if what else "name what to find"
        raise ConfigError("find", wrong, did_you_mean(what, FINDS), FINDS)
    options, overrides = split_options(f"find {what}", rest)
    low, high, steps = _numbers(options)
    figure = figure_file(options)
    console_logging()
    experiment, folder = compose_experiment(overrides, options.get("--config-dir"))

    from snnlab.session import tuner

    with quiet_lightning():
        draw, override = tuner.propose_rate(experiment, folder, low, high, steps)
    target = Path(figure) if figure else folder.parent / f"find_{what}_{folder.name}.png"
    tuner.write_figure(draw, target)
    print(f"  the curve: {target}")
    if override:
        others = [text for text in overrides if key_of(text) != key_of(override)]
        options_text = [f"--config-dir {options['--config-dir']}"] if "--config-dir" in options else []
        print("  snnlab train", *options_text, *map(shlex.quote, [*others, override]))
    return 0


def _numbers(options: Mapping[str, str]) -> tuple[float, float, int]:
    """Return the smallest and the largest value, and the number of steps.

    Raises:
        ConfigError: if one of them is out of range.
    """
    numbers = {name: _parse_number(name, options[name]) for name in NUMBERS if name in options}
    low, high = numbers.get("--from", 1e-6), numbers.get("--to", 1.0)
    if not 0 < low < high < math.inf:
        raise ConfigError("find lr: --from", f"must be > 0 and below --to ({high:g}), got {low:g}")
    steps = int(numbers.get("--steps", 100))
    if steps < _LEAST_STEPS:
        raise ConfigError("find: --steps", f"must be >= {_LEAST_STEPS}, got {steps}")
    return low, high, steps


def _parse_number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError("find", f"{name}: expected a number, got '{text}'") from None
    if name == "--steps" and value != int(value):
        raise ConfigError("find", f"--steps: expected a whole number, got '{text}'")
    return value
