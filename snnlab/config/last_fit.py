"""A last training on training and validation recordings together, in which nothing can be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError


def require_no_monitor(experiment: Experiment) -> None:
    """Raise if something waits for validation figures that this training has not.

    Raises:
        ConfigError: then, naming it.
    """
    for place, monitor in _monitors(experiment) if experiment.fit_on == "train_and_val" else ():
        if monitor.startswith("val/"):
            raise ConfigError(
                f"{place}: waits for {monitor}, and with fit_on: train_and_val nothing is validated; set"
                " trainer.max_epochs and a schedule that does without"
            )


def _monitors(experiment: Experiment) -> Iterator[tuple[str, str]]:
    for name, node in (experiment.callbacks or {}).items():
        if isinstance(node, Mapping) and isinstance(node.get("monitor"), str):
            yield f"callbacks.{name}.monitor", node["monitor"]
    scheduler = experiment.scheduler or {}
    if str(scheduler.get("_target_", "")).endswith("ReduceLROnPlateau"):
        yield "scheduler.monitor", str(scheduler.get("monitor", "val/loss"))
