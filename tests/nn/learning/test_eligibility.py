"""E-prop, OSTL and D-RTRL beside real-time recurrent learning written out, and beside each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev  # type: ignore[attr-defined]
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.nn.learning import EProp
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.neurons.recurrent import Recurrent

from ...refusals import assert_raises
from .tasks import CLASSES, B, T, assert_equal, batch_of, built_network, gradients, make_rule

LIF: dict[str, Any] = {"type": "lif", "v_threshold": 0.4, "tau_mem": 9.0}
FC: dict[str, Any] = {"type": "linear", "out_features": 7}
OUT: dict[str, Any] = {"type": "linear", "out_features": CLASSES}
MEMORYLESS = {"fc": FC, "lif": LIF, "out": OUT}
RECURRENT: dict[str, dict[str, Any]] = {
    "lif": {**LIF, "recurrent": {"bias": True}},
    "cuba": {"type": "cuba_lif", "v_threshold": 0.2, "recurrent": {"autapses": False}, "learn": ["tau_mem"]},
    "alif": {"type": "alif", "v_threshold": 0.3, "detach_reset": False, "recurrent": True},
    "brf": {"type": "brf", "input_gain": 300.0, "recurrent": True},
}

# The others compile more loops.
NAMES = [pytest.param(name, marks=() if name == "lif" else pytest.mark.long) for name in RECURRENT]


def test_with_one_leak_and_a_readout_without_memory_all_rules_with_traces_are_one() -> None:
    found = {}
    for name in ("bptt", "ottt", "eprop", "d_rtrl", "ostl"):
        built = built_network(MEMORYLESS)
        found[name] = gradients(make_rule(name, built), built, batch_of())[0]
    for name in ("ottt", "eprop", "d_rtrl", "ostl"):
        assert_equal(found[name], found["bptt"])


def rtrl(layers: dict[str, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the gradients of OSTL and those of real-time recurrent learning, written out with torch's Jacobians.

    The states of a layer, with its last output among them, are one vector h: P[t] = dh[t]/dh[t-1] P[t-1] + dh[t]/dp.
    """
    built, batch = built_network(layers), batch_of(lengths=(T,) * B)
    set_backend(built.network, "reference")
    ours, _, counts = gradients(make_rule("ostl", built, steps_at_once=5), built, batch)
    assert all(n.sum() > 0 for n in counts.values())
    names = [name for name, _ in built.network.named_parameters() if not name.startswith("out.")]
    flat = {name: built.network.get_parameter(name).detach() for name in names}
    network, out = built.network, built.network.get_submodule("out")
    assert isinstance(out, torch.nn.Linear)
    layer = network.get_submodule("neurons")
    assert isinstance(layer, Recurrent)
    start = layer.initial_state(torch.zeros(1, 7, dtype=torch.float64))
    vector = torch.cat([start.s, *start.neuron], 1)[0]

    def step(parameters: dict[str, Tensor], h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = h.view(-1, 7)
        state = type(start)(parts[:1], type(start.neuron)(*(part[None] for part in parts[1:])))
        inner = {name.removeprefix("neurons."): one for name, one in parameters.items() if name.startswith("neurons.")}
        drive = functional.linear(x, parameters["fc.weight"], parameters.get("fc.bias"))
        y, after = torch.func.functional_call(layer, inner, (drive[None, None], state))
        return torch.cat([after.s, *after.neuron], 1)[0], y[0, 0]

    found = {name: torch.zeros_like(one) for name, one in flat.items()}
    for b in range(B):
        h = vector
        influence = {name: torch.zeros(len(vector), one.numel(), dtype=one.dtype) for name, one in flat.items()}
        for t in range(T):
            x = batch.x[t, b]
            by_parameters, by_h = jacrev(lambda p, h, x=x: torch.cat(step(p, h, x)), (0, 1))(flat, h)
            new, y = step(flat, h, x)
            logits = out(y)
            error = functional.softmax(logits, 0) - functional.one_hot(batch.targets[b], CLASSES)
            signal = (error / B / T) @ out.weight
            for name in names:
                whole = by_h @ influence[name] + by_parameters[name].reshape(len(by_h), -1)
                influence[name] = whole[: len(vector)]
                found[name] += (signal @ whole[len(vector) :]).view(flat[name].shape)
            h = new
    return {name: ours[name] for name in names}, {name: one.detach() for name, one in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_ostl_of_one_recurrent_layer_is_real_time_recurrent_learning(name: str) -> None:
    ours, expected = rtrl({"fc": FC, "neurons": RECURRENT[name], "out": OUT})
    assert_equal(ours, expected, 1e-7 if name == "brf" else 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_ostl_of_one_recurrent_layer_is_backpropagation_through_time(name: str) -> None:
    found = []
    for rule in ("ostl", "bptt"):
        built = built_network({"fc": FC, "neurons": RECURRENT[name], "out": OUT})
        found.append(gradients(make_rule(rule, built), built, batch_of()))
    assert_equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert torch.equal(found[0][2]["neurons"], found[1][2]["neurons"])


@pytest.mark.long
@pytest.mark.parametrize("steps", [1, 4, 100])
@pytest.mark.parametrize("rule", ["eprop", "d_rtrl", "ostl"])
def test_the_gradient_does_not_depend_on_the_steps_at_once(rule: str, steps: int) -> None:
    found = []
    for size in (steps, 6):
        built = built_network({"fc": FC, "neurons": RECURRENT["cuba"], "out": OUT, "readout": {"type": "li"}})
        found.append(gradients(make_rule(rule, built, steps_at_once=size), built, batch_of())[0])
    assert_equal(*found)


def test_without_neighbours_d_rtrl_is_ostl_and_with_them_it_is_not() -> None:
    for neighbours in (False, True):
        found = []
        for rule in ("d_rtrl", "ostl"):
            built = built_network({"fc": FC, "neurons": RECURRENT["lif"], "out": OUT})
            weight = built.network.get_parameter("neurons.feedback.weight")
            with torch.no_grad():
                weight.copy_(2 * weight if neighbours else torch.diag(weight.diagonal()))
            found.append(gradients(make_rule(rule, built), built, batch_of())[0]["fc.weight"])
        assert torch.allclose(*found, rtol=1e-9) != neighbours


@pytest.mark.long
@pytest.mark.parametrize("own_leaks", [False, True])
def test_eprop_filters_with_the_leak_of_the_readout_so_that_a_layer_without_feedback_is_exact(own_leaks: bool) -> None:
    readout: dict[str, Any] = {"type": "li"}
    if own_leaks:
        readout |= {"tau_mem": 20.0, "tau_mem_std": 5.0, "learn": {"tau_mem": "channel"}}
    layers = {"fc": FC, "neurons": {"type": "alif", "v_threshold": 0.3}, "out": OUT, "readout": readout}
    found = []
    for rule in ("eprop", "bptt", "d_rtrl"):
        built = built_network(layers)
        found.append(gradients(make_rule(rule, built), built, batch_of(lengths=(T,) * B))[0])
    assert_equal(found[0], found[1])
    assert not torch.allclose(found[2]["fc.weight"], found[1]["fc.weight"], rtol=1e-2)


@pytest.mark.parametrize("readout", [{}, {"readout": {"type": "li"}}], ids=["without_memory", "leaky"])
def test_random_feedback_sends_the_errors_by_fixed_weights(readout: dict[str, dict[str, Any]]) -> None:
    built = built_network({**MEMORYLESS, **readout})
    rule = make_rule("eprop", built, feedback="random")
    random, symmetric = (
        gradients(rule, built, batch_of())[0],
        gradients(make_rule("eprop", built), built, batch_of())[0],
    )
    assert torch.equal(random["out.weight"], symmetric["out.weight"])
    assert not torch.allclose(random["fc.weight"], symmetric["fc.weight"], rtol=0.1)
    assert isinstance(rule, EProp)
    rule.get_buffer("errors_to_fc").copy_(built.network.get_parameter("out.weight").detach())
    assert_equal(gradients(rule, built, batch_of())[0], symmetric)
    assert {*rule.state_dict()} == {"errors_to_fc"}


def test_adaptive_feedback_changes_as_the_readout_does() -> None:
    built = built_network({"fc": FC, "neurons": LIF, "out": OUT})
    rule = make_rule("eprop", built, feedback="adaptive")
    before = rule.get_buffer("errors_to_fc").clone()
    gradients(rule, built, batch_of())
    assert torch.equal(rule.get_buffer("errors_to_fc"), before)
    change = torch.randn(CLASSES, 7, dtype=torch.float64)
    with torch.no_grad():
        built.network.get_parameter("out.weight").add_(change)
    gradients(rule, built, batch_of())
    torch.testing.assert_close(rule.get_buffer("errors_to_fc"), before + change)


def test_a_convolution_is_refused_with_its_traces_and_the_rules_that_would_do() -> None:
    image = {
        "conv": {"type": "conv2d", "out_channels": 12, "kernel_size": 5},
        "lif": LIF,
        "flatten": {"type": "flatten"},
    }
    with assert_raises(ConfigError, "model.layers.conv", "0.5 million", "ottt", "sltt"):
        make_rule("eprop", built_network({**image, "out": OUT}, (2, 34, 34)), in_shape=(2, 34, 34))


REFUSED: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "untraceable": ({"fc": FC, "neurons": {"type": "sliding_psn"}, "out": OUT}, "model.layers.neurons", ()),
    "between": ({"fc": FC, "id": {"type": "identity"}, "lif": LIF, "out": OUT}, "model.layers.id", ("fc", "lif")),
    "readout": ({**MEMORYLESS, "readout": {"type": "cuba_li"}}, "model.layers.readout", ("d_rtrl",)),
    "delays": (
        {"fc": FC, "lif": {**LIF, "recurrent": {"delay": {"max": 6.0}}}, "out": OUT},
        "model.layers.lif.recurrent",
        ("sltt",),
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_it_cannot_train_is_refused_by_name(name: str) -> None:
    layers, place, facts = REFUSED[name]
    with assert_raises(ConfigError, place, "eprop", *facts):
        make_rule("eprop", built_network(layers))
