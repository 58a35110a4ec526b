"""The comparison of a neuron with its library, or with its authors' equations written as a loop.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.nn import NEURONS, Neuron
from snnlab.nn.kernel_sources import _kernel

STEPS, FEATURES = 200, 100
# With a batch of 200 there are 20,000 neurons.
BOTH = pytest.mark.parametrize(
    ("dtype", "batch"),
    [
        pytest.param(torch.float64, 1, id="small"),
        pytest.param(torch.float64, 200, id="double", marks=pytest.mark.slow),
        pytest.param(torch.float32, 200, id="single", marks=pytest.mark.slow),
    ],
)
# Largest relative errors of states and gradients, from the order of operations.
TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-11, 1e-9)}

# A library's run: `theirs(x) -> (spikes [T, B, N], state after the last step in the order of ours)`.
Peer = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]


def trace(neuron: Neuron, x: Tensor) -> tuple[Tensor, Any]:
    """Return the outputs and the states of all steps, `[T, ...]`, one step run after the other."""
    outputs, states, state = [], [], None
    for x_t in x.split(1):
        y, state = neuron(x_t, state)
        outputs.append(y[0])
        states.append(state)
    return torch.stack(outputs), type(state)(*map(torch.stack, zip(*states, strict=True)))


def preset(name: str, dtype: torch.dtype, in_shape: tuple[int, ...] = (FEATURES,), **changes: Any) -> Any:
    """Return the neuron of `configs/neuron/NAME.yaml`, with `changes` to its settings."""
    settings = yaml.safe_load((config_folder() / "neuron" / f"{name}.yaml").read_text(encoding="utf-8")) | changes
    return NEURONS.build(settings.pop("type"), settings, name, dt=1.0, in_shape=in_shape, num_steps=STEPS).to(dtype)


def noise(dtype: torch.dtype, batch: int, mean: float, deviation: float) -> Tensor:
    """Return a normal drive."""
    torch.manual_seed(0)
    return (torch.randn(STEPS, batch, FEATURES, dtype=torch.float64) * deviation + mean).to(dtype).requires_grad_()


def assert_agrees(
    neuron: Neuron,
    theirs: Peer,
    x: Tensor,
    *,
    learned: Sequence[tuple[Tensor, Tensor]] = (),
    state_fields: Sequence[str] | None = None,
    min_share: float = 0.025,
    fused: bool = True,
    spiking: bool = True,
    tolerance: tuple[float, float] | None = None,
) -> None:
    """Require the library's spikes, states, and gradients of input and learned quantities.

    In double precision every spike agrees. In single precision up to 1 % of the neurons, which lay at the threshold
    within its rounding, may differ; they are left out.

    Args:
        learned: Pairs of our parameter and the library's, whose gradients are compared.
        state_fields: Fields of our state that are compared; None for all.
        min_share: Share of the outputs that must be spikes; with fewer the comparison would say little.
        fused: Whether the neuron's step has to be traced.
        spiking: Whether the outputs are spikes.
        tolerance: Of states and gradients, where it is not that of the precision.
    """
    assert (untraced(neuron) is None) == fused, untraced(neuron)
    y, state = neuron(x)
    other, other_state = theirs(x)
    assert y.shape == other.shape
    equal = (y == other).all(0) if spiking else torch.ones_like(y[0], dtype=torch.bool)
    assert bool(equal.all()) if x.dtype == torch.float64 else int((~equal).sum()) <= equal.numel() // 100
    state = getattr(state, "neuron", state)  # that of recurrent neurons
    fields = state._fields if state_fields is None else state_fields
    ours = [getattr(state, name) for name in fields]
    errors = [_error(one, two.expand_as(one), equal) for one, two in zip(ours, other_state, strict=True)]
    state_error: float = max([0.0, *errors, *([] if spiking else [_error(y, other, equal)])])

    weights = [torch.randn_like(part) * equal for part in (y, *ours)]
    grads = []
    for side, outputs in ((0, (y, *ours)), (1, (other, *other_state))):
        functional = sum(((part * w).sum() for part, w in zip(outputs, weights, strict=True)), start=x.new_zeros(()))
        grads.append(torch.autograd.grad(functional, [x, *(pair[side] for pair in learned)]))
    # Errors of the input's gradient are relative to the largest one of the same step.
    sizes = [
        grads[1][0].abs().flatten(1).amax(1).reshape(-1, *[1] * (x.dim() - 1)),
        *(g.abs().max() for g in grads[1][1:]),
    ]
    assert all(bool((size > 0).all()) for size in sizes)
    gradient_error = max(
        ((a - b.reshape(a.shape)).abs() / s).max().item() for a, b, s in zip(*grads, sizes, strict=True)
    )
    print(
        f"\n{type(neuron).__name__} {str(x.dtype)[6:]}: {int(other.count_nonzero()):,} spikes of {equal.numel():,}"
        f" neurons, {int((~equal).sum())} left out; errors: state {state_error:.1e}, gradient {gradient_error:.1e}"
    )
    assert int(other.count_nonzero()) >= min_share * other.numel()
    most = TOLERANCE[x.dtype] if tolerance is None else tolerance
    assert state_error <= most[0]
    assert gradient_error <= most[1]


def untraced(neuron: Neuron) -> str | None:
    """Return why a neuron has no kernel, or None."""
    found = "a matrix product" if neuron.parallel else _kernel(neuron, (4,))
    return found if isinstance(found, str) else None


def _error(one: Tensor, other: Tensor, equal: Tensor) -> float:
    error = (one - other).detach().abs() / other.detach().abs().clamp(min=1.0)
    return error[equal.expand_as(error)].max().item() if equal.any() else 0.0
