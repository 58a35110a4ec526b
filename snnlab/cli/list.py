"""`snnlab list`: layers, neurons, datasets, YAML files; torch is imported only for registries."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from snnlab.cards import without_card
from snnlab.cli.command import ConfigDir, Proposed, command
from snnlab.cli.kinds import ZOO, kinds, names, registry, shared_settings
from snnlab.config.catalogue import REGISTRIES, catalogue
from snnlab.config.folders import PLURALS, description, file_kinds, group_files, user_folder
from snnlab.console import say, until_pipe_closes
from snnlab.data.events.packing import copies, default_store_dir
from snnlab.errors import ConfigError, SnnlabError, did_you_mean, join_names, one_line
from snnlab.files import load_array
from snnlab.printable import printable
from snnlab.spec.docstrings import first_sentence
from snnlab.yaml_files import read_yaml
from snnlab.zoo import PREFIX, run_path, zoo_names

DATASET_LEGEND = """
packed: a training starts at once, unless files have changed since; snnlab data inspect data=NAME describes the dataset
snnlab list datasets NAME lists the settings, snnlab list data NAME prints the YAML of data=NAME"""


class DatasetLine(NamedTuple):
    """A dataset's name, its availability on this machine, and its description."""

    name: str
    availability: str
    text: str


def dataset_lines(user_dir: Path | None) -> list[DatasetLine]:
    """Return a line for each YAML of a dataset, and for each type without one; `user_dir` is the user's folder."""
    packed = packed_copies(default_store_dir())
    lines = [_dataset_of_file(name, path, packed) for name, path in group_files("data", user_dir).items()]
    named = {line.name for line in lines}
    kinds = registry("datasets")
    lines += [DatasetLine(kind, "", first_sentence(kinds.get(kind, kind))) for kind in kinds if kind not in named]
    return sorted(lines)


def print_datasets(user_dir: Path | None) -> None:
    """Print a line for each dataset."""
    print_lines(dataset_lines(user_dir))
    print(DATASET_LEGEND)


class PackedCopy(NamedTuple):
    """A packed copy: its dataset, the folder of its recordings, and their number."""

    label: str
    origin: str | None
    recordings: int


def packed_copies(folder: Path) -> list[PackedCopy]:
    """Return the packed copies in a folder, without those that do not open and are packed again."""
    packed = []
    for copy in copies(folder):
        with suppress(OSError, ValueError):
            packed.append(PackedCopy(copy.label, copy.origin, load_array(copy.path / "hashes.npy").size))
    return packed


def _dataset_of_file(name: str, path: Path, packed: Sequence[PackedCopy]) -> DatasetLine:
    settings = _read_settings(path)
    return DatasetLine(name, _availability_text(settings, packed), description(path))


def _read_settings(path: Path) -> dict[str, Any]:
    node = read_yaml(path)
    return {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}


def _availability_text(settings: Mapping[str, Any], packed: Sequence[PackedCopy]) -> str:
    kind = settings.get("type")
    datasets = registry("datasets")
    factory = datasets.get(kind, "data") if kind in datasets else None
    user_data = hasattr(factory, "label") and not hasattr(factory, "folder_name") and "root" in settings
    root = str(Path(str(settings["root"])).expanduser().resolve()) if user_data else None
    found = [store for store in packed if store.label == getattr(factory, "label", "")]
    # A user's own recordings share a label; their folder distinguishes them.
    if sizes := [store.recordings for store in found if root in (None, store.origin)]:
        return f"packed, {max(sizes):,} recordings"
    folder_name = getattr(factory, "folder_name", None)
    if settings.get("root") == "???":
        return "yours"
    if folder_name is None:
        return "made on first use"
    folder = Path(os.environ.get("SNNLAB_DATA", "data")) / folder_name
    if folder.is_dir():
        return f"in {folder}"
    fetched = any(archive.get("url") for archive in settings.get("archives") or ())
    return "fetched on first use" if fetched else "to be fetched by hand"


# Arguments to build a neuron for its properties, which do not depend on them.
CONTEXT: dict[str, Any] = {"dt": 1.0, "in_shape": (4, 8, 8), "num_steps": 10}
NEURON_LEGEND = """
* its constants or its rate depend on dt; `snnlab show neuron=NAME` shows why
snnlab list neurons NAME lists the settings of a type, snnlab list presets NAME prints the YAML of neuron=NAME"""


class NeuronLine(NamedTuple):
    """A neuron's name, its type, its description, and whether its behaviour is independent of dt."""

    name: str
    kind: str
    text: str
    dt_invariant: bool


def neuron_lines(user_dir: Path | None) -> list[NeuronLine]:
    """Return a line for each YAML of a neuron, and for each type without one; `user_dir` is the user's folder."""
    lines = [_neuron_of_file(name, path) for name, path in group_files("neuron", user_dir).items()]
    named = {line.name for line in lines}
    lines += [_neuron_of_type(kind) for kind in registry("neurons") if kind not in named]
    return sorted(lines)


def print_neurons(user_dir: Path | None) -> None:
    """Print a line for each neuron."""
    lines = neuron_lines(user_dir)
    names, kinds = max(len(line.name) for line in lines), max(len(line.kind) for line in lines)
    for line in lines:
        mark = " " if line.dt_invariant else "*"
        print(f"{line.name:{names}} {mark}  {line.kind:{kinds}}   {line.text}".rstrip())
    print(NEURON_LEGEND)


