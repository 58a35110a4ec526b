"""`snnlab export RUN --nir FILE`: what docs/nir.md and `--help` promise; wrong options are in tests/wording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snnlab import load, train
from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_metadata import node_digests
from snnlab.nn import build_network

from ...refusals import assert_text_has
from .conftest import WHOLE, Outcome

pytest.importorskip("nir")

Snnlab = Callable[..., Outcome]
SAYABLE = ("neuron.reset=value", "neuron.threshold=strict")
BRIEF = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false", "logger=none")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> dict[str, Path]:
    """Return the folders of short runs by name."""
    folder = tmp_path_factory.mktemp("runs")
    norm = "+model.layers.norm={type: batch_norm, after: fc1}"
    wanted = {"default": (), "sayable": SAYABLE, "norm": (*SAYABLE, norm)}
    return {
        name: train(*WHOLE, *BRIEF, digits_store, f"output_dir={folder}/{name}", *given).folder
        for name, given in wanted.items()
    }


def test_a_network_that_nir_can_say_is_written_and_imported_with_its_weights(
    runs: dict[str, Path], snnlab: Snnlab, tmp_path: Path
) -> None:
    target = tmp_path / "a.nir"
    done = snnlab("export", str(runs["sayable"]), "--nir", str(target))
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(target)
    assert snnlab("import", str(target), "--out", str(tmp_path / "imported")).status == 0
    own, again = load(runs["sayable"]).network.state_dict(), load(tmp_path / "imported").network.state_dict()
    assert own.keys() == again.keys()
    assert all(torch.equal(own[key], again[key]) for key in own)
    assert snnlab("export", str(tmp_path / "imported"), "--nir", str(tmp_path / "b.nir")).status == 0
    first, second = (read_graph(path).graph for path in (target, tmp_path / "b.nir"))
    assert node_digests(first, {}) == node_digests(second, {})


def test_what_nir_cannot_say_is_refused_with_layer_and_setting(
    runs: dict[str, Path], snnlab: Snnlab, tmp_path: Path
) -> None:
    done = snnlab("export", str(runs["default"]), "--nir", str(tmp_path / "a.nir"))
    assert done.status == 2
    assert_text_has(done.err, "lif1", "reset: subtract", "reset: value", "threshold: inclusive", "threshold: strict")
    assert len(done.err.splitlines()) <= 4
    assert not [*tmp_path.iterdir()]


def test_a_lossy_file_lists_and_measures_what_is_lost(runs: dict[str, Path], snnlab: Snnlab, tmp_path: Path) -> None:
    target = tmp_path / "a.nir"
    done = snnlab("export", str(runs["default"]), "--nir", str(target), "--lossy")
    assert done.status == 0, done.err
    recordings = load(runs["default"]).data.split.val.size
    assert_text_has(done.out, "lif1", "reset: subtract", "lif1", "threshold: inclusive", f"of {recordings}", "spikes")
    assert_text_has(done.out, "--ignore-metadata", "--dt", "--discretization euler", "--spikes current")
    assert read_graph(target).graph.metadata["snnlab"]


def test_a_norm_is_folded(runs: dict[str, Path], snnlab: Snnlab, tmp_path: Path) -> None:
    target = tmp_path / "a.nir"
    done = snnlab("export", str(runs["norm"]), "--nir", str(target))
    assert done.status == 2
    assert_text_has(done.err, "norm", "--fold-norm")
    done = snnlab("export", str(runs["norm"]), "--nir", str(target), "--fold-norm")
    assert done.status == 0, done.err
    assert "norm" not in read_graph(target).graph.nodes
    recordings = load(runs["norm"]).data.split.val.size
    assert_text_has(done.out, "fold_norm", f"{recordings} of {recordings}")


def test_a_run_in_whole_numbers_is_written_with_them_and_says_what_they_cost(
    digits_store: str, snnlab: Snnlab, tmp_path: Path
) -> None:
    iaf = ("neuron=iaf", "neuron.floor=-1", "~model.layers.readout", "data.downsample=4")
    last = "+model.layers.iaf2={type: iaf, floor: -1, after: out}"
    run = train(*WHOLE, *BRIEF, digits_store, *iaf, last, "quantize=speck", f"output_dir={tmp_path}/runs").folder
    target = tmp_path / "a.nir"
    done = snnlab("export", str(run), "--nir", str(target), "--lossy")
    assert done.status == 0, done.err
    recordings = load(run).data.split.val.size
    assert_text_has(done.out, "in whole numbers", f"of {recordings}", "right", "spikes")
    nodes = read_graph(target).graph.nodes
    weight = torch.as_tensor(nodes["fc1"].weight)
    assert torch.equal(weight, weight.round())
    assert 64 < weight.abs().max() <= 128
    layer: Any = load(run).network.get_submodule("fc1")
    assert torch.equal(weight, layer.weight)
    done = snnlab("import", str(target), "--out", str(tmp_path / "imported"))
    assert done.status == 0, done.err
    assert torch.equal(load(tmp_path / "imported").network.state_dict()["fc1.weight"], weight)


def test_a_network_with_one_output_is_imported_as_a_regression(snnlab: Snnlab, tmp_path: Path) -> None:
    made = build_network({"fc": {"type": "linear", "out_features": 1}}, in_shape=(1,), dt=1.0).network
    write_graph(tmp_path / "a.nir", made.to_nir())
    done = snnlab("import", str(tmp_path / "a.nir"), "--out", str(tmp_path / "run"))
    assert done.status == 0, done.err
    done = snnlab("export", str(tmp_path / "run"), "--nir", str(tmp_path / "b.nir"))
    assert done.status == 0, done.err
