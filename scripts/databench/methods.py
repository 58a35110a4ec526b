"""The methods that bin the same recordings into frames, each from its own format.

Axes: T steps, B recordings, P polarities, H rows, W columns.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.config.compose import compose_experiment
from snnlab.data.data_module import EventDataModule
from snnlab.data.events import Packed
from snnlab.data.events.frames import EventBatch, frames_of_batch
from snnlab.session import Session

# Yields the frames of all batches; the consumer keeps no batch, as in a training.
BatchPass = Callable[[], Iterator[Tensor]]


class Workload(NamedTuple):
    """A dataset, and the recordings of each batch."""

    data: EventDataModule
    batches: list[np.ndarray]

    @property
    def window(self) -> dict[str, Any]:
        """The arguments of binning: number of bins, duration, sensor size."""
        settings = self.data.settings
        return {"num_bins": settings.steps, "duration_us": settings.duration_us, "sensor_size": settings.size}

    @property
    def events(self) -> float:
        """Mean events of a recording."""
        store = self.data.store
        return store.num_events / len(store)


class Method(NamedTuple):
    """A method that makes frames.

    Attributes:
        description: The timed work.
        prepare: Converts the recordings, and returns a function that makes the frames of all batches; it may use a
            folder.
    """

    description: str
    prepare: Callable[[Workload, Path], BatchPass]


def work(overrides: list[str], recordings: int, batch: int) -> Workload:
    """Return the first batches of recordings of a training."""
    experiment, _ = compose_experiment([*overrides, f"data.batch_size={batch}"], None)
    data = Session(experiment).data
    draws = islice(data.train_dataloader().sampler, max(1, recordings // batch))
    return Workload(data, [draw.indices for draw in draws])


def read_and_frame(work: Workload, folder: Path) -> BatchPass:
    store = work.data.store
    return lambda: (frames_of_batch(EventBatch.from_packed(store.gather(b)), **work.window).x for b in work.batches)


def frame_only(work: Workload, folder: Path) -> BatchPass:
    events = [EventBatch.from_packed(packed) for packed in gather_batches(work)]
    return lambda: (frames_of_batch(batch, **work.window).x for batch in events)


def load_batches(work: Workload, folder: Path) -> BatchPass:
    def turn() -> Iterator[Tensor]:
        for batch in islice(work.data.train_dataloader(), len(work.batches)):
            yield work.data.on_after_batch_transfer(batch, 0).x

    return turn


def to_frame(work: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Return tonic's transform for these frames."""
    from tonic.transforms import ToFrame

    settings = work.data.settings
    step = settings.duration_us / settings.steps
    return ToFrame(settings.size, time_window=step, start_time=0, end_time=settings.duration_us)


def tonic(work: Workload, folder: Path) -> BatchPass:
    from tonic.collation import PadTensors

    collate, make = PadTensors(batch_first=False), to_frame(work)
    batches = [[structured(work, place) for place in batch] for batch in work.batches]
    return lambda: (collate([(make(events), 0) for events in batch])[0].float() for batch in batches)


class _Framed:
    """A dataset of frames for tonic's caches."""

    def __init__(self, work: Workload) -> None:
        self.work, self.make = work, to_frame(work)

    def __len__(self) -> int:
        return len(self.work.data.store)

    def __getitem__(self, place: int) -> tuple[np.ndarray, int]:
        return self.make(structured(self.work, place)), 0


def tonic_cache(work: Workload, folder: Path, form: str) -> BatchPass:
    """Return a function that reads tonic's cached frames through a DataLoader; the cache is filled before."""
    from tonic.cached_dataset import DiskCachedDataset, MemoryCachedDataset
    from tonic.collation import PadTensors
    from torch.utils.data import DataLoader

    framed: Any = _Framed(work)
    cached: Any = (
        MemoryCachedDataset(framed)
        if form == "memory"
        else DiskCachedDataset(framed, cache_path=tempfile.mkdtemp(dir=folder))
    )
    places = [batch.tolist() for batch in work.batches]
    loader = DataLoader(cached, batch_sampler=places, collate_fn=PadTensors(batch_first=False))
    deque(loader, maxlen=0)
    return lambda: (x.float() for x, _ in loader)


def structured(work: Workload, place: int) -> np.ndarray:
    """Return a recording in the format of tonic's datasets."""
    recording = work.data.store[place]
    events = np.empty(recording.t.size, np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    for name in "xytp":
        events[name] = getattr(recording, name)
    return events


def numpy(work: Workload, folder: Path, form: str) -> BatchPass:
    """Return a function that bins with bincount, per recording or per batch."""
    num_bins, duration, (width, height, polarities) = work.window.values()
    frame = height * width * polarities

    def cells(t: np.ndarray, recording: np.ndarray | int, of: int, packed: Packed, span: slice) -> np.ndarray:
        inside = t < duration
        assert packed.y is not None
        pixel = (packed.y[span].astype(np.int64) * width + packed.x[span]) * polarities + packed.p[span]
        return (((t * num_bins // duration) * of + recording) * frame + pixel)[inside]

    def of_batch(packed: Packed) -> Tensor:
        B = packed.targets.size
        if form == "batch":
            recording = np.repeat(np.arange(B), np.diff(packed.offsets))
            found = cells(packed.t, recording, B, packed, slice(None))
            x = np.bincount(found, minlength=num_bins * B * frame).astype(np.float32)
        else:
            x = np.empty((num_bins, B, frame), np.float32)
            for b, ends in enumerate(zip(packed.offsets[:-1], packed.offsets[1:], strict=True)):
                found = cells(packed.t[slice(*ends)], 0, 1, packed, slice(*ends))
                x[:, b] = np.bincount(found, minlength=num_bins * frame).reshape(num_bins, frame)
        shaped = torch.from_numpy(x).view(num_bins, B, height, width, polarities)
        return shaped.permute(0, 1, 4, 2, 3)

    batches = gather_batches(work)
    return lambda: (of_batch(packed) for packed in batches)


def gather_batches(work: Workload) -> list[Packed]:
    """Return the batches' events, in memory."""
    return [work.data.store.gather(batch) for batch in work.batches]


METHODS = {
    "snnlab": Method("reading, collating, frames", read_and_frame),
    "snnlab_loader": Method("the same through its DataLoader", load_batches),
    "snnlab_frames": Method("frames", frame_only),
    "tonic": Method("frames (ToFrame), collating", tonic),
    "tonic_memory": Method("cached in memory, DataLoader", partial(tonic_cache, form="memory")),
    "tonic_disk": Method("cached on disk, DataLoader", partial(tonic_cache, form="disk")),
    "numpy_recording": Method("frames (bincount of a recording)", partial(numpy, form="recording")),
    "numpy_batch": Method("frames (bincount of a batch)", partial(numpy, form="batch")),
}
OURS, RIVAL = "snnlab", "tonic"
