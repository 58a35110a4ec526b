"""The grid that `snnlab train -m` is given: what has several values, and what all runs have in common."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snnlab.config.compose import readable_errors
from snnlab.errors import ConfigError, listing


@dataclass(frozen=True)
class Axes:
    """A grid.

    Attributes:
        fixed: Overrides of every run, as typed.
        swept: By setting, an override for each of its values.
    """

    fixed: Sequence[str]
    swept: Mapping[str, Sequence[str]]

    def points(self) -> list[tuple[str, ...]]:
        """Return the overrides of each run, the last setting changing fastest, as with Hydra."""
        return list(itertools.product(*self.swept.values()))

    def values(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return the values of the swept settings among a run's overrides, as words."""
        pairs = (text.lstrip("+~").partition("=") for text in overrides)
        return {key: value for key, _, value in pairs if key in self.swept}


def read_axes(overrides: Sequence[str]) -> Axes:
    """Return the grid of overrides as typed.

    Raises:
        ConfigError: if one cannot be read, has no value, or has the same one twice.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    fixed: list[str] = []
    swept: dict[str, Sequence[str]] = {}
    for text in overrides:
        key, _, said = text.partition("=")
        if not said.strip() and "=" in text:
            raise ConfigError(key, "is empty", f"a grid takes values, such as {key}=1,2")
        with readable_errors():
            parsed = parser.parse_overrides([text])[0]
        if not parsed.is_sweep_override() or not parsed.is_discrete_sweep():
            fixed.append(text)
            continue
        if "glob(" in said:
            raise ConfigError(text, f"name the files, such as {key}=a,b (snnlab list {key})")
        name = parsed.get_key_element()
        values = [f"{name}={value}" for value in parsed.sweep_string_iterator()]
        if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
            raise ConfigError(text, f"{listing(twice)} is there twice", "every run of a grid is another")
        if not values:
            raise ConfigError(text, "has no value, so there is no run")
        swept[name.lstrip("+~")] = values
    return Axes(fixed, swept)
