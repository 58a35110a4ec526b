"""Settings given as Python values, made into the overrides that the command line has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.search.space import written

# How many mappings deep a setting of a group is named: `model.layers.lif1.tau_mem`, and of the others `optimizer.lr`.
_DEPTH = {"model": 3}
# What is taken as it stands, and no value in Hydra's grammar.
_RAW = ("resume",)
_FORM = (
    "takes overrides as on the command line, 'model=mlp_lif', or Python values: model='mlp_lif',"
    " optimizer={'lr': 0.01}, {'trainer.max_epochs': 5}"
)


def as_overrides(given: Sequence[Any], settings: Mapping[str, Any], groups: Collection[str], what: str) -> list[str]:
    """Return settings as overrides, in the order in which they were given.

    Args:
        given: Overrides as on the command line, or mappings of settings to values.
        settings: Further settings, by name.
        groups: Names of the config groups, whose settings a mapping names one by one.
        what: What takes them, for a message.

    Raises:
        TypeError: for what is neither, or no value of a setting.
    """
    found: list[str] = []
    for one in (*given, settings):
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, Mapping):
            found += [text for key, value in one.items() for text in _overrides(key, value, groups, what)]
        else:
            raise TypeError(f"{what} {_FORM}; got {one!r}")
    return found


def _overrides(key: Any, value: Any, groups: Collection[str], what: str) -> Iterator[str]:
    if not isinstance(key, str):
        raise TypeError(f"{what} {_FORM}; got {key!r} as the name of a setting")
    if key in _RAW:
        yield f"{key}={value}"
        return
    for place, each in _places(key, value, _DEPTH.get(key, 1) if key in groups else 0):
        yield f"{place}={written(_plain(each, place, what))}"


def _places(key: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not depth or not isinstance(value, Mapping) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _places(f"{key}.{name}", inner, depth - 1)


def _plain(value: Any, place: str, what: str) -> Any:
    """Return a value that a YAML can hold."""
    if isinstance(value, np.generic | np.ndarray):  # first: a NumPy float is a float too
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}.{key}", what) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(inner, place, what) for inner in value]
    raise TypeError(f"{what}: {place}: {value!r} is no value of a setting")
