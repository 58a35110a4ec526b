"""What neurons say that they are in NIR: its equations by forward Euler are their steps, in double precision.

Axes: N random values.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import LIF, NEURONS, Network, Neuron
from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, Firing, NeuronInfo
from snnlab.nn.neurons.nir_node import INCLUSIVE, InNIR, lost_of
from snnlab.nn.surrogate import spike

from ..refusals import assert_raises

DT, N = 0.002, 200
# Two values of each setting that changes the node, and those that it does not say, one at a time.
GAINS = {"input_gain": [1.0, 0.7, "1-a", "average"]}
LEAKS = {"v_leak": [0.0, 0.2], "decay": ["exact", "euler"], "tau_mem": [8.0, "5 steps"]}
CURRENTS = {**LEAKS, **GAINS, "synapse": ["jump_first", "decay_first"], "tau_syn": [5.0, "3 steps"]}
SPIKES = {"reset": ["value"], "v_reset": [0.0, -0.3], "threshold": ["strict"]}
LEARNED = {"learn": [(), ("v_threshold",)]}
SAYABLE: dict[str, dict[str, list[Any]]] = {
    "lif": {**LEAKS, **GAINS, **SPIKES, **LEARNED},
    "iaf": {"input_gain": [1.0, 0.7], **SPIKES, **LEARNED},
    "li": {**LEAKS, **GAINS},
    "integrator": {"input_gain": [1.0, 0.7]},
    "cuba_lif": {**CURRENTS, **SPIKES},
    "cuba_li": CURRENTS,
}
BESIDE: dict[str, list[dict[str, Any]]] = {
    "lif": [{"beta": 0.8}, {"per_neuron": ["tau_mem", "v_threshold", "input_gain"]}, {"learn": {"tau_mem": "neuron"}}],
    "cuba_lif": [{"alpha": 0.5, "beta": 0.8}, {"learn": ["tau_syn", "tau_mem", "v_reset"]}],
}
SPIKING = {"reset": "value", "threshold": "strict"}
UNSAYABLE: list[tuple[str, dict[str, Any]]] = [
    *((kind, {**SPIKING, "reset": reset}) for kind in ("lif", "iaf", "cuba_lif") for reset in ("subtract", "none")),
    *((kind, {**SPIKING, "reset_delay": True}) for kind in ("lif", "iaf", "cuba_lif")),
    *((kind, {**SPIKING, "floor": -0.1}) for kind in ("lif", "iaf", "cuba_lif")),
    *((kind, {"spikes": "several"}) for kind in ("lif", "iaf")),
    ("cuba_lif", {"synapse": "decay_first", "input_gain": "1-a", "spikes": "several", "floor": -0.1}),
    ("cuba_lif", {**SPIKING, "synapse": "next_step", "input_gain": 0.5}),
    ("cuba_li", {"synapse": "next_step", "input_gain": 0.5}),
    ("alif", {**SPIKING, "adaptation": 0.5}),
    ("adlif", {**SPIKING, "a": 0.5}),
    ("lsnn", {"input_gain": 0.5}),
    ("loihi2", {}),
]


def build(kind: str, settings: dict[str, Any]) -> Neuron:
    return NEURONS.build(kind, dict(settings), kind, dt=1000.0 * DT, in_shape=(N,)).double()


def combinations(axes: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def sayable(kind: str) -> Iterator[Neuron]:
    """Yield a neuron for each combination of settings that exists."""
    for settings in (*combinations(SAYABLE[kind]), *({**SPIKING, **each} for each in BESIDE.get(kind, ()))):
        try:
            yield build(kind, settings)
        except ConfigError:
            assert settings.get("input_gain") == "average"


def euler(said: InNIR, v: Tensor, i: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Return state and output after a forward Euler step of NIR's definition of a primitive."""
    p = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in said.values.items()}
    if said.kind in ("CubaLIF", "CubaLI"):
        i = i + DT / p["tau_syn"] * (-i + p["w_in"] * x)
        u = v + DT / p["tau_mem"] * (p["v_leak"] - v + p["r"] * i)
    elif said.kind in ("LIF", "LI"):
        u = v + DT / p["tau"] * (p["v_leak"] - v + p["r"] * x)
    else:
        assert said.kind in ("IF", "I")
        u = v + DT * p["r"] * x
    if said.kind in ("LI", "I", "CubaLI"):
        return {"v": u, "i": i, "y": u}
    s = u > p["v_threshold"]
    return {"v": torch.where(s, p["v_reset"], u), "i": i, "y": s.double()}


