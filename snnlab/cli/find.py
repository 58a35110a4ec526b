"""Propose a learning rate from a few training steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import ConfigDir, FigureFile, command
from snnlab.config.compose import compose_experiment
from snnlab.console import console_logging, quiet_lightning
from snnlab.errors import ConfigError
from snnlab.spec.interval import Positive, at_least
from snnlab.spec.override_texts import key_of


@command("find lr", section="look into a network", page="doctor")
def find_lr(
    *overrides: str,
    from_: Positive = 1e-6,
    to: Positive = 1.0,
    steps: Annotated[int, at_least(10)] = 100,
    figure: FigureFile = None,
    config_dir: ConfigDir = None,
) -> None:
    """Propose a learning rate from a few steps of a training.

    The rate grows with each step; the proposal is the rate at which the loss falls fastest. Parameter groups with their
    own rate keep it, and the scheduler is off. It plots the curve and prints the override for snnlab train; it writes
    nothing else and changes no setting.

    Args:
        from_: smallest rate
        to: largest rate
        steps: training steps
        figure: file of the curve

    Examples:
        snnlab find lr model=conv_lif optimizer=sgd --to 10
    """
    if from_ >= to:
        raise ConfigError("find lr: --from", f"must be below --to ({to:g}), got {from_:g}")
    console_logging()
    experiment, folder = compose_experiment(overrides, config_dir)

    from snnlab.session import tuner

    with quiet_lightning():
        draw, override = tuner.propose_rate(experiment, folder, from_, to, steps)
    target = Path(figure) if figure else folder.parent / f"find_lr_{folder.name}.png"
    tuner.write_figure(draw, target)
    print(f"  the curve: {target}")
    if override:
        others = [text for text in overrides if key_of(text) != key_of(override)]
        options_text = [f"--config-dir {config_dir}"] if config_dir is not None else []
        print("  snnlab train", *options_text, *map(shlex.quote, [*others, override]))
