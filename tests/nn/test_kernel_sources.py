"""The text of `snnlab show --kernels`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab.nn import LIF, build_network
from snnlab.nn.kernel_sources import kernel_sources, layers_rounding_differently

from ..refusals import assert_text_has


class Sine(LIF):
    """A neuron whose input goes through a function that no loop has."""

    def step(self, x: Tensor, state: Any, coefficients: Any) -> Any:
        return super().step(torch.sin(x), state, coefficients)


def test_each_neuron_shows_its_loops_or_why_it_has_none() -> None:
    layers: dict[str, Any] = {
        "fc": {"type": "linear", "out_features": 4},
        "lif": {"type": "lif", "recurrent": True},
        "own": {"type": "lif", "learn": {"tau_mem": "neuron"}},
        "sine": {"type": "lif"},
    }
    built = build_network(layers, in_shape=(3,), dt=1.0)
    built.network.get_submodule("sine").__class__ = Sine
    texts = dict(kernel_sources(built))
    assert list(texts) == ["lif", "own", "sine"]
    for way in ("def forward(", "def backward("):
        assert way in texts["lif"]
    assert "k_a[n]" in texts["own"]
    assert_text_has(texts["sine"], "plain loop", "Sine.step", "line")


class Exponential(LIF):
    """A neuron whose input goes through an exponential function."""

    approximate = True

    def step(self, x: Tensor, state: Any, coefficients: Any) -> Any:
        return super().step(torch.exp(x), state, coefficients)


class Exact(LIF):
    """A neuron that declares other rounding but has none."""

    approximate = True


def test_neurons_that_round_differently_are_named() -> None:
    lif = {"type": "lif"}
    layers: dict[str, Any] = {"fc": {"type": "linear", "out_features": 4}, "a": lif, "b": lif, "c": lif}
    built = build_network(layers | {"d": lif | {"recurrent": True}}, in_shape=(3,), dt=1.0)
    for name, cls in (("b", Exponential), ("c", Exact), ("d.neuron", Exponential)):
        built.network.get_submodule(name).__class__ = cls
    assert layers_rounding_differently(built, "numba") == ["b", "d"]
    assert layers_rounding_differently(built, "reference") == []
