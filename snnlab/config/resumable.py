"""Which settings a resumed run may have otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnlab.config.references import asks_outside
from snnlab.errors import ConfigError, listing
from snnlab.record.runs_table import flat

# What changes how long, where and how visibly a run trains, and nothing that it learns from.
MAY_CHANGE = (
    "trainer.max_epochs",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "tags",
    "logger",
    "pictures",
    "monitors",
    "threads",
    "checkpoint_every_s",
    "test",
    "data.num_workers",
    "data.root",
    "data.store_dir",
    "data.download",
)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the settings that differ between two records of an experiment: `{setting: [before, now]}`.

    Args:
        before: What the run recorded.
        now: The same with overrides.

    Raises:
        ConfigError: if one of them is part of what the run is.
    """
    one, other = flat(before), flat(now)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    for name in names:
        if asks_outside(one.get(name)):  # recorded as a reference, which whoever goes on may name a value for
            continue
        if not any(name == free or name.startswith(f"{free}.") for free in MAY_CHANGE):
            raise ConfigError(
                name,
                f"a resumed run goes on with {one.get(name)!r}, and only {listing(MAY_CHANGE)} may change",
                "snnlab train init_from=RUN ... begins another run with its weights",
            )
    return {name: [one.get(name), other.get(name)] for name in names}
