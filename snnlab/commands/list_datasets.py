"""`snnlab list datasets`: every dataset that can be named, and what of it is on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from platformdirs import user_cache_path

from snnlab.config.catalog import description, group_files
from snnlab.data.settings import DATASETS
from snnlab.docstrings import first_sentence
from snnlab.events.copies import copies
from snnlab.record.run_config import read_raw

LEGEND = """
packed: a training begins at once, unless files have changed since; snnlab data inspect data=NAME looks at it
snnlab list datasets NAME lists the settings, snnlab list data NAME prints the YAML of data=NAME"""


class Line(NamedTuple):
    """A dataset's name, what of it is here, and what it says of itself."""

    name: str
    here: str
    text: str


def dataset_lines(own: Path | None) -> list[Line]:
    """Return a line for each YAML of a dataset, and for each type without one; `own` is the user's folder."""
    packed = packed_stores(user_cache_path("snnlab") / "stores")
    lines = [_of_file(name, path, packed) for name, path in group_files("data", own).items()]
    named = {line.name for line in lines}
    lines += [Line(kind, "", first_sentence(DATASETS.get(kind, kind))) for kind in DATASETS if kind not in named]
    return sorted(lines)


def print_datasets(own: Path | None) -> None:
    """Print a line for each dataset."""
    lines = dataset_lines(own)
    names, here = max(len(line.name) for line in lines), max(len(line.here) for line in lines)
    for line in lines:
        print(f"{line.name:{names}}   {line.here:{here}}   {line.text}".rstrip())
    print(LEGEND)


class Packed(NamedTuple):
    """A packed copy: of which dataset, of recordings in which folder, and how many; 0 if it is damaged."""

    label: str
    origin: str | None
    recordings: int


def packed_stores(folder: Path) -> list[Packed]:
    """Return the packed copies in a folder; those of an earlier format, without checksums of recordings, are none."""
    found = [copy for copy in copies(folder) if (copy.path / "hashes.npy").is_file()]
    return [Packed(copy.label, copy.origin, _recordings(copy.path)) for copy in found]


def _recordings(store: Path) -> int:
    try:
        return np.load(store / "hashes.npy", mmap_mode="r", allow_pickle=False).size
    except (OSError, ValueError, EOFError):
        return 0  # said below; whoever opens it is told more


def _of_file(name: str, path: Path, packed: Sequence[Packed]) -> Line:
    node = read_raw(path)
    settings: dict[str, Any] = {str(k): v for k, v in node.items()} if isinstance(node, Mapping) else {}
    return Line(name, _here(settings, packed), description(path))


def _here(settings: Mapping[str, Any], packed: Sequence[Packed]) -> str:
    kind = settings.get("type")
    factory = DATASETS.get(kind, "data") if kind in DATASETS else None
    own = hasattr(factory, "label") and not hasattr(factory, "folder_name") and "root" in settings
    lie_in = str(Path(str(settings["root"])).expanduser().resolve()) if own else None
    found = [store for store in packed if store.label == getattr(factory, "label", "")]
    # A user's own recordings share a label, and are told apart by where they are.
    if sizes := [store.recordings for store in found if lie_in in (None, store.origin)]:
        return f"packed, {max(sizes):,} recordings" if max(sizes) else "packed, but damaged"
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
