"""What a page reads of a stream: all of it, what is new, and what is left of it."""

from __future__ import annotations

import numpy as np

from snnlab.streaming.pages.stream_memory import Place, StreamLayout, StreamMemory, changes, columns_of_window
from snnlab.streaming.spike_raster import RasterRows, mark_events, raster_head, raster_size, start_raster

ROWS = [RasterRows("one", (3, 4, 4), 0, 3), None, RasterRows("two", (200, 1, 1), 19, 64)]


def memory(height: int = 4, width: int = 6, columns: int = 8) -> StreamMemory:
    layout = StreamLayout(
        stream="mine",
        run="run",
        source="-",
        dt=1.0,
        window_ms=7.0,
        sensor=(height, width, 2),
        layers=[(one.name, one.shape, one.first, one.rows) for one in ROWS if one is not None],
        raster_size=raster_size(ROWS, columns),
        raster_head=raster_head(ROWS),
        columns=columns,
        steps_per_column=1,
        numbers=["step", "latest", "spikes"],
        outputs=["a", "b"],
    )
    found = StreamMemory(layout).clear()
    start_raster(found.raster, ROWS, columns, 1)
    return found


def mark(found: StreamMemory, *events: tuple[int, int, int, int]) -> None:
    height, width, _ = found.layout.sensor
    columns = np.array(events, np.int64).T.copy()
    mark_events(found.picture, height, width, found.layout.pixel, *columns)
    found.numbers[:2] = max(columns[0]) // 1000, max(columns[0])


def test_a_page_gets_all_first_and_then_what_is_new() -> None:
    found = memory()
    mark(found, (1000, 0, 0, 1), (2000, 5, 3, 0), (2500, 0, 0, 0), (2600, 6, 0, 1), (2600, 0, -1, 1))
    found.add_answer(2.0, np.array([0.25, 0.75]))
    found.add_time(2.0, 30.0)
    values, arrays = changes(found, Place.parse(""))
    assert values["layout"]["outputs"] == ["a", "b"]
    assert values["layout"]["picture"] == (4, 6)
    assert values["now_ms"] == 2.6
    assert (arrays["pixels"].tolist(), arrays["polarities"].tolist()) == ([0, 23], [0, 0])
    np.testing.assert_allclose(arrays["pixels_ms"], [-0.1, -0.6], atol=1e-6)
    assert arrays["answers"].tolist() == [[0.25, 0.75]]
    np.testing.assert_allclose(arrays["answers_ms"], [-0.6], atol=1e-6)
    assert arrays["times_us"].tolist() == [30]
    place = Place.parse(values["next"])
    mark(found, (3000, 1, 1, 1))
    values, arrays = changes(found, place)
    assert values["layout"] is None
    assert 7 in arrays["pixels"]
    assert 23 not in arrays["pixels"]
    assert (arrays["answers"].size, arrays["times_us"].size) == (0, 0)


def test_a_page_that_was_away_gets_what_is_left() -> None:
    found = memory()
    for n in range(3000):
        found.add_answer(n, np.array([n, 0.0]))
    found.raster[3] = 100
    values, arrays = changes(found, Place("mine", 3, 5, 0, 0))
    assert arrays["answers"][:, 0].tolist() == list(range(3000 - 1023, 3000))
    assert values["first_column"] == 100 - 7
    assert arrays["raster0"].shape == (7, 3)
    assert arrays["raster1"].shape == (7, 64)


def test_a_place_in_another_stream_or_of_nonsense_is_the_beginning() -> None:
    found = memory()
    for text in ("other.5.5.5.5", "mine.x", "mine.1.2.3.4.5.6", "", "\u0000"):
        values, _ = changes(found, Place.parse(text))
        assert values["layout"] is not None, text
    values, arrays = changes(found, Place.parse("mine.99.-4.99.9"))
    assert all(array.shape[0] == 0 for array in arrays.values())


def test_a_large_sensor_is_shown_smaller() -> None:
    found = memory(720, 1280)
    assert (found.layout.pixel, found.layout.picture) == (4, (180, 320))
    mark(found, (1000, 1279, 719, 1))
    _, arrays = changes(found, Place())
    assert arrays["pixels"].tolist() == [180 * 320 - 1]


def test_columns_cover_a_window_in_whole_steps() -> None:
    assert columns_of_window(2000, 10.0) == (201, 1)
    assert columns_of_window(2900, 1.0) == (968, 3)
