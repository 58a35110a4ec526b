"""From a checked experiment to its recordings: found, packed, split, made into batches."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from platformdirs import user_cache_path

from snnlab.config.goal import check_labelled
from snnlab.config.schema import Experiment
from snnlab.data.duplicates import Duplicates, duplicates, without_duplicates
from snnlab.data.registry import Dataset
from snnlab.data.remarks import remarks, too_early
from snnlab.data.settings import DataSettings, build_dataset, read_settings, read_shared
from snnlab.data.split_file import read_split
from snnlab.data.splits import Fold, Split, make_split, one_batch, with_validation
from snnlab.errors import ConfigError
from snnlab.events import Store, open_or_build
from snnlab.events.build import Recordings, origin_of, store_path
from snnlab.events.copies import Copy, copies_of

if TYPE_CHECKING:
    from snnlab.data.control import Controlled
    from snnlab.data.module import EventDataModule
    from snnlab.training.losses import Loss

_log = logging.getLogger(__name__)

# Steps on the one batch that make up an epoch of mode=overfit.
OVERFIT_STEPS = 20
# Recordings that would be read for longer (s) are read by several processes, which take seconds to start.
ALONE_S = 10.0
# A window that leaves out this part of all events is a slip of the unit.
NEARLY_ALL = 0.95


def data_settings(experiment: Experiment) -> DataSettings:
    """Return the settings that all datasets share."""
    return read_settings(experiment.data)[0]


def shared_data_settings(experiment: Experiment) -> DataSettings:
    """Return the same of a dataset that nobody has registered: of a plugin that is not imported, say."""
    return read_shared(experiment.data)


def dataset(experiment: Experiment) -> Dataset:
    """Find the dataset's recordings on this machine."""
    return build_dataset(experiment.data)


def store(recordings: Dataset, data: DataSettings) -> Store:
    """Open the dataset's packed store, packing it first where there is none; without the camera's motion if so set."""
    folder = store_folder(data)
    known = store_path(recordings, folder).exists()
    packed = open_or_build(
        recordings,
        folder,
        progress=_packing_bar,
        workers=_packing_workers(),
        alone_s=ALONE_S,
        on_bad=data.on_bad_recording,
    )
    earlier = [] if known else earlier_copies(recordings, folder)
    if earlier:
        size = sum(copy.size for copy in earlier) / 1e6
        _log.info(
            f"earlier packed copies of these recordings: {len(earlier)}, {size:,.1f} MB in {folder}; snnlab data clean"
            " --all, with the same overrides, deletes them"
        )
    return packed if data.camera is None else packed.still(data.camera)


def earlier_copies(recordings: Dataset, folder: Path) -> list[Copy]:
    """Return the packed copies in a folder of the recordings as they were before a change, or under other settings."""
    today = store_path(recordings, folder)
    return [copy for copy in copies_of(folder, recordings.label, origin_of(recordings)) if copy.path != today]


def store_folder(data: DataSettings) -> Path:
    """Return the folder in which stores are kept."""
    return Path(data.store_dir).expanduser() if data.store_dir else user_cache_path("snnlab") / "stores"


def split(data: DataSettings, packed: Store, recordings: Dataset) -> Split:
    """Return which of the recordings are for what.

    Raises:
        DataError: if the same recording is in two parts, or there can be no such split.
    """
    chosen = _chosen(data, packed, recordings)
    return without_duplicates(chosen, packed.hashes, packed.sizes, recordings.name, data.on_duplicate)


def find_duplicates(experiment: Experiment) -> Duplicates:
    """Return which recordings of an experiment are in two parts of its split; its recordings are packed.

    Raises:
        SnnlabError: for a mistake in the data's settings, or data that are not there.
    """
    settings, recordings = data_settings(experiment), dataset(experiment)
    packed = store(recordings, settings)
    chosen = _chosen(settings, packed, recordings)
    return duplicates(chosen, packed.hashes, packed.sizes, left_out=settings.on_duplicate == "skip")


def _chosen(data: DataSettings, packed: Store, recordings: Dataset) -> Split:
    """Return the split as it is asked for, whether or not copies are in two parts of it."""
    if data.split_file is not None:
        names = [recordings.name(index) for index in range(len(packed))]
        # Test recordings that were drawn, since nothing says which they are, are not the dataset's own.
        parts = np.zeros_like(packed.split) if getattr(recordings, "draws_test", False) else packed.split
        path, bad = Path(data.split_file).expanduser(), list(packed.bad)
        return read_split(path, names, parts, bad, packed.groups, data.on_divided_group)
    fold = None if data.folds is None else Fold(data.fold, data.folds)
    bad = np.array(list(packed.bad), np.int64)
    return make_split(
        packed.targets, packed.split, data.val_fraction, data.split_seed, packed.groups, fold=fold, bad=bad
    )


