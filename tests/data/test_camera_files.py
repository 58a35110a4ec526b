"""Cameras' files: damaged ones end in one line, and words are decoded as their formats say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.camera_files import CAMERA_FORMATS, read_camera_file
from snnlab.data.events import Events, SensorSize, check_events
from snnlab.data.formats import ReadOptions, read_file
from snnlab.errors import DataError

from ..fixtures.camera_files import events as made, write_aedat2, write_aedat4, write_es
from ..marks import mostly_long
from ..refusals import assert_raises
from .test_formats import DAVIS, SENSOR, WRITERS, ZERO

EVT2 = b"% evt 2.0\n% end\n"
EVT3 = b"% evt 3.0\n% end\n"
HIGH2, ON = 8 << 28, 1 << 28
ROW, COLUMN, BASE, TWELVE, EIGHT, LOW, HIGH = (number << 12 for number in (0, 2, 3, 4, 5, 6, 8))
# A word in each of these is not an event.
SKIPPED2, SKIPPED3 = (10 << 28, 14 << 28, 15 << 28), (7 << 12, 10 << 12, 14 << 12, 15 << 12)


def times(path: Path, content: bytes, *words: int) -> list[int]:
    size = "<u2" if b"3" in content[:10] else "<u4"
    path.write_bytes(content + np.array(words, size).tobytes())
    return read_file(path, ZERO, SENSOR).t.tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"% evt 2.0",
        b"% evt 2.0\n% format EVT2;width=16",
        b"% evt 3.0\n% end",
        b"% evt 3.0\n%",
        b"% evt 3.0\n% " + 5000 * b"x",
        b"% evt 3.0\n% end\n",
        b"",
    ],
)
@pytest.mark.parametrize("suffix", [".raw", ".dat"])
def test_a_header_without_an_end_or_events_is_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with assert_raises(DataError, path):
        read_file(path, ZERO, SENSOR)


@pytest.mark.parametrize("version", ["2.1", "4.0", "21"])
def test_another_encoding_is_refused(version: str, tmp_path: Path) -> None:
    with assert_raises(DataError, tmp_path / "a.raw", "EVT2", "EVT3"):
        times(tmp_path / "a.raw", f"% evt {version}\n% end\n".encode(), HIGH2, ON)


def test_an_event_that_begins_like_a_header_is_an_event(tmp_path: Path) -> None:
    first = int.from_bytes(b"% \x00\x10", "little")  # a word that is the text of a header, ON at (4, 37)
    path = tmp_path / "a.raw"
    path.write_bytes(EVT2 + np.array([first, HIGH2 | 5, first], "<u4").tobytes())
    assert read_file(path, ZERO, (10, 40, 2)).t.tolist() == [320]


def test_triggers_and_others_are_no_events_and_do_not_end_a_recording(tmp_path: Path) -> None:
    assert times(tmp_path / "a.raw", EVT2, HIGH2 | 1, ON, *SKIPPED2, ON | 1 << 22) == [64, 65]
    assert times(tmp_path / "a.raw", EVT3, HIGH | 1, COLUMN, *SKIPPED3, COLUMN) == [4096, 4096]


@pytest.mark.parametrize(
    ("head", "words", "byte"), [(EVT2, (HIGH2, ON, 11 << 28, ON), 24), (EVT3, (HIGH, COLUMN, 9 << 12), 20)]
)
def test_a_word_of_no_type_is_named(head: bytes, words: tuple[int, ...], byte: int, tmp_path: Path) -> None:
    with assert_raises(DataError, tmp_path / "a.raw", f"byte {byte}"):
        times(tmp_path / "a.raw", head, *words)


def test_counters_wrap_and_events_before_the_first_time_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    assert times(path, EVT2, ON, HIGH2 | 0xFFFFFFF, ON, HIGH2, ON) == [(2**28 - 1) << 6, 2**34]
    assert times(path, EVT3, COLUMN, HIGH | 0xFFF, LOW | 7, COLUMN, HIGH, COLUMN) == [0xFFF << 12 | 7, 2**24]


def test_a_lower_time_that_is_corrected_does_not_count_as_a_wrap(tmp_path: Path) -> None:
    """A real camera writes 811 and then 800 behind the same upper time."""
    words = (HIGH | 1, LOW | 799, COLUMN, HIGH | 1, LOW | 811, LOW | 800, COLUMN)
    assert times(tmp_path / "a.raw", EVT3, *words) == [4096 + 799, 4096 + 800]


def test_a_vector_is_an_event_for_each_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    words = (HIGH, LOW | 3, ROW | 5, BASE | 1 << 11 | 2, EIGHT | 0b10000001, BASE | 1, TWELVE | 0b11)
    path.write_bytes(EVT3 + np.array(words, "<u2").tobytes())
    t, x, y, p = read_file(path, ZERO, SENSOR)
    assert y is not None
    assert (t.tolist(), x.tolist(), y.tolist()) == ([3] * 4, [2, 9, 1, 2], [5] * 4)
    assert p.tolist() == [True, True, False, False]


def test_columns_outside_of_any_sensor_are_refused(tmp_path: Path) -> None:
    with assert_raises(DataError, tmp_path / "a.raw", "x"):
        path = tmp_path / "a.raw"
        path.write_bytes(EVT3 + np.array([HIGH, BASE | 2047, *[TWELVE | 1] * 20_000], "<u2").tobytes())
        check_events(read_file(path, ZERO, SENSOR), SENSOR, str(path))


def dat(path: Path, t: list[int]) -> None:
    path.write_bytes(b"% Data\n\x0c\x08" + np.array([[one, 0] for one in t], "<u4").tobytes())


def test_unsorted_times_of_a_dat_are_not_an_hour_later(tmp_path: Path) -> None:
    dat(tmp_path / "a.dat", [5, 3, 9])
    assert read_file(tmp_path / "a.dat", ZERO, SENSOR).t.tolist() == [5, 3, 9]
    dat(tmp_path / "a.dat", [2**32 - 2, 1, 2])
    assert read_file(tmp_path / "a.dat", ZERO, SENSOR).t.tolist() == [2**32 - 2, 2**32 + 1, 2**32 + 2]


def test_any_number_of_overflows_of_nmnist_takes_no_time_and_does_not_wrap(tmp_path: Path) -> None:
    events = np.zeros((600_001, 5), np.uint8)
    events[:-1, 1] = 240
    (tmp_path / "a.bin").write_bytes(events.tobytes())
    assert read_file(tmp_path / "a.bin", ZERO, SENSOR).t.tolist() == [600_000 << 13]


# Size, number of events, first and last time, ON events, and sums of x and y weighted by the event's number modulo
# 1,000,003. Those of AEDAT 4, Event Stream and EVT2 are faery 0.7.1's, of AEDAT 4 also aedat 2.3.0's, of EVT2 and DAT
# expelliarmus 1.1.12's. For EVT3 both have other last times: faery keeps times from falling, and ends 10 us later.
# AEDAT 2 by plain numpy, with x and y counted as jAER does.
REAL = {
    "davis346.aedat4": (
        (346, 260), 6676, 1589163147368868, 1589163147538809, 3563, 1940290966, 2851099570,
    ),
    "dv_processing_sample_data.aedat4": (
        (346, 260), 9193, 1663249605734020, 1663249609547839, 9193, 4028579395, 2852117044,
    ),
    "dvs.es": ((320, 240), 473225, 0, 999000, 270001, 235188319510, 232477501670),
    "evt2_sample.raw": ((640, 480), 539481, 1317888, 1367888, 367855, 269186251517, 268991408889),
    "evt3_sample.raw": ((1280, 720), 219596, 11718656, 11727457, 115532, 109259558559, 109262558616),
    "ncars_obj_004397_td.dat": (None, 4407, 0, 99937, 1671, 221836213, 306655337),
    "dvs128_pendulum.aedat": ((128, 128), 278538, 64300579, 84240611, 153062, None, None),
    "davis240_imu_translBoxes.aedat": ((240, 180), 162771, 294976755, 297049406, 82944, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_recordings_are_those_of_other_decoders(name: str, real_data: Path) -> None:
    path = real_data / "formats" / name
    size, count, first, last, on, x_sum, y_sum = REAL[name]
    assert read_camera_file(path).size == size
    width, height = size or (60, 70)
    t, x, y, p = read_file(path, ZERO, (width, height, 2))
    assert y is not None
    assert (t.size, t[0], t[-1], np.count_nonzero(p)) == (count, first, last, on)
    assert (np.diff(t) >= 0).all()
    if x_sum is None:
        raw = np.frombuffer(path.read_bytes()[-8 * words_of(path) :], ">u4").astype(np.int64).reshape(-1, 2)
        x_sum, y_sum = (weighted(column) for column in jaer_columns(raw[:, 0], size))
    assert (weighted(x), weighted(y)) == (x_sum, y_sum)


OURS = CAMERA_FORMATS.keys() - {".aedat4", ".es"}


def weighted(column: np.ndarray) -> int:
    return int((column.astype(np.int64) * np.arange(1, column.size + 1) % 1_000_003).sum())


def words_of(path: Path) -> int:
    """Return the number of words behind the header, whose lines begin with #."""
    content = path.read_bytes()
    begin = 0
    while content.startswith(b"#", begin):
        begin = content.index(b"\n", begin) + 1
    return (len(content) - begin) // 8


