"""A scene that a moving camera saw stays where it is once the motion is undone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from toy_source import ToySource

from snnlab.data.events import Events, open_or_build
from snnlab.data.events.camera import CameraPath
from snnlab.errors import ConfigError

from ...refusals import assert_raises

CORNERS = [[0, 0, 0], [100, 5, 10], [200, 10, 0], [300, 0, 0]]
SIZE = (34, 34, 2)


def moved(at: np.ndarray, x: float, y: float) -> Events:
    """Return an event each ms of a dot that is at (x, y) where the path is in its middle, (5, 5)."""
    ms, across, down = np.array(CORNERS, float).T
    new_x, new_y = x + np.rint(np.interp(at, ms, across) - 5), y + np.rint(np.interp(at, ms, down) - 5)
    return Events(at * 1000 + 999, new_x.astype(np.int16), new_y.astype(np.int16), at % 2 == 0)


def test_a_dot_that_moved_with_the_camera_is_at_one_place() -> None:
    result = CameraPath(CORNERS).stabilize(moved(np.arange(400), 17, 12), SIZE)
    assert result.y is not None
    assert set(result.x.tolist()) == {17}
    assert set(result.y.tolist()) == {12}
    assert result.t.tolist() == (np.arange(400) * 1000 + 999).tolist()
    assert [column.dtype for column in result if column is not None] == [np.int64, np.int16, np.int16, np.bool_]


def test_only_events_outside_the_sensor_are_dropped() -> None:
    x, y = np.array([29, 28, 29], np.int16), np.array([3, 3, 3], np.int16)
    events = Events(np.array([0, 0, 200_000]), x, y, np.array([True] * 3))
    result = CameraPath(CORNERS).stabilize(events, SIZE)
    assert result.y is not None
    assert (result.x.tolist(), result.y.tolist(), result.t.tolist()) == ([33, 24], [8, 8], [0, 200_000])


def test_a_sensor_without_rows_has_columns_to_move() -> None:
    events = Events(np.array([0, 200_000]), np.array([10, 20], np.int16), None, np.array([True, False]))
    result = CameraPath(CORNERS).stabilize(events, (34, 1, 2))
    assert (result.x.tolist(), result.y) == ([15, 15], None)


@pytest.mark.parametrize("sensor_size", [(7, 5, 2), (7, 1, 1)])
def test_a_store_stabilizes_recordings_alone_in_batches_and_in_windows(
    tmp_path: Path, sensor_size: tuple[int, int, int]
) -> None:
    packed, camera = open_or_build(ToySource(sensor_size=sensor_size), tmp_path), CameraPath([[0, 0, 0], [1, 4, 2]])
    store = pickle.loads(pickle.dumps(packed.stabilize(camera)))
    indices = np.array([5, 3, 0, 5, 36])
    together = store.gather(indices)
    parts = list(zip(together.offsets[:-1].tolist(), together.offsets[1:].tolist(), strict=True))
    for place, (start, stop) in zip(indices.tolist(), parts, strict=True):
        expected = camera.stabilize(packed[place], sensor_size)
        for found in (store[place], Events(*together[:4]).take(slice(start, stop))):
            assert _rows(found) == _rows(expected)
    assert 0 < together.t.size < packed.gather(indices).t.size
    begins = np.full(indices.size, 1_000)
    windows = store.gather(indices, begins, 2_000)
    for place, (start, stop) in enumerate(zip(windows.offsets[:-1], windows.offsets[1:], strict=True)):
        whole = camera.stabilize(packed[int(indices[place])], sensor_size)
        inside = (whole.t >= 1_000) & (whole.t < 3_000)
        cut = whole.take(inside)
        assert _rows(Events(*windows[:4]).take(slice(start, stop))) == _rows(cut._replace(t=cut.t - 1_000))
    assert store.count_outside(indices, 2_000) == packed.count_outside(indices, 2_000)
    assert packed.camera is None


def _rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in events if column is not None), strict=True))


@pytest.mark.parametrize(
    ("corners", "message_parts"),
    [
        ([[0, 0, 0]], ("[ms, x, y]",)),
        ([[0, 0], [1, 1]], ("[ms, x, y]",)),
        ([[0, 0, 0], [1, float("nan"), 0]], ("corners",)),
        ([[5, 0, 0], [5, 1, 1]], ("times", 0, [5.0, 5.0])),
        ([[-1, 0, 0], [5, 1, 1]], ("from", 0)),
    ],
)
def test_an_invalid_path_is_refused(corners: list[list[float]], message_parts: tuple) -> None:
    with assert_raises(ConfigError, "camera_path", *message_parts):
        CameraPath(corners)
