"""What is wrong with a network, by its layers' figures; why it answers late; the table that shows the figures.

The limits were found on the packaged models and on networks made ill: many that learn well begin with a silent layer,
which the surrogate wakes in the first steps of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from rich.table import Table
from torch import Tensor

from snnlab.analysis.layer_statistics import Layer, MakeOptimizer, Objective, Vitals
from snnlab.nn import Network
from snnlab.nn.layer import Counts
from snnlab.nn.neurons.time_constants import Constant

# A layer that has not spiked after so many steps on one batch keeps an epoch, and often a run, from beginning.
STEPS = 10


def waking(
    network: Network,
    x: Tensor,
    lengths: Tensor,
    objective: Objective,
    make_optimizer: MakeOptimizer,
    names: Iterable[str],
) -> dict[str, int | None]:
    """Train on one batch until the layers spike; return after how many steps each one did, None after `STEPS`.

    The first of these steps is the one that `measure` has tried.

    Args:
        network: The network, behind `measure`; its weights change.
        x: Frames.
        lengths: Valid steps of each sample.
        objective: From the network's output and its counts to the loss.
        make_optimizer: What makes the optimizer.
        names: The silent layers.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    wakes: dict[str, int | None] = dict.fromkeys(names)
    optimizer = make_optimizer(network)
    for step in range(1, STEPS + 1):
        counts: Counts = {}
        y, _ = network(x, lengths=lengths, counts=counts)
        wakes |= {name: step for name, at in wakes.items() if at is None and bool(counts[name].any())}
        if None not in wakes.values() or step == STEPS:
            break
        optimizer.zero_grad(set_to_none=True)
        objective(y, counts).backward()
        optimizer.step()
    return wakes


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


NONE = "−"


def vitals_table(vitals: Vitals) -> Table:
    """Return a row a layer of neurons, behind the frames themselves."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("layer", no_wrap=True)
    unit = "ms" if vitals.dt is not None else "step"
    rate = ["Hz"] if vitals.dt is not None else []
    heads = ["input a step", "reaches", "spikes", *rate, "silent", "on", "over", f"first {unit}"]
    for head in (*heads, "gradient", "its weights'", "passes"):
        table.add_column(head, justify="right", no_wrap=True)
    frames = f"{vitals.input_mean:.2g} ± {vitals.input_std:.2g}"
    blank = [""] * (4 + len(rate))
    table.add_row("(frames)", frames, "", *blank, _time(vitals.input_first, vitals.dt), "", "", "", style="dim")
    for layer in vitals.layers:
        table.add_row(layer.name, *_cells(layer, vitals))
    return table


def legend() -> str:
    """Return what the columns are, in words."""
    return (
        "  reaches: largest membrane, in thresholds. spikes: a neuron and recording. on: neurons that spike at each\n"
        "  step. over: steps with a membrane of two thresholds or more. gradient: its norm at the output. passes: the\n"
        "  surrogate's mean, as a part of its peak."
    )


def _cells(layer: Layer, vitals: Vitals) -> list[str]:
    of = layer.spiking
    drive = f"{layer.drive_mean:.2g} ± {layer.drive_std:.2g}"
    tail = [_time(layer.first, vitals.dt), f"{layer.gradient:.1e}", f"{layer.weight_gradient:.1e}"]
    if of is None or layer.per_step is None:
        return [drive, *[NONE] * (6 if vitals.dt is not None else 5), *tail, NONE]
    rate = [] if vitals.dt is None else [f"{layer.per_step * 1000 / vitals.dt:.3g}"]
    spikes = f"{layer.per_step * vitals.length:.2g}"
    return [
        drive,
        f"{of.reach:.2f}",
        spikes,
        *rate,
        f"{of.silent:.0%}",
        f"{of.saturated:.0%}",
        f"{of.over:.0%}",
        *tail,
        f"{of.passes:.2g}",
    ]


def _time(step: int | None, dt: float | None) -> str:
    return "never" if step is None else f"{step if dt is None else step * dt:g}"
