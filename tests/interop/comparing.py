"""Compares the spikes of a network with those of the interpreter.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .interpreter import Trace


class Difference(NamedTuple):
    """The first spike of a sample that differs: its node, step, and the membrane's distance from its threshold."""

    node: str
    step: int
    sample: int
    distance: float


def first_differences(
    spikes: Mapping[str, Any], trace: Trace, layer_of: Mapping[str, str], order: Sequence[str]
) -> list[Difference]:
    """Return the first difference of each sample: later ones may follow from it.

    Args:
        spikes: Spikes by layer, tensors or arrays.
        trace: The interpreter's outputs by node.
        layer_of: The layer of each node.
        order: The nodes from input to output.
    """
    found: dict[int, Difference] = {}
    for node in order:
        layer = layer_of.get(node, "")
        if layer not in spikes:
            continue
        ours = np.asarray(spikes[layer])
        wrong = ours != trace.y[node]
        for sample in map(int, np.flatnonzero(wrong.any((0, *range(2, wrong.ndim))))):
            step = int(np.argmax(wrong[:, sample].reshape(len(wrong), -1).any(1)))
            if sample not in found or step < found[sample].step:
                at = wrong[step, sample]
                distance = distance_of(trace.u[node][step, sample], trace.y[node][step, sample], at)
                found[sample] = Difference(node, step, sample, distance)
    return list(found.values())


def distance_of(u: Any, spikes: Any, where: Any) -> float:
    """Return the largest distance of membranes from the threshold, or from the next multiple of one that is 1.

    Args:
        u: Membranes minus the threshold.
        spikes: The interpreter's spikes.
        where: The neurons that differ.
    """
    distance = np.abs(u)
    if spikes.max() > 1:
        distance = np.minimum(distance, np.abs(u - np.rint(u)))
    return float(distance[where].max())
