"""Builds the data module of an experiment, and collects notes and warnings about its data."""

from __future__ import annotations

import numpy as np
import torch

from snnlab.config.schema import Experiment
from snnlab.data.ablation import Ablation, build_ablation
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.dataset import Dataset
from snnlab.data.events import Store
from snnlab.data.inspection import late_events_warning, split_warnings, time_unit_warning, window_warnings
from snnlab.data.splits import Split, merge_validation, overfit_split
from snnlab.errors import ConfigError
from snnlab.nn.losses import Loss
from snnlab.session.build_store import split
from snnlab.session.checks import check_labelled

# Steps per epoch of mode=overfit, which has one batch.
OVERFIT_STEPS = 20
# A window that loses this fraction of all events indicates a wrong unit.
_NEARLY_ALL = 0.95


def make_data_module(experiment: Experiment, data: DataSettings, packed: Store, recordings: Dataset) -> EventDataModule:
    """Split the recordings and build the data module."""
    parts = split(data, packed, recordings)
    if not parts.train.size:
        raise ConfigError(
            "data.val_fraction",
            f"no training recording of {parts.val.size} is left",
            f"set it below {data.val_fraction}",
        )
    check_labelled(packed.targets, data, parts)
    if experiment.fit_on == "train_and_val":
        parts = merge_validation(parts)
    if experiment.mode == "overfit":
        parts = overfit_split(parts, data.batch_size, experiment.seed)
        made, names = ablation(experiment, data, parts, packed), recordings.class_names
        return EventDataModule(packed, parts, data, experiment.seed, OVERFIT_STEPS, class_names=names, ablation=made)
    return EventDataModule(
        packed,
        parts,
        data,
        experiment.seed,
        pipeline=data.pipeline,
        mixing=data.mixing,
        class_names=recordings.class_names,
        ablation=ablation(experiment, data, parts, packed),
    )


def ablation(experiment: Experiment, data: DataSettings, parts: Split, packed: Store) -> Ablation | None:
    """Return the control of the experiment, or None."""
    if experiment.control is None:
        return None
    return build_ablation(experiment.control, parts, packed.targets, experiment.seed, data.duration_us)


def data_notes(data: EventDataModule) -> list[str]:
    """Return notes on the data: sizes, control, hot pixels, and events after the window."""
    split, settings = data.split, data.settings
    if problem := time_unit_warning(data.store, settings):
        raise ConfigError("data.time_unit", problem)
    sizes = f"{split.train.size:,} recordings to train, {split.val.size:,} to validate, {split.test.size:,} to test"
    notes = [f"{sizes}; {settings.steps_text}"]
    if data.ablation is not None:
        notes.append(f"control: {data.ablation.kind}: {data.ablation.description}")
    if data.hot is not None:
        notes.append(f"{int(data.hot.sum()):,} hot pixels above {settings.hot_pixels_hz:g} Hz are removed")
    if data.windows is not None:
        counts = ", ".join(f"{data.windows.of(part).size:,}" for part in (split.train, split.val, split.test))
        return [
            *notes,
            f"split into {counts} windows of {settings.duration_ms:g} ms, one every {settings.stride_ms:g} ms",
        ]
    everything = np.arange(len(data.store))
    outside = data.store.count_outside(everything, settings.duration_us)
    if outside:
        share = outside / data.store.num_events
        note = f"{outside:,} events ({share:.2%}) are after duration_ms = {settings.duration_ms:g} and are dropped"
        warning = late_events_warning(data.store, settings)
        if share > _NEARLY_ALL:
            hint = f"if duration_ms is in seconds, write {1000 * settings.duration_ms:g}"
            raise ConfigError("data.duration_ms", warning or note, hint)
        notes += [note] if warning is None else []
    return notes


def data_warnings(data: EventDataModule) -> list[str]:
    """Return warnings about the split and the window: missing classes, divided groups, most events dropped."""
    names = data.class_names if data.settings.targets == "class" else None
    found = [*split_warnings(data.store, data.split, names), *window_warnings(data.store, data.settings)]
    return [f"data: {line}" for line in found]


def set_class_counts(loss: Loss, data: EventDataModule) -> None:
    """Set the number of training recordings, or windows, of each class in a loss."""
    if data.settings.targets != "class":
        return
    train = data.split.train
    recordings = train if data.windows is None else data.windows.recording[data.windows.of(train)]
    counts = np.bincount(data.store.targets[recordings], minlength=data.settings.num_classes)
    loss.set_class_counts(torch.from_numpy(counts))
