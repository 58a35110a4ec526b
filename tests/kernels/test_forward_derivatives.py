"""Derivatives of a step beside torch's own, and the compiled loop beside PyTorch's operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev  # type: ignore[attr-defined]

from snnlab.kernels.trace_cache import TracedStep, numbers_of, trace_step
from snnlab.nn import NEURONS
from snnlab.nn.learning.connections import forward_derivatives
from snnlab.nn.neurons.base import Neuron, cast_coefficients

N, B, T = 5, 2, 6
NODES: dict[str, dict[str, Any]] = {
    "lif": {"type": "lif"},
    "attached": {"type": "lif", "detach_reset": False, "reset": "value", "v_leak": 0.2},
    "learned": {"type": "cuba_lif", "learn": {"tau_mem": "neuron", "tau_syn": "layer"}},
    "alif": {"type": "alif"},
    "brf": {"type": "brf", "input_gain": 200.0},
    "adex": {"type": "adex"},
    "li": {"type": "li"},
}


# With these it spikes.
GAINS = {"adex": 2000.0, "learned": 30.0}


def traced(name: str) -> tuple[Neuron, TracedStep, Any, Tensor, Any]:
    torch.manual_seed(0)
    node = {key: value for key, value in NODES[name].items() if key != "type"}
    neuron: Neuron = NEURONS.build(NODES[name]["type"], node, "neuron", in_shape=(N,), dt=1.0).double()
    x = torch.randn(T, B, N, dtype=torch.float64) * GAINS.get(name, 1.5)
    state = neuron.initial_state(x[0])
    k = cast_coefficients(neuron.coefficients(), x)
    learned = frozenset(key for key, part in numbers_of(k).items() if isinstance(part, Tensor) and part.requires_grad)
    found = trace_step(neuron.step, state, k, learned, dtype=x.dtype, grad=True)
    assert isinstance(found, TracedStep)
    return neuron, found, k, x, state


@pytest.mark.parametrize("name", list(NODES))
def test_derivatives_by_input_and_states_are_those_of_autograd(name: str) -> None:
    neuron, found, k, x, state = traced(name)
    result = forward_derivatives(found, x.dtype)(x, state, k, None, compiled=False)
    names, kind, fired = ("y", *state._fields), type(state), 0.0
    for t in range(T):

        def step(x_t: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            y, after = neuron.step(x_t, kind(*parts), k)
            return y, *after

        jacobians = jacrev(step, tuple(range(1 + len(state))))(x[t], *state)
        for output, of_output in zip(names, jacobians, strict=True):
            for by, jacobian in zip(("x", *state._fields), of_output, strict=True):
                diagonal = torch.einsum("bnbn->bn", jacobian).detach()
                ours = result.of.get((output, by), torch.zeros(T, B, N, dtype=torch.float64))[t]
                torch.testing.assert_close(ours, diagonal, rtol=1e-9, atol=1e-12)
        y, state = neuron.step(x[t], state, k)
        state = kind(*(part.detach() for part in state))
        torch.testing.assert_close(result.y[t], y.detach())
        fired += float(y.detach().abs().sum())
    assert fired > 0
    for ours, part in zip(result.state, state, strict=True):
        torch.testing.assert_close(ours, part)


@pytest.mark.long
@pytest.mark.parametrize("name", ["learned", "brf", "adex"])
def test_the_compiled_loop_gives_the_values_of_pytorch(name: str) -> None:
    _, found, k, x, state = traced(name)
    lengths, derivatives = torch.tensor([6, 2]), forward_derivatives(found, x.dtype)
    one, other = (derivatives(x, state, k, lengths, compiled=compiled) for compiled in (True, False))
    torch.testing.assert_close(one.y, other.y, rtol=1e-12, atol=0)
    for ours, part in zip(one.state, other.state, strict=True):
        torch.testing.assert_close(ours, part, rtol=1e-12, atol=1e-300)
    valid = (torch.arange(T)[:, None] < lengths)[..., None]
    assert {*one.of} == {*other.of}
    for key, value in one.of.items():
        torch.testing.assert_close(
            torch.where(valid, value, 0), torch.where(valid, other.of[key], 0), rtol=1e-10, atol=1e-12
        )


def test_the_rendered_loop_has_no_term_of_a_derivative_that_is_zero() -> None:
    _, found, _, x, _ = traced("lif")
    assert {*forward_derivatives(found, x.dtype).graph.derivatives} == {("y", "x"), ("y", "v"), ("v", "x"), ("v", "v")}
    leak = forward_derivatives(found, x.dtype).graph.derivatives["v", "v"]
    assert (leak.op, leak.name) == ("tensor", "k_a")
