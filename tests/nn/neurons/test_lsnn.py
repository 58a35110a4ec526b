"""Norse's LSNN: golden values, an independent loop, learning, and Norse itself.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.nn import NEURONS
from snnlab.nn.neurons import LSNN, LSNNState, Neuron, RecurrentState
from snnlab.nn.surrogate import Atan

from ..conftest import python_and_compiled

pytestmark = pytest.mark.usefixtures("loops_in_python")
T, B, N = 25, 3, 8
A, SYN, RHO, LEAK, THETA, RESET, JUMP = 0.75, 0.5, 0.875, 0.25, 1.5, -0.25, 0.5
WIDTH, HEIGHT = 0.4, 0.8
SETTINGS: dict[str, Any] = {
    **{"beta": A, "alpha": SYN, "rho": RHO, "input_gain": "1-a", "v_leak": LEAK, "v_threshold": THETA},
    **{"v_reset": RESET, "adaptation": JUMP, "surrogate": Atan(WIDTH, HEIGHT)},
}


def preset(name: str, dtype: torch.dtype, **changes: Any) -> Any:
    """Return the neuron of `configs/neuron/NAME.yaml`, with `changes` to its settings."""
    settings = yaml.safe_load((config_folder() / "neuron" / f"{name}.yaml").read_text(encoding="utf-8")) | changes
    return NEURONS.build(settings.pop("type"), settings, name, dt=1.0, in_shape=(HIDDEN,)).to(dtype)


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


@pytest.mark.parametrize(("reset", "detach", "threshold"), python_and_compiled(itertools.product(*WAYS)))
def test_spikes_states_and_gradients_are_those_of_the_equations(reset: Any, detach: bool, threshold: Any) -> None:
    leaves = drive(), torch.rand(B, N).double(), torch.rand(B, N).double(), 1 + torch.rand(B, N).double()
    x, *start = ours = [leaf.clone().requires_grad_() for leaf in leaves]
    x2, v, i, b = theirs = [leaf.clone().requires_grad_() for leaf in leaves]
    s, state = LSNN(**SETTINGS, reset=reset, detach_reset=detach, threshold=threshold)(x, LSNNState(*start))

    spikes = []
    for x_t in x2:
        v = v + (1 - A) * ((LEAK - v) + i)
        b = b + (1 - RHO) * (THETA - b)
        gap = v - b
        hard = (gap > 0 if threshold == "strict" else gap >= 0).to(v.dtype)
        z = hard + HEIGHT / (1 + (gap.detach() / (WIDTH * THETA)) ** 2) * (gap - gap.detach())
        felt = z.detach() if detach else z
        v = {"value": v + felt * (RESET - v), "subtract": v - felt * THETA, "none": v}[reset]
        i, b = SYN * i + x_t, b + JUMP * felt
        spikes.append(z)
    expected = (torch.stack(spikes), v, i, b)

    assert 30 < s.sum() < s.numel() - 30
    for result, other in zip((s, *state), expected, strict=True):
        torch.testing.assert_close(result, other, rtol=0, atol=1e-12)
    weights = [torch.randn_like(result) for result in expected]
    grads = [
        torch.autograd.grad([(y * k).sum() for y, k in zip(side, weights, strict=True)], inputs)
        for side, inputs in (((s, *state), ours), (expected, theirs))
    ]
    for grad, other in zip(*grads, strict=True):
        assert grad.any()
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)


def test_a_slow_threshold_relaxes_in_single_precision_too() -> None:
    # In single precision the error of rho would be a fortieth of the relaxation in a step.
    neuron = preset("norse_lsnn", torch.float32)
    start = LSNNState(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 1001.0))
    _, state = neuron(torch.zeros(800, 1, 1), start)
    assert 1001.0 - state.b.item() == pytest.approx(1000 * (1 - math.exp(-800 / 800_000)), rel=0.03)


# Tolerances of the comparison with Norse, for different orders of operations: of states relative to max(|v|,
# v_threshold), of gradients relative to the largest.
STEPS, BATCH, HIDDEN = 200, 10, 2000
STATE, GRADIENT = 1e-5, 1e-4
ALPHA_1 = {"surrogate": {"type": "superspike", "alpha": 1.0}}  # Norse 1.1.0 always computes with this alpha


class Run(NamedTuple):
    """Outputs and states of all steps, `[T, B, N]`, and the tensors with gradients."""

    z: Tensor
    v: Tensor
    i: Tensor
    b: Tensor
    leaves: tuple[Tensor, ...]


@pytest.fixture(scope="module")
def norse() -> Any:
    pytest.importorskip("norse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script, at its import
        import norse.torch

    return norse.torch


def noise(dtype: torch.dtype, *shape: int) -> Tensor:
    # Its mean is above the threshold, which grows by 1.8 with each spike and stays.
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5 + 2
    return x.to(dtype)


def parameters(norse: Any, dtype: torch.dtype) -> Any:
    """Return Norse's defaults in this precision; its modules do not convert them."""
    given = norse.LSNNParameters()._asdict()
    return norse.LSNNParameters(**{n: p.to(dtype) if isinstance(p, Tensor) else p for n, p in given.items()})


