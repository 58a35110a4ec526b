"""How neurons run over time: in pieces, up to each sample's length, in any number of steps and precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import LI, LIF, CubaLIF, CubaLIFState, LIFState, LIState

T, B, SHAPE = 12, 3, (2, 5, 3)
LENGTHS = torch.tensor([12, 1, 7])
DIALECTS: list[dict[str, Any]] = [
    {},
    {"reset": "value", "v_reset": -0.5, "v_leak": 0.25},
    {"reset": "subtract", "reset_delay": True},
    {"reset": "value", "reset_delay": True},
    {"reset": "none"},
]
every_neuron = pytest.mark.parametrize(
    ("kind", "dialect"), [(LI, {}), *((kind, d) for kind, d in zip([LIF, CubaLIF] * 3, DIALECTS, strict=False))]
)


def drive() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(T, B, *SHAPE) * 2.5 - 0.5


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


@every_neuron
def test_what_is_past_the_end_gets_no_gradient(kind: Any, dialect: dict[str, Any]) -> None:
    x = drive().requires_grad_()
    y, state = kind(2.0, **dialect)(x, lengths=LENGTHS)
    (y.sum() + sum(part.sum() for part in state)).backward()
    assert x.grad is not None
    assert x.grad[:1].any()
    assert all((x.grad[n:, b] == 0).all() for b, n in enumerate(LENGTHS.tolist()))


def test_a_length_of_zero_leaves_the_sample_at_rest() -> None:
    y, state = LIF(2.0, v_leak=0.25)(drive(), lengths=torch.tensor([0, T, T]))
    assert (y[:, 0] == 0).all()
    assert (state.v[0] == 0.25).all()


def test_the_state_is_a_tuple_of_named_tensors_and_starts_at_rest() -> None:
    x = torch.zeros(1, B, *SHAPE)
    assert LI(1.0, v_leak=0.5).initial_state(x[0])._asdict().keys() == {"v"}
    for neuron, rest in (
        (LI(1.0, v_leak=0.5), LIState(torch.full((B, *SHAPE), 0.5))),
        (LIF(1.0, v_leak=0.5), LIFState(torch.full((B, *SHAPE), 0.5))),
        (CubaLIF(1.0, v_leak=0.5), CubaLIFState(torch.full((B, *SHAPE), 0.5), torch.zeros(B, *SHAPE))),
    ):
        assert_same(neuron.initial_state(x[0]), rest)
        assert_same(neuron(x)[1], rest)
        assert torch.equal(neuron(x, rest)[0], neuron(x)[0])


def test_exact_current_and_membrane_have_the_closed_form_of_two_exponentials() -> None:
    dt, tau_mem, tau_syn = 1.0, 20.0, 5.0
    x = torch.zeros(30, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    neuron = CubaLIF(dt, tau_mem=tau_mem, tau_syn=tau_syn, reset="none", input_gain="1-a")
    a, b = math.exp(-dt / tau_mem), math.exp(-dt / tau_syn)
    membrane, state = [], None
    for x_t in x.split(1):
        _, state = neuron(x_t, state)
        membrane.append(state.v.item())
    expected = [(1 - a) * (a ** (t + 1) - b ** (t + 1)) / (a - b) for t in range(30)]
    assert membrane == pytest.approx(expected, rel=1e-12)


@pytest.mark.long
def test_the_averaged_gain_is_the_mean_over_impulses_at_all_moments_of_a_step() -> None:
    """Compare with fine steps: one impulse at every moment of the first step, each read at the step's end."""
    dt, fine = 10.0, 1000
    moments = torch.zeros(fine, fine, 1, dtype=torch.float64)
    moments[torch.arange(fine), torch.arange(fine)] = 1.0  # sample m gets its impulse at moment m
    for coarse, exact in (
        (LI(dt, tau_mem=20.0), LI(dt / fine, tau_mem=20.0, input_gain=1.0)),
        (LI(dt, tau_mem=4.0, decay="exact"), LI(dt / fine, tau_mem=4.0, input_gain=1.0)),
    ):
        y, _ = coarse(torch.ones(1, 1, 1, dtype=torch.float64))
        truth, _ = exact(moments)
        assert y.item() == pytest.approx(truth[-1].mean().item(), rel=2e-3)
