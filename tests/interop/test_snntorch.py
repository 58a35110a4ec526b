"""snnTorch's state dicts: layers and neurons in order, constants equal or loaded, and then snnTorch's own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import DataError
from snnlab.interop.state_dicts import load_state_dict
from snnlab.nn import build_network
from snnlab.nn.network import Network

from ..refusals import assert_raises

LEAKY = {"type": "lif", "beta": 0.9, "reset": "subtract", "reset_delay": True, "threshold": "strict"}
SYNAPTIC = {**LEAKY, "type": "cuba_lif", "beta": 0.5, "alpha": 0.8, "synapse": "jump_first", "input_gain": 1.0}
LAYERS: dict[str, Any] = {
    "fc1": {"type": "linear", "out_features": 4},
    "lif1": {**LEAKY, "reset": "value", "v_threshold": 0.5},
    "fc2": {"type": "linear", "out_features": 3},
    "lif2": {**LEAKY, "learn": {"beta": "neuron", "v_threshold": "layer"}},
}


def built(**changes: Any) -> Network:
    return build_network({**LAYERS, **changes}, in_shape=(5,), dt=2.0).network


def neuron(name: str, threshold: float, beta: Any, reset: int, **more: float) -> dict[str, Tensor]:
    constants = {"threshold": threshold, "graded_spikes_factor": 1.0, "beta": beta, **more}
    own = {f"{name}.{key}": torch.tensor(value) for key, value in constants.items()}
    return own | {f"{name}.reset_mechanism_val": torch.tensor(reset)}


def theirs(**changes: Tensor) -> dict[str, Tensor]:
    """Return weights as snnTorch names those of an `nn.Sequential`."""
    weights = {"0.weight": torch.ones(4, 5), "0.bias": torch.ones(4), **neuron("1", 0.5, 0.9, 1)}
    weights |= {"2.weight": torch.ones(3, 4), "2.bias": torch.ones(3), **neuron("3", 1.5, [0.1, 0.2, 0.3], 0)}
    return weights | changes


def load(network: Network, weights: dict[str, Tensor], folder: Path) -> None:
    torch.save(weights, folder / "theirs.pt")
    load_state_dict(network, folder / "theirs.pt", "snntorch")


def test_learned_constants_of_a_file_are_loaded_as_they_are(tmp_path: Path) -> None:
    network = built()
    load(network, theirs(), tmp_path)
    lif: Any = network.get_submodule("lif2")
    assert lif.beta.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)
    assert lif.v_threshold == pytest.approx(1.5, rel=1e-6)
    one_for_all = built(lif2={**LEAKY, "v_threshold": 1.5, "per_neuron": ["beta"]})
    load(one_for_all, theirs(**{"3.beta": torch.tensor(0.7)}), tmp_path)
    other: Any = one_for_all.get_submodule("lif2")
    assert other.coefficients().a.tolist() == pytest.approx([0.7] * 3, rel=1e-6)


FIRST = "model.layers.lif1"
MISFITS: list[tuple[str, dict[str, Any], dict[str, Tensor], list[object]]] = [
    ("a threshold", {}, {"1.threshold": torch.tensor(2.0)}, ["1.threshold", 2.0, 0.5, f"{FIRST}.v_threshold=2.0"]),
    ("a factor", {}, {"1.beta": torch.tensor(0.7)}, ["1.beta", 0.7, 0.9, f"{FIRST}.beta=0.7"]),
    ("a reset", {}, {"1.reset_mechanism_val": torch.tensor(2)}, [2, "value", f"{FIRST}.reset=none"]),
    ("no reset of theirs", {}, {"1.reset_mechanism_val": torch.tensor(7)}, [7, "value"]),
    ("graded spikes", {}, {"1.graded_spikes_factor": torch.tensor(2.0)}, ["1.graded_spikes_factor", 2.0, 1]),
    ("factors", {}, {"1.beta": torch.full((4,), 0.9)}, [4, f"{FIRST}.learn={{beta: neuron}}"]),
    ("a learned factor above 1", {}, {"3.beta": torch.tensor([0.1, 0.2, 1.5])}, ["3.beta", 1.5, "< 1"]),
    ("a factor of a synapse", {}, neuron("1", 0.5, 0.9, 1, alpha=0.8), ["1.alpha", FIRST, "snntorch_synaptic"]),
    ("a neuron more", {}, neuron("4", 1.0, 0.9, 0), [3, "neurons", 2, "4"]),
    ("a length", {"lif1": {**LAYERS["lif1"], "beta": None, "tau_mem": 20.0}}, {}, ["tau_mem", f"{FIRST}.beta=0.9"]),
    ("an early reset", {"lif1": {**LAYERS["lif1"], "reset_delay": False}}, {}, [FIRST, "snntorch_leaky"]),
    ("no bias", {"fc2": {**LAYERS["fc2"], "bias": False}}, {}, ["2.bias", "model.layers.fc2.bias=true"]),
]


@pytest.mark.parametrize(("changes", "weights", "facts"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_what_does_not_fit_is_named_with_the_setting_that_does(
    changes: dict[str, Any], weights: dict[str, Tensor], facts: list[object], tmp_path: Path
) -> None:
    with assert_raises(DataError, "theirs.pt", *facts) as caught:
        load(built(**changes), theirs(**weights), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_without_neurons_of_snntorch_says_so(tmp_path: Path) -> None:
    with assert_raises(DataError, "theirs.pt", "reset_mechanism_val"):
        load(built(), {"0.weight": torch.ones(4, 5)}, tmp_path)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "arguments", "settings"),
    [
        ("Leaky", {"beta": 0.8, "threshold": 0.7}, {**LEAKY, "beta": 0.8, "v_threshold": 0.7}),
        ("Leaky", {"beta": torch.full((4,), 0.8), "learn_beta": True}, {**LEAKY, "learn": {"beta": "neuron"}}),
        ("Leaky", {"beta": 0.9, "reset_mechanism": "zero"}, {**LEAKY, "reset": "value"}),
        ("Synaptic", {"alpha": 0.8, "beta": 0.5}, SYNAPTIC),
        ("Alpha", {"alpha": 0.8, "beta": 0.5}, {"type": "snntorch_alpha", "alpha": 0.8, "beta": 0.5}),
        (
            "RLeaky",
            {"beta": 0.9, "linear_features": 4},
            {**LEAKY, "recurrent": {"type": "dense", "autapses": True, "bias": True}},
        ),
    ],
    ids=str,
)
def test_a_loaded_network_spikes_as_in_snntorch(
    name: str, arguments: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), getattr(snntorch, name)(init_hidden=True, **arguments))
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    x = 3.0 * torch.rand(50, 2, 5)
    ours = build_network({"fc": {"type": "linear", "out_features": 4}, "lif": settings}, in_shape=(5,), dt=2.0).network
    load_state_dict(ours, tmp_path / "theirs.pt", "snntorch")
    with torch.no_grad():
        expected = torch.stack([network(step) for step in x])
        found, _ = ours(x)
    assert torch.equal(found, expected)
    assert 0 < expected.mean().item() < 1