def both(neuron: Neuron, said: InNIR) -> list[tuple[Tensor, Tensor]]:
    """Return what the step and NIR give on the same random values, output and states."""
    generator = torch.Generator().manual_seed(0)
    v, i, x = (scale * torch.randn(1, N, dtype=torch.float64, generator=generator) for scale in (0.8, 4.0, 2.0))
    known = {"v": v, "i": i}
    state = neuron.initial_state(x)  # other states after some spikes
    state = state._replace(**{name: known.get(name, v.abs()) for name in state._fields})
    y, after = neuron.step(x, state, neuron.coefficients())
    theirs = euler(said, v, i, x)
    return [(y, theirs["y"]), *((getattr(after, name), theirs[name]) for name in ("v", "i") if name in after._fields)]


@pytest.mark.parametrize("kind", SAYABLE)
def test_every_combination_of_settings_that_loses_nothing_is_the_step(kind: str) -> None:
    neurons = list(sayable(kind))
    assert len(neurons) > 1
    for neuron in neurons:
        said = neuron.in_nir(DT)
        assert said is not None
        assert not said.lost
        for ours, theirs in both(neuron, said):
            torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("kind", "settings"), UNSAYABLE, ids=str)
def test_what_a_node_does_not_say_changes_the_step(kind: str, settings: dict[str, Any]) -> None:
    neuron = build(kind, settings)
    said = neuron.in_nir(DT)
    assert said is not None
    assert [lost for lost in said.lost if lost != INCLUSIVE]
    assert not all(torch.allclose(ours, theirs) for ours, theirs in both(neuron, said))


class HoldState(NamedTuple):
    v: Tensor


class Hold(SurrogateNeuron):
    """A plugin's neuron: it leaks by half, spikes above 1 and starts again from 0."""

    rest_steps: float = 0.0

    def coefficients(self) -> float:
        return 0.5

    def initial_state(self, x: Tensor) -> HoldState:
        return HoldState(torch.zeros_like(x))

    def step(self, x: Tensor, state: HoldState, coefficients: float) -> tuple[Tensor, HoldState]:
        u = coefficients * state.v + x
        s = spike(u - 1.0, self.surrogate, 1.0, strict=True)
        return s, HoldState((1.0 - s) * u)

    def info(self) -> NeuronInfo:
        return NeuronInfo(firing=Firing(1.0, strict=True), reset=AfterSpike("value", rest_steps=self.rest_steps))

    def in_nir(self, dt: float) -> InNIR:
        values = {"tau": 2.0 * dt, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
        return InNIR("LIF", values, lost_of(self.info()))


class Changed(Hold):
    """A subclass, which says nothing of itself."""


class OtherLIF(LIF):
    """A subclass of a neuron of snnlab."""


def test_a_neuron_of_a_plugin_says_its_node() -> None:
    pytest.importorskip("nir")
    neuron = Hold(1000.0 * DT)
    for ours, theirs in both(neuron.double(), neuron.in_nir(DT)):
        torch.testing.assert_close(ours.detach(), theirs)
    node = Network({"hold": neuron}).to_nir(in_shape=(3,), dt=1000.0 * DT).nodes["hold"]
    assert type(node).__name__ == "LIF"
    assert node.tau.tolist() == pytest.approx([2.0 * DT] * 3)
    with assert_raises(ConfigError, "export", "hold", "refractory"):
        Network({"hold": Hold(1.0, rest_steps=2.0)}).to_nir(in_shape=(3,), dt=1.0)


@pytest.mark.parametrize("kind", [Changed, OtherLIF])
def test_a_subclass_does_not_inherit_what_its_base_says(kind: type[Neuron]) -> None:
    pytest.importorskip("nir")
    with assert_raises(ConfigError, "export", "one", kind.__name__):
        Network({"one": kind(1.0)}).to_nir(in_shape=(3,), dt=1.0)


def test_each_primitive_is_read_as_one_type() -> None:
    said = [vars(inspect.unwrap(NEURONS.get(name, "neuron"))).get("nir") for name in NEURONS]
    kinds = [node.kind for node in said if node is not None and node.is_read]
    assert sorted(kinds) == ["CubaLI", "CubaLIF", "I", "IF", "LI", "LIF"]
