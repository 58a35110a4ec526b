"""The membranes of a layer whose input is known: how near to the threshold they come, and what of a gradient passes.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import Neuron, exact, rounded
from snnlab.nn.surrogate import Surrogate
from snnlab.nn.surrogate.spike import watching

# A membrane of so many thresholds still holds one after its spike.
TWO = 2.0
# The bins of a distribution of membranes, in thresholds; the outer two hold all that is beyond.
LOW, HIGH, BINS = -4.0, 4.0, 80
EDGES = tuple(LOW + (HIGH - LOW) * edge / BINS for edge in range(BINS + 1))


class Membranes(NamedTuple):
    """What is said of membranes in `vitals.Spiking`."""

    v_threshold: float
    reach: float
    over: float
    passes: float
    width: float
    spread: tuple[int, ...]


class _Look(NamedTuple):
    distance: Tensor
    surrogate: Surrogate
    v_threshold: float | Tensor


def membranes(neuron: Neuron, x: Tensor, lengths: Tensor) -> Membranes | None:
    """Take a layer once more through its input, by the plain loop, and look at every spike that is decided.

    Args:
        neuron: The layer.
        x: What arrived at it.
        lengths: Valid steps of each sample.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`. Returns None for a neuron that decides by itself, without `spike`.
    """
    looks: list[_Look] = []
    spread = torch.zeros(BINS, dtype=torch.int64, device=x.device)
    reach, total, over, number, width, threshold = -torch.inf, 0.0, 0, 0, 0.0, 0.0
    x, whole = exact(x), bool((lengths >= len(x)).all())
    with torch.no_grad(), watching(lambda *look: looks.append(_Look(*look))):
        state, k = neuron.initial_state(x[0]), rounded(neuron.coefficients(), x)
        for t, x_t in enumerate(x):
            looks.clear()
            state = neuron.step(x_t, state, k)[1]
            if not looks:
                return None
            last = looks[-1]  # with a delayed reset the step's own spike is the later one
            bell, held = _bell(last), 1.0 + last.distance / last.v_threshold
            if not whole:
                valid = lengths > t
                if not bool(valid.any()):
                    break
                bell, held = bell[valid], held[valid]
            reach = max(reach, float(held.max()))
            over += int((held >= TWO).sum())
            spread += _binned(held)
            total += float(bell.sum(dtype=torch.float64))
            number += bell.numel()
            width, threshold = _width(last), _mean(last.v_threshold)
    return Membranes(threshold, reach, over / number, total / number, width, tuple(spread.tolist()))


def _binned(held: Tensor) -> Tensor:
    places = held.sub(LOW).mul_(BINS / (HIGH - LOW)).clamp_(0, BINS - 1).nan_to_num_(0.0).int()
    # In whatever order they lie in memory, so that none is copied.
    axes = sorted(range(places.dim()), key=places.stride, reverse=True)
    return torch.bincount(places.permute(axes).reshape(-1), minlength=BINS)


def _bell(look: _Look) -> Tensor:
    """Return the surrogate as a part of its peak; some library's is negative above the threshold."""
    height: Any = look.surrogate.factors(look.v_threshold)[1]
    return (look.surrogate.derivative(look.distance, look.v_threshold) / height).abs()


def _width(look: _Look) -> float:
    size = look.surrogate.size
    return size.width / _mean(look.v_threshold) if size.absolute else size.width


def _mean(value: float | Tensor) -> float:
    return float(torch.as_tensor(value).mean())
