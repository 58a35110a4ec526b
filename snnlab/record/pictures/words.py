"""What a layer does, in words for a title."""

from __future__ import annotations

import numpy as np


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
