"""Somebody who looks at how far the membranes are from their thresholds, wherever a spike is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

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
