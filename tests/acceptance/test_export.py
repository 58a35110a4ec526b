"""`snnlab export RUN --what`: what docs/runs.md and its `--help` promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from snnlab import load

from ..refusals import assert_error_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(digits_run: Path) -> Path:
    return digits_run


def _exported(snnlab: Snnlab, run: Path, out: Path, *arguments: str) -> dict[str, np.ndarray]:
    done = snnlab("export", str(run), "--out", str(out), *arguments)
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(out)
    if out.suffix == ".npz":
        with np.load(out) as arrays:
            return dict(arrays)
    found: dict[str, np.ndarray] = {}
    with h5py.File(out) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return found


def test_exported_arrays_are_those_of_the_run(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    arrays = _exported(snnlab, run, tmp_path / "a.npz", "--what", "input,spikes,v,output,readout", "--samples", "2:5")
    opened = load(run)
    recording = opened.record(torch.from_numpy(arrays["input"]))
    assert np.array_equal(arrays["spikes/lif1"], recording.spikes["lif1"])
    assert np.array_equal(arrays["v/lif1"], recording.states["lif1"]["v"])
    assert np.array_equal(arrays["output"], recording.y)
    assert arrays["recording"].tolist() == opened.predictions["test_recording"][2:5].tolist()
    assert np.allclose(arrays["readout"], opened.predictions["test_readout"][2:5], atol=1e-5)
    assert arrays["target"].tolist() == opened.predictions["test_target"][2:5].tolist()
    assert arrays["lengths"].tolist() == [16, 16, 16]
    assert arrays["dt"] == 20


def test_weights_are_the_checkpoints_and_gradients_those_of_the_loss(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    arrays = _exported(snnlab, run, tmp_path / "a.npz", "--what", "weights,gradients,input", "--samples", "0,7")
    network = load(run).network
    for name, value in network.state_dict().items():
        assert np.array_equal(arrays[f"weights/{name}"], value)
    y, _ = network(torch.from_numpy(arrays["input"]))
    torch.nn.functional.cross_entropy(y.mean(0), torch.from_numpy(arrays["target"])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert np.allclose(arrays[f"gradients/{name}"], parameter.grad, atol=1e-6)


def test_both_kinds_of_files_hold_the_same_and_layers_can_be_chosen(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    arguments = ("--what", "v,weights", "--layers", "lif1", "--split", "val", "--checkpoint", "last")
    npz = _exported(snnlab, run, tmp_path / "a.npz", *arguments)
    h5 = _exported(snnlab, run, tmp_path / "deeper" / "a.h5", *arguments)
    assert npz.keys() == h5.keys()
    assert all(np.array_equal(npz[name], h5[name]) for name in npz)
    assert [name for name in npz if name.startswith("v/")] == ["v/lif1"]
    assert npz["recording"].tolist() == load(run).predictions["val_recording"][:8].tolist()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--what", "v"), ("export", "--out")),
        (("--out", "a.csv", "--what", "v"), ("--out", "a.csv")),
        (("--out", "a.npz"), ("export", "--what")),
        (("--out", "a.npz", "--what", "spiks"), ("export", "--what")),
        (("--out", "a.npz", "--what", "v", "--layers", "lif"), ("export", "spikes")),
        (("--out", "a.npz", "--what", "v", "--samples", "all"), ("export", "--samples", 0, 8, "3,5,7")),
        (("--out", "a.npz", "--what", "v", "--samples", "9999"), ("export", 359, 0, 358)),
        (("--out", "a.npz", "--what", "v", "--split", "tst"), ("--split",)),
        (("--out", "a.npz", "--what", "v", "--checkpoint", "7"), ("--checkpoint",)),
    ],
)
def test_a_mistake_is_named_and_writes_nothing(
    run: Path, snnlab: Snnlab, workplace: Path, arguments: tuple[str, ...], expected: tuple
) -> None:
    done = snnlab("export", str(run), *arguments)
    assert done.status == 2
    assert_error_has(done.error, *expected)
    assert list(workplace.iterdir()) == []
