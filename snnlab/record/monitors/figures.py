"""What the monitors say of a network's vitals, by the names that it has in the log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from snnlab.diagnosis.membranes import EDGES
from snnlab.diagnosis.vitals import Vitals


def scalars(vitals: Vitals) -> dict[str, float]:
    """Return a number for each layer: `NAME/LAYER`."""
    found: dict[str, float] = {}
    for layer in vitals.layers:
        if layer.drive_gradient:
            found[f"input_gradient/{layer.name}"] = math.hypot(*layer.drive_gradient)
        found[f"output_gradient/{layer.name}"] = layer.gradient
        if (of := layer.spiking) is None or layer.per_step is None:
            continue
        if vitals.dt is not None:
            found[f"rate_hz/{layer.name}"] = layer.per_step * 1000 / vitals.dt
        found[f"spikes_per_step/{layer.name}"] = layer.per_step
        found[f"silent/{layer.name}"], found[f"saturated/{layer.name}"] = of.silent, of.saturated
        found[f"largest_membrane/{layer.name}"] = of.reach
        found[f"surrogate_passes/{layer.name}"] = of.passes
    return found


def histograms(vitals: Vitals) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the membranes of each layer, in thresholds, as TensorBoard's `add_histogram_raw` takes them."""
    middles = [(low + high) / 2 for low, high in pairwise(EDGES)]
    for layer in vitals.layers:
        counts = layer.spiking.membranes if layer.spiking is not None else ()
        if not sum(counts):
            continue  # TensorBoard refuses an empty one
        weighted = list(zip(counts, middles, strict=True))
        yield (
            f"membrane/{layer.name}",
            {
                "min": EDGES[0],
                "max": EDGES[-1],
                "num": sum(counts),
                "sum": sum(count * middle for count, middle in weighted),
                "sum_squares": sum(count * middle**2 for count, middle in weighted),
                "bucket_limits": list(EDGES[1:]),
                "bucket_counts": list(counts),
            },
        )
