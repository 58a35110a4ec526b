"""What a file of events holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.file_survey import Fault, survey_file
from snnlab.data.formats import ReadOptions

from ..fixtures.camera_files import events, write_aedat2, write_aedat4

ZERO = ReadOptions(time_origin="zero")


def test_a_cameras_file_says_its_sensor_and_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    write_aedat2(path, events([100, 300, 2100], [5, 0, 239], [7, 179, 3], [1, 0, 1]))
    found = survey_file(path, ZERO)
    assert (found.form, found.size, found.events, found.others) == ("AEDAT 2", (240, 180), 3, 3)
    assert (found.span_us, found.columns, found.rows) == ((100, 2100), (0, 239), (3, 179))
    assert (found.on, found.faults, found.start.t.size) == (2 / 3, [], 0)


def test_all_faults_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    t, x, y, p = [5, 9, 7, 8, 1], [0, 9, 10, 1, 1], [0, 0, 0, 8, 3], [0, 1, 2, 1, 3]
    words = np.array([[t[n], p[n] << 28 | y[n] << 14 | x[n]] for n in range(5)], "<u4")
    path.write_bytes(b"% Width 10\n% Height 8\n\x0c\x08" + words.tobytes())
    assert survey_file(path, ZERO).faults == [
        Fault("t falls", 2, "event 2: 7"),
        Fault("outside of the sensor", 2, "event 2: 10, 0"),
        Fault("a polarity above 1", 2, "event 2: 2"),
    ]


@pytest.mark.parametrize("most", [0, 3, 99])
def test_the_first_events_are_kept_from_the_earliest_on(most: int, tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    write_aedat2(path, events([50, 60, 40, 90], [1, 2, 3, 4], [4, 3, 2, 1], [0, 1, 0, 1]))
    start = survey_file(path, ZERO, most).start
    assert start.t.tolist() == [10, 20, 0, 50][:most]
    assert start.x.tolist() == [1, 2, 3, 4][:most]
    assert start.p.tolist() == [False, True, False, True][:most]


def test_packets_of_other_streams_are_counted(tmp_path: Path) -> None:
    write_aedat4(tmp_path / "a.aedat4", events([5, 7, 9], [1, 2, 3], [3, 2, 1], [0, 1, 1]), size=(10, 8), packet=2)
    survey = survey_file(tmp_path / "a.aedat4", ZERO)
    assert (survey.form, survey.size, survey.events, survey.others) == ("AEDAT 4", (10, 8), 3, 2)


def test_other_files_state_no_sensor(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3, 0], [4, 5, 6, 1]]))
    (tmp_path / "a.csv").write_text("0.003,1,2,0\n0.006,4,5,1\n")
    found = [
        survey_file(tmp_path / "a.npy", ZERO),
        survey_file(tmp_path / "a.csv", ReadOptions("s", "zero", columns=("t", "x", "y", "p"))),
    ]
    assert [each.size for each in found] == [None, None]
    assert [each.span_us for each in found] == [(3, 6), (3000, 6000)]
    assert found[0].columns == found[1].columns == (1, 4)


def test_a_file_without_events_has_no_times(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.empty((0, 4)))
    found = survey_file(tmp_path / "a.npy", ZERO)
    assert (found.events, found.span_us, found.on) == (0, None, None)
