"""Events to frames, each kind against plain Python, and against tonic where tonic is right."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.data.events import Events, representation as kinds
from snnlab.data.events.frames import EventBatch, count_frames
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps
from snnlab.errors import ConfigError, DataError
from snnlab.event_frames import EventFrames

from ...refusals import assert_raises

W, H, DURATION = 6, 5, 1000
SIZES = (40, 0, 1, 300)
SENSOR = (W, H, 2)


def _batch(rows: bool = True, seed: int = 0) -> EventBatch:
    """Return recordings of several sizes, some events later than the window."""
    rng = np.random.default_rng(seed)
    t = np.concatenate([np.sort(rng.integers(0, DURATION + 200, size)) for size in SIZES])
    x, y, p = (rng.integers(0, top, t.size) for top in (W, H, 2))
    offsets = np.concatenate([[0], np.cumsum(SIZES)])
    columns = [t, x.astype(np.int16), y.astype(np.int16), p.astype(bool), offsets, np.arange(len(SIZES))]
    t, x, y, p, offsets, index = (torch.from_numpy(column) for column in columns)
    return EventBatch(t, x, y if rows else None, p, offsets, index, index)


def _events(batch: EventBatch) -> list[list[tuple[int, int, int, int]]]:
    """Return (t, x, y, p) of the events of each recording, those of the window."""
    rows = torch.zeros_like(batch.x) if batch.y is None else batch.y
    table = torch.stack([batch.t, batch.x.long(), rows.long(), batch.p.long()], 1).tolist()
    ends = batch.offsets.tolist()
    return [[tuple(row) for row in table[start:stop] if row[0] < DURATION] for start, stop in itertools.pairwise(ends)]


def _make(
    kind: str = "counts", region: Region | None = None, length_from: Any = "window", **settings: Any
) -> FrameBuilder:
    steps = {name: settings.pop(name) for name in ("bin_by", "events_per_bin", "overlap_us") if name in settings}
    num_bins = settings.pop("num_bins", 7)
    of_sensor = region or Region(SENSOR)
    return FrameBuilder(
        of_sensor,
        Steps(DURATION, num_bins, **steps),
        REPRESENTATIONS.build(kind, settings, "representation"),
        length_from,
    )


def _expected(batch: EventBatch, channels: int, value: Callable[..., float], num_bins: int = 7) -> Tensor:
    """Return frames [T, B, C, H, W] of `value(step, channel, events of the cell)`."""
    x = torch.zeros(num_bins, len(SIZES), channels, H, W)
    for b, events in enumerate(_events(batch)):
        cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for t, column, row, p in events:
            cells.setdefault((row, column), []).append((t, p))
        for (row, column), those in cells.items():
            for step in range(num_bins):
                for channel in range(channels):
                    x[step, b, channel, row, column] = value(step, channel, those)
    return x


def _step(t: int, num_bins: int = 7) -> int:
    return t * num_bins // DURATION


def assert_close(frames: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=1e-5)


def test_binary_is_whether_there_is_any() -> None:
    batch = _batch()
    assert torch.equal(_make("binary")(batch).x, (_make()(batch).x > 0).float())


def test_relative_is_the_part_of_the_frames_largest_count() -> None:
    batch = _batch()
    counts = _make()(batch).x
    frames = _make("relative")(batch).x
    most = counts.amax((2, 3, 4), keepdim=True)
    assert most[:, 1].max() == 0  # a recording without events
    assert_close(frames, torch.where(most > 0, counts / most.clamp(min=1), 0.0))
    assert torch.equal(frames.amax((2, 3, 4)), (most > 0).float()[:, :, 0, 0, 0])


def test_relative_frames_without_rows_or_polarities_are_theirs_too() -> None:
    line = _batch(rows=False)
    frames = _make("relative", Region((W, 1, 2)), merge=True)(line).x
    assert frames.shape == (7, len(SIZES), W)
    assert torch.equal(frames.amax(2) == 1, _make("counts", Region((W, 1, 2)), merge=True)(line).x.sum(2) > 0)


def test_rate_is_events_per_ms() -> None:
    batch = _batch()
    assert_close(_make("rate")(batch).x, _make()(batch).x / (DURATION / 7 / 1000))


def test_signed_is_on_minus_off() -> None:
    batch = _batch()
    counts = _make()(batch).x
    assert torch.equal(_make("signed")(batch).x, counts[:, :, 1:] - counts[:, :, :1])


@pytest.mark.parametrize("kind", ["counts", "binary", "time_surface", "decaying_surface"])
def test_merged_polarities_equal_a_sensor_with_one_polarity(kind: str) -> None:
    batch = _batch()
    blind = batch._replace(p=torch.zeros_like(batch.p))
    merged = _make(kind, merge=True)
    assert merged.shape == (1, H, W)
    assert torch.equal(merged(batch).x, _make(kind)(blind).x[:, :, :1])


def test_a_voxel_grid_shares_each_event_between_the_two_nearest_middles() -> None:
    batch = _batch()

    def value(step: int, channel: int, events: list[tuple[int, int]]) -> float:
        places = [(min(max(t * 7 / DURATION - 0.5, 0), 6), 1 if p else -1) for t, p in events]
        return sum(sign * max(0.0, 1 - abs(place - step)) for place, sign in places)

    frames = _make("voxel_grid")(batch).x
    assert_close(frames, _expected(batch, 1, value))
    signs = [sum(1 if p else -1 for *_, p in events) for events in _events(batch)]
    assert_close(frames.sum((0, 2, 3, 4)), torch.tensor(signs).float())


def test_a_time_surface_holds_the_age_of_the_last_event() -> None:
    batch = _batch()

    def value(step: int, channel: int, events: list[tuple[int, int]]) -> float:
        before = [t for t, p in events if p == channel and _step(t) <= step]
        return float(np.exp((max(before) - (step + 1) * DURATION / 7) / 300)) if before else 0.0

    assert_close(_make("time_surface", tau=0.3)(batch).x, _expected(batch, 2, value))


def test_in_a_decaying_surface_every_event_fades_by_itself() -> None:
    batch = _batch()

    def value(step: int, channel: int, events: list[tuple[int, int]]) -> float:
        before = [t for t, p in events if p == channel and _step(t) <= step]
        return float(sum(np.exp((t - (step + 1) * DURATION / 7) / 300) for t in before))

    assert_close(_make("decaying_surface", tau=0.3)(batch).x, _expected(batch, 2, value))


@pytest.mark.parametrize("overlap", [0, 142])
def test_the_column_of_an_event_is_its_level(overlap: int) -> None:
    batch, expected = _batch(), torch.zeros(7, len(SIZES), 2, H, 1)
    for b, events in enumerate(_events(batch)):
        for (t, x, y, p), step in itertools.product(events, range(7)):
            first, end = (-(-k * DURATION // 7) for k in (step, step + 1))
            expected[step, b, p, y, 0] += (x + 1) / W if first <= t < end + overlap else 0.0
    frame_builder = _make("level", overlap_us=overlap)
    assert frame_builder.shape == (2, H, 1)
    assert_close(frame_builder(batch).x, expected)


def test_with_a_range_the_first_and_the_last_column_are_its_ends() -> None:
    batch = _batch()
    plain, ranged = _make("level")(batch).x, _make("level", range=[-2.0, 4.0])(batch).x
    counts = _make()(batch).x.sum(-1, keepdim=True)
    assert_close(ranged, -2.0 * counts + (plain * W - counts) * 6.0 / (W - 1))
    with assert_raises(ConfigError, "representation.range", "[1, 1]"):
        _make("level", range=[1, 1])


def test_whole_levels_are_the_numbers_from_one_to_the_number_of_columns() -> None:
    plain, whole = _make("level"), _make("level", range=[1, W])
    assert torch.equal(whole(_batch()).x, (plain(_batch()).x * W).round())
    found = [one.representation.denominator(W) for one in (plain, whole, _make(), _make("rate"))]
    assert found == [W, 1, 1, None]
    assert _make("level", range=[1, W + 1]).representation.denominator(W) is None


@pytest.mark.parametrize("overlap", [1, 142, 143, 400])
def test_an_overlapping_frame_has_the_first_events_of_the_next_one(overlap: int) -> None:
    batch = _batch()

    def value(step: int, channel: int, events: list[tuple[int, int]]) -> float:
        first, end = (-(-k * DURATION // 7) for k in (step, step + 1))
        return sum(first <= t < end + overlap for t, p in events if p == channel)

    assert torch.equal(_make(overlap_us=overlap)(batch).x, _expected(batch, 2, value))


def test_frames_that_overlap_many_times_never_hold_more_events_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, seen = _batch(), list[int]()

    def counted(events: EventBatch, *others: Any) -> Tensor:
        seen.append(events.t.numel())
        return count_frames(events, *others)

    monkeypatch.setattr(kinds, "count_frames", counted)
    frames = _make(overlap_us=800, num_bins=100)(batch)
    assert set(seen) == {batch.t.numel()}
    assert frames.x[0].sum() == sum(t < 810 for events in _events(batch) for t, *_ in events)


@pytest.mark.parametrize(("num_bins", "per_bin"), [(7, None), (7, 60), (3, 60), (1, None)])
def test_steps_by_count_hold_events_in_their_order(num_bins: int, per_bin: int | None) -> None:
    batch = _batch()
    frames = _make(bin_by="count", num_bins=num_bins, events_per_bin=per_bin)(batch)
    for b, events in enumerate(_events(batch)):
        expected = torch.zeros(num_bins, 2, H, W)
        for number, (_, x, y, p) in enumerate(events):
            step = number // per_bin if per_bin else number * num_bins // len(events)
            if step < num_bins:
                expected[step, p, y, x] += 1
        assert torch.equal(frames.x[:, b], expected)
        used = min(max(-(-len(events) // per_bin), 1), num_bins) if per_bin else num_bins
        assert frames.lengths[b] == used


def test_a_recording_is_over_after_its_last_event() -> None:
    batch = _batch()
    frames = _make(length_from="recording", num_bins=50)(batch)
    last = [_step(events[-1][0], 50) + 1 if events else 1 for events in _events(batch)]
    assert frames.lengths.tolist() == last
    for b, length in enumerate(last):
        assert frames.x[length:, b].sum() == 0


def test_sensors_without_rows() -> None:
    batch = _batch(rows=False)
    line = Region((W, 1, 2))
    assert _make(region=line).shape == (2, W)
    assert _make(region=line)(batch).x.shape == (7, 4, 2, W)
    for kind in ("time_surface", "decaying_surface", "counts"):
        merged = _make(kind, region=line, merge=True)
        assert merged.shape == (W,)
        assert merged(batch).x.shape == (7, 4, W)
    assert _make("voxel_grid", region=line)(batch).x.shape == (7, 4, W)


def test_a_crop_and_cells_are_those_of_the_frames() -> None:
    batch = _batch()
    whole = _make()(batch).x
    cropped = _make(region=Region(SENSOR, (1, 2, 4, 3)))
    assert cropped.shape == (2, 3, 4)
    assert torch.equal(cropped(batch).x, whole[..., 2:5, 1:5])
    coarse = _make(region=Region(SENSOR, (1, 0, 5, 5), 2))
    assert coarse.shape == (2, 2, 2)
    cells = whole[..., :4, 1:5].unflatten(-1, (2, 2)).unflatten(-3, (2, 2)).sum((-1, -3))
    assert torch.equal(coarse(batch).x, cells)


def test_events_outside_the_region_do_not_count_as_events() -> None:
    batch = _batch()
    inside = [sum(x < 3 for _, x, *_ in events) for events in _events(batch)]
    frames = _make(region=Region(SENSOR, (0, 0, 3, H)), bin_by="count", events_per_bin=7, num_bins=60)(batch)
    assert frames.x.sum((0, 2, 3, 4)).tolist() == inside
    assert frames.lengths.tolist() == [max(-(-many // 7), 1) for many in inside]


def test_hot_pixels_are_silent_and_others_as_they_were() -> None:
    batch = _batch()
    hot = torch.zeros(H * W, dtype=torch.bool)
    hot[[3, 2 * W + 1]] = True
    whole, quiet = _make()(batch).x, _make(region=Region(SENSOR, hot=hot))(batch).x
    assert quiet[..., 0, 3].sum() == quiet[..., 2, 1].sum() == 0
    assert torch.equal(quiet, whole * (~hot).view(H, W))
    assert whole.sum() > quiet.sum()


@pytest.mark.parametrize("kind", sorted(REPRESENTATIONS))
def test_memory_is_channels_last_and_a_device_without_the_compiled_count_makes_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, frame_builder = _batch(), _make(kind)
    x = frame_builder(batch).x
    assert x.dtype == torch.float32
    assert x.permute(0, 1, 3, 4, 2).is_contiguous()
    assert frame_builder.shape == tuple(x.shape[2:])
    from snnlab.data.events import frames as module

    monkeypatch.setattr(module, "_count_on_cpu", module._count_by_scatter)
    assert torch.equal(frame_builder(batch).x, x)


@pytest.mark.parametrize(
    ("make", "message_parts"),
    [
        (lambda: _make("rate", bin_by="count"), ("representation",)),
        (lambda: _make("time_surface", overlap_us=5), ("representation",)),
        (lambda: _make("signed", region=Region((W, H, 1))), ("representation",)),
        (lambda: _make(length_from="all"), ("length_from",)),
        (lambda: Steps(10, 5, "count", overlap_us=3), ("overlap_ms", "bin_by")),
        (lambda: Steps(10, 5, events_per_bin=3), ("events_per_bin", "bin_by")),
        (lambda: Region(SENSOR, (0, 0, 7, 5)), ("crop", "[left, top, width, height]", 6, 5)),
        (lambda: Region(SENSOR, downsample=6), ("downsample",)),
        (
            lambda: REPRESENTATIONS.build("time_surface", {"tau": 0}, "data.representation"),
            ("data.representation.tau", "> 0"),
        ),
    ],
)
def test_contradictory_settings_are_refused(make: Callable[[], Any], message_parts: tuple) -> None:
    with assert_raises((ConfigError, ValueError), *message_parts):
        make()


def test_y_goes_with_rows() -> None:
    with assert_raises(DataError, "", "> 1"):
        _make()(_batch(rows=False))


def _tonics(events: Events, **settings: Any) -> np.ndarray:
    from tonic.io import make_structured_array
    from tonic.transforms import ToFrame

    y = np.zeros_like(events.x) if events.y is None else events.y
    array = make_structured_array(events.x, y, events.t, events.p, dtype=np.dtype([(k, int) for k in "xytp"]))
    return ToFrame(sensor_size=(34, 34, 2), **settings)(array)


@pytest.mark.parametrize("dt_us", [10_000, 32_000])
def test_counts_are_tonics_to_frame_on_genuine_recordings(real_data: Path, dt_us: int) -> None:
    """Tonic counts from the first event on and drops the last, incomplete step."""
    from snnlab.data.sources.recordings import NMNIST

    source = NMNIST(str(real_data), download=False)
    frame_builder = FrameBuilder(
        Region((34, 34, 2)), Steps(320_000, 320_000 // dt_us), REPRESENTATIONS.build("counts", {}, "frames")
    )
    for index in range(0, len(source), 97):
        events = source.read(index)
        events = events._replace(t=events.t - events.t[0])
        theirs = _tonics(events, time_window=dt_us)
        columns = [torch.from_numpy(column) for column in (events.t, events.x, events.y, events.p)]  # type: ignore[arg-type]
        one = torch.zeros(1, dtype=torch.int64)
        offsets = torch.tensor([0, events.t.size])
        ours = frame_builder(EventBatch(columns[0], columns[1], columns[2], columns[3], offsets, one, one)).x
        assert len(theirs) >= 290_000 // dt_us - 1
        assert np.array_equal(ours[: len(theirs), 0].numpy(), theirs)


LISTED = {"counts": {}, "counts merged": {"merge": True}, "binary": {}, "rate": {}}


@pytest.mark.parametrize("region", [None, Region(SENSOR, crop=(1, 0, 4, 4), downsample=2)], ids=["whole", "cells"])
@pytest.mark.parametrize("kind", LISTED)
def test_lists_of_events_are_the_same_frames(kind: str, region: Region | None) -> None:
    make = _make(kind.split()[0], region, length_from="recording", **LISTED[kind])
    listed, plain = make(_batch(), allow_lists=True), make(_batch())
    assert isinstance(listed.frames, EventFrames)
    assert isinstance(plain.frames, Tensor)
    assert torch.equal(listed.x, plain.x)
    assert torch.equal(listed.lengths, plain.lengths)


@pytest.mark.parametrize("kind", ["relative", "signed", "voxel_grid", "time_surface"])
def test_frames_of_more_than_their_own_counts_are_never_lists(kind: str) -> None:
    assert isinstance(_make(kind)(_batch(), allow_lists=True).frames, Tensor)


@pytest.mark.parametrize("settings", [{"overlap_us": 100}, {"events_per_bin": 9, "bin_by": "count"}], ids=str)
def test_steps_of_another_kind_have_no_lists(settings: dict[str, Any]) -> None:
    assert isinstance(_make(**settings)(_batch(), allow_lists=True).frames, Tensor)


def test_events_without_rows_have_no_lists() -> None:
    make = _make(region=Region((W, 1, 2)))
    assert isinstance(make(_batch(rows=False), allow_lists=True).frames, Tensor)


def test_a_constant_input_holds_each_frame_of_the_window_for_as_many_steps() -> None:
    batch = _batch()
    for kind, number in (("counts", 1), ("signed", 3), ({"type": "time_surface", "tau": 0.01}, 2)):
        held = _make("constant", num_bins=6, of=kind, frames_per_window=number)(batch).x
        settings: dict[str, Any] = {"kind": kind} if isinstance(kind, str) else {"kind": "time_surface", "tau": 0.01}
        frames = _make(num_bins=number, **settings)(batch).x
        assert torch.equal(held, torch.stack([frames[step * number // 6] for step in range(6)]))
    with assert_raises(ConfigError, "frames_per_window", 4):
        _make("constant", num_bins=6, frames_per_window=4)(batch)


@pytest.mark.parametrize("kind", list(REPRESENTATIONS))
def test_a_frame_holds_events_of_look_ahead_steps_after_its_end(kind: str) -> None:
    frame_builder = _make(kind, num_bins=4)
    step = DURATION // 4

    def first_frame(late_us: float) -> Tensor:
        """Return the first frame of an event in the first step and one so long after that step's end."""
        t = torch.tensor([step // 2, step + round(late_us)])
        place = torch.ones(2, dtype=torch.int16)
        offsets, index = torch.tensor([0, 2]), torch.zeros(1, dtype=torch.int64)
        return frame_builder(EventBatch(t, place, place, torch.tensor([True, True]), offsets, index, index)).x[0]

    if kind == "constant":
        assert frame_builder.representation.look_ahead_steps == float("inf")
        assert torch.equal(frame_builder(_batch()).x[0], frame_builder(_batch()).x[-1])
        return
    ahead = frame_builder.representation.look_ahead_steps * step
    far = first_frame(3 * step - 1)
    assert torch.equal(first_frame(ahead + 2), far)
    if ahead:
        assert not torch.equal(first_frame(ahead - 20), far)