def ours(neuron: Neuron, x: Tensor, *more: Tensor) -> Run:
    outputs, states, state = [], [], neuron.initial_state(x[0])
    for x_t in x.split(1):
        y, state = neuron(x_t, state)
        outputs.append(y)
        states.append(state.neuron if isinstance(state, RecurrentState) else state)
    v, i, b = (torch.stack(part) for part in zip(*states, strict=True))
    return Run(torch.cat(outputs), v, i, b, (x, *more))


def theirs(cell: Any, x: Tensor, *more: Tensor) -> Run:
    outputs, states, state = [], [], None
    for x_t in x:
        y, state = cell(x_t, state)
        outputs.append(y)
        states.append(state)
    v, i, b = (torch.stack([getattr(state, name).expand_as(x[0]) for state in states]) for name in "vib")
    return Run(torch.stack(outputs), v, i, b, (x, *more))


def assert_agree(name: str, a: Run, b: Run, coupled: bool) -> None:
    """Require that spikes, states and gradients agree, except for spikes of membranes at their threshold.

    A neuron, or where all reach each other (`coupled`) its sample, is left out from its first differing spike on.
    """
    differs = a.z != b.z
    spoilt = (differs.any(2, keepdim=True).expand_as(differs) if coupled else differs).cumsum(0)
    equal = spoilt == 0
    # The neuron without a spike still has its membrane and threshold before the spike.
    first = differs & (spoilt == 1)
    v, line = torch.where(a.z > 0, b.v, a.v)[first], torch.where(a.z > 0, b.b, a.b)[first]
    assert ((v - line).abs() <= STATE * v.abs().clamp(min=1)).all(), f"{name}: a spike differs"
    errors = {field: _relative(getattr(a, field), getattr(b, field))[equal].max().item() for field in "vib"}
    kept, dtype = equal[-1], a.z.dtype
    # Through a reset that is not detached gradients grow without bound: in single precision they soon are infinite.
    last = 30 if dtype == torch.float32 else STEPS
    on_spikes, on_membrane = (
        torch.randn(last, *kept.shape, dtype=dtype) * kept,
        torch.randn(kept.shape, dtype=dtype) * kept,
    )
    given, expected = (
        torch.autograd.grad((r.z[:last] * on_spikes).sum() + (r.v[last - 1] * on_membrane).sum(), r.leaves)
        for r in (a, b)
    )
    gradient = max(((g - e).abs().max() / e.abs().max()).item() for g, e in zip(given, expected, strict=True))
    print(
        f"\n{name} {str(dtype)[6:]}: {int(b.z[equal].sum()):,} spikes of {kept.numel():,} neurons,"
        f" {int((~kept).sum())} left out; errors: states {max(errors.values()):.1e}, gradient {gradient:.1e}"
    )
    assert b.z[equal].sum() > 50_000
    assert (~kept).sum() <= kept.numel() // (2 if coupled else 100)
    assert max(errors.values()) <= STATE
    assert gradient <= GRADIENT


def _relative(given: Tensor, expected: Tensor) -> Tensor:
    return (given - expected).abs() / expected.abs().clamp(min=1)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_preset_is_norses_lsnn_cell(norse: Any, dtype: torch.dtype) -> None:
    x = noise(dtype, STEPS, BATCH, HIDDEN)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    cell = norse.LSNNCell(parameters(norse, dtype))
    assert_agree("LSNNCell", ours(preset("norse_lsnn", dtype, **ALPHA_1), a), theirs(cell, b), coupled=False)


@pytest.mark.peers
def test_norses_layer_over_time_is_its_cell(norse: Any) -> None:
    x = noise(torch.float64, STEPS, 2, 50)
    z, state = norse.LSNN(parameters(norse, torch.float64))(x)
    y, (v, i, b) = preset("norse_lsnn", torch.float64)(x)
    assert torch.equal(y, z)
    for given, expected in ((v, state.v), (i, state.i), (b, state.b)):
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_the_recurrent_preset_is_norses_recurrent_cell(norse: Any, dtype: torch.dtype) -> None:
    batch, features = 100, 200
    x = noise(dtype, STEPS, batch, features)
    cell = norse.LSNNRecurrentCell(features, features, p=parameters(norse, dtype)).to(dtype)
    neuron = preset("norse_lsnn_recurrent", dtype, **ALPHA_1)
    neuron.feedback = type(neuron.feedback)((features,), autapses=False).to(dtype)
    with torch.no_grad():
        cell.input_weights.copy_(torch.eye(features))
        neuron.feedback.weight.copy_(cell.recurrent_weights)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    mine = ours(neuron, a, neuron.feedback.weight)
    assert_agree("LSNNRecurrentCell", mine, theirs(cell, b, cell.recurrent_weights), coupled=True)
