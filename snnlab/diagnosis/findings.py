"""What is wrong in a network's vitals, in words; a network that training brings to life by itself is healthy.

The limits were found on the packaged models and on networks made ill: many that learn well begin with a silent layer,
which the surrogate wakes in the first steps of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from snnlab.diagnosis.vitals import Layer, Vitals
from snnlab.diagnosis.waking import STEPS
from snnlab.nn.neurons.time_constants import Constant

Kind = Literal["input", "loss", "forgetful", "silent", "saturated", "narrow", "rate"]

# A membrane of which less is left after a step forgets from one step to the next.
REMEMBERED = 0.05
# A silent layer whose membranes stay below this part of the threshold is ill, whatever training may make of it.
WEAK = 0.1
# Part of a layer's neurons that may be always on, or of their steps at which they spike whatever comes; with batch norm
# in front it is 0.08 at the most.
SATURATED = 0.3
# A surrogate that lets less than this part of its peak through a layer that spikes teaches a few neurons only; Norse's,
# with its long tails, lets 1.2e-4 through, and learns.
NARROW = 1e-4
# What one step of an optimizer may change of the weights, as a part of their norm.
LEAST, MOST = 1e-6, 10.0


class Finding(NamedTuple):
    """Something that keeps a network from learning: what, in which layer (or channel), and the cause in words."""

    kind: Kind
    layer: str
    text: str


def findings(vitals: Vitals) -> list[Finding]:
    """Return what is wrong, from the input on; a layer behind a silent one is judged once that one spikes."""
    if not any(vitals.events):
        return [Finding("input", "", "the frames of this batch are empty: no event is in the window")]
    found = list(_input(vitals))
    fed = True
    for layer in vitals.layers:
        if layer.spiking is None:
            continue
        found += _of_layer(layer, vitals, fed=fed)
        if found and found[-1].kind == "silent":
            break
        fed = fed and not is_silent(layer)
    if not found and not math.isfinite(vitals.loss):
        return [Finding("loss", "", f"the loss is {vitals.loss}")]
    return found or list(_rate(vitals))


def is_silent(layer: Layer) -> bool:
    """Return whether a layer that should spike never does."""
    return layer.per_step == 0


def undecided(vitals: Vitals) -> list[str]:
    """Return the silent layers of which only some steps of training can tell whether they are ill."""
    silent = [layer for layer in vitals.layers if layer.spiking is not None and is_silent(layer)]
    if any(finding.kind in ("silent", "input") for finding in findings(vitals)):
        return []
    return [layer.name for layer in silent]


def forgotten(layer: Layer) -> Constant | None:
    """Return a layer's membrane time constant where it is given in ms and nothing is left of it after a step."""
    short = (constant for constant in layer.constants if constant.name == "tau_mem" and constant.given == "ms")
    return next((constant for constant in short if constant.factor < REMEMBERED), None)


def _input(vitals: Vitals) -> Iterator[Finding]:
    for channel, events in enumerate(vitals.events):
        if not events:
            text = f"input channel p={channel} has no event in {vitals.samples} recordings: its weights learn nothing"
            yield Finding("input", str(channel), text)


def _of_layer(layer: Layer, vitals: Vitals, *, fed: bool) -> Iterator[Finding]:
    of = layer.spiking
    assert of is not None
    if (constant := forgotten(layer)) is not None and vitals.dt is not None:
        told = (
            f"{layer.name} forgets within a step: its tau_mem of {constant.ms:.3g} ms is {constant.steps:.2g} of a step"
        )
        yield Finding("forgetful", layer.name, f"{told} ({vitals.dt:g} ms)")
    if is_silent(layer):
        receives = f"{layer.name} receives {of.reach:.2g} of its threshold ({of.v_threshold:.3g}): no neuron spikes"
        if fed and of.reach < WEAK:
            yield Finding("silent", layer.name, receives)
        elif vitals.wakes.get(layer.name, 0) is None:
            yield Finding("silent", layer.name, f"{receives}, nor after {STEPS} steps of training on this batch")
        return
    if of.over >= SATURATED or of.saturated >= SATURATED:
        told = f"{layer.name} is saturated: its membranes reach {of.reach:.3g} thresholds, {of.over:.0%} of them two or"
        on = f"{of.saturated:.0%} of its neurons spike at nearly every step"
        yield Finding("saturated", layer.name, f"{told} more at a step; {on}")
    if of.passes < NARROW:
        told = (
            f"{layer.name}'s surrogate is {of.width:.2g} thresholds wide and lets {of.passes:.2g} of its peak through"
        )
        yield Finding("narrow", layer.name, f"{told}: almost no gradient passes")


def _rate(vitals: Vitals) -> Iterator[Finding]:
    updates = {layer.name: layer.update for layer in vitals.layers if layer.update is not None}
    if not updates:
        return
    name = max(updates, key=lambda key: updates[key])
    if updates[name] > MOST:
        text = f"one step of the optimizer changes {name}'s weights by {updates[name]:.2g} times their size"
        yield Finding("rate", name, text)
    elif updates[name] < LEAST:
        text = f"one step of the optimizer changes no weights by more than {updates[name]:.1g} of their size ({name})"
        yield Finding("rate", name, text)
