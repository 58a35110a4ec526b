"""The gated neuron: its gates at their ends, and SpikingJelly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons.glif import GLIF

from ...refusals import assert_raises
from .agreement import BOTH, assert_agrees, preset

NAMES = {
    **{"gate_leak": "alpha", "gate_reset": "gamma", "gate_input": "beta", "leak": "tau"},
    **{"linear_leak": "linear_decay", "reset_amount": "v_subreset", "v_threshold": "v_threshold"},
    **{"conductance": "conduct"},
}


def ends(**given: float) -> GLIF:
    """Return a neuron whose gates are at their ends, within rounding."""
    near = {0.0: 1e-12, 1.0: 1 - 1e-12}
    settings: dict[str, Any] = {name: near.get(value, value) for name, value in given.items()}
    return GLIF(1.0, init="value", **settings).double()


def run(neuron: GLIF, *x: float) -> list[tuple[float, float]]:
    state, rows = None, []
    for x_t in x:
        _, state = neuron(torch.tensor(x_t, dtype=torch.float64).reshape(1, 1, 1), state)
        rows.append((state.s.item(), state.v.item()))
    return rows


def approx(rows: list[tuple[float, float]]) -> Any:
    return [pytest.approx(row, abs=1e-5) for row in rows]


def test_gates_choose_the_leak_the_reset_and_the_gain() -> None:
    exponential = ends(gate_leak=1.0, gate_reset=1.0, gate_input=0.0, leak=0.5)
    assert run(exponential, 0.4, 0.4, 0.3) == approx([(0, 0.4), (1, 0.6), (0, 0.3)])
    linear = ends(gate_leak=0.0, gate_reset=0.0, gate_input=1.0, linear_leak=0.1, reset_amount=0.3, conductance=0.5)
    assert run(linear, 0.8, 0.8, 0.4) == approx([(0, 0.3), (1, 0.6), (0, 0.4)])


def test_gates_start_a_little_off_their_values() -> None:
    torch.manual_seed(0)
    neuron = GLIF(1.0, per="neuron", in_shape=(1000,))
    for name in ("gate_leak", "gate_reset", "gate_input"):
        assert neuron.learned[name].abs().max() <= 0.1
        assert neuron.learned[name].std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)
    assert not GLIF(1.0, init="value").learned["gate_leak"].any()


def test_a_conductance_per_step_needs_all_steps() -> None:
    settings = {"conductance_per_step": True}
    with assert_raises(ConfigError, "lif1.num_steps"):
        NEURONS.build("glif", settings, "lif1", dt=1.0)
    with assert_raises(ConfigError, "lif1.recurrent"):
        NEURONS.build("glif", settings | {"recurrent": True}, "lif1", dt=1.0, num_steps=3, in_shape=(2,))
    neuron = NEURONS.build("glif", settings, "lif1", dt=1.0, num_steps=3)
    with assert_raises(ConfigError, "", 3, 2):
        neuron(torch.zeros(2, 1, 1))


def library_node(channels: int | None, dtype: torch.dtype) -> Any:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    np.random.seed(0)  # from which the library draws its gates
    return library.GatedLIFNode(200, channels).to(dtype)


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("per_step", [False, True])
def test_it_is_spikingjellys_gated_lif_node(dtype: torch.dtype, batch: int, per: str, per_step: bool) -> None:
    torch.manual_seed(0)
    node = library_node(None if per == "layer" else 4, dtype)
    shape = (4, 5, 5)
    ours = preset("glif", dtype, shape, per=per, conductance_per_step=per_step)
    with torch.no_grad():
        for name, other in NAMES.items():
            stored = getattr(node, other)
            if other == "conduct" and per_step:
                stored.add_(torch.linspace(-1.0, 1.0, 200, dtype=dtype).reshape(-1, *[1] * (stored.dim() - 1)))
            first = stored if per_step or other != "conduct" else stored[0]
            ours.learned[name].copy_(first.reshape(ours.learned[name].shape))
    # The library has a conductance for each step; where ours is one, its gradient is not compared.
    pairs = [
        (ours.learned[name], getattr(node, other)) for name, other in NAMES.items() if per_step or name != "conductance"
    ]
    torch.manual_seed(1)
    x = (torch.randn(200, batch, *shape, dtype=torch.float64) * 0.6 + 0.4).to(dtype).requires_grad_()

    def theirs(x: torch.Tensor) -> Any:
        y = node(x)
        return y, (node.v,)

    assert_agrees(ours, theirs, x, learned=pairs, state_fields=("v",))
