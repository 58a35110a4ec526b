"""`snnlab list`: what there is to choose from, and the settings of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from snnlab.commands.options import split_options
from snnlab.config.catalog import description, file_kinds, group_files
from snnlab.config.folders import own_folder
from snnlab.console import until_nobody_reads
from snnlab.docstrings import first_sentence
from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.printable import printable
from snnlab.registry import Registry

USAGE = """usage: snnlab list [KIND [NAME]] [--config-dir DIR]

List what there is to choose from.

  snnlab list                    the kinds
  snnlab list layers             the layers, a line each
  snnlab list layers conv2d      its settings
  snnlab list neurons            types and presets, and which depend on the length of a step
  snnlab list datasets           the datasets, and what of them is on this machine
  snnlab list models conv_lif    the YAML file
"""

# Module and name of each registry, and the settings that name one of its entries.
REGISTRIES = {
    "layers": ("snnlab.nn", "LAYERS", ("model.layers.NAME.type",)),
    "neurons": ("snnlab.nn", "NEURONS", ("neuron.type", "model.layers.NAME.type")),
    "surrogates": ("snnlab.nn", "SURROGATES", ("neuron.surrogate.type", "model.layers.NAME.surrogate.type")),
    "encoders": ("snnlab.nn", "ENCODERS", ("data.encoder.type",)),
    "initialisations": ("snnlab.nn", "INITS", ("model.init.type",)),
    "losses": ("snnlab.training.losses", "LOSSES", ("loss.type", "loss.parts.NAME.type")),
    "regularisers": ("snnlab.training.losses", "REGULARISERS", ("loss.parts.NAME.type",)),
    "datasets": ("snnlab.data.settings", "DATASETS", ("data.type",)),
    "frames": ("snnlab.events.framing", "FRAMES", ("data.frames", "data.frames.type")),
    "augmentations": ("snnlab.data.augment", "AUGMENTATIONS", ("data.augment[].type",)),
    "mixes": ("snnlab.data.mixing", "MIXES", ("data.mix.type",)),
}


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("list", arguments)
    own = own_folder(options.get("--config-dir"))
    if len(words) > 2:
        raise ConfigError("list", f"takes a kind and a name, got {listing(words)}")
    kind, name = (*words, None, None)[:2]
    files = file_kinds(own)
    with until_nobody_reads():
        if kind is None:
            print_kinds(files, own)
        elif kind == "neurons" and name is None:
            from snnlab.commands.list_neurons import print_neurons

            print_neurons(own)
        elif kind == "datasets" and name is None:
            from snnlab.commands.list_datasets import print_datasets

            print_datasets(own)
        elif kind in REGISTRIES:
            list_registry(kind, name)
        elif kind in files:
            list_files(kind, group_files(files[kind], own), name)
        else:
            raise unknown("kind", kind, [*REGISTRIES, *files])
    return 0


def print_kinds(files: dict[str, str], own: Path | None) -> None:
    """Print the kinds, how many there are of each, and where they are named."""
    print("what a YAML file names as type, with its settings:")
    for kind in REGISTRIES:
        print(f"  {kind:15} {len(list(registry(kind))):>3}   {listing(REGISTRIES[kind][2])}")
    print("YAML files, chosen behind the command:")
    for kind, group in files.items():
        print(f"  {kind:15} {len(group_files(group, own)):>3}   {group}=NAME")
    print("\nsnnlab list KIND lists them; snnlab list KIND NAME tells more of one")


def list_registry(kind: str, name: str | None) -> None:
    """Print the entries of a registry, or the settings of one."""
    entries = registry(kind)
    if name is None:
        print_lines((entry, first_sentence(entries.get(entry, kind))) for entry in entries)
    elif name not in entries:
        raise unknown(entries.kind, name, entries)
    else:
        from snnlab.record.settings_table import print_settings

        print_settings(name, entries.get(name, kind), shared_settings(kind))


def list_files(kind: str, files: dict[str, Path], name: str | None) -> None:
    """Print the files of a group, or one of them whole."""
    if name is None:
        print_lines((stem, description(path)) for stem, path in files.items())
    elif name not in files:
        raise unknown(f"file of {kind}", name, files)
    else:
        print(f"# {files[name]}")
        print(printable(files[name].read_text(encoding="utf-8"), "\n\t"), end="")


def registry(kind: str) -> Registry:
    """Return the registry of a kind, with all that registers itself there."""
    module, name, _ = REGISTRIES[kind]
    return getattr(importlib.import_module(module), name)


def shared_settings(kind: str) -> Callable[..., Any] | None:
    """Return what takes the settings that all entries of a kind share, if there are any."""
    if kind != "datasets":
        return None
    from snnlab.data.settings import DataSettings

    return DataSettings


def print_lines(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, in two columns."""
    lines = list(rows)
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        print(f"{name:{width}}   {text}".rstrip())


def unknown(what: str, name: str, options: Iterable[str]) -> ConfigError:
    """Return the error for a kind or a name that is not there."""
    known = list(options)
    near = did_you_mean(name, known)
    return ConfigError("list", f"there is no {what} '{name}'", near, () if near else known)
