from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Sampler

from snnlab.data.augmentation import build_pipeline
from snnlab.data.data_module import BatchIndex, BatchSampler, EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, Store, open_or_build
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.data.events.representation import REPRESENTATIONS
from snnlab.data.mixing import build_mixing
from snnlab.data.splits import Split
from snnlab.event_frames import EventFrames

STEPS, WINDOW_US = 5, 1000

# From Python 3.12 on, starting a loader's worker in a process with threads warns; torch forks all the same.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def _module(store: Store, split: Split, **changes: Any) -> EventDataModule:
    settings: dict[str, Any] = {"duration_ms": WINDOW_US / 1000, "num_bins": STEPS, "batch_size": 4, **changes}
    return EventDataModule(store, split, DataSettings(store.sensor_size, num_classes=4, **settings), seed=3)


def _frame_by_frame(store: Store, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """Count one recording's events one by one."""
    frames = np.zeros((STEPS, *shape))
    events = store[place]
    for n in range(events.t.size):
        if events.t[n] < WINDOW_US:
            where = [] if len(shape) == 1 else [int(events.p[n]) if shape[0] == 2 else 0]
            where += [] if events.y is None else [int(events.y[n])]
            frames[(int(events.t[n]) * STEPS // WINDOW_US, *where, int(events.x[n]))] += 1
    return frames


def _batches(module: EventDataModule, stage: str) -> list[EventBatch]:
    return list(getattr(module, f"{stage}_dataloader")())


def test_a_batch_becomes_the_frames_of_its_recordings(tiny_store: Store, tiny_split: Split) -> None:
    module = _module(tiny_store, tiny_split)
    seen = []
    for packed in _batches(module, "train"):
        batch = module.on_after_batch_transfer(packed, 0)
        B, shape = batch.targets.numel(), module.settings.frame_shape
        assert isinstance(batch, Batch)
        assert batch.x.shape == (STEPS, B, *shape)
        assert batch.lengths.tolist() == [STEPS] * B
        np.testing.assert_array_equal(batch.targets.numpy(), tiny_store.targets[batch.index.numpy()])
        for b, place in enumerate(batch.index.tolist()):
            np.testing.assert_array_equal(batch.x[:, b].numpy(), _frame_by_frame(tiny_store, place, shape))
        seen += batch.index.tolist()
    assert sorted(seen) == tiny_split.train.tolist()


class _Long:
    """Two recordings of 1,000,000 events at 1 MHz."""

    label, sensor_size, groups = "long", (4, 4, 2), None
    targets, split = np.arange(2), np.zeros(2, np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def __len__(self) -> int:
        return 2

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Events:
        t = np.arange(1_000_000)
        return Events(t, (t % 4).astype(np.int16), (t // 4 % 4).astype(np.int16), t % 3 == 0)


def test_memory_of_a_batch_is_that_of_its_windows(tmp_path: Path) -> None:
    store, places = open_or_build(_Long(), tmp_path), np.arange(2)
    tracemalloc.start()
    module = _module(store, Split(places, places, places, ""), num_bins=2, hot_pixels_hz=1e9)
    (batch,) = module.val_dataloader()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.t.numel() == 2 * WINDOW_US
    assert most < 1_000_000  # a recording has 13 MB


@pytest.mark.parametrize("tiny_store", [(5, 4, 2)], indirect=True, ids=str)
@pytest.mark.parametrize(
    ("representation", "changes"),
    [
        (name, changes)
        for name in sorted(REPRESENTATIONS)
        for changes in ({}, {"length_from": "recording"}, {"bin_by": "count"}, {"overlap_ms": 0.25})
        if not (REPRESENTATIONS.get(name, "").needs_times and changes.keys() & {"bin_by", "overlap_ms"})  # type: ignore[attr-defined]
    ],
    ids=str,
)
def test_frames_are_those_of_whole_recordings(
    representation: str, changes: dict[str, Any], tiny_store: Store, tiny_split: Split
) -> None:
    module = _module(tiny_store, tiny_split, duration_ms=0.7, representation=representation, **changes)
    for batch in _batches(module, "val"):
        cut = module.frame_builder(batch)
        whole = module.frame_builder(EventBatch.from_packed(tiny_store.gather(batch.index.numpy())))
        assert torch.equal(cut.x, whole.x)
        assert torch.equal(cut.lengths, whole.lengths)


@pytest.mark.parametrize("tiny_store", [(5, 4, 2)], indirect=True, ids=str)
@pytest.mark.parametrize(
    "nodes",
    [
        [{"type": "time_shift", "most": 0.4}],
        [{"type": "time_scale", "scale": [0.3, 2.0]}],
        [{"type": "time_scale", "scale": [0.5, 0.9]}, {"type": "time_shift", "most": 0.2}, {"type": "flip_x"}],
        [{"type": "reverse"}, {"type": "time_shift", "most": 0.1}],
    ],
    ids=str,
)
def test_events_that_augmentations_move_into_the_window_are_read(
    nodes: list[dict[str, Any]], tiny_store: Store, tiny_split: Split
) -> None:
    pipeline = build_pipeline(nodes, {}, 4, (5, 4, 2))
    settings = DataSettings((5, 4, 2), 4, 0.3, num_bins=3, batch_size=20)
    module = EventDataModule(tiny_store, tiny_split, settings, seed=3, pipeline=pipeline)
    for epoch in range(5):
        loader = module.train_dataloader()
        assert isinstance(loader.sampler, BatchSampler)
        loader.sampler.set_epoch(epoch)
        (batch,) = loader
        whole = pipeline.augment(tiny_store.gather(batch.index.numpy()), 3, epoch)
        assert torch.equal(module.frame_builder(batch).x, module.frame_builder(EventBatch.from_packed(whole)).x)


def test_batches_of_windows_of_one_recording_are_mixed_each_in_its_own_way(tmp_path: Path) -> None:
    store, places = open_or_build(_Long(), tmp_path), np.arange(2)
    settings = DataSettings((4, 4, 2), 2, 1.0, num_bins=2, batch_size=8, stride_ms=1.0, hot_pixels_hz=None)
    module = EventDataModule(store, Split(places, places, places, ""), settings, seed=3)
    module.mixing = build_mixing({"type": "mixup"})
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.training = True
    weights = []
    for place in range(20):  # all of recording 0
        assert module.windows is not None
        batch = EventBatch.from_packed(module.windows.gather(store, np.arange(8) + 8 * place))
        done = module.on_after_batch_transfer(module.on_before_batch_transfer(batch, 0), 0)
        assert done.mix is not None
        weights.append(float(done.mix.weight[0]))
    assert len(set(weights)) == 20


@pytest.mark.parametrize("length_from", ["window", "recording"])
def test_lengths_of_another_device_are_known_in_host_memory(
    length_from: str, tiny_store: Store, tiny_split: Split
) -> None:
    here, away = (_module(tiny_store, tiny_split, length_from=length_from) for _ in range(2))
    meta = torch.device("meta")  # refuses to be read
    away.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    away.trainer.strategy._root_device = meta  # type: ignore[attr-defined]
    for packed in _batches(here, "val"):
        expected = here.on_after_batch_transfer(here.on_before_batch_transfer(packed, 0), 0)
        moved = away.transfer_batch_to_device(away.on_before_batch_transfer(packed, 0), meta, 0)
        batch = away.on_after_batch_transfer(moved, 0)
        assert (batch.x.device, batch.lengths.device, batch.x.shape) == (meta, meta, expected.x.shape)
        short = expected.lengths if (expected.lengths < STEPS).any() else None
        for known in (expected.short_lengths, batch.short_lengths):
            assert (known is None) == (short is None)
            assert known is None or (known.device.type == "cpu" and torch.equal(known, expected.lengths))


def test_changed_lengths_count_where_they_can_be_read() -> None:
    batch = Batch(torch.zeros(4, 2, 3), torch.tensor([4, 4]), torch.zeros(2), torch.arange(2), host_lengths=[4, 4])
    assert batch.short_lengths is None
    changed = batch._replace(lengths=torch.tensor([1, 4])).short_lengths
    assert changed is not None
    assert changed.tolist() == [1, 4]


@pytest.mark.parametrize("tiny_store", [(5, 4, 2)], indirect=True, ids=str)
def test_lists_are_passed_on_if_allowed_and_frames_are_unchanged(tiny_store: Store, tiny_split: Split) -> None:
    module = _module(tiny_store, tiny_split)
    (packed, *_), expected = _batches(module, "train"), module.on_after_batch_transfer
    assert isinstance(expected(packed, 0).frames, Tensor)
    module.allow_lists = True
    batch = module.on_after_batch_transfer(packed, 0)
    assert isinstance(batch.frames, EventFrames)
    module.allow_lists = False
    assert torch.equal(batch.x, expected(packed, 0).x)
    module.allow_lists, module.mixing = True, build_mixing({"type": "eventmix"})
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for training, kind in ((True, Tensor), (False, EventFrames)):
        module.trainer.training = training
        assert isinstance(module.on_after_batch_transfer(packed, 0).frames, kind)


def test_frames_of_another_precision_are_never_lists(tiny_store: Store, tiny_split: Split) -> None:
    module = _module(tiny_store, tiny_split)
    module.allow_lists = True
    module.trainer = L.Trainer(precision="64-true", accelerator="cpu", logger=False, enable_checkpointing=False)
    assert module.on_after_batch_transfer(_batches(module, "train")[0], 0).x.dtype == torch.float64


class _Watcher(L.LightningModule):
    """Notes the recordings of each training and validation batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.validated: list[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.trained.append([])

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert isinstance(batch, Batch)
        self.trained[-1] += batch.index.tolist()
        return self.weight * batch.x.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated[-1] += batch.index.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("tiny_store", [(5, 4, 2)], indirect=True, ids=str)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_trainer_gives_each_epoch_its_own_order(
    tiny_store: Store, tiny_split: Split, workers: int, quiet_trainer: Any
) -> None:
    watcher = _Watcher()
    quiet_trainer(max_epochs=3).fit(watcher, datamodule=_module(tiny_store, tiny_split, num_workers=workers))
    expected: Sampler[BatchIndex] = BatchSampler(tiny_split.train, 4, seed=3)
    for epoch, order in enumerate(watcher.trained):
        expected.set_epoch(epoch)
        assert order == np.concatenate([draw.indices for draw in expected]).tolist()
    assert len({tuple(order) for order in watcher.trained}) == 3
    assert watcher.validated == [tiny_split.val.tolist()] * 3


class _Frames(_Watcher):
    """Notes the batches too."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.unmixed: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.unmixed.append(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.unmixed.append(batch)


def _fitted(store: Store, split: Split, trainer: Any, mix: dict[str, Any] | None, workers: int = 0) -> _Frames:
    module = _module(store, split, num_workers=workers, mix=mix)
    module.mixing = module.settings.mixing
    frames = _Frames()
    trainer.fit(frames, datamodule=module)
    trainer.test(frames, datamodule=module, verbose=False)
    return frames


@pytest.mark.long
@pytest.mark.parametrize(
    ("tiny_store", "kind"),
    [((5, 4, 2), "mixup"), ((5, 1, 1), "cutmix"), ((5, 4, 2), "eventmix")],
    indirect=["tiny_store"],
    ids=str,
)
def test_training_batches_are_mixed_alike_for_any_number_of_workers_and_no_others_are(
    tiny_store: Store, tiny_split: Split, quiet_trainer: Any, kind: str
) -> None:
    plain, *found = (
        _fitted(tiny_store, tiny_split, quiet_trainer(max_epochs=2), mix, workers)
        for mix, workers in ((None, 0), ({"type": kind}, 0), ({"type": kind}, 2))
    )
    for others in found[1:]:
        for one, other in zip(found[0].batches, others.batches, strict=True):
            assert one.mix is not None
            assert other.mix is not None
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.mix.weight, other.mix.weight)
            assert torch.equal(one.mix.targets, other.mix.targets)
    assert all(batch.mix is None for batch in plain.batches)
    assert any(not torch.equal(one.x, two.x) for one, two in zip(plain.batches, found[0].batches, strict=True))
    assert len(plain.unmixed) > 2
    for one, two in zip(plain.unmixed, found[0].unmixed, strict=True):
        assert two.mix is None
        assert torch.equal(one.x, two.x)


def test_validation_and_test_come_in_the_stores_order(tiny_store: Store, tiny_split: Split) -> None:
    module = _module(tiny_store, tiny_split, batch_size=3)
    for stage, part in (("val", tiny_split.val), ("test", tiny_split.test)):
        assert torch.cat([batch.index for batch in _batches(module, stage)]).tolist() == part.tolist()
