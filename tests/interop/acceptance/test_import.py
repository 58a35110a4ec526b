"""`snnlab import`: what docs/nir.md and its `--help` promise of the folder that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from snnlab import load
from snnlab.interop.nir_files import write_graph
from snnlab.nn import build_network, from_nir

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
# Frames of 8 cells, and a model for them.
DATA = ("data=spike_patterns", "data.num_recordings=60", "data.num_classes=3", "data.num_bins=8")
MODEL = (*DATA, "model=mlp_lif", "model.layers.fc1.out_features=16")


def graph_of(tau: float, rng: np.random.Generator) -> Any:
    """Return a NIR graph as another program writes it: time constants in s, no v_reset, nothing of snnlab's."""
    nir: Any = pytest.importorskip("nir")
    one = np.ones(6)
    return nir.NIRGraph.from_list(
        nir.Affine(rng.normal(0, 1, (6, 8)).astype(np.float32), np.zeros(6, np.float32)),
        nir.LIF(tau * one, one, 0 * one, one),
        nir.Linear(rng.normal(0, 1, (3, 6)).astype(np.float32)),
        nir.LI(tau * np.ones(3), np.ones(3), np.zeros(3)),
    )


def test_a_nir_file_becomes_a_run_with_every_assumption_printed_and_recorded(workplace: Path, snnlab: Snnlab) -> None:
    graph = graph_of(0.04, np.random.default_rng(0))
    write_graph(workplace / "theirs.nir", graph)
    done = snnlab("import", "theirs.nir", "--out", "run", "--dt", "2", "--reset", "subtract")
    assert done.status == 0, done.err
    *assumptions, folder = done.out.splitlines()
    assert folder == "run"
    page = json.loads((workplace / "run" / "result.json").read_text())["provenance"]["imported"]
    assert (len(page["sha256"]), page["assumptions"]) == (64, assumptions)
    assert_text_has("\n".join(assumptions), "time_unit", "s")
    layers = yaml.safe_load((workplace / "run" / "config.yaml").read_text())["model"]["layers"]
    assert list(layers) == ["affine", "lif", "linear", "li"]
    assert (layers["lif"]["tau_mem"], layers["lif"]["reset"]) == (40.0, "subtract")
    x = torch.rand(30, 2, 8)
    assert torch.equal(load("run").network(x)[0], from_nir(graph, dt=2.0, reset="subtract")(x)[0])
    for command in (["show", "run"], ["export", "run", "--nir", "again.nir", "--lossy"]):
        assert snnlab(*command).status == 0


def test_the_options_say_what_a_file_leaves_open(workplace: Path, snnlab: Snnlab) -> None:
    write_graph(workplace / "theirs.nir", graph_of(40.0, np.random.default_rng(0)))
    given = ("--time-unit", "ms", "--discretization", "euler", "--spikes", "impulse", "--reset", "subtract")
    more = ("--threshold", "inclusive", "--spikes-per-step", "several", "--floor", "-1")
    done = snnlab("import", "theirs.nir", "--out", "run", *given, *more)
    assert done.status == 0, done.err
    lif = yaml.safe_load((workplace / "run" / "config.yaml").read_text())["model"]["layers"]["lif"]
    read = {"tau_mem": 40.0, "decay": "euler", "input_gain": 0.025, "reset": "subtract", "threshold": "inclusive"}
    assert lif == {"type": "lif", **read, "spikes": "several", "floor": -1}


def test_a_network_that_snnlab_wrote_comes_back_exactly(workplace: Path, snnlab: Snnlab) -> None:
    pytest.importorskip("nir")
    layers = {
        "fc": {"type": "linear", "out_features": 4},
        "lif": {"type": "lif", "reset": "value", "threshold": "strict"},
    }
    made: Any = build_network(layers, in_shape=(3,), dt=1.5).network
    write_graph(workplace / "ours.nir", made.to_nir())
    assert snnlab("import", "ours.nir", "--out", "run").status == 0
    x = torch.rand(20, 2, 3) * 4
    assert torch.equal(load("run").network(x)[0], made(x)[0])


def test_a_state_dict_of_another_project_becomes_a_run_and_is_counted_without_an_accuracy(
    workplace: Path, snnlab: Snnlab
) -> None:
    theirs = {"first.weight": torch.full((16, 700), 0.01), "second.weight": torch.full((3, 16), 0.01)}
    torch.save(theirs, workplace / "theirs.pt")
    given = ("import", "theirs.pt", "--out", "run", *MODEL)
    done = snnlab(*given, "model.weights.rename={first: fc1, second: out}", "data.store_dir=store")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "run"
    (workplace / "theirs.pt").unlink()
    network: Any = load("run").network
    assert bool((network.fc1.weight == torch.tensor(0.01)).all())
    done = snnlab("evaluate", "run", "trainer.accelerator=cpu")
    assert done.status == 0, done.err
    page = json.loads((next(Path("run", "evaluations").iterdir()) / "result.json").read_text())
    assert f"{int(np.trace(page['confusion']))} of {page['recordings']}" in done.err + done.out
    assert "%" not in done.out.partition("no accuracy")[2]
    short = ("trainer.max_epochs=1", "plots=null", "monitors=null")
    begun = snnlab("train", "run/config.yaml", "init_from=run", "model.weights.file=null", *short)
    assert begun.status == 0, begun.err


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("theirs.nir", "--out", "run", "--time-unit", "hours"), ("hours",)),
        (("theirs.nir", "--out", "run", "--dt", "-1"), ("-1",)),
        (("theirs.nir", "--out", "run", "data=saccade_digits"), ("[8]",)),
        (("theirs.nir", "--out", "run", "--spikes-per-step", "several", "--reset", "zero"), ("several",)),
        (("theirs.nir",), ("--out",)),
        (("gone.nir", "--out", "run"), ("gone.nir",)),
        (("theirs.nir", "--out", "full"), ("full",)),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: tuple[str, ...], facts: tuple[str, ...], workplace: Path, snnlab: Snnlab
) -> None:
    write_graph(workplace / "theirs.nir", graph_of(0.02, np.random.default_rng(0)))
    (workplace / "full").mkdir()
    (workplace / "full" / "mine").write_text("")
    before = sorted(workplace.rglob("*"))
    done = snnlab("import", *words)
    assert (done.status, done.out) == (2, "")
    assert_text_has(done.err, *facts)
    assert "Traceback" not in done.err
    assert sorted(workplace.rglob("*")) == before


def test_a_nir_file_for_a_model_is_no_state_dict(workplace: Path, snnlab: Snnlab) -> None:
    write_graph(workplace / "theirs.nir", graph_of(0.02, np.random.default_rng(0)))
    (workplace / "theirs.pt").write_bytes((workplace / "theirs.nir").read_bytes())
    done = snnlab("import", "theirs.pt", "--out", "run", *MODEL)
    assert done.status == 2
    assert_error_has(done.error, "theirs.pt", "NIR")
