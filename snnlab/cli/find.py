"""`snnlab find`: a learning rate or a batch size from a few steps of training, before the training."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.cli.options import split_options
from snnlab.errors import ConfigError, did_you_mean
from snnlab.settings import key_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from snnlab.config.schema import Experiment
USAGE = """usage: snnlab find lr|batch_size [--figure FILE] [--config-dir DIR] [OVERRIDES]

Propose a value from a few steps of the training that the overrides, those of snnlab train, describe. A curve is drawn;
nothing else is written, and no setting is changed: what to put behind snnlab train is printed.

  lr          the learning rate grows with each step; where the loss falls fastest is proposed. Groups of the optimizer
              with a rate of their own keep it, and the schedule is left out.
              --from 1e-6  --to 1  --steps 100
  batch_size  twice as large each time, as far as memory and the training set go; the smallest is proposed that is as
              fast as the fastest, within 5 %.
              --to 256  --steps 5

  snnlab find lr model=conv_lif optimizer=sgd --to 10
  snnlab find batch_size data=nmnist --figure sizes.png
"""
FINDS = ("lr", "batch_size")
NUMBERS = ("--from", "--to", "--steps")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    what, *rest = arguments or [""]
    if what not in FINDS:
        wrong = f"there is nothing '{what}' to find" if what else "name what to find"
        raise ConfigError("find", wrong, did_you_mean(what, FINDS), FINDS)
    options, overrides = split_options(f"find {what}", rest)
    numbers = {name: _number(name, options[name]) for name in NUMBERS if name in options}
    figure = options.get("--figure")
    if figure is not None:
        from snnlab.runs.plots.network_figure import check_target

        check_target(figure)

    from snnlab.config.compose import compose_once
    from snnlab.console import console_logging, quiet_lightning

    console_logging()
    experiment, folder = compose_once(overrides, options.get("--config-dir"))
    finds = {"lr": _lr, "batch_size": _batch_size}[what]
    with experiment.located_errors(), quiet_lightning():
        draw, override = finds(experiment, folder, numbers)
    target = Path(figure) if figure else folder.parent / f"find_{what}_{folder.name}.png"
    _draw(draw, target)
    print(f"  the curve: {target}")
    if override:
        given = [text for text in overrides if key_of(text) != key_of(override)]
        words = [f"--config-dir {options['--config-dir']}"] if "--config-dir" in options else []
        print("  snnlab train", *words, *map(shlex.quote, [*given, override]))
    return 0


def _lr(experiment: Experiment, folder: Path, numbers: Mapping[str, float]) -> tuple[Callable[[], Figure], str | None]:
    low, high, steps = numbers.get("--from", 1e-6), numbers.get("--to", 1.0), int(numbers.get("--steps", 100))
    if not 0 < low < high < math.inf:
        raise ConfigError("find lr: --from", f"must be > 0 and below --to ({high:g}), got {low:g}")

    from snnlab.session.tuner import find_rate, require_steps, rounded

    require_steps(steps, 10)
    now = experiment.optimizer.get("lr")
    found, exploded = find_rate(experiment, folder, low, high, steps)
    best = None if found.best is None else rounded(found.best)
    end = f"explodes at {found.rates[-1]:.2g}" if exploded else f"does not explode up to {found.rates[-1]:.2g}"
    print(f"{experiment.name}: the loss, {found.smooth[0]:.4g} at first, is lowest at {found.lowest:.2g} and {end}")
    if best is None:
        print("  at no rate did it fall, so none is proposed; see snnlab doctor, or take more --steps")
    else:
        print(f"  it falls fastest at {best:g}, which is proposed (now {now if now is None else format(now, 'g')})")

    def draw() -> Figure:
        from snnlab.session.tuner import draw_losses

        return draw_losses(found.rates, found.losses, found.smooth, best, experiment.name)

    return draw, None if best is None else f"optimizer.lr={best:g}"


def _batch_size(
    experiment: Experiment, folder: Path, numbers: Mapping[str, float]
) -> tuple[Callable[[], Figure], str | None]:
    last, steps = int(numbers.get("--to", 256)), int(numbers.get("--steps", 5))
    if last < 1:
        raise ConfigError("find batch_size: --to", f"must be >= 1, got {last}")

    from snnlab.session.tuner import fastest, require_steps, try_sizes

    require_steps(steps, 3)
    tried, why = try_sizes(experiment, folder, last, steps)
    if not tried:
        raise ConfigError("", f"find batch_size: {why}", "set fewer steps: data.num_bins, or recompute: 10")
    best = fastest(tried)
    print(f"{experiment.name}: batch size, recordings a second, memory of a step")
    for size, speed, memory in tried:
        print(f"  {size:>6} {speed:>9.1f} {'' if memory is None else f'{memory / 1e6:>9,.0f} MB'}")
    print(f"  the largest was {tried[-1].size} ({why}); {best} is as fast as any (now {experiment.data['batch_size']})")
    print(f"  another batch size wants another learning rate: snnlab find lr data.batch_size={best}")

    def draw() -> Figure:
        from snnlab.session.tuner import draw_speeds

        return draw_speeds([t.size for t in tried], [t.recordings_per_s for t in tried], best, experiment.name)

    return draw, f"data.batch_size={best}"


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError("find", f"{name}: expected a number, got '{text}'") from None
    if name == "--steps" and value != int(value):
        raise ConfigError("find", f"--steps: expected a whole number, got '{text}'")
    return value


def _draw(draw: Callable[[], Figure], target: Path) -> None:
    from snnlab.runs.plots.style import default_style

    with default_style():
        figure = draw()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target)
        except OSError as error:
            raise ConfigError("--figure", f"{target} cannot be written ({error.strerror})") from error
