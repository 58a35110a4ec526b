"""What docs/data.md and `snnlab data --help` promise, on small simulated patterns and recordings in files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from matplotlib.image import imread

from snnlab.data import fetching
from snnlab.errors import DataError

from ..cli import genuine, killing
from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture
def patterns(workplace: Path) -> list[str]:
    store = f"data.store_dir={workplace / 'stores'}"
    return ["data=spike_patterns", "data.num_classes=3", "data.num_recordings=30", "data.sensor_size=[20,1,1]", store]


def test_help_names_the_actions(snnlab: Snnlab) -> None:
    for call in (["data"], ["data", "--help"], ["data", "inspect", "--help"]):
        done = snnlab(*call)
        assert done.status == 0
        assert done.out.startswith("usage: snnlab data ")
        assert "inspect" in done.out


def test_it_packs_locates_verifies_and_deletes(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    assert_text_has(snnlab("data", "where", *patterns).out, "not packed")
    assert snnlab("data", "verify", *patterns).status == 2
    packed = snnlab("data", "prepare", *patterns)
    assert packed.status == 0, packed.err
    (folder,) = [path for path in (workplace / "stores").iterdir() if path.is_dir()]
    assert packed.out.startswith("30 recordings, ")
    assert packed.out.endswith(f" in {folder}\n")
    assert snnlab("data", "where", *patterns).out == packed.out
    verified = snnlab("data", "verify", *patterns)
    assert verified.out.startswith(packed.out.removesuffix("\n") + ": every ")
    assert snnlab("data", "clean", *patterns).out.startswith(f"{folder} deleted, ")
    assert not folder.exists()
    assert_text_has(snnlab("data", "clean", *patterns).out, "nothing", "packed")


def packed_folders(stores: Path) -> list[Path]:
    return sorted(path for path in stores.iterdir() if path.is_dir())


def write_own_recordings(workplace: Path, name: str = "mine") -> list[str]:
    """Write 4 recordings of 2 classes; return the overrides that describe them."""
    for label in ("down", "up"):
        for number in range(2):
            path = workplace / name / label / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([len(label), number])
            t = np.sort(rng.integers(0, 90_000, 50))
            np.save(path, np.array([rng.integers(0, 8, 50), rng.integers(0, 6, 50), t, rng.integers(0, 2, 50)]).T)
    sensor = ["data.sensor_size=[8,6,2]", "data.num_classes=2", "data.duration_ms=100", "data.num_bins=4"]
    return ["data=folder", f"data.root={workplace / name}", *sensor, f"data.store_dir={workplace / 'stores'}"]


def test_copies_of_changed_recordings_are_listed_and_deleted(workplace: Path, snnlab: Snnlab) -> None:
    mine, others = write_own_recordings(workplace), write_own_recordings(workplace, "others")
    assert snnlab("data", "prepare", *others).status == 0
    for number in range(3):
        os.utime(workplace / "mine" / "up" / "0.npy", (number, number))
        done = snnlab("data", "prepare", *mine)
        assert done.status == 0
        assert ("earlier" in done.err) == (number > 0)
    assert len(packed_folders(workplace / "stores")) == 4
    first, *earlier = snnlab("data", "where", *mine).out.splitlines()[1:]
    assert first.startswith("4 recordings, 200 events")
    assert [line.rpartition(";")[2] for line in earlier] == [" snnlab data clean --all deletes it"] * 2
    *deleted, left = snnlab("data", "clean", "--all", *mine).out.splitlines()
    assert len(deleted) == 3
    assert_text_has(left, "not deleted: 1")
    assert len(packed_folders(workplace / "stores")) == 1
    # Also copies of deleted recordings.
    shutil.rmtree(workplace / "others")
    assert snnlab("data", "clean", *others).status == 2
    assert snnlab("data", "clean", "--all", *others).status == 0
    assert list((workplace / "stores").iterdir()) == []


def test_a_signal_while_recordings_are_packed_leaves_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    few = ["data=spike_patterns", "data.num_recordings=40", f"data.store_dir={workplace / 'stores'}"]
    for command in (["data", "prepare"], ["train", "model=mlp_lif", f"output_dir={workplace / 'runs'}"]):
        log = workplace / f"{command[0]}.log"
        assert killing.run([*command, *few, "plugins=[tests.cli.terminating]"], log) == 143
        assert_text_has(log.read_text().splitlines()[-1], "SIGTERM")
        assert "Traceback" not in log.read_text()
        assert list((workplace / "stores").iterdir()) == []
        assert not (workplace / "runs").exists()


def test_missing_recordings_are_fetched_checked_unpacked_and_packed(workplace: Path, snnlab: Snnlab) -> None:
    genuine.shd(workplace / "theirs", np.random.default_rng(0))
    nodes = []
    for name in ("shd_train.h5", "shd_test.h5"):
        with ZipFile(workplace / f"{name}.zip", "w") as file:
            file.write(workplace / "theirs" / "SHD" / name, name)
        content = (workplace / f"{name}.zip").read_bytes()
        url = (workplace / f"{name}.zip").as_uri()
        nodes.append(f"{{name: {name}.zip, md5: {hashlib.md5(content).hexdigest()}, url: '{url}'}}")
    given = ("data", "prepare", "data=shd", "data.store_dir=store")
    none = snnlab(*given, "data.root=mine", "data.download=false")
    assert_error_has(none.error, "data.root", "mine/SHD/shd_train.h5", "data.download=true")
    assert not (workplace / "mine").exists()
    done = snnlab(*given, "data.root=mine", f"data.archives=[{', '.join(nodes)}]")
    assert done.status == 0, done.err
    assert_text_has(done.err, (workplace / "shd_train.h5.zip").as_uri(), "mine/SHD", "shd_train.h5.zip", "kB")
    assert_text_has(done.out, "40 recordings", "120,000 events")
    (workplace / "shd_train.h5.zip").write_bytes(b"another file")
    damaged = snnlab(*given, "data.root=others", f"data.archives=[{', '.join(nodes)}]")
    assert damaged.status == 2
    assert_text_has(damaged.err, "shd_train.h5.zip", "md5")


def test_a_manual_download_names_the_source_and_the_folder(workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "prepare", "data=asldvs", "data.root=mine")
    assert_error_has(done.error, "data.root", "mine/ASLDVS", "ICCV2019_DVS_dataset.zip", "https://github.com/")
    assert not (workplace / "mine").exists()


def test_what_cannot_be_fetched_leaves_no_folder_behind(
    workplace: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_archive(archive: object, folder: Path) -> Path:
        assert folder.is_dir()
        raise DataError("", "no network")

    monkeypatch.setattr(fetching, "fetch_archive", fetch_archive)
    (workplace / "there").mkdir()
    for root in ("nowhere/deep", "there"):
        done = snnlab("data", "inspect", "data=shd", f"data.root={root}")
        assert done.status == 2
        assert_error_has(done.error, "data.root", "network", "fetching", "data.download=false", Path(root) / "SHD")
    assert [path.name for path in workplace.rglob("*")] == ["there"]


def test_a_damaged_copy_is_found(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    snnlab("data", "prepare", *patterns)
    (column,) = (workplace / "stores").glob("*/t.bin")
    content = bytearray(column.read_bytes())
    content[100] ^= 1
    column.write_bytes(content)
    done = snnlab("data", "verify", *patterns)
    assert done.status == 2
    assert_error_has(done.error, column.parent, "checksum")


def test_it_counts_and_draws(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", *patterns, "data.duration_ms=200", "data.num_bins=20")
    assert done.status == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("train", "validation", "test", "all")] == [
        ["train", "21"],
        ["validation", "3"],
        ["test", "6"],
        ["all", "30"],
    ]
    assert [line[1:6] for line in lines if line and line[0] in ("0", "1", "2")] == [["7", "/", "1", "/", "2"]] * 3
    assert_text_has(done.out, "20 steps", "10 ms")
    plot = workplace / "outputs" / "data_simulated_spike_patterns.png"
    assert done.out.endswith(f"{plot.relative_to(workplace)}\n")
    assert imread(plot).shape[1] == 614  # 4.8 inches


def test_a_plot_is_written_to_the_given_file(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    assert snnlab("data", "inspect", *patterns, "--figure", "mine.png").out.endswith("mine.png\n")
    assert imread(workplace / "mine.png").size
    done = snnlab("data", "inspect", *patterns, "--figure", "mine.txt")
    assert done.status == 2
    assert_error_has(done.error, "--figure", "mine.txt")


def test_recordings_of_one_person_are_shown_although_no_split_of_them_can_be(workplace: Path, snnlab: Snnlab) -> None:
    folder = workplace / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent"
    folder.mkdir(parents=True)
    for gesture in range(3):
        np.save(folder / f"{gesture}.npy", np.array([[gesture, 5, 1, 0], [7, gesture, 0, 900]]))
    where = [f"data.root={workplace}", "data.download=false", f"data.store_dir={workplace / 'stores'}"]
    done = snnlab("data", "inspect", "data=dvsgesture", *where)
    assert done.status == 0, done.err
    assert_text_has(done.out, "all 3 recordings", "one group")
    assert_text_has(done.out, "right")


@pytest.mark.parametrize("action", ["where", "clean"])
def test_a_place_is_printed_without_fetching_the_missing_recordings(
    action: str, workplace: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine.nmnist(workplace, np.random.default_rng(0))
    monkeypatch.setattr(fetching, "fetch_archive", lambda *_: pytest.fail("it fetches"))
    before = sorted(workplace.rglob("*"))
    done = snnlab("data", action, "data=nmnist", "data.root=.", f"data.store_dir={workplace / 'stores'}")
    assert done.status == 0, done.err
    assert_text_has(done.out, "not packed")
    assert sorted(workplace.rglob("*")) == before
