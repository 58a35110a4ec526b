from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_source import ToySource

from snnlab.data.events import Packed, SensorSize, frames, open_or_build
from snnlab.data.events.frames import Batch, EventBatch, frames_of_batch, list_frames
from snnlab.errors import DataError
from snnlab.event_frames import EventFrames

from ...marks import mostly_long
from ...refusals import assert_raises

SENSORS: list[SensorSize] = [(5, 4, 3), (5, 4, 2), (5, 4, 1), (5, 1, 2), (5, 1, 1)]


@pytest.fixture(params=["as on a CPU", "as on a GPU", "by way of lists"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the frames by the code of each kind of device, or as lists of events, if possible."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(frames, "_count_on_cpu", frames._count_by_scatter)
    if request.param == "by way of lists":
        monkeypatch.setattr(frames, "_count_on_cpu", _listed)


def _listed(batch: EventBatch, *settings: Any) -> Tensor:
    found = None if batch.y is None else list_frames(batch, *settings)
    return frames._count_by_scatter(batch, *settings) if found is None else found.dense.permute(0, 1, 3, 4, 2)


def _packed(seed: int, sensor_size: SensorSize, duration: int, num_bins: int) -> Packed:
    """Four recordings, one empty; times include every edge of the bins and of the window."""
    rng = np.random.default_rng(seed)
    edges = [-(-k * duration // num_bins) for k in range(num_bins + 1)]
    special = [t for edge in edges for t in (edge - 1, edge, edge + 1) if t >= 0]
    columns, sizes = [], []
    for extra in (0, 60, -1, 7):
        t = [] if extra < 0 else np.sort(np.concatenate([special, rng.integers(0, 2 * duration, extra)]))
        columns.append(np.asarray(t, np.int64))
        sizes.append(len(t))
    count = sum(sizes)
    x = rng.integers(0, sensor_size[0], count).astype(np.int16)
    y = rng.integers(0, sensor_size[1], count).astype(np.int16) if sensor_size[1] > 1 else None
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    p = rng.random(count) < 0.5 if sensor_size[2] < 3 else rng.integers(0, sensor_size[2], count).astype(np.uint8)
    return Packed(np.concatenate(columns), x, y, p, offsets, np.arange(4), np.arange(4) + 10)


def _naive(packed: Packed, num_bins: int, duration: int, sensor_size: SensorSize) -> np.ndarray:
    """Count one event after the other, by the definition, in `[T, B, P, H, W]`."""
    width, height, polarities = sensor_size
    frames = np.zeros((num_bins, packed.targets.size, polarities, height, width), np.float32)
    for b in range(packed.targets.size):
        for i in range(int(packed.offsets[b]), int(packed.offsets[b + 1])):
            t = int(packed.t[i])
            if 0 <= t < duration:
                row = 0 if packed.y is None else packed.y[i]
                polarity = int(packed.p[i]) if polarities > 1 else 0
                frames[t * num_bins // duration, b, polarity, row, packed.x[i]] += 1
    return frames


def _frames(packed: Packed, num_bins: int, duration: int, sensor_size: SensorSize) -> Batch:
    batch = EventBatch.from_packed(packed)
    return frames_of_batch(batch, num_bins=num_bins, duration_us=duration, sensor_size=sensor_size)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("sensor_size", SENSORS)
@pytest.mark.parametrize(("num_bins", "duration"), mostly_long([(1, 1), (10, 1000), (7, 1000), (30, 100), (3, 2)], 2))
def test_every_event_of_the_window_is_in_its_frame_once(sensor_size: SensorSize, num_bins: int, duration: int) -> None:
    packed = _packed(0, sensor_size, duration, num_bins)
    x = _frames(packed, num_bins, duration, sensor_size).x
    expected = _naive(packed, num_bins, duration, sensor_size)
    assert int(x.sum()) == int((packed.t < duration).sum()) > 0
    np.testing.assert_array_equal(x.numpy().reshape(expected.shape), expected)


@pytest.mark.usefixtures("_either_way")
def test_the_last_microsecond_is_in_and_the_next_is_out() -> None:
    one = np.zeros(2, np.int16)
    packed = Packed(np.array([999, 1000]), one, one, np.ones(2, bool), np.array([0, 2]), np.array([0]), np.array([0]))
    x = _frames(packed, 10, 1000, (5, 4, 2)).x
    assert x.sum() == 1
    assert x[9, 0, 1, 0, 0] == 1


@pytest.mark.usefixtures("_either_way")
def test_negative_times_are_dropped() -> None:
    packed = _packed(0, (5, 4, 2), 1000, 10)
    shifted = packed._replace(t=packed.t - 300)
    assert int(_frames(shifted, 10, 1000, (5, 4, 2)).x.sum()) == int(((shifted.t >= 0) & (shifted.t < 1000)).sum())


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize(
    ("sensor_size", "shape", "memory"),
    [
        ((5, 4, 2), (6, 4, 2, 4, 5), (0, 1, 3, 4, 2)),
        ((5, 4, 1), (6, 4, 1, 4, 5), (0, 1, 3, 4, 2)),
        ((5, 1, 2), (6, 4, 2, 5), (0, 1, 3, 2)),
        ((5, 1, 1), (6, 4, 5), (0, 1, 2)),
    ],
)
def test_shapes_are_channels_first_and_memory_is_channels_last(
    sensor_size: SensorSize, shape: tuple[int, ...], memory: tuple[int, ...]
) -> None:
    batch = _frames(_packed(0, sensor_size, 1000, 6), 6, 1000, sensor_size)
    assert batch.x.shape == shape
    assert batch.x.dtype == torch.float32
    assert batch.x.permute(memory).is_contiguous()
    if len(shape) == 5:
        assert batch.x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert batch.lengths.tolist() == [6] * 4
    assert batch.lengths.dtype == torch.int64
    assert batch.index.tolist() == [10, 11, 12, 13]


@pytest.mark.usefixtures("_either_way")
def test_long_windows_in_many_bins_do_not_overflow() -> None:
    one = np.ones(1, np.int16)
    duration = 3_600_000_000
    packed = Packed(
        np.array([duration - 1]), one, one, np.ones(1, bool), np.array([0, 1]), np.array([0]), np.array([0])
    )
    assert _frames(packed, 1000, duration, (5, 4, 2)).x[999, 0, 1, 1, 1] == 1


@pytest.mark.usefixtures("_either_way")
def test_no_recordings_make_an_empty_batch() -> None:
    nothing = np.empty(0, np.int16)
    packed = Packed(
        np.empty(0, np.int64),
        nothing,
        nothing,
        np.empty(0, bool),
        np.zeros(1, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
    )
    assert _frames(packed, 3, 10, (5, 4, 2)).x.shape == (3, 0, 2, 4, 5)


@pytest.mark.usefixtures("_either_way")
def test_deterministic_mode_gives_the_same_frames() -> None:
    packed = _packed(1, (5, 4, 2), 1000, 10)
    expected = _frames(packed, 10, 1000, (5, 4, 2)).x
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(_frames(packed, 10, 1000, (5, 4, 2)).x, expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_frames_of_a_gathered_store_leave_the_events_as_they_were(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    packed = store.gather(np.arange(8))
    before = packed.t.copy()
    batch = EventBatch.from_packed(packed)
    assert batch.t.data_ptr() == packed.t.ctypes.data
    x = frames_of_batch(batch, num_bins=9, duration_us=700, sensor_size=store.sensor_size).x
    assert int(x.sum()) == packed.t.size - store.count_outside(np.arange(8), 700)
    np.testing.assert_array_equal(packed.t, before)


@pytest.mark.parametrize("sensor_size", [(4, 4, 2), (5, 3, 2), (5, 1, 2)])
def test_a_sensor_that_does_not_fit_is_refused(sensor_size: SensorSize) -> None:
    with assert_raises(DataError, ""):
        _frames(_packed(0, (5, 4, 2), 1000, 10), 10, 1000, sensor_size)


def test_a_polarity_that_does_not_fit_is_refused() -> None:
    packed = _packed(0, (5, 4, 3), 1000, 10)
    with assert_raises(DataError, "", 0):
        _frames(packed, 10, 1000, (5, 4, 2))


@pytest.mark.usefixtures("_either_way")
def test_the_order_of_events_does_not_matter() -> None:
    packed = _packed(0, (5, 4, 2), 1000, 10)
    order = np.concatenate([np.arange(b, a)[::-1] for b, a in zip(packed.offsets, packed.offsets[1:], strict=False)])
    assert packed.y is not None
    turned = packed._replace(t=packed.t[order], x=packed.x[order], y=packed.y[order], p=packed.p[order])
    assert torch.equal(_frames(turned, 10, 1000, (5, 4, 2)).x, _frames(packed, 10, 1000, (5, 4, 2)).x)


def test_events_that_are_not_in_order_of_time_have_no_lists() -> None:
    packed = _packed(0, (5, 4, 2), 1000, 10)
    settings = 10, 1000, (5, 4, 2)
    found = list_frames(EventBatch.from_packed(packed), *settings)
    assert isinstance(found, EventFrames)
    assert found.rows.dtype == found.columns.dtype == np.int32
    packed.t[[packed.offsets[1] + 1, packed.offsets[2] - 1]] = 999, 0
    assert list_frames(EventBatch.from_packed(packed), *settings) is None


@pytest.mark.parametrize("sensor_size", [(4, 4, 2), (5, 3, 2), (5, 4, 1)])
def test_lists_raise_the_same_errors_as_frames(sensor_size: SensorSize) -> None:
    batch = EventBatch.from_packed(_packed(0, (5, 4, 3), 1000, 10))
    if sensor_size[2] == 1:  # polarities are ignored
        assert isinstance(list_frames(batch, 10, 1000, sensor_size), EventFrames)
        return
    with assert_raises(DataError, "", "sensor"):
        list_frames(batch, 10, 1000, sensor_size)


def test_lists_of_large_frames_hold_each_cell_once() -> None:
    rng = np.random.default_rng(0)
    size: SensorSize = (131, 67, 2)  # rows of more than two words of 64 cells
    x, y, p = (rng.integers(0, top, 9000) for top in size)
    columns = np.sort(rng.integers(0, 1000, 9000)), x.astype(np.int16), y.astype(np.int16), p.astype(bool)
    packed = Packed(*columns, np.array([0, 8000, 9000]), np.arange(2), np.arange(2))
    found = list_frames(EventBatch.from_packed(packed), 3, 1000, size)
    assert found is not None
    expected = _frames(packed, 3, 1000, size).x
    assert torch.equal(found.dense, expected)
    assert found.dense.stride() == expected.stride()
    assert np.diff(found.offsets).sum() == expected.count_nonzero()


@pytest.mark.parametrize("wrong", [[0], [0, 9, 8, 9], [-1, 7, 8, 9], [0, 7, 8, 9, 9], []])
def test_offsets_that_do_not_fit_the_columns_are_refused(wrong: list[int]) -> None:
    packed = _packed(0, (5, 4, 2), 1000, 10)
    offsets = [*wrong, len(packed.t)] if wrong else [0, 7, 8, 9, len(packed.t) + 1]
    with assert_raises(ValueError, "offsets"):
        _frames(packed._replace(offsets=np.array(offsets)), 10, 1000, (5, 4, 2))


def test_a_batch_shows_types_and_shapes(tmp_path: Path) -> None:
    batch = EventBatch.from_packed(open_or_build(ToySource(), tmp_path).gather(np.arange(2)))
    made = frames_of_batch(batch, num_bins=4, duration_us=1000, sensor_size=(7, 5, 2))
    assert repr(made) == "Batch(frames=float32 [4, 2, 2, 5, 7], lengths=int64 [2], targets=int64 [2], index=int64 [2])"
    assert repr(batch).startswith(f"EventBatch(t=int64 [{batch.t.numel()}], x=int16 ")
    lists = list_frames(batch, 4, 1000, (7, 5, 2))
    assert lists is not None
    assert repr(made._replace(frames=lists)).startswith("Batch(frames=lists of events [4, 2, 2, 5, 7], ")


@pytest.mark.parametrize(("num_bins", "duration"), [(0, 10), (10, 0), (-1, 10)])
def test_times_that_are_not_finite_are_refused(num_bins: int, duration: int) -> None:
    with assert_raises(ValueError, "positive"):
        _frames(_packed(0, (5, 4, 2), 1000, 10), num_bins, duration, (5, 4, 2))
