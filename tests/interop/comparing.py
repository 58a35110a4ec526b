"""Compares the spikes of a network with those of the interpreter.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .interpreter import Trace


class Difference(NamedTuple):
    """The first spike of a sample that differs: its node, step, and the membrane's distance from its threshold.

    Attributes:
        rounding: What half a unit in the last place of single precision makes of each input of the neuron until then,
            added up.
    """

    node: str
    step: int
    sample: int
    distance: float
    rounding: float


def first_differences(
    spikes: Mapping[str, Any],
    trace: Trace,
    layer_of: Mapping[str, str],
    order: Sequence[str],
    edges: Sequence[tuple[str, str]] = (),
) -> list[Difference]:
    """Return the first difference of each sample: later ones may follow from it.

    Args:
        spikes: Spikes by layer, tensors or arrays.
        trace: The interpreter's outputs by node.
        layer_of: The layer of each node.
        order: The nodes from input to output.
        edges: The connections of the graph.
    """
    found: dict[int, Difference] = {}
    for node in order:
        layer = layer_of.get(node, "")
        if layer not in spikes:
            continue
        ours = np.asarray(spikes[layer])
        wrong = ours != trace.y[node]
        before = sum((np.abs(trace.y[source]) for source, target in edges if target == node), np.zeros(ours.shape))
        for sample in map(int, np.flatnonzero(wrong.any((0, *range(2, wrong.ndim))))):
            step = int(np.argmax(wrong[:, sample].reshape(len(wrong), -1).any(1)))
            if sample not in found or step < found[sample].step:
                distance = distances(trace.u[node][step, sample], trace.y[node][step, sample])
                at = np.unravel_index(np.argmax(np.where(wrong[step, sample], distance, -1)), distance.shape)
                rounding = 2.0**-24 * before[: step + 1, sample].sum(0)[at]
                found[sample] = Difference(node, step, sample, float(distance[at]), float(rounding))
    return list(found.values())


def distances(u: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Return the distances of membranes from the threshold, or from the next multiple of one that is 1.

    Args:
        u: Membranes minus the threshold.
        spikes: The interpreter's spikes.
    """
    return np.minimum(np.abs(u), np.abs(u - np.rint(u))) if spikes.max() > 1 else np.abs(u)
