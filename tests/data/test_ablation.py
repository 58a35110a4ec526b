"""The information that each control removes, and the information that it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.ablation import Control, build_ablation
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Store
from snnlab.data.events.frames import Batch
from snnlab.data.splits import Split
from snnlab.errors import ConfigError

from ..refusals import assert_raises

# Sensors with and without rows. With this seed every part changes.
pytestmark = pytest.mark.parametrize("tiny_store", [(5, 4, 2), (5, 1, 1)], indirect=True, ids=str)
SEED = 4


def module(store: Store, split: Split, kind: Control | None, seed: int = SEED, **settings: Any) -> EventDataModule:
    settings = {"duration_ms": 1.0, "num_bins": 8, "batch_size": 20, **settings}
    data = DataSettings(store.sensor_size, num_classes=4, **settings)
    done = None if kind is None else build_ablation(kind, split, store.targets, seed, data.duration_us)
    return EventDataModule(store, split, data, seed=seed, ablation=done)


def all_of(module: EventDataModule, part: str) -> Batch:
    """Return the one batch of a part, in the store's order."""
    (events,) = getattr(module, f"{part}_dataloader")()
    batch = module.on_after_batch_transfer(events, 0)
    order = batch.index.argsort()
    return batch._replace(frames=batch.x[:, order], targets=batch.targets[order], index=batch.index[order])


@pytest.mark.parametrize(
    ("kind", "shuffled"),
    [
        ("shuffled_labels", {"train", "val"}),
        ("permuted_test_labels", {"test"}),
        ("shuffled_time", set()),
        ("counts_only", set()),
    ],
)
def test_labels_are_permuted_within_the_parts_that_the_control_names(
    kind: Control, shuffled: set[str], tiny_store: Store, tiny_split: Split
) -> None:
    plain, ablation = module(tiny_store, tiny_split, None), module(tiny_store, tiny_split, kind)
    for part in ("train", "val", "test"):
        one, other = (all_of(each, part).targets for each in (plain, ablation))
        assert torch.equal(one, other) == (part not in shuffled)
        assert torch.equal(one.sort().values, other.sort().values)
    assert torch.equal(all_of(ablation, "train").targets, all_of(ablation, "train").targets)


def test_another_seed_shuffles_labels_otherwise(tiny_store: Store, tiny_split: Split) -> None:
    one, other = (module(tiny_store, tiny_split, "shuffled_labels", seed) for seed in (1, 2))
    assert not torch.equal(all_of(one, "train").targets, all_of(other, "train").targets)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_shuffled_times_keep_the_events_of_each_pixel_and_of_each_step(
    part: str, tiny_store: Store, tiny_split: Split
) -> None:
    plain, ablation = module(tiny_store, tiny_split, None), module(tiny_store, tiny_split, "shuffled_time")
    one, other = (all_of(each, part).x for each in (plain, ablation))
    assert not torch.equal(one, other)
    assert torch.equal(one.sum(0), other.sum(0))
    assert torch.equal(one.flatten(2).sum(2), other.flatten(2).sum(2))
    assert torch.equal(other, all_of(ablation, part).x)


def test_shuffled_times_do_not_depend_on_the_batch(tiny_store: Store, tiny_split: Split) -> None:
    ablation = module(tiny_store, tiny_split, "shuffled_time").ablation
    assert ablation is not None
    together, alone = (
        ablation.apply(tiny_store.gather(np.array([4, 5]))),
        ablation.apply(tiny_store.gather(np.array([5]))),
    )
    assert np.array_equal(together.x[together.offsets[1] :], alone.x)


@pytest.mark.parametrize("frames", ["counts", "binary", "rate", "relative"])
def test_counts_alone_are_the_same_in_each_step_whenever_events_were(
    frames: str, tiny_store: Store, tiny_split: Split
) -> None:
    plain = module(tiny_store, tiny_split, None)
    ablation = module(tiny_store, tiny_split, "counts_only", representation=frames)
    counts, x = all_of(plain, "test").x.sum(0) / 8, all_of(ablation, "test").x
    assert torch.equal(x, x[:1].expand_as(x))
    most = counts.flatten(1).amax(1).view(-1, *[1] * (counts.ndim - 1))
    expected = {"counts": counts, "binary": counts.clamp(max=1), "rate": counts * 8, "relative": counts / most}[frames]
    assert x.shape == all_of(plain, "test").x.shape
    assert torch.allclose(x[0], expected)


@pytest.mark.parametrize("settings", [{"length_from": "recording"}, {"bin_by": "count"}, {"overlap_ms": 0.1}], ids=str)
def test_counts_only_ignores_other_binnings(settings: dict[str, Any], tiny_store: Store, tiny_split: Split) -> None:
    usual, other = (module(tiny_store, tiny_split, "counts_only", **more) for more in ({}, settings))
    one, two = all_of(usual, "val"), all_of(other, "val")
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.lengths, two.lengths)


def test_counts_only_refuses_frames_of_times(tiny_store: Store, tiny_split: Split) -> None:
    with assert_raises(ConfigError, "control", "counts_only", "data.representation"):
        module(tiny_store, tiny_split, "counts_only", representation="time_surface")
