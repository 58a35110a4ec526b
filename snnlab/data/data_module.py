"""The Lightning data module: reads packed events from the store and makes frames on the training device."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from snnlab.data.ablation import Ablation
from snnlab.data.augmentation import Pipeline
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Store
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.data.hot_pixels import hot_pixels
from snnlab.data.mixing import Mixing
from snnlab.data.splits import Split, group_numbers
from snnlab.data.windows import Windows
from snnlab.seeds import Stream, generator


class BatchIndex(NamedTuple):
    """A batch to load: indices into the store, and the epoch."""

    indices: np.ndarray
    epoch: int


# A subclass of torch's DistributedSampler, since Lightning leaves those as they are and would divide the batches of
# any other sampler among the processes a second time.
class BatchSampler(DistributedSampler[BatchIndex]):
    """Yield the batches of an epoch; their order depends on (seed, epoch) alone.

    With several processes, each reads every `world`-th recording of the same order, and all have the same number of
    batches. No recording comes twice: the shares of the processes may differ by one. For training, one batch of all
    processes together is the batch of one process with `world` times the batch size, so the last batches may differ by
    one recording; `sizes` returns by how many. If fewer recordings are left than there are processes, some processes
    get the first recording of the order, with weight 0. For evaluation each share is divided evenly into batches.

    Args:
        indices: Indices into the store.
        batch_size: Recordings per batch and process; the last batch may be smaller. In an evaluation with batch size 1
            and shares of different size, larger shares have a batch of two.
        seed: The run's seed; None keeps the given order, for evaluation.
        repeats: Number of times that the batches of an epoch are repeated.
        rank: Rank of this process, 0 <= rank < world.
        world: Number of processes.
        resume_from: Epoch in which a resumed training starts, and the number of batches of that epoch to skip.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        seed: int | None,
        repeats: int = 1,
        rank: int = 0,
        world: int = 1,
        resume_from: tuple[int, int] = (0, 0),
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not one of {world} processes")
        if seed is None and 0 < len(indices) < world:
            raise ValueError(f"{len(indices)} recordings cannot be divided among {world} processes")
        self.indices, self.batch_size, self.seed, self.repeats = indices, batch_size, seed, repeats
        self.rank, self.num_replicas = rank, world
        self.resume_from = resume_from
        self.epoch = resume_from[0]  # workers load the first batches before Lightning sets the epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that decides the order; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._batches * self.repeats

    def sizes(self, batch: int) -> tuple[int, int]:
        """Return the recordings of a training batch that have weight 1, of this process (may be 0) and of all."""
        size = self.batch_size * self.num_replicas
        of_all = min(size, len(self.indices) - batch % self._batches * size)
        return -(-(of_all - self.rank) // self.num_replicas), of_all

    def __iter__(self) -> Iterator[BatchIndex]:
        share = self._share()
        if self.seed is None and self.num_replicas > 1 and share.size:
            batches = np.array_split(share, self._batches)
        else:
            starts = range(0, self._batches * self.batch_size, self.batch_size)
            batches = [share[start : start + self.batch_size] for start in starts]
        skipped = self.resume_from[1] if self.epoch == self.resume_from[0] else 0
        for batch in (batches * self.repeats)[skipped:]:
            yield BatchIndex(batch, self.epoch)

    @property
    def _batches(self) -> int:
        least, more = divmod(len(self.indices), self.num_replicas)
        batches = -(-(least + (more > 0)) // self.batch_size)
        return min(batches, least) if self.seed is None else batches

    def _share(self) -> np.ndarray:
        """Return this process's recordings of the epoch, in order."""
        if self.seed is None:
            return self.indices[self.rank :: self.num_replicas]
        order = generator(self.seed, Stream.ORDER, self.epoch).permutation(self.indices)
        share = order[self.rank :: self.num_replicas]
        if share.size % self.batch_size == 0 and share.size < self._batches * self.batch_size:
            share = np.append(share, order[:1])
        return share


# Time that a worker continues after SIGTERM or SIGHUP, for a last batch and a checkpoint.
_GRACE_S = 5


class _RecordingBatches(Dataset[EventBatch]):
    """Batches of packed recordings or windows, by their indices; training batches are augmented.

    Only the window of a recording is read; with augmentations that move events in time, as far as these need.
    """

    def __init__(
        self,
        store: Store,
        windows: Windows | None,
        duration_us: int,
        ablation: Ablation | None = None,
        pipeline: Pipeline | None = None,
        seed: int | None = None,
    ) -> None:
        self.store, self.windows, self.ablation = store, windows, ablation
        self.pipeline = pipeline if pipeline is not None and pipeline.steps and seed is not None else None
        self.seed = seed
        self.until_us = duration_us if self.pipeline is None else self.pipeline.read_until_us(duration_us)

    def __getitem__(self, batch_index: BatchIndex) -> EventBatch:
        if self.windows is None:
            packed = self.store.gather(batch_index.indices, duration_us=self.until_us)
        else:
            packed = self.windows.gather(self.store, batch_index.indices)
        if self.ablation is not None:
            packed = self.ablation.apply(packed)
        if self.pipeline is not None and self.seed is not None:
            packed = self.pipeline.augment(packed, self.seed, batch_index.epoch)
        return EventBatch.from_packed(packed)


class _Loader(DataLoader[EventBatch]):
    """A loader that claims to be resumable (its sampler resumes); Lightning warns about loaders that do not."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dict: the checkpoint holds the position already."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignore the state."""


def _init_worker(worker: int) -> None:
    """Ignore Ctrl-C in a worker, and delay SIGTERM and SIGHUP: all processes get them, and the parent ends its batch.

    Only delay: multiprocessing itself ends a worker by SIGTERM and then waits for its end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda *_: signal.alarm(_GRACE_S))


class EventDataModule(L.LightningDataModule):
    """Moves packed events to the device and makes frames there; each of several processes loads its own share.

    Args:
        store: The packed recordings.
        split: The training, validation and test recordings.
        settings: Window, bins, batch size, workers.
        seed: The run's seed, for the order of the training recordings and for their augmentation.
        repeats: Number of times that an epoch repeats the training recordings.
        pipeline: Augmentations of the training recordings.
        mixing: Mixing of training recordings with each other.
        class_names: Names of the classes; None: their numbers.
        ablation: The information to remove from all recordings; None: nothing.

    Attributes:
        resume_from: Epoch and batch in which a resumed training starts.
        allow_lists: Whether batches may hold lists of events instead of dense frames, because the network accepts them.
        in_pieces: Whether frames of training batches are made in pieces of time, when they are asked for.
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        settings: DataSettings,
        seed: int,
        repeats: int = 1,
        pipeline: Pipeline | None = None,
        mixing: Mixing | None = None,
        class_names: Sequence[str] | None = None,
        ablation: Ablation | None = None,
    ) -> None:
        super().__init__()
        self.class_names = None if class_names is None else list(class_names)
        self.mixing = mixing
        self._first: tuple[int, ...] = (0,)
        self.repeats, self.pipeline = repeats, pipeline
        self.store, self.split, self.settings, self.seed = store, split, settings, seed
        self.resume_from: tuple[int, int] = (0, 0)
        self.allow_lists = self.in_pieces = False
        self.hot = None if settings.hot_pixels_hz is None else hot_pixels(store, split.train, settings)
        frame_builder, self.ablation = settings.frame_builder(self.hot), ablation
        self.frame_builder = frame_builder if ablation is None else ablation.frame_builder(frame_builder)
        stride_us = settings.stride_us
        self.windows = None if stride_us is None else Windows.cut(store, stride_us, settings.duration_us)

    def first_batch(self, device: torch.device) -> Batch:
        """Return the first training batch as the network gets it."""
        events = self.on_before_batch_transfer(next(iter(self.train_dataloader())), 0)
        return self.on_after_batch_transfer(self.transfer_batch_to_device(events, device, 0), 0)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches, in a new order each epoch."""
        return self._loader(self.split.train, self.seed, self.repeats, self.pipeline)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return the validation batches, in the store's order; an empty list if nothing is held out."""
        return self._loader(self.split.val, None) if self.split.val.size else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches, in the store's order."""
        return self._loader(self.split.test, None)

    def gather_events(
        self, items: np.ndarray, pipeline: Pipeline | None = None, seed: int = 0, epoch: int = 0
    ) -> EventBatch:
        """Return the packed events of recordings, or of windows if recordings are cut, as in an evaluation.

        Args:
            items: Indices into the store; of windows, indices into `self.windows`.
            pipeline: Changes of the recordings, or None.
            seed: Seed of the changes.
            epoch: Number of the repetition; each has its own changes.

        Shape:
            items: `[B]`.
        """
        batches = _RecordingBatches(self.store, self.windows, self.settings.duration_us, self.ablation, pipeline, seed)
        return batches[BatchIndex(items, epoch)]

    def batches_of(self, items: np.ndarray) -> Iterator[Batch]:
        """Yield recordings, or windows, in their order as batches of frames, as in an evaluation.

        Shape:
            items: as for `gather_events`.
        """
        for first in range(0, len(items), self.settings.batch_size):
            events = self.gather_events(items[first : first + self.settings.batch_size])
            yield self.on_after_batch_transfer(events, 0)

    def epoch_items(self, part: np.ndarray) -> np.ndarray:
        """Return the items of an epoch of some recordings: the recordings themselves, or their windows."""
        return part if self.windows is None else self.windows.of(part)

    @property
    def groups(self) -> np.ndarray:
        """Number of the person or other group of each recording of the store, int64 `[R]`."""
        return group_numbers(self.store.groups, len(self.store))

    def sizes(self) -> dict[str, int]:
        """Return the number of recordings of each part, and of windows and groups if there are any."""
        found: dict[str, int] = {}
        for name in ("train", "val", "test"):
            part: np.ndarray = getattr(self.split, name)
            found[f"{name}_size"] = part.size
            if self.windows is not None:
                found[f"{name}_windows"] = self.windows.of(part).size
            if self.store.groups is not None:
                found[f"{name}_groups"] = np.unique(self.groups[part]).size
        return found

    def batches(self, world: int = 1) -> dict[str, int]:
        """Return the batches of an epoch in each of `world` processes, by part."""
        size, split = self.settings.batch_size, self.split
        parts = {
            "train": (self.epoch_items(split.train), self.seed, self.repeats),
            "val": (self.epoch_items(split.val), None, 1),
            "test": (self.epoch_items(split.test), None, 1),
        }
        return {
            name: len(BatchSampler(items, size, seed, repeats, 0, world if items.size >= world else 1))
            for name, (items, seed, repeats) in parts.items()
        }

    def on_before_batch_transfer(self, batch: EventBatch, dataloader_idx: int) -> EventBatch:
        """Read what the host needs of the batch here, since reading it later makes the CPU wait.

        That is the index of the first recording or window, and, for another device, the valid steps.
        """
        window = () if batch.start is None else (int(batch.start[0]),)
        self._first = (int(batch.index[0]), *window)
        if self._device == "cpu":
            return batch
        return batch._replace(host_lengths=self.frame_builder.host_lengths(batch))

    def on_after_batch_transfer(self, batch: EventBatch, dataloader_idx: int) -> Batch:
        """Convert the events to frames, on the device, and mix training batches."""
        trainer = self.trainer
        mixes = self.mixing is not None and trainer is not None and trainer.training
        precise = trainer is None or trainer.precision == "32-true"
        plain = precise and not mixes
        in_pieces = self.in_pieces and plain and trainer is not None and trainer.training
        frames = self.frame_builder(batch, allow_lists=self.allow_lists and plain, in_pieces=in_pieces)
        if trainer is not None and not precise:  # Lightning has converted the events only, which have no precision
            frames = trainer.precision_plugin.convert_input(frames)
        if self.mixing is None or trainer is None or not mixes:
            return frames
        return self.mixing(frames, generator(self.seed, Stream.MIXING, trainer.current_epoch, *self._first))

    @property
    def _device(self) -> str:
        """Type of the device that trains."""
        return "cpu" if self.trainer is None else self.trainer.strategy.root_device.type

    def _loader(
        self, indices: np.ndarray, seed: int | None, repeats: int = 1, pipeline: Pipeline | None = None
    ) -> DataLoader[Any]:
        workers, trainer = self.settings.num_workers, self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        resume_from = (0, 0) if seed is None else self.resume_from
        return _Loader(
            _RecordingBatches(self.store, self.windows, self.settings.duration_us, self.ablation, pipeline, seed),
            sampler=BatchSampler(
                self.epoch_items(indices), self.settings.batch_size, seed, repeats, rank, world, resume_from
            ),
            batch_size=None,  # the sampler yields whole batches
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device == "cuda",
            worker_init_fn=_init_worker,
        )
