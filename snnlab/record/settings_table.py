"""The settings of a layer, a neuron, a loss or a dataset as a table on the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich import box
from rich.table import Table

from snnlab.console import table_console
from snnlab.docstrings import argument_texts, first_sentence
from snnlab.settings import Setting, describe_type, settings_of

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
    settings, texts = settings_of(factory, GIVEN), argument_texts(factory)
    if shared is not None:
        settings, texts = settings | settings_of(shared), argument_texts(shared) | texts
    if settings:
        table_console().print(settings_table(settings, texts))
    else:
        print("It takes no settings.")


def settings_table(settings: dict[str, Setting], texts: dict[str, str]) -> Table:
    """Return the settings with type, unit, default and meaning."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("setting", no_wrap=True)
    for column in ("type", "unit", "default", "meaning"):
        table.add_column(column)
    for setting in settings.values():
        default = "required" if setting.required else as_yaml(setting.default)
        table.add_row(
            setting.name, describe_type(setting.annotation), setting.unit, default, texts.get(setting.name, "")
        )
    return table


def as_yaml(value: Any) -> str:
    """Return a default as a YAML writes it."""
    if value is None:
        return "null"
    if value == ():
        return "[]"
    return str(value).lower() if isinstance(value, bool) else str(value)
