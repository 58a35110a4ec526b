"""The spike, with a surrogate in place of its derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor

from snnlab.kernels.trace import Symbol, with_slope
from snnlab.nn.surrogate.base import Surrogate

Watcher = Callable[[Tensor, Surrogate, float | Tensor], None]

_watchers: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let a function see u - v_threshold, the surrogate and v_threshold at every spike of the plain loop."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def tell(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor) -> None:
    """Show whoever watches the membranes of one step."""
    for watcher in _watchers:
        watcher(distance, surrogate, v_threshold)


def spike(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor, *, strict: bool = False) -> Tensor:
    """Return H(distance), one where the membrane has reached the threshold, with the surrogate's gradient.

    Args:
        distance: u - v_threshold; through it a threshold that is learned gets its gradient.
        surrogate: The gradient's formula.
        v_threshold: The threshold, the unit of the surrogate's width; no gradient flows through that.
        strict: Whether a membrane exactly at the threshold stays silent.

    Shape:
        distance: any; v_threshold: a number, or a tensor that broadcasts to it; returns {0, 1} as distance.
    """
    if not isinstance(distance, Symbol):
        tell(distance, surrogate, v_threshold)
    if isinstance(v_threshold, Tensor | Symbol):
        v_threshold = v_threshold.detach()
    return with_slope(partial(_fired, strict), distance, partial(_slope, surrogate, v_threshold))


def _fired(strict: bool, distance: Tensor) -> Tensor:
    return (distance > 0 if strict else distance >= 0).to(distance.dtype)


def _slope(surrogate: Surrogate, v_threshold: float | Tensor, distance: Tensor) -> Tensor:
    return surrogate.derivative(distance, v_threshold)
