"""What a layer does, and what a class is called, in words that a picture has room for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of a class's name; of a longer one the beginning and the end are written.
LETTERS = 20


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Return what a class is called; its number where it has no name."""
    return str(number) if names is None else short_names(names)[number]


def short_names(names: Sequence[str]) -> list[str]:
    """Return names short enough for an axis; those that would be alike then have their numbers behind them."""
    half = LETTERS // 2
    short = [
        name if len(name) <= LETTERS else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[1 - half :]}" for name in names
    ]
    alike = {name for name in short if short.count(name) > 1}
    return [f"{name} ({number})" if name in alike else name for number, name in enumerate(short)]


def activity(counts: np.ndarray, num_steps: int, dt: float | None) -> str:
    """Say the mean rate and the part of the neurons that never fired.

    Args:
        counts: Spikes of each neuron, `[N]`.
        num_steps: Steps in which they were counted.
        dt: Length of a step, ms, or None.
    """
    rate = rates(counts, num_steps, dt).mean()
    return f"{rate:.3g} {'spikes a step' if dt is None else 'Hz'} on average, {np.mean(counts == 0):.1%} silent"


def rates(counts: np.ndarray, num_steps: int, dt: float | None) -> np.ndarray:
    """Return spikes a second, Hz, or spikes a step where steps have no length."""
    return counts / num_steps * (1.0 if dt is None else 1000.0 / dt)
