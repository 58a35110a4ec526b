"""The place of a setting before what is said of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from snnlab.errors import ConfigError, did_you_mean


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Put `setting` before what a reduction says of a network whose output it cannot read."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(setting, error) from error


@contextmanager
def located(place: str) -> Iterator[None]:
    """Give a ConfigError, whose place is a setting, its place in the whole, and any other ValueError that place."""
    try:
        yield
    except ConfigError as error:
        raise error.within(place) from error
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error


def chosen(layers: Sequence[str] | None, known: Collection[str], what: str) -> list[str]:
    """Return the layers that are named; a block's name stands for all within it.

    Args:
        layers: Names, or None for all.
        known: All of them, dotted within blocks.
        what: What they are, such as `spiking layer`.

    Raises:
        ConfigError: if there are none, or none of that name.
    """
    if not known:
        raise ConfigError(f"layers: the network has no {what}, so there is nothing to act on")
    found: dict[str, None] = {}
    for name in known if layers is None else layers:
        these = [other for other in known if other == name or other.startswith(f"{name}.")]
        if not these:
            near = did_you_mean(name, known)
            raise ConfigError("layers", f"there is no {what} '{name}'.{near}", allowed=() if near else known)
        found |= dict.fromkeys(these)
    if not found:
        raise ConfigError("layers: names no layer; leave it out for all")
    return list(found)
