"""Weights of another project as an experiment's setting: read once, before the data, and never from a run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import snnlab as package
from snnlab.errors import ConfigError

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
RENAME = "model.weights.rename={first: fc1, second: out}"
PATTERNS = (
    *("data=spike_patterns", "data.num_recordings=60", "data.num_classes=3", "data.num_bins=8"),
    *("model=mlp_lif", "model.layers.fc1.out_features=16", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("plots=null", "monitors=null", "logger=csv"),
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return another project's file of the weights of the fast network, all of them 0.01."""
    path = tmp_path / "theirs.pt"
    torch.save({"first.weight": torch.full((16, 700), 0.01), "second.weight": torch.full((3, 16), 0.01)}, path)
    return path


def test_a_training_starts_with_them_and_its_run_needs_the_file_no_more(
    weights: Path, tmp_path: Path, workplace: Path, snnlab: Snnlab
) -> None:
    done = snnlab("train", *PATTERNS, f"model.weights.file={weights}", RENAME, "optimizer.lr=1e-9")
    assert done.status == 0, done.err
    run = Path(done.out.splitlines()[-1])
    assert_text_has(done.err, "2 tensors", weights)
    assert_text_has(done.err, "model.weights", weights)  # it may have been trained on our test recordings
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["weights"] == {"file": str(weights), "rename": {"first": "fc1", "second": "out"}}
    page = json.loads((run / "result.json").read_text())
    assert page["selection"]["trained_before"] == {"run": str(weights), "val": None, "test": None}
    weights.unlink()
    network: Any = package.load(run).network
    assert torch.allclose(network.fc1.weight, torch.tensor(0.01), atol=1e-6)
    assert snnlab("show", str(run)).status == 0
    done = snnlab("train", f"resume={run}", "trainer.max_epochs=2")
    assert done.status == 0, done.err
    done = snnlab("train", str(run / "config.yaml"), f"output_dir={tmp_path / 'again'}")
    assert done.status == 2
    assert_error_has(done.error, "model.weights.file", weights)


def test_a_training_of_no_epoch_keeps_them(weights: Path, workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", *PATTERNS, f"model.weights.file={weights}", RENAME, "trainer.max_epochs=0")
    assert done.status == 0, done.err
    run = done.out.splitlines()[-1]
    network: Any = package.load(run).network
    assert (network.fc1.weight == 0.01).all()
    again = snnlab("evaluate", run)
    assert again.status == 0, again.err


def test_of_neurons_with_the_same_names_import_says_which_it_assumes(
    tmp_path: Path, workplace: Path, snnlab: Snnlab
) -> None:
    names = {"omega": (16,), "b_offset": (16,), "linear.weight": (16, 16 + 700), "linear.mask": (16, 16 + 700)}
    hidden = {f"hidden.{name}": torch.ones(shape) for name, shape in names.items()}
    readout = {"out.linear.weight": torch.ones(3, 16), "out.tau_mem": torch.full((3,), 20.0)}
    torch.save(hidden | readout, tmp_path / "theirs.pt")
    size = ("model=brf_recurrent", "model.layers.fc1.out_features=16", *PATTERNS[:3], "data.dt=10")
    balanced = snnlab("import", str(tmp_path / "theirs.pt"), "--out", "balanced", *size)
    assert balanced.status == 0, balanced.err
    assert_text_has(balanced.out, "model.layers.brf1", "brf", "model.layers.brf1.type=vanilla_rf")
    vanilla = snnlab(
        "import", str(tmp_path / "theirs.pt"), "--out", "vanilla", *size, "model.layers.brf1.type=vanilla_rf"
    )
    assert vanilla.status == 0, vanilla.err
    assert "brf" not in vanilla.out
    network: Any = package.load("vanilla").network
    assert torch.equal(network.brf1.neuron.omega, torch.ones(16))


def test_a_training_begins_with_what_was_imported(weights: Path, workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("import", str(weights), "--out", "brought", *PATTERNS, RENAME)
    assert done.status == 0, done.err
    done = snnlab("train", "brought/config.yaml", "init_from=brought", "optimizer.lr=1e-9")
    assert done.status == 0, done.err
    network: Any = package.load(done.out.splitlines()[-1]).network
    assert torch.allclose(network.fc1.weight, torch.tensor(0.01), atol=1e-6)


def test_they_are_made_whole_numbers_with_scales_of_their_own(weights: Path, workplace: Path, snnlab: Snnlab) -> None:
    given = (f"model.weights.file={weights}", RENAME, "optimizer.lr=1e-9", "quantize=int8")
    done = snnlab("train", *PATTERNS, *given)
    assert done.status == 0, done.err
    network: Any = package.load(Path(done.out.splitlines()[-1])).network
    assert (network.fc1.weight / 2**6 == 127).all()
    assert torch.allclose(network.lif1.scale(), torch.tensor(0.01 / 127, dtype=torch.float64), rtol=0.01)


MISTAKES: list[tuple[list[str], list[object]]] = [
    (["model.weights.file=nowhere.pt"], ["model.weights.file", "nowhere.pt"]),
    (["model.weights.file=''"], ["model.weights.file", "empty"]),
    (["model.weights=theirs.pt"], ["model.weights", "theirs.pt"]),
    (["model.weights={files: theirs.pt}"], ["model.weights.files", "file"]),
    (["model.weights={file: theirs.pt, rename: [a]}"], ["model.weights.rename"]),
    (["model.weights.file=theirs.pt", "init_from=run"], ["model.weights.file", "init_from"]),
    (["model.weights.file=theirs.pt"], ["model.weights.file", "fc1.weight", "first.weight"]),
    (
        ["model.weights.file=theirs.pt", RENAME, "data.downsample=2"],
        [*("model.weights.file", "first.weight"), 700, 350],
    ),
    (["model.weights.file=theirs.pt", "model.weights.rename={frist: fc1}"], ["model.weights.rename.frist"]),
    (["model.weights.file=theirs.pt", "model.weights.rename=jelly"], ["model.weights.rename", "spikingjelly"]),
    (
        ["model.weights.file=theirs.pt", "model.weights.rename=spikingjelly", "data.downsample=2"],
        ["model.weights.file", "first.weight", "fc1.weight", 700, 350],
    ),
]


@pytest.mark.parametrize(("words", "facts"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_named_in_a_line_before_recordings_are_read(
    words: list[str], facts: list[object], weights: Path, tmp_path: Path, workplace: Path, snnlab: Snnlab
) -> None:
    done = snnlab("train", *PATTERNS, *words)
    assert done.status == 2
    assert_error_has(done.error, *facts)
    assert isinstance(done.error, ConfigError)
    assert len(done.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]
