"""`snnlab list datasets`: every dataset that can be named, and what of it is on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from platformdirs import user_cache_path

from snnlab.config.catalog import description, group_files
from snnlab.data.settings import DATASETS
from snnlab.docstrings import first_sentence
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


def packed_stores(folder: Path) -> dict[str, int]:
    """Return by the label of a dataset how many recordings the largest of its packed copies has, 0 if it is damaged."""
    found: dict[str, int] = {}
    for hashes in folder.glob("*-????????????/hashes.npy"):  # stores of an earlier format have none
        label = hashes.parent.name.rsplit("-", 1)[0]
        try:
            size = np.load(hashes, mmap_mode="r", allow_pickle=False).size
        except (OSError, ValueError, EOFError):
            size = 0  # said below; whoever opens it is told more
        found[label] = max(found.get(label, 0), size)
    return found


def _of_file(name: str, path: Path, packed: Mapping[str, int]) -> Line:
    node = read_raw(path)
    settings: dict[str, Any] = {str(k): v for k, v in node.items()} if isinstance(node, Mapping) else {}
    return Line(name, _here(settings, packed), description(path))


def _here(settings: Mapping[str, Any], packed: Mapping[str, int]) -> str:
    kind = settings.get("type")
    factory = DATASETS.get(kind, "data") if kind in DATASETS else None
    if (size := packed.get(getattr(factory, "label", ""))) is not None:
        return f"packed, {size:,} recordings" if size else "packed, but damaged"
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