def jaer_columns(address: np.ndarray, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    if size == (128, 128):
        return 127 - (address >> 1 & 127), 127 - (address >> 8 & 127)
    address = address[(address >> 31 == 0) & (address >> 10 & 1 == 0)]
    return 239 - (address >> 12 & 1023), 179 - (address >> 22 & 511)


@pytest.mark.parametrize("name", [name for name in (*REAL, *WRITERS) if Path(name).suffix in OURS])
def test_events_do_not_depend_on_how_many_are_decoded_at_once(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if name in REAL:
        whole = request.getfixturevalue("real_data") / "formats" / name
        path.write_bytes(whole.read_bytes()[: 200_000 if path.suffix == ".aedat" else 40_000])
    else:
        WRITERS[name](path)
    at_once = read_or_reason(path)
    monkeypatch.setattr("snnlab.data.camera_files._EVENTS", 37)
    assert read_or_reason(path) == at_once


def read_or_reason(path: Path) -> object:
    try:
        return {name: column.tolist() for name, column in read_camera_file(path).columns.items()}
    except DataError as error:
        return str(error)


def attempt(path: Path, content: bytes) -> None:
    """Read a damaged file: events or a DataError, and nothing else."""
    path.write_bytes(content)
    reason = ""
    try:
        read_file(path, ReadOptions(), SENSOR)
    except DataError as error:
        reason = str(error)
    assert "\n" not in reason


def real(name: str, size: int) -> Callable[[Path, Path], bytes]:
    return lambda tmp_path, real_data: (real_data / "formats" / name).read_bytes()[:size]


def written(name: str) -> Callable[[Path, Path], bytes]:
    def write(tmp_path: Path, real_data: Path) -> bytes:
        WRITERS[name](tmp_path / name)
        return (tmp_path / name).read_bytes()

    return write


WHOLE = {name: written(name) for name in WRITERS}
WHOLE |= {"real_2.raw": real("evt2_sample.raw", 600), "real_3.raw": real("evt3_sample.raw", 600)}
WHOLE |= {"real.dat": real("ncars_obj_004397_td.dat", 400), "real.es": real("dvs.es", 600)}
WHOLE |= {"real.aedat4": real("davis346.aedat4", 12_000), "real.aedat": real("dvs128_pendulum.aedat", 8000)}


@pytest.mark.parametrize("name", mostly_long(list(WHOLE), 9))
def test_a_file_cut_anywhere_or_with_changed_bytes_is_read_or_named(name: str, tmp_path: Path, real_data: Path) -> None:
    whole, path, rng = WHOLE[name](tmp_path, real_data), tmp_path / f"damaged_{name}", np.random.default_rng(0)
    for size in range(0, len(whole), 1 + len(whole) // 200):
        attempt(path, whole[:size])
    for number in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(damaged.size if number % 2 else min(damaged.size, 200), size=rng.integers(1, 5))
        damaged[places] = rng.integers(256, size=places.size)
        attempt(path, damaged.tobytes())


def evt2(path: Path, found: np.ndarray) -> None:
    words = [
        word for t, x, y, p in found.tolist() for word in (8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y)
    ]
    path.write_bytes(EVT2 + np.array(words, "<u4").tobytes())


def evt3(path: Path, found: np.ndarray) -> None:
    rows = ((HIGH | t >> 12, LOW | t & 0xFFF, ROW | y, COLUMN | p << 11 | x) for t, x, y, p in found.tolist())
    path.write_bytes(EVT3 + np.array([word for row in rows for word in row], "<u2").tobytes())


def prophesee_dat(path: Path, found: np.ndarray) -> None:
    rows = [(t, p << 28 | y << 14 | x) for t, x, y, p in found.tolist()]
    path.write_bytes(b"% Data\n\x0c\x08" + np.array(rows, "<u4").reshape(-1, 2).tobytes())


def nmnist(path: Path, found: np.ndarray) -> None:
    rows = [(x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255) for t, x, y, p in found.tolist()]
    path.write_bytes(np.array(rows, np.uint8).reshape(-1, 5).tobytes())


ENCODERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.aedat": write_aedat2,
    "a.aedat4": partial(write_aedat4, size=SENSOR[:2]),
    "a.bin": nmnist,
    "a.dat": prophesee_dat,
    "a.es": write_es,
    "2.raw": evt2,
    "3.raw": evt3,
}


# Rows, and columns of jAER, are counted from the other end.
OUTSIDE = {"a.aedat": (-1, -1), "a.es": (SENSOR[0], -1)}


def sensor(path: Path) -> SensorSize:
    return DAVIS if path.suffix == ".aedat" else SENSOR


def checked(path: Path) -> Events:
    events = read_file(path, ZERO, sensor(path))
    check_events(events, sensor(path), str(path))
    return events


@pytest.mark.parametrize("name", ENCODERS)
def test_coordinates_outside_the_sensor_are_named(name: str, tmp_path: Path) -> None:
    x_outside, y_outside = OUTSIDE.get(name, SENSOR[:2])
    for x, y, key in ((x_outside, 3, "x"), (3, y_outside, "y")):
        ENCODERS[name](tmp_path / name, made([5, 7], [1, x], [1, y], [0, 1]))
        with assert_raises(DataError, tmp_path / name, key):
            checked(tmp_path / name)


@pytest.mark.parametrize("name", [name for name in ENCODERS if Path(name).suffix in OURS])
def test_times_that_go_back_are_named_or_sorted(name: str, tmp_path: Path) -> None:
    ENCODERS[name](tmp_path / name, made([500, 900, 700], [1, 2, 3], [1, 2, 3], [0, 1, 0]))
    with assert_raises(DataError, tmp_path / name, "event 2"):
        checked(tmp_path / name)
    t, x, _, _ = read_file(tmp_path / name, ReadOptions(sort=True), sensor(tmp_path / name))
    assert (t.tolist(), x.tolist()) == ([0, 200, 400], [1, 3, 2])


def test_polarities_beyond_two_are_named(tmp_path: Path) -> None:
    prophesee_dat(tmp_path / "a.dat", made([5, 7, 9], [1, 2, 3], [1, 2, 3], [0, 1, 3]))
    with assert_raises(DataError, tmp_path / "a.dat", "p", 3, "event 2"):
        read_file(tmp_path / "a.dat", ZERO, SENSOR)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_without_events_is_named_or_is_an_empty_recording(name: str, tmp_path: Path) -> None:
    ENCODERS[name](tmp_path / name, made([], [], [], []))
    if name == "a.bin":  # of N-Caltech101
        assert checked(tmp_path / name).t.size == 0
        return
    with assert_raises(DataError, tmp_path / name, "no events"):
        checked(tmp_path / name)
