"""Why nothing comes out of a network before some step: the filters on the way, and the layers that wait for others."""

from __future__ import annotations

from collections.abc import Iterator

from snnlab.diagnosis.findings import is_silent
from snnlab.diagnosis.vitals import Layer, Vitals

# A delay shorter than this part of a recording needs no explanation.
LATE = 0.25


def delay_notes(vitals: Vitals) -> list[str]:
    """Return why the output is late or missing, a line a layer; nothing where it is neither."""
    first, begins = vitals.layers[-1].first, vitals.input_first
    if begins is None:
        return []
    if first is None:
        return ["nothing comes out in this batch:", *_chain(vitals, begins)]
    if first - begins < LATE * vitals.steps:
        return []
    return [f"nothing comes out before step {first} of {vitals.steps}, counted from 0:", *_chain(vitals, begins)]


def _chain(vitals: Vitals, begins: int) -> Iterator[str]:
    """Yield what each spiking layer waits for, up to the first that is silent."""
    since = begins
    for layer in vitals.layers:
        if layer.spiking is None:
            continue
        if is_silent(layer) or layer.first is None:
            yield f"  {_silence(layer, vitals)}"
            return
        waits = layer.first - since
        yield (
            f"  {layer.name} spikes first at step {layer.first}, {waits} after its input begins: its membranes reach"
            f" {layer.spiking.reach:.2f} thresholds at the most{_filters(layer)}"
        )
        since = layer.first
    if vitals.layers[-1].spiking is None and vitals.layers[-1].first == since:
        yield f"  {vitals.layers[-1].name} answers in the same step"


def _silence(layer: Layer, vitals: Vitals) -> str:
    assert layer.spiking is not None
    told = f"{layer.name} is silent, its membranes reach {layer.spiking.reach:.2g} of its threshold"
    wakes = vitals.wakes.get(layer.name)
    plural = "s" * (wakes != 1)
    return told if wakes is None else f"{told}; it spikes after {wakes} step{plural} of training on this batch"


def _filters(layer: Layer) -> str:
    """Return what has to fill up before a layer spikes."""
    filters = [f"{constant.name} of {constant.steps:.3g}" for constant in layer.constants]
    return f", behind {' and '.join(filters)} steps" if filters else ""