def _neuron_of_file(name: str, path: Path) -> NeuronLine:
    settings = _read_settings(path)
    kind = settings.pop("type", None)
    try:
        dt_invariant = registry("neurons").build(kind, settings, name, **CONTEXT).dt_invariant
    except SnnlabError as error:  # a user's own file with a mistake: list the others all the same
        return NeuronLine(name, str(kind), f"cannot be built: {one_line(error)}", False)
    return NeuronLine(name, str(kind), description(path), dt_invariant)


def _neuron_of_type(kind: str) -> NeuronLine:
    text = first_sentence(registry("neurons").get(kind, "neuron"))
    try:
        dt_invariant = registry("neurons").build(kind, {}, kind, **CONTEXT).dt_invariant
    except ConfigError:  # it has settings without a default
        dt_invariant = False
    return NeuronLine(kind, kind, text, dt_invariant)


CLASSES = """classes of PyTorch, Lightning and plugins, named as _target_ with their arguments:
  optimizer, scheduler, callbacks.NAME, logger.NAME, trainer.profiler; each has ready files, such as optimizer=sgd
  optimizer={_target_: torch.optim.NAdam, lr: 1e-3} replaces the file; scheduler also takes a type of snnlab
  an argument may be such an object: schedulers: [{_target_: torch.optim.lr_scheduler.LinearLR}, ...]"""
CARDS = "snnlab.session.model_card"  # it brings torch, as the registries do
ZOO_TABLE = "snnlab.runs.zoo_table"  # it brings OmegaConf, as all readers of runs do


@command("list", section="data and files", page="layers", synonyms=("ls",))
def list_(
    kind: Annotated[str | None, Proposed(kinds)] = None,
    name: Annotated[str | None, Proposed(names)] = None,
    *,
    config_dir: ConfigDir = None,
) -> None:
    """List layers, neurons, datasets, models, ... and their settings: what a configuration can name.

    Args:
        kind: what is listed, a line each; without it the kinds
        name: one of them, with its settings or its YAML file

    Examples:
        snnlab list                    the kinds
        snnlab list layers             the layers, a line each
        snnlab list layers conv2d      its settings
        snnlab list neurons            types and presets, and which depend on dt
        snnlab list datasets           the datasets, and which are on this machine
        snnlab list models conv_lif    its picture, parameters, operations and source, then the YAML file
        snnlab list presets cuba_lif   the YAML file
        snnlab list zoo                trained networks that come with snnlab, zoo:NAME in place of a run
    """
    user_dir = user_folder(config_dir)
    files = file_kinds(user_dir)
    with until_pipe_closes():
        if kind is None:
            print_kinds(files, user_dir)
        elif kind == "neurons" and name is None:
            print_neurons(user_dir)
        elif kind == "datasets" and name is None:
            print_datasets(user_dir)
        elif kind in REGISTRIES:
            list_registry(kind, name)
        elif kind == ZOO:
            list_zoo(name)
        elif kind in files:
            list_files(kind, group_files(files[kind], user_dir), name, user_dir)
        else:
            raise unknown("kind", kind, [*REGISTRIES, *files, ZOO])


def print_kinds(files: dict[str, str], user_dir: Path | None) -> None:
    """Print the kinds, the number of entries of each, and the settings that name them."""
    print("types, named in a YAML file with their settings:")
    for kind in REGISTRIES:
        print(f"  {kind:15} {len(catalogue().names(kind)):>3}   {join_names(REGISTRIES[kind].named_by)}")
    print("YAML files, chosen on the command line:")
    for kind, group in files.items():
        print(f"  {kind:15} {len(group_files(group, user_dir)):>3}   {group}=NAME")
    print("trained networks, in place of a run's folder:")
    print(f"  {ZOO:15} {len(zoo_names()):>3}   {PREFIX}NAME")
    print(CLASSES)
    print("\nsnnlab list KIND lists them; snnlab list KIND NAME describes one")


def list_registry(kind: str, name: str | None) -> None:
    """Print the entries of a registry, or the settings of one."""
    entries = registry(kind)
    if name is None:
        print_lines((entry, first_sentence(entries.get(entry, kind))) for entry in entries)
    elif name not in entries:
        raise unknown(entries.kind, name, entries)
    else:
        from snnlab.runs.console_tables import print_settings

        print_settings(name, entries.get(name, kind), REGISTRIES[kind].supplied, shared_settings(kind))


def list_files(kind: str, files: dict[str, Path], name: str | None, user_dir: Path | None) -> None:
    """Print the files of a group, or the text of one; that of a model after its card."""
    if name is None:
        print_lines((stem, description(path)) for stem, path in files.items())
        return
    if name not in files:
        raise unknown(f"file of {kind}", name, files)
    text = printable(files[name].read_text(encoding="utf-8"), "\n\t")
    if kind == PLURALS["model"]:
        cards = importlib.import_module(CARDS)
        say(*cards.card_lines(cards.model_card(name, files[name], user_dir)), "")
        text = without_card(text)
    print(f"# {files[name]}")
    print(text, end="")


def list_zoo(name: str | None) -> None:
    """Print the trained networks that come with snnlab, or the card of one."""
    if name is None:
        print_lines(importlib.import_module(ZOO_TABLE).zoo_table())
        return
    folder = run_path(f"{PREFIX}{name}")
    cards = importlib.import_module(CARDS)
    say(*cards.card_lines(cards.zoo_card(name)), "", f"# {folder}")


def print_lines(rows: Iterable[Sequence[str]]) -> None:
    """Print names and descriptions in columns."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("   ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def unknown(what: str, name: str, options: Iterable[str]) -> ConfigError:
    """Return the error for a kind or a name that does not exist."""
    known = list(options)
    near = did_you_mean(name, known)
    return ConfigError("list", f"there is no {what} '{name}'", near, () if near else known)
