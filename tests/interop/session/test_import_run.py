"""State dicts that are imported for a model become folders that commands take as a run's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import snnlab as package
from snnlab.cli import main
from snnlab.errors import RunFolderError

DATA = ("data=spike_patterns", "data.num_recordings=60", "data.num_classes=3", "data.num_bins=8")
MODEL = (*DATA, "model=mlp_lif", "model.layers.fc1.out_features=16", "~model.layers.flatten")
RENAME = "model.weights.rename={first: fc1, second: out}"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command here, and returns its status, output and messages."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["snnlab", *map(str, words)])
        capfd.readouterr()
        status = main.main()
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "it's theirs, [1].pt"
    torch.save({"first.weight": torch.full((16, 700), 0.01), "second.weight": torch.full((3, 16), 0.01)}, path)
    return path


def test_the_folder_has_the_weights_and_their_source(weights: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "theirs"
    status, out, err = command("import", weights, "--out", folder, *MODEL, RENAME)
    assert status == 0, err
    assert out.splitlines()[-1] == str(folder)
    page = json.loads((folder / "result.json").read_text())
    source = page["provenance"]["imported"]
    assert source["file"] == str(weights)
    assert len(source["sha256"]) == 64
    weights.unlink()
    network: Any = package.load(folder).network
    assert bool((network.fc1.weight == torch.tensor(0.01)).all())
    assert command("show", folder)[0] == 0


def test_an_evaluation_counts_right_answers_and_prints_no_accuracy(
    weights: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "theirs"
    command("import", weights, "--out", folder, *MODEL, RENAME, f"data.store_dir={tmp_path / 'store'}")
    status, out, err = command("evaluate", folder, "--accuracy", "0.1", "trainer.accelerator=cpu")
    assert status == 0, err
    said = err + out
    plain, _, early = said.partition("answered as soon")
    assert "no accuracy" in plain
    assert "%" not in plain.partition("no accuracy")[2].replace("100%", "")
    assert "accuracy" not in early.replace("--accuracy", "")
    table = [line.split() for line in early.splitlines() if line.strip().startswith(("0.", "the end", "test"))]
    assert table
    assert all("of" in row for row in table)
    page = json.loads((next((folder / "evaluations").iterdir()) / "result.json").read_text())
    assert page["imported"] is True
    right = int(np.trace(page["confusion"]))
    assert f"{right} of {page['recordings']}" in said


@pytest.mark.parametrize(
    "words",
    [
        (*MODEL, "model.weights.rename={frist: fc1}"),
        (*MODEL, RENAME, "model.layers.out.bias=true"),
        (*MODEL, RENAME, "--dt", "2"),
        ("model=mlp_lif", RENAME, "data=nothing"),
        DATA,
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], weights: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = command("import", weights, "--out", tmp_path / "theirs", *words)
    assert status == 2
    assert len([line for line in err.splitlines() if not line.startswith("  there are")]) == 1, err
    assert [path.name for path in tmp_path.iterdir()] == [weights.name]


def test_a_folder_with_content_is_not_overwritten(weights: Path, tmp_path: Path, command: Command) -> None:
    status, _, err = command("import", weights, "--out", tmp_path, *MODEL, RENAME)
    assert status == 2
    assert str(tmp_path) in err
    assert [path.name for path in tmp_path.iterdir()] == [weights.name]


def test_names_with_dots_stand_in_a_yaml(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"module.a.0.weight": torch.ones(3, 700), "module.out.weight": torch.ones(3, 3)}, "theirs.pt")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "net.yaml").write_text(
        "# snnlab train model=net\n"
        "layers:\n"
        "  fc1: {type: linear, out_features: 3, bias: false}\n"
        "  lif1: {type: neuron}\n"
        "  out: {type: linear, out_features: 3, bias: false}\n"
        "weights:\n"
        "  rename:\n"
        "    module.a.0: fc1\n"
        '    module: ""\n'
    )
    status, _, err = command("import", "theirs.pt", "--out", "theirs", "--config-dir", "mine", *DATA, "model=net")
    assert status == 0, err
    assert command("show", "theirs", "data.num_bins=16")[0] == 0


def test_a_nir_file_is_no_state_dict_and_the_other_way_round(weights: Path, tmp_path: Path, command: Command) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.nir", "w") as file:
        file["node/type"] = "NIRGraph"
    status, _, err = command("import", tmp_path / "a.nir", "--out", tmp_path / "run", *MODEL)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "HDF5" in err
    pytest.importorskip("nir")
    status, _, err = command("import", weights, "--out", tmp_path / "run")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "model=" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("model=speck_gesture",), ("pool6.kernel_size", "saccade_digits", "[2, 34, 34]", "data=NAME")),
        (("model=speck_gesture", "data=nmnist", "data.dt=10"), ("pool6.kernel_size", "nmnist", "[2, 34, 34]")),
        (("model=mlp_lif", RENAME), ("fc1.weight", "saccade_digits", "10 classes", "data=NAME")),
    ],
)
def test_weights_that_do_not_fit_the_frames_name_the_data(
    words: tuple[str, ...], facts: tuple[str, ...], weights: Path, tmp_path: Path, command: Command
) -> None:
    status, _, err = command("import", weights, "--out", tmp_path / "run", *words)
    assert (status, len(err.splitlines())) == (2, 1)
    assert all(fact in err for fact in facts), err


def _graph_file(path: Path) -> Path:
    nir = pytest.importorskip("nir")
    one = np.ones(3, np.float32)
    nodes = {
        "input": nir.Input(np.array([3])),
        "fc": nir.Affine(np.eye(3, dtype=np.float32), 0 * one),
        "lif": nir.LIF(tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=one),
        "output": nir.Output(np.array([3])),
    }
    names = list(nodes)
    nir.write(path, nir.NIRGraph(nodes=nodes, edges=list(pairwise(names))))
    return path


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("--dt", "nan"), "import: --dt: "),
        (("--time-unit", "sec"), "import: --time-unit: "),
        (("--spikes-per-step", "several", "--reset", "zero"), "import: --spikes-per-step: "),
        (("model.layers.fc.out_features=5",), "model.layers.lif: "),
        (("data=shd",), "data: "),
        (("loss.readout=none",), "loss.readout: "),
    ],
    ids=str,
)
def test_a_mistake_is_named_as_it_was_typed_and_nothing_is_written(
    words: tuple[str, ...], place: str, tmp_path: Path, command: Command
) -> None:
    status, _, err = command("import", _graph_file(tmp_path / "a.nir"), "--out", tmp_path / "run", *words)
    assert (status, len(err.splitlines())) == (2, 1), err
    assert err.startswith(f"snnlab: {place}")
    assert not (tmp_path / "run").exists()


def test_overrides_of_an_imported_network_are_taken_without_a_warning(tmp_path: Path, command: Command) -> None:
    path = _graph_file(tmp_path / "a.nir")
    status, out, err = command("import", path, "--out", tmp_path / "run", "name=theirs")
    assert status == 0, err
    assert "times" not in out + err
    status, _, err = command("reproduce", tmp_path / "run")
    assert status == 2
    assert "imported" in err


def test_a_graph_in_the_place_of_a_run_is_answered_with_import(tmp_path: Path, command: Command) -> None:
    path = _graph_file(tmp_path / "a.nir")
    np.save(tmp_path / "a.npy", np.zeros((1, 4)))
    for words in (("evaluate", path), ("predict", path, tmp_path / "a.npy")):
        status, _, err = command(*words)
        assert status == 2
        assert "snnlab import" in err
    with pytest.raises(RunFolderError, match="snnlab import"):
        package.load(path)
