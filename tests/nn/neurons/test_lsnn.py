"""Norse's LSNN: golden values, an independent loop, learning, and Norse itself.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn.neurons import LSNN, LSNNState
from snnlab.nn.surrogate import Atan

from .agreement import FEATURES, assert_agrees, noise, preset

T, B, N = 25, 3, 8

A, SYN, RHO, LEAK, THETA, RESET, JUMP = 0.75, 0.5, 0.875, 0.25, 1.5, -0.25, 0.5
WIDTH, HEIGHT = 0.4, 0.8
SETTINGS: dict[str, Any] = {
    **{"beta": A, "alpha": SYN, "rho": RHO, "input_gain": "1-a", "v_leak": LEAK, "v_threshold": THETA},
    **{"v_reset": RESET, "adaptation": JUMP, "surrogate": Atan(WIDTH, HEIGHT)},
}


def drive(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (torch.rand(T, B, *(shape or (N,)), dtype=torch.float64) * 9 - 2).to(dtype)


def test_the_preset_reproduces_norses_golden_values() -> None:
    neuron, state = preset("norse_lsnn", torch.float64), None
    rows = []
    for x in (1.0, 5.0, 5.0, 0.0, 5.0, 5.0, 5.0, 0.0):
        s, state = neuron(torch.full((1, 1, 1), x, dtype=torch.float64), state)
        rows.append((s.item(), *(part.item() for part in state)))
    golden = [  # z, v, i, b: norse 1.1.0, LSNNCell
        (0.0, 0.0, 1.0, 1.0),
        (0.0, 0.1, 5.8, 1.0),
        (0.0, 0.67, 9.64, 1.0),
        (1.0, 0.0, 7.712, 2.8),
        (0.0, 0.7712, 11.1696, 2.799998),
        (0.0, 1.81104, 13.93568, 2.799996),
        (1.0, 0.0, 16.148544, 4.599994),
        (0.0, 1.614854, 12.918836, 4.599989),
    ]
    for row, expected in zip(rows, golden, strict=True):
        assert row == pytest.approx(expected, abs=2e-6)


def test_norses_times_in_seconds_keep_a_threshold_for_800000_steps() -> None:
    k = preset("norse_lsnn", torch.float32).coefficients()
    assert k.relaxation == pytest.approx(0.001 * (1 / 800), rel=1e-9)
    assert (k.membrane.a, k.membrane.b) == pytest.approx((0.9, 0.8))


WAYS = [["value", "subtract", "none"], [False, True], ["strict", "inclusive"]]


@pytest.mark.parametrize(("reset", "detach", "threshold"), [*itertools.product(*WAYS)])
def test_spikes_states_and_gradients_are_those_of_the_equations(reset: Any, detach: bool, threshold: Any) -> None:
    def equations(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        v, i, b = torch.full_like(x[0], LEAK), torch.zeros_like(x[0]), torch.full_like(x[0], THETA)
        spikes = []
        for x_t in x:
            v = v + (1 - A) * ((LEAK - v) + i)
            b = b + (1 - RHO) * (THETA - b)
            gap = v - b
            hard = (gap > 0 if threshold == "strict" else gap >= 0).to(v.dtype)
            z = hard + HEIGHT / (1 + (gap.detach() / (WIDTH * THETA)) ** 2) * (gap - gap.detach())
            felt = z.detach() if detach else z
            v = {"value": v + felt * (RESET - v), "subtract": v - felt * THETA, "none": v}[reset]
            i, b = SYN * i + x_t, b + JUMP * felt
            spikes.append(z)
        return torch.stack(spikes), (v, i, b)

    neuron = LSNN(**SETTINGS, reset=reset, detach_reset=detach, threshold=threshold)
    assert_agrees(neuron, equations, drive().requires_grad_())


def test_a_slow_threshold_relaxes_in_single_precision_too() -> None:
    # In single precision the error of rho would be a fortieth of the relaxation in a step.
    neuron = preset("norse_lsnn", torch.float32)
    start = LSNNState(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 1001.0))
    _, state = neuron(torch.zeros(800, 1, 1), start)
    assert 1001.0 - state.b.item() == pytest.approx(1000 * (1 - math.exp(-800 / 800_000)), rel=0.03)


@pytest.fixture(scope="module")
def norse() -> Any:
    pytest.importorskip("norse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script, at its import
        import norse.torch

    return norse.torch


ALPHA_1: dict[str, Any] = {
    "surrogate": {"type": "superspike", "alpha": 1.0}
}  # Norse 1.1.0 always computes with this alpha


def parameters(norse: Any) -> Any:
    """Return Norse's defaults in double precision: its tensors are rounded to single, as 1.8 is."""
    given = norse.LSNNParameters()._asdict()
    exact = {
        name: torch.tensor(float(f"{p:.7g}"), dtype=torch.float64) for name, p in given.items() if name != "method"
    }
    return norse.LSNNParameters(**{**given, **{n: p for n, p in exact.items() if isinstance(given[n], Tensor)}})


def run_cell(cell: Any, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    outputs, state = [], None
    for x_t in x:
        y, state = cell(x_t, state)
        outputs.append(y)
    return torch.stack(outputs), (state.v, state.i, state.b)  # type: ignore[union-attr]


# Through a reset that is not detached gradients grow without bound, so that in single precision they soon are infinite.
# The mean of the input is above the threshold, which grows by 1.8 with each spike and stays.
@pytest.mark.peers
@pytest.mark.parametrize("batch", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_the_preset_is_norses_lsnn_cell(norse: Any, batch: int) -> None:
    cell = norse.LSNNCell(parameters(norse))
    x = noise(torch.float64, batch, 2.0, 1.5)
    assert_agrees(preset("norse_lsnn", torch.float64, **ALPHA_1), lambda x: run_cell(cell, x), x, min_share=0.01)


@pytest.mark.peers
@pytest.mark.parametrize("batch", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_the_recurrent_preset_is_norses_recurrent_cell(norse: Any, batch: int) -> None:
    cell = norse.LSNNRecurrentCell(FEATURES, FEATURES, p=parameters(norse)).double()
    neuron = preset("norse_lsnn_recurrent", torch.float64, **ALPHA_1)
    neuron.feedback = type(neuron.feedback)((FEATURES,), autapses=False).double()
    with torch.no_grad():
        cell.input_weights.copy_(torch.eye(FEATURES))
        neuron.feedback.weight.copy_(cell.recurrent_weights)
    assert_agrees(
        neuron,
        lambda x: run_cell(cell, x),
        noise(torch.float64, batch, 2.0, 1.5),
        learned=[(neuron.feedback.weight, cell.recurrent_weights)],
        min_share=0.01,
    )
