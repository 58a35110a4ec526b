"""The QT Database: spikes in their steps, labels as segments, and the sizes of the published parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from snnlab.config.compose import compose_experiment
from snnlab.data.data_settings import build_dataset
from snnlab.data.splits import TEST
from snnlab.errors import ConfigError, DataError
from snnlab.session import Session
from snnlab.target_kinds import IGNORED

from ...refusals import assert_raises

SIZES = {"train": 5, "test": 2}


def arrays(recordings: int, seed: int) -> dict[str, np.ndarray]:
    """Return spikes and one-hot labels of 1,301 steps; the last step has -1, and some steps have no label."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (recordings, 1301, 4)).astype(np.int16)
    x[:, -1] = -1
    label = np.repeat(rng.integers(0, 7, (recordings, 131)), 10, 1)[:, :1301]
    y = (label[..., None] == np.arange(6)).astype(np.uint8)
    return {"x": x, "y": y, "t": np.zeros((recordings, 1301), np.uint16)}


def written(folder: Path, **changes: np.ndarray) -> Path:
    (folder / "ecg_qtdb").mkdir(exist_ok=True)
    for seed, (part, size) in enumerate(SIZES.items()):
        savemat(folder / "ecg_qtdb" / f"QTDB_{part}.mat", {**arrays(size, seed), **changes}, do_compression=True)
    return folder


def dataset(root: Path, *overrides: str) -> Any:
    given = ["data=ecg_qtdb", "loss=cross_entropy_steps", f"data.root={root}", "data.download=false", *overrides]
    return build_dataset(compose_experiment(given, None)[0].data)


def test_events_are_the_spikes_of_the_first_1300_steps(tmp_path: Path) -> None:
    found = dataset(written(tmp_path))
    assert found.split.tolist() == [0] * SIZES["train"] + [TEST] * SIZES["test"]
    for index, (part, place) in {0: ("train", 0), 5: ("test", 0), 6: ("test", 1)}.items():
        x = arrays(SIZES[part], list(SIZES).index(part))["x"][place, :1300]
        events = found.read(index)
        frames = np.zeros((1300, 4), int)
        np.add.at(frames, (events.t // 4000, events.x), 1)
        assert np.array_equal(frames, x)
        assert part in found.name(index)


@pytest.mark.parametrize("unlabelled", [None, 0])
def test_a_batch_has_the_label_of_each_step(tmp_path: Path, store_dir: Path, unlabelled: int | None) -> None:
    root = written(tmp_path)
    given = [
        f"data.store_dir={store_dir}",
        "data.val_fraction=0.2",
        f"data.unlabelled={'null' if unlabelled is None else 0}",
    ]
    session = Session.composed("data=ecg_qtdb", "loss=cross_entropy_steps", f"data.root={root}", *given)
    data = session.data
    data.setup("test")
    (batch,) = data.test_dataloader()
    batch = data.on_after_batch_transfer(batch, 0)
    expected = arrays(SIZES["test"], 1)
    y = expected["y"][:, :1300]
    labels = np.where(y.any(2), y.argmax(2), IGNORED if unlabelled is None else unlabelled)
    assert np.array_equal(batch.targets.numpy(), labels.T)
    assert np.array_equal(batch.x.squeeze().numpy(), expected["x"][:, :1300].transpose(1, 0, 2))
    assert session.settings.step_ms == 4.0


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"x": np.zeros((5, 1300, 4), np.int16)}, ("x", "[5, 1300, 4]")),
        ({"x": np.zeros((5, 1301, 3), np.int16)}, ("x", "[5, 1301, 3]")),
        ({"y": np.zeros((4, 1301, 6), np.uint8)}, ("y", "[4, 1301, 6]")),
        ({"y": np.ones((5, 1301, 6), np.uint8)}, (0, 1)),
        ({"x": np.full((5, 1301, 4), 2, np.int16)}, (0, 1)),
    ],
)
def test_other_arrays_are_refused_in_a_line(tmp_path: Path, changes: dict[str, np.ndarray], facts: tuple) -> None:
    with assert_raises(DataError, "QTDB_train.mat", *facts) as caught:
        dataset(written(tmp_path, **changes))
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_and_classes_out_of_range_are_refused(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.root", "QTDB_train.mat", "ecg_qtdb"):
        dataset(tmp_path)
    with assert_raises(ConfigError, "data.unlabelled", 6):
        dataset(written(tmp_path), "data.unlabelled=6")


def test_the_published_parts_have_their_sizes_and_labels(real_data: Path, store_dir: Path) -> None:
    if not (real_data / "ecg_qtdb").is_dir():
        pytest.skip("no electrocardiograms: ecg_qtdb is missing")
    session = Session.composed("experiment=ecg_brf", f"data.root={real_data}", f"data.store_dir={store_dir}")
    split, found = session.data.split, dataset(real_data)
    assert (split.train.size, split.val.size, split.test.size) == (557, 61, 141)
    y = loadmat(real_data / "ecg_qtdb" / "QTDB_test.mat")["y"][:, :-1]
    segments = found.targets[found.targets[:, 0] >= 618]
    steps = np.zeros(6, int)
    np.add.at(steps, segments[:, 3], (segments[:, 2] - segments[:, 1]) // 4000)
    assert steps.tolist() == y.sum((0, 1)).tolist()
    assert sum(parameter.numel() for parameter in session.network.parameters()) == 1734
