"""The settings of a layer, a neuron, a loss or a dataset as a table on the console."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from snnlab.docstrings import argument_texts, first_sentence
from snnlab.record.tables import Table
from snnlab.settings import settings_of

# What snnlab passes itself where a signature asks for it.
GIVEN = ("in_shape", "dt", "num_steps")


def print_settings(name: str, factory: Callable[..., Any], shared: Callable[..., Any] | None = None) -> None:
    """Print what `factory` takes to stdout.

    Args:
        name: What it is called in a YAML.
        factory: The class or function that is registered.
        shared: What takes the settings that all of its kind have, if there is such.
    """
    print(f"{name}: {first_sentence(factory)}")
    for line in getattr(inspect.unwrap(factory), "equations", ()):  # of neurons
        print(f"    {line}")
    settings, texts = settings_of(factory, GIVEN), argument_texts(factory)
    if shared is not None:
        settings, texts = settings | settings_of(shared), argument_texts(shared) | texts
    rows = [
        [
            *(one.name, one.kind, one.unit),
            *("required" if one.required else as_yaml(one.default), texts.get(one.name, "")),
        ]
        for one in settings.values()
    ]
    Table(("setting", "type", "unit", "default", "meaning"), rows, words=range(5)).print()
    if not rows:
        print("It takes no settings.")


def as_yaml(value: Any) -> str:
    """Return a default as a YAML writes it."""
    if value is None:
        return "null"
    if value == ():
        return "[]"
    return str(value).lower() if isinstance(value, bool) else str(value)
