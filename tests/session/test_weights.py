"""Initial weights of a published run, and the digits of MNIST: told apart by their part and place, across datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.config.compose import compose_experiment
from snnlab.config.schema import Experiment
from snnlab.data.events import open_or_build
from snnlab.data.sources.mnist import SMNIST, are_digit_identities, digit_identities
from snnlab.data.sources.recordings import NMNIST
from snnlab.data.sources.saccades import SaccadeMNIST
from snnlab.errors import ConfigError, DataError
from snnlab.runs.run_folder import write_trained_on
from snnlab.safe_tensors import read_safe_tensors
from snnlab.session import Session
from snnlab.session.weights import find_trained_before, trained_on_mask, verify_identities

from ..published import unpacked
from ..refusals import assert_raises

LABELS = {"train": np.arange(40) % 10, "t10k": (np.arange(30) + 3) % 10}
SHOWN = {"Train": range(1, 25), "Test": range(25, 31)}  # training digits, both


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with MNIST's files, and with recordings of its training digits 1 to 30."""
    (tmp_path / "smnist").mkdir()
    for part, labels in LABELS.items():
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28)).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            head = np.array([0x0800 + array.ndim, *array.shape], ">u4")
            (tmp_path / "smnist" / f"{part}-{name}-ubyte").write_bytes(head.tobytes() + array.tobytes())
    for part, numbers in SHOWN.items():
        for number in numbers:
            path = tmp_path / "NMNIST" / part / str(LABELS["train"][number - 1]) / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            events = np.random.default_rng(number).integers(0, 30, (20, 5)).astype(np.uint8)
            events[:, 2:] = [[0, 40, step] for step in range(20)]
            path.write_bytes(events.tobytes())
    return tmp_path


def run_of(root: Path, first: int, number: int) -> Path:
    """Return the folder of a run that was trained on simulated training digits."""
    simulated = SaccadeMNIST(str(root), first_train=first, num_train=number, num_test=0)
    folder = root / f"run_{first}_{number}"
    folder.mkdir()
    write_trained_on(folder, simulated.identities)
    return folder


def of_nmnist(root: Path, store_dir: Path, *overrides: str) -> tuple[Experiment, Session]:
    own = (f"data.root={root}", f"data.store_dir={store_dir}", "data.download=false")
    experiment, _ = compose_experiment(["data=nmnist", *own, *overrides], None)
    return experiment, Session(experiment)


def test_an_identity_is_a_part_of_mnist_and_a_place_in_every_dataset(root: Path) -> None:
    parts, places = np.array([0, 1, 0]), np.array([7, 7, 8])
    found = digit_identities(parts, places)
    assert len(set(found.tolist())) == 3
    genuine = NMNIST(str(root), mnist_parts=("train", "train")).identities
    simulated = SaccadeMNIST(str(root), first_train=7, num_train=2).identities
    pixels = SMNIST(str(root), (9, 1, 1)).identities
    assert genuine is not None
    assert found[0] in genuine
    assert simulated[:2].tolist() == found[[0, 2]].tolist()
    assert pixels[[6, 46, 7]].tolist() == found.tolist()
    assert np.unique(pixels).size == 70
    assert are_digit_identities(pixels).all()
    assert not are_digit_identities(np.random.default_rng(0).integers(0, 2**64, 1000, np.uint64)).any()


@pytest.mark.parametrize("file", ["Train/3/00001.bin", "Test/3/00000.bin", "Test/3/three.bin"])
def test_files_without_numbers_of_their_own_have_no_identity(file: str, root: Path) -> None:
    path = root / "NMNIST" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes([1, 2, 0, 40, 1]) * 20)
    assert NMNIST(str(root)).identities is None


def test_a_simulated_digit_counts_as_trained_on_in_genuine_recordings(root: Path, store_dir: Path) -> None:
    genuine = NMNIST(str(root), mnist_parts=("train", "train"))
    store = open_or_build(genuine, store_dir)
    seen = trained_on_mask(run_of(root, 28, 10), store, genuine.identities)
    assert seen is not None
    shown = [int(Path(genuine.name(index)).stem) for index in np.flatnonzero(seen).tolist()]
    assert sorted(shown) == [28, 29, 30]
    unseen = trained_on_mask(run_of(root, 31, 10), store, genuine.identities)
    assert unseen is not None
    assert not unseen.any()


def test_weights_of_a_run_on_the_same_digits_are_refused(root: Path, store_dir: Path) -> None:
    def data(run: Path, parts: str = "[train,train]"):
        own = [f"data.root={root}", f"data.store_dir={store_dir}", "data.val_fraction=0.2", f"init_from={run}"]
        experiment, _ = compose_experiment(
            ["data=nmnist", "data.download=false", f"data.mnist_parts={parts}", *own], None
        )
        return experiment, Session(experiment)

    experiment, session = data(run_of(root, 29, 4))
    with assert_raises(ConfigError, "init_from", "2 of 6 test"):
        find_trained_before(experiment, session.data)
    experiment, session = data(run_of(root, 31, 10))
    found = find_trained_before(experiment, session.data)
    assert found is not None
    assert (found["val"], found["test"]) == ([], [])
    with assert_raises(DataError, "data.mnist_parts", "0 of 6", "Test"):
        experiment, session = data(root / "run_31_10", "[train,test]")
        verify_identities(experiment, session.dataset)


def test_the_same_digit_in_two_parts_of_the_split_is_refused(root: Path, store_dir: Path) -> None:
    path = root / "NMNIST" / "Test" / "0" / "00001.bin"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes([1, 2, 0, 40, 1]) * 20)
    _, session = of_nmnist(root, store_dir, "data.mnist_parts=[train,train]")
    with assert_raises(DataError, "data", "same digit", "00001.bin"):
        _ = session.data
    _, session = of_nmnist(root, store_dir, "data.mnist_parts=[train,train]", "+data.on_duplicate=skip")
    assert session.data.split.test.size == 7


def test_a_training_begins_with_the_weights_of_a_published_run(tmp_path: Path) -> None:
    run = unpacked("yin_yang", tmp_path) / "runs/yin_yang/lif/11"
    network = Session.composed("experiment=yin_yang", f"init_from={run}").network
    stored, own = read_safe_tensors(run / "weights.safetensors"), network.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], value) for name, value in own.items())


@pytest.mark.long
def test_a_published_run_was_not_trained_on_what_its_split_tests_and_nothing_is_known_of_another(
    tmp_path: Path, store_dir: Path
) -> None:
    run = unpacked("yin_yang", tmp_path) / "runs/yin_yang/lif/2"
    own = ("experiment=yin_yang", f"init_from={run}", "seed=2", f"data.store_dir={store_dir}")
    same, other = (Session.composed(*own, *more) for more in ((), ("data.num_test=50", "data.num_train=100")))
    assert find_trained_before(same.experiment, same.data) == {"run": str(run), "val": [], "test": []}
    assert find_trained_before(other.experiment, other.data) == {"run": str(run), "val": None, "test": None}