def data_module(experiment: Experiment, data: DataSettings, packed: Store, recordings: Dataset) -> EventDataModule:
    """Split the recordings and build the data module.

    Raises:
        ConfigError: if no recording is left for training.
    """
    from snnlab.data.module import EventDataModule

    parts = split(data, packed, recordings)
    if not parts.train.size:
        raise ConfigError(
            "data.val_fraction", f"of {parts.val.size} training recordings none is left", f"lower {data.val_fraction}"
        )
    check_labelled(packed.targets, data, parts)
    if experiment.fit_on == "train_and_val":
        parts = with_validation(parts)
    if experiment.mode == "overfit":
        parts = one_batch(parts, data.batch_size, experiment.seed)
        done = control(experiment, data, parts, packed)
        names = recordings.class_names
        return EventDataModule(packed, parts, data, experiment.seed, OVERFIT_STEPS, class_names=names, control=done)
    return EventDataModule(
        packed,
        parts,
        data,
        experiment.seed,
        pipeline=data.pipeline,
        mixing=data.mixing,
        class_names=recordings.class_names,
        control=control(experiment, data, parts, packed),
    )


def control(experiment: Experiment, data: DataSettings, parts: Split, packed: Store) -> Controlled | None:
    """Return the control that the experiment is, if it is one."""
    from snnlab.data.control import controlled

    if experiment.control is None:
        return None
    return controlled(experiment.control, parts, packed.targets, experiment.seed, data.duration_us)


def data_notes(data: EventDataModule) -> list[str]:
    """Return what the user should know of the data: sizes, a control, and events that the window leaves out.

    Raises:
        ConfigError: if the window leaves out nearly all events, or they are all at its very start.
    """
    split, settings = data.split, data.settings
    if problem := too_early(data.store, settings):
        raise ConfigError("data.time_unit", problem)
    sizes = f"{split.train.size:,} recordings to train, {split.val.size:,} to validate, {split.test.size:,} to test"
    notes = [f"{sizes}; {settings.steps_text}"]
    if data.control is not None:
        notes.append(f"control: {data.control.kind}: {data.control.meaning}")
    if data.hot is not None:
        notes.append(f"{int(data.hot.sum()):,} hot pixels are left out, of more than {settings.hot_pixels_hz:g} Hz")
    if data.windows is not None:
        many = ", ".join(f"{data.windows.of(part).size:,}" for part in (split.train, split.val, split.test))
        return [*notes, f"cut into {many} windows of {settings.duration_ms:g} ms, one every {settings.stride_ms:g} ms"]
    everything = np.arange(len(data.store))
    outside = data.store.count_outside(everything, settings.duration_us)
    if outside:
        share = outside / data.store.num_events
        said = f"{outside:,} events ({share:.2%}) come after duration_ms = {settings.duration_ms:g} and are left out"
        if share > NEARLY_ALL:
            raise ConfigError("data.duration_ms", said, f"if it is in seconds, write {1000 * settings.duration_ms:g}")
        notes.append(said)
    return notes


def data_warnings(data: EventDataModule) -> list[str]:
    """Return what is odd about the split: classes that a part lacks, groups that are divided."""
    names = data.class_names if data.settings.targets == "class" else None
    return [f"data: {line}" for line in remarks(data.store, data.split, names)]


def count_classes(loss: Loss, data: EventDataModule) -> None:
    """Tell a loss how many training recordings, or windows of them, there are of each class."""
    import torch

    if data.settings.targets != "class":
        return
    train = data.split.train
    recordings = train if data.windows is None else data.windows.recording[data.windows.of(train)]
    many = np.bincount(data.store.targets[recordings], minlength=data.settings.num_classes)
    loss.count_classes(torch.from_numpy(many))


def _packing_workers() -> int:
    """Return how many processes may read: as many as there are cores, where a new one begins with snnlab itself.

    A new process runs the main module again, and a user's script that is not written for that would start over.
    """
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    ours = main.stem == "snnlab" or main.parent.name == "snnlab"
    return len(os.sched_getaffinity(0)) if ours and hasattr(os, "sched_getaffinity") else 0


def _packing_bar(recordings: Recordings, total: int, words: str) -> Recordings:
    from rich.console import Console
    from rich.progress import track

    return track(recordings, description=words, total=total, console=Console(stderr=True))
