"""The names of SpikingJelly's state dicts: the n-th layer of each type in the file is the n-th in the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError, DataError
from snnlab.interop.state_dicts import load_state_dict
from snnlab.nn import build_network
from snnlab.nn.network import Network

from ..refusals import assert_raises

PLIF = {"type": "lif", "tau_mem": "2 steps", "decay": "euler", "learn": ["tau_mem"]}
BLOCK = {
    "conv1": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1, "bias": False},
    "norm1": {"type": "batch_norm"},
    "lif1": PLIF,
}
LAYERS: dict[str, Any] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 1, "bias": False},
    "norm": {"type": "batch_norm"},
    "lif": PLIF,
    "blocks": {"type": "repeat", "times": 2, "layers": {"block": {"type": "residual", "layers": BLOCK}}},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 2},
}


def built(**changes: Any) -> Network:
    return build_network({**LAYERS, **changes}, in_shape=(1, 2, 2), dt=2.0).network


def norm(number: float) -> dict[str, Tensor]:
    one = torch.full((3,), number)
    return {
        "weight": one,
        "bias": -one,
        "running_mean": one,
        "running_var": one,
        "num_batches_tracked": torch.tensor(7),
    }


def theirs() -> dict[str, Tensor]:
    """Return weights as SpikingJelly names them: by the place in a Sequential."""
    parts: dict[str, dict[str, Tensor]] = {
        "0.0": {"weight": torch.full((3, 1, 1, 1), 1.0)},
        "0.1": norm(1.0),
        "0.2": {"w": torch.tensor(1.0)},
        "1.conv.0": {"weight": torch.full((3, 3, 3, 3), 2.0)},
        "1.conv.1": norm(2.0),
        "1.conv.2": {"w": torch.tensor(2.0)},
        "3.conv.0": {"weight": torch.full((3, 3, 3, 3), 3.0)},
        "3.conv.1": norm(3.0),
        "3.conv.2": {"w": torch.tensor(3.0)},
        "6": {"weight": torch.full((2, 12), 4.0), "bias": torch.full((2,), 4.0)},
    }
    return {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def load(network: Network, weights: dict[str, Tensor], folder: Path) -> None:
    torch.save(weights, folder / "theirs.pt")
    load_state_dict(network, folder / "theirs.pt", "spikingjelly")


def test_layers_of_a_type_are_matched_in_order_through_blocks(tmp_path: Path) -> None:
    network = built()
    load(network, theirs(), tmp_path)
    own = network.state_dict()
    order = ("", "blocks.copy1.block.", "blocks.copy2.block.")
    for number, place in enumerate(order, 1):
        digit = "1" if place else ""
        assert (own[f"{place}conv{digit}.weight"] == number).all()
        assert (own[f"{place}norm{digit}.bias"] == -number).all()
        assert own[f"{place}norm{digit}.num_batches_tracked"] == 7
        assert network.get_submodule(f"{place}lif{digit}").tau_mem == pytest.approx(
            2.0 * (1 + torch.tensor(-number).exp())
        )
    assert (own["out.bias"] == 4.0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"tau_mem": "2 steps", "decay": "euler"},
        {"tau_mem": 7.0, "decay": "euler"},
        {"tau_mem": 7.0, "decay": "exact"},
        {"tau_mem": "2 steps", "decay": "exact"},
        {"beta": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("w", [-3.0, 0.0, 0.7, 4.0])
def test_the_factor_of_a_step_is_1_minus_the_sigmoid_of_w(settings: dict[str, Any], w: float, tmp_path: Path) -> None:
    name = "beta" if "beta" in settings else "tau_mem"
    layers = {"lif": {"type": "lif", "learn": [name], **settings}}
    network = build_network(layers, in_shape=(3,), dt=2.0).network
    load(network, {"neuron.w": torch.tensor(w)}, tmp_path)
    lif: Any = network.get_submodule("lif")
    assert lif.coefficients().a.item() == pytest.approx(1 - torch.tensor(w).sigmoid().item(), rel=1e-5)


def without(*places: str) -> dict[str, Tensor]:
    return {name: value for name, value in theirs().items() if not name.startswith(places)}


MISFITS: list[tuple[str, dict[str, Any], dict[str, Tensor], list[object]]] = [
    ("a shape", {}, {**theirs(), "6.weight": torch.ones(2, 13)}, ["6.weight", "out.weight", "[2, 13]", "[2, 12]"]),
    ("a layer more", {}, {**theirs(), "7.weight": torch.ones(2, 2)}, [2, "linear", 1, "7"]),
    ("a layer less", {}, without("3.conv.0"), [2, "conv2d", 3, "blocks.copy2.block.conv1"]),
    ("another type", {}, {**without("6"), "6.weight": torch.ones(2, 12, 2)}, [1, "conv1d", 0]),
    ("a bias there", {"out": {**LAYERS["out"], "bias": False}}, theirs(), ["6.bias", "model.layers.out.bias=true"]),
    ("a bias here", {}, without("6.bias"), ["out.bias"]),
    ("nothing learned here", {"lif": {**PLIF, "learn": []}}, theirs(), [3, "time constants", 2, "spikingjelly_plif"]),
    ("nothing learned there", {}, without("0.2", "1.conv.2", "3.conv.2"), [0, "time constants", 3, "spikingjelly_lif"]),
    ("another layer's values", {}, {**theirs(), "8.k": torch.ones(2)}, ["8", "k"]),
    ("not finite", {}, {**theirs(), "0.2.w": torch.tensor(float("nan"))}, ["0.2.w", "lif.learned.tau_mem", "NaN"]),
]


@pytest.mark.parametrize(("changes", "weights", "facts"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_what_does_not_fit_is_named_in_a_line_and_nothing_is_loaded(
    changes: dict[str, Any], weights: dict[str, Tensor], facts: list[object], tmp_path: Path
) -> None:
    network = built(**changes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with assert_raises(DataError, "theirs.pt", *facts) as caught:
        load(network, weights, tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_names_of_no_other_library_are_known(tmp_path: Path) -> None:
    torch.save(theirs(), tmp_path / "theirs.pt")
    unknown: Any = "norse"
    with assert_raises(ConfigError, "rename", "norse", "spikingjelly"):
        load_state_dict(built(), tmp_path / "theirs.pt", unknown)
