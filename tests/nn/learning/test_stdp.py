"""STDP beside Norse's functions of that name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError

from ...refusals import assert_raises
from .tasks import CLASSES, INPUTS, B, T, batch_of, built_network, gradients, make_rule

LIF: dict[str, Any] = {"type": "lif", "v_threshold": 0.4}
LINEAR: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 7, "bias": False},
    "lif": LIF,
    "out": {"type": "linear", "out_features": CLASSES},
}
IMAGE = (2, 6, 6)
CONV: dict[str, dict[str, Any]] = {
    "fc": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": False, "stride": 2, "padding": 1},
    "lif": LIF,
    "flatten": {"type": "flatten"},
    "out": LINEAR["out"],
}
# By the name of ours, that of Norse.
KINDS = {"none": "additive", "step": "additive_step", "power": "multiplicative_pow", "linear": "multiplicative_relu"}
RATES: dict[str, Any] = {"eta_plus": 0.02, "eta_minus": 0.015}


def of_norse(layers: dict[str, dict[str, Any]], shape: tuple[int, ...], kind: str, mu: float) -> Tensor:
    """Return the weights after a batch: each step with the weights of the step before, then Norse's change."""
    functional = pytest.importorskip("norse.torch.functional.stdp")
    built, batch = built_network(layers, shape), batch_of(shape, (T,) * B)
    network, weight = built.network, built.network.get_parameter("fc.weight")
    convolutional: dict[str, Any] = {"convolutional": True, "stride": 2, "padding": 1} if len(shape) > 1 else {}
    p = functional.STDPParameters(
        **{"tau_pre_inv": torch.tensor(1 / 20e-3).double(), "tau_post_inv": torch.tensor(1 / 30e-3).double(), **RATES},
        **{"stdp_algorithm": KINDS[kind], "mu": mu, **convolutional},
    )
    change = functional.stdp_step_conv2d if convolutional else functional.stdp_step_linear
    zeros = torch.zeros(B, *built.shapes["lif"], dtype=torch.float64)
    kept, state = functional.STDPState(torch.zeros_like(batch.x[0]), zeros), SimpleNamespace(of=None)
    with torch.no_grad():
        weight.clamp_(0.0, 1.0)
        for x in batch.x:
            drive = network.get_submodule("fc")(x)
            s, state.of = network.get_submodule("lif")(drive[None], state.of)
            new, kept = change(x, s[0], weight, kept, p, 2e-3)
            weight.copy_(new)
    return weight.detach()


@pytest.mark.peers
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("layers", [LINEAR, CONV], ids=["linear", "conv"])
def test_the_weights_are_those_of_norse(layers: dict[str, dict[str, Any]], kind: str) -> None:
    shape, mu = (IMAGE if layers is CONV else (INPUTS,)), 0.7 if kind == "power" else 0.0
    built = built_network(layers, shape)
    before = {name: one.detach().clone() for name, one in built.network.named_parameters()}
    with torch.no_grad():
        built.network.get_parameter("fc.weight").clamp_(0.0, 1.0)
    rule = make_rule("stdp", built, in_shape=shape, tau_pre=20.0, tau_post=30.0, dependence=kind, mu=mu, **RATES)
    found, scores, counts = gradients(rule, built, batch_of(shape, (T,) * B))
    assert {*found} == {"loss"}
    assert scores.shape == (B, CLASSES)
    assert counts["lif"].sum() > 0
    weight = built.network.get_parameter("fc.weight").detach()
    torch.testing.assert_close(weight, of_norse(layers, shape, kind, mu), rtol=0, atol=1e-6)
    assert not torch.equal(weight, before["fc.weight"])
    assert torch.equal(built.network.get_parameter("out.weight"), before["out.weight"])


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_weights_that_start_outside_of_the_bounds_are_within_them_after_a_batch(mu: float) -> None:
    built = built_network(LINEAR)
    weight = built.network.get_parameter("fc.weight")
    assert weight.min() < 0
    gradients(make_rule("stdp", built, dependence="power", mu=mu, **RATES), built, batch_of())
    assert weight.min() >= 0
    assert weight.max() <= 1


def test_only_named_layers_learn_and_others_are_refused_by_name() -> None:
    layers = {**LINEAR, "out": {**LINEAR["out"], "bias": False}, "lif2": LIF}
    built = built_network(layers)
    before = built.network.get_parameter("fc.weight").detach().clone()
    gradients(make_rule("stdp", built, layers=["out"]), built, batch_of())
    assert torch.equal(built.network.get_parameter("fc.weight"), before)
    with assert_raises(ConfigError, "learning.layers", "lif", "fc"):
        make_rule("stdp", built_network(layers), layers=["lif"])


def test_it_needs_no_loss_per_step_and_spiking_neurons_behind_weights() -> None:
    make_rule("stdp", built_network(LINEAR), "cross_entropy")
    with assert_raises(ConfigError, "model.layers", "stdp", "bptt"):
        make_rule("stdp", built_network({"out": LINEAR["out"], "readout": {"type": "li"}}))
    with assert_raises(ConfigError, "learning.w_min", "1"):
        make_rule("stdp", built_network(LINEAR), w_min=2.0)
