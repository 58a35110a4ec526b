"""Files of cameras: what docs/data.md promises of `data inspect FILE`, a folder of them, `predict` and `stream`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import train
from snnlab.errors import DataError

from ..fixtures.camera_files import events, write_aedat4
from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
# What `data inspect` prints of each genuine file: format, sensor, events, duration.
GENUINE = {
    "davis346.aedat4": ("AEDAT 4", "346 x 260", "6,676", "169.941 ms"),
    "dv_processing_sample_data.aedat4": ("AEDAT 4", "346 x 260", "9,193", "3,813.82 ms"),
    "dvs.es": ("Event Stream", "320 x 240", "473,225", "999 ms"),
    "evt2_sample.raw": ("EVT2", "640 x 480", "539,481", "50 ms"),
    "evt3_sample.raw": ("EVT3", "1280 x 720", "219,596", "8.801 ms"),
    "ncars_obj_004397_td.dat": ("DAT", "no size", "4,407", "99.937 ms"),
    "dvs128_pendulum.aedat": ("AEDAT 2", "128 x 128", "278,538", "19,940 ms"),
    "davis240_imu_translBoxes.aedat": ("AEDAT 2", "240 x 180", "162,771", "2,072.65 ms", "33,837"),
}


def trained(folder: Path, size: str, duration_ms: str, *files: Path) -> Path:
    """Return a run on recordings of one sensor, each in both of two classes."""
    for name in ("even", "odd"):
        (folder / "mine" / name).mkdir(parents=True)
        for path in files:
            os.symlink(path, folder / "mine" / name / path.name)
    data = (f"data.sensor_size=[{size},2]", "data.num_classes=2", f"data.duration_ms={duration_ms}", "data.num_bins=40")
    where = (f"data.root={folder / 'mine'}", f"data.store_dir={folder}", f"output_dir={folder / 'outputs'}")
    network = (
        "model=mlp_lif",
        "neuron.tau_mem=5 steps",
        "model.layers.readout.tau_mem=5 steps",
        "model.layers.fc1.out_features=8",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
    )
    quiet = ("plots=null", "monitors=null", "logger=none", "data.downsample=20", "data.test_fraction=0")
    return train("data=folder", *data, *where, *network, *quiet, "data.val_fraction=0").folder


@pytest.fixture(scope="module")
def real_data_folder() -> Path:
    folder = Path(os.environ.get("SNNLAB_DATA") or Path(__file__).parents[3] / "shared" / "data") / "formats"
    if not folder.is_dir():
        pytest.skip(f"no real recordings in {folder}")
    return folder


@pytest.mark.parametrize("name", GENUINE)
def test_inspect_prints_what_a_file_holds(name: str, real_data_folder: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", str(real_data_folder / name))
    assert done.status == 0, done.err
    assert_text_has(done.out, *GENUINE[name])


@pytest.mark.parametrize("name", GENUINE)
def test_predict_and_stream_take_each_of_them(
    name: str, real_data_folder: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    _, size, count, duration, *_ = GENUINE[name]
    size = size.replace(" x ", ",") if " x " in size else "60,70"
    run = trained(tmp_path, size, duration.removesuffix(" ms").replace(",", ""), real_data_folder / name)
    done = snnlab("predict", str(run), str(real_data_folder / name))
    assert done.status == 0, done.err
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert f"{int(row['events']) + int(row['left_out']):,}" == count
    done = snnlab("stream", str(run), str(real_data_folder / name))
    assert done.status == 0, done.err
    assert_text_has(done.err, count)


def test_a_file_of_another_sensor_is_neither_packed_nor_answered(
    tmp_path: Path, real_data_folder: Path, snnlab: Snnlab
) -> None:
    larger, smaller = (real_data_folder / name for name in ("davis240_imu_translBoxes.aedat", "dvs128_pendulum.aedat"))
    with assert_raises(DataError, "", smaller.name, "128 x 128", "240 x 180"):
        trained(tmp_path / "mixed", "240,180", "600", larger, smaller)
    run = trained(tmp_path / "alone", "240,180", "600", larger)
    for command in ("predict", "stream"):
        done = snnlab(command, str(run), str(smaller))
        assert (done.status, done.out) == (2, "")
        assert_error_has(done.error, smaller, "128 x 128", "240 x 180", "data.sensor_size")


def test_a_picture_is_drawn_on_request(workplace: Path, snnlab: Snnlab) -> None:
    write_aedat4(workplace / "a.aedat4", events([5, 900], [1, 2], [3, 4], [0, 1]))
    done = snnlab("data", "inspect", "a.aedat4")
    assert (done.status, list(workplace.rglob("*.png"))) == (0, [])
    done = snnlab("data", "inspect", "a.aedat4", "--figure", "a.png")
    assert done.out.splitlines()[-1] == "a.png"
    assert (workplace / "a.png").read_bytes().startswith(b"\x89PNG")


def test_inspect_counts_what_is_wrong_with_a_file(workplace: Path, snnlab: Snnlab) -> None:
    head = b"% Width 128\n% Height 128\n\x0c\x08"
    (workplace / "a.dat").write_bytes(head + np.array([[5, 0], [9, 1 << 28 | 9], [7, 2 << 28 | 128]], "<u4").tobytes())
    done = snnlab("data", "inspect", "a.dat")
    assert done.status == 0
    assert_text_has(done.out, "t falls: 1", "event 2: 7", "sensor: 1", "event 2: 128, 0", "event 2: 2")


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["no.aedat4"], ("no.aedat4",)),
        (["a.aedat4"], ("a.aedat4", "magic number")),
        (["a.mp4"], ("a.mp4", ".aedat4", ".es")),
        (["a.npy", "data=nmnist"], ("data=nmnist", "a.npy")),
        (["data=nmnist", "--columns", "t,x"], ("--columns",)),
    ],
)
def test_a_mistake_is_one_line_or_two(
    words: list[str], facts: tuple[object, ...], workplace: Path, snnlab: Snnlab
) -> None:
    for name in ("a.aedat4", "a.mp4"):
        (workplace / name).write_bytes(b"\x00" * 100)
    np.save(workplace / "a.npy", np.zeros((1, 4)))
    done = snnlab("data", "inspect", *words)
    assert done.status == 2
    assert_error_has(done.error, *facts)
