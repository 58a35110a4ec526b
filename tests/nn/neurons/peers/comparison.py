"""Differences between our neuron and another library's, forward and backward.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from presets import Drive, Run, build, run
from torch import Tensor

# Tolerances for different orders of operations: of states relative to max(|v|, v_threshold), of gradients relative to
# the largest one.
STATE, GRADIENT = 1e-5, 1e-4
V_THRESHOLD = 1.0


class Report(NamedTuple):
    """Result of a comparison.

    Attributes:
        spikes: Spikes that were compared.
        neurons: Neurons that were compared.
        excluded: Neurons left out from their first differing spike on, which lay within STATE of the threshold.
        state: Largest error of a state, relative.
        gradient: Largest error of a gradient, relative.
    """

    spikes: int
    neurons: int
    excluded: int
    state: float
    gradient: float


def assert_agree(
    name: str,
    ours: Run,
    theirs: Run,
    drive: Drive,
    *,
    factors: tuple[float, ...] = (),
    min_share: float = 0.025,
    spiking: bool = True,
    coupled: bool = False,
) -> Report:
    """Compare outputs, states and gradients; print the result, and require the tolerances.

    Args:
        name: What is compared, for the report.
        ours: Our run.
        theirs: The library's.
        drive: What both were given.
        factors: The gradient of each of our `learned`, over that of the library's.
        min_share: Share of the outputs that must be spikes; with fewer the comparison would say little.
        spiking: Whether the outputs are spikes; membranes are compared as states.
        coupled: Whether the neurons of a sample reach each other, so that a differing spike spoils the sample.
    """
    differs = (ours.y != theirs.y) if spiking else torch.zeros_like(ours.y, dtype=torch.bool)
    spoilt = differs.flatten(2).any(2).reshape(*differs.shape[:2], *[1] * (differs.dim() - 2)) if coupled else differs
    spoilt = spoilt.expand_as(differs).cumsum(0)
    equal = spoilt == 0
    # Where two neurons first differ in a spike, the one without a spike still has its membrane before the reset.
    silent = torch.where(ours.y > 0, theirs.v, ours.v)[differs & (spoilt == 1)].detach()
    assert bool((_relative(silent - V_THRESHOLD, silent) <= STATE).all()), f"{name}: a spike differs"

    pairs = [(ours.v, theirs.v), (ours.i, theirs.i)] + ([] if spiking else [(ours.y, theirs.y)])
    state = max(_relative(a - b, b)[equal].max().item() for a, b in pairs if a is not None and b is not None)
    report = Report(
        spikes=int((theirs.y * equal).sum()) if spiking else 0,
        neurons=equal[0].numel(),
        excluded=int((~equal[-1]).sum()),
        state=state,
        gradient=gradient_error(ours, theirs, drive, equal[-1], factors),
    )
    print(
        f"\n{name} {str(drive.x.dtype)[6:]}: {report.spikes:,} spikes of {report.neurons:,} neurons, {report.excluded}"
        f" left out; errors: state {report.state:.1e}, gradient {report.gradient:.1e}"
    )
    assert not spiking or report.spikes >= min_share * theirs.y.numel()
    assert report.excluded <= report.neurons // 100
    assert report.state <= STATE
    assert report.gradient <= GRADIENT
    return report


def assert_agree_on_ties(preset: str, theirs: Run, drive: Drive, **changes: Any) -> None:
    """Require the same spikes and membranes to the last bit, for a drive that brings many to the threshold exactly."""
    ours = run(build(preset, drive.x.dtype, **changes), drive)
    assert torch.equal(ours.y, theirs.y)
    assert torch.equal(ours.v, theirs.v)
    given = build(preset, drive.x.dtype, **changes).threshold
    other = {"strict": "inclusive", "inclusive": "strict"}[given]
    would_differ = run(build(preset, drive.x.dtype, **{**changes, "threshold": other}), drive).y != ours.y
    ties = int(would_differ.any(0).sum())
    print(f"\n{preset}: {ties:,} of {ours.y[0].numel():,} neurons reach the threshold exactly; {given}")
    assert ties >= ours.y[0].numel() // 20


def gradient_error(ours: Run, theirs: Run, drive: Drive, equal: Tensor, factors: tuple[float, ...] = ()) -> float:
    """Return the largest error of a gradient, relative to the largest gradient of the same step or parameter.

    What is differentiated is a random linear functional of the outputs and of the last membrane of the neurons that
    never differed; with respect to input, state before it and parameters.
    """
    weights = torch.randn_like(ours.y) * equal, torch.randn_like(ours.v[-1]) * equal
    given, expected = _gradients(ours, weights, drive), _gradients(theirs, weights, drive)
    scales = (*[1.0] * len(drive), *(factors or [1.0] * len(ours.learned)))
    errors = []
    for name, mine, other, scale in zip(_names(drive, ours), given, expected, scales, strict=True):
        assert (mine is None) == (other is None), name
        if mine is not None and other is not None:
            errors.append(_largest(mine, other * scale, each_step=name == "x"))
    return max(errors)


def _names(drive: Drive, side: Run) -> tuple[str, ...]:
    return (*drive._fields, *[f"learned {n}" for n in range(len(side.learned))])


def _largest(given: Tensor, expected: Tensor, each_step: bool) -> float:
    error, size = (given - expected).abs(), expected.abs()
    if each_step:
        error, size = error.flatten(1).amax(1), size.flatten(1).amax(1)
    else:
        error, size = error.max(), size.max()
    assert bool((size > 0).all())
    return (error / size).max().item()


def _gradients(side: Run, weights: tuple[Tensor, Tensor], drive: Drive) -> tuple[Tensor | None, ...]:
    functional = (side.y * weights[0]).sum() + (side.v[-1] * weights[1]).sum()
    return torch.autograd.grad(functional, [*drive, *side.learned], allow_unused=True)


def _relative(error: Tensor, v: Tensor) -> Tensor:
    return error.detach().abs() / v.detach().abs().clamp(min=V_THRESHOLD)
