"""Packs and splits the recordings of an experiment."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from snnlab.data.data_settings import DataSettings
from snnlab.data.dataset import Dataset
from snnlab.data.duplicates import Duplicates, drop_duplicates, duplicates
from snnlab.data.events import Store, open_or_build
from snnlab.data.events.packing import Copy, Recordings, copies_of, default_store_dir, origin_of, store_path
from snnlab.data.splits import Fold, Split, make_split, read_split

_log = logging.getLogger(__name__)

# Longer reading (s) is divided among processes, which take seconds to start.
_SINGLE_PROCESS_S = 10.0


def open_store(recordings: Dataset, data: DataSettings) -> Store:
    """Open the packed store of a dataset, and pack it first if needed; stabilize its recordings if set."""
    folder = store_folder(data)
    known = store_path(recordings, folder).exists()
    packed = open_or_build(
        recordings,
        folder,
        progress=_packing_bar,
        workers=_packing_workers(),
        max_serial_s=_SINGLE_PROCESS_S,
        on_bad=data.on_bad,
    )
    earlier = [] if known else earlier_copies(recordings, folder)
    if earlier:
        size = sum(copy.size for copy in earlier) / 1e6
        _log.info(
            f"earlier packed copies of these recordings: {len(earlier)}, {size:,.1f} MB in {folder}; snnlab data clean"
            " --all, with the same overrides, deletes them"
        )
    return packed if data.camera is None else packed.stabilize(data.camera)


def earlier_copies(recordings: Dataset, folder: Path) -> list[Copy]:
    """Return older packed copies of the recordings: from before a change, or with other settings."""
    today = store_path(recordings, folder)
    return [copy for copy in copies_of(folder, recordings.label, origin_of(recordings)) if copy.path != today]


def store_folder(data: DataSettings) -> Path:
    """Return the folder of packed stores."""
    return Path(data.store_dir).expanduser() if data.store_dir else default_store_dir()


def split(data: DataSettings, packed: Store, recordings: Dataset) -> Split:
    """Split the recordings."""
    chosen = _make_split(data, packed, recordings)
    return drop_duplicates(chosen, packed.hashes, packed.sizes, recordings.name, data.on_bad)


def find_duplicates(data: DataSettings, packed: Store, recordings: Dataset) -> Duplicates:
    """Return the recordings that are in two parts of the split."""
    chosen = _make_split(data, packed, recordings)
    return duplicates(chosen, packed.hashes, packed.sizes, dropped=data.on_bad == "skip")


def _make_split(data: DataSettings, packed: Store, recordings: Dataset) -> Split:
    """Return the split of the settings, without a check for duplicates."""
    if data.split_file is not None:
        names = [recordings.name(index) for index in range(len(packed))]
        # Test recordings that were drawn at random are not a test split of the dataset.
        parts = np.zeros_like(packed.split) if getattr(recordings, "has_no_test_part", False) else packed.split
        path, bad = Path(data.split_file).expanduser(), list(packed.bad)
        return read_split(path, names, parts, bad, packed.groups, data.on_bad)
    fold = None if data.folds is None else Fold(data.fold, data.folds)
    bad = np.array(list(packed.bad), np.int64)
    return make_split(
        packed.targets, packed.split, data.val_fraction, data.split_seed, packed.groups, fold=fold, bad=bad
    )


def _packing_workers() -> int:
    """Return the number of packing processes: the number of cores under the snnlab command, else 0.

    A new process runs the main module again, and a user's script without a main guard would start over.
    """
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    is_snnlab = main.stem == "snnlab" or main.parent.name == "snnlab"
    return len(os.sched_getaffinity(0)) if is_snnlab and hasattr(os, "sched_getaffinity") else 0


def _packing_bar(recordings: Recordings, total: int, description: str) -> Recordings:
    return track(recordings, description=description, total=total, console=Console(stderr=True))
