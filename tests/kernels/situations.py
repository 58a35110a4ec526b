"""What situations of a traced step share: a registry, an owner of steps, a state.

A situation is a generator of steps; between two of them it changes something that the step reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

Step = Callable[..., Any]
FUSED, PLAIN_LOOP = "fused", "plain"
# Each situation with how it runs, or None where either is right.
SITUATIONS: dict[str, tuple[Callable[[], Iterator[Step]], str | None]] = {}


class State(NamedTuple):
    v: Tensor


class Unit:
    """The owner of most steps: y = v = gain * x + v / 2."""

    G = 2.0

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def gain(self) -> Any:
        return 1.0

    def step(self, x: Any, state: Any, k: Any) -> Any:
        v = self.gain() * x + 0.5 * state.v
        return v, State(v)


def situation(runs: str | None = None) -> Callable[[Callable[[], Iterator[Step]]], None]:
    return lambda make: SITUATIONS.__setitem__(make.__name__, (make, runs))


def unit(gain: Callable[[Any], Any], **values: Any) -> Any:
    """Return an owner with its own class, whose method `gain` is this function."""
    return type("Own", (Unit,), {"gain": gain})(**values)


@contextlib.contextmanager
def changed(values: Any, key: Any, value: Any) -> Iterator[None]:
    before = values[key]
    values[key] = value
    try:
        yield
    finally:
        values[key] = before
