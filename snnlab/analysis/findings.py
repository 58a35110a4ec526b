"""Findings about a network from its layer statistics, reasons for a late output, and the table of the statistics.

The limits come from the packaged models and from badly initialized networks. Many networks that learn well begin with
a silent layer, which starts to spike in the first steps of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from rich.table import Table
from torch import Tensor

from snnlab.analysis.layer_statistics import LayerStatistics, MakeOptimizer, NetworkStatistics, Objective
from snnlab.nn import Network
from snnlab.nn.layer import Counts
from snnlab.nn.neurons.time_constants import Constant

# A layer that is silent after so many steps on one batch stays silent for an epoch, and often for the run.
TEST_STEPS = 10


def steps_until_spiking(
    network: Network,
    x: Tensor,
    lengths: Tensor,
    objective: Objective,
    make_optimizer: MakeOptimizer,
    names: Iterable[str],
) -> dict[str, int | None]:
    """Train on one batch until the silent layers spike; return the number of steps of each, None above `TEST_STEPS`.

    The first of these steps is the one that `measure` has done.

    Args:
        network: The network after `measure`; its weights change.
        x: Frames.
        lengths: Valid steps of each sample.
        objective: Computes the loss from the network's output and its spike counts.
        make_optimizer: Makes the optimizer.
        names: The silent layers.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    spikes_after: dict[str, int | None] = dict.fromkeys(names)
    optimizer = make_optimizer(network)
    for step in range(1, TEST_STEPS + 1):
        counts: Counts = {}
        y, _ = network(x, lengths=lengths, counts=counts)
        spikes_after |= {name: step for name, at in spikes_after.items() if at is None and bool(counts[name].any())}
        if None not in spikes_after.values() or step == TEST_STEPS:
            break
        optimizer.zero_grad(set_to_none=True)
        objective(y, counts).backward()
        optimizer.step()
    return spikes_after


FindingKind = Literal["input", "loss", "no_memory", "silent", "saturated", "narrow", "gradient", "rate"]
# A membrane that keeps less than this part after a step has no memory.
MIN_DECAY = 0.05
# A silent layer whose membranes stay below this part of the threshold is a finding even before training.
WEAK_INPUT = 0.1
# Allowed part of a layer's neurons that spike at every step, or of their steps at which they spike whatever their
# input is; after batch norm it is 0.08 at the most.
MAX_SATURATED = 0.3
# Below this mean of the surrogate, as a part of its peak, only a few neurons of a layer that spikes get a gradient.
# Norse's surrogate with its long tails has 1.2e-4, and learns.
MIN_SURROGATE_MEAN = 1e-4
# Limits of the change of the weights in one step of the optimizer, as a part of their norm.
MIN_UPDATE, MAX_UPDATE = 1e-6, 10.0


class Finding(NamedTuple):
    """A problem of a network: its kind, its layer (or input channel), and its cause as text."""

    kind: FindingKind
    layer: str
    text: str


def findings(statistics: NetworkStatistics) -> list[Finding]:
    """Return the problems, from the input on; layers after a silent layer are not judged until that one spikes."""
    if not any(statistics.events):
        return [Finding("input", "", "the frames of this batch are empty: no event is in the window")]
    found = list(_input_findings(statistics))
    has_input = True
    for layer in statistics.layers:
        if layer.spiking is None:
            continue
        found += _layer_findings(layer, statistics, has_input=has_input)
        if found and found[-1].kind == "silent":
            break
        has_input = has_input and not is_silent(layer)
    if not math.isfinite(statistics.loss):
        return found or [Finding("loss", "", f"the loss is {statistics.loss}")]
    found += _gradient_findings(statistics)
    return found or list(_rate_findings(statistics))


def is_silent(layer: LayerStatistics) -> bool:
    """Return whether a spiking layer never spikes."""
    return layer.spikes_per_step == 0


def silent_layers_to_test(statistics: NetworkStatistics) -> list[str]:
    """Return the silent layers that may still start to spike in training, so that a test by training is needed."""
    silent = [layer for layer in statistics.layers if layer.spiking is not None and is_silent(layer)]
    if any(finding.kind in ("silent", "input") for finding in findings(statistics)):
        return []
    return [layer.name for layer in silent]


def short_time_constant(layer: LayerStatistics) -> Constant | None:
    """Return a layer's membrane time constant if it is set in ms and far shorter than a step, else None."""
    short = (constant for constant in layer.constants if constant.name == "tau_mem" and constant.unit == "ms")
    return next((constant for constant in short if constant.factor < MIN_DECAY), None)


def _input_findings(statistics: NetworkStatistics) -> Iterator[Finding]:
    for channel, events in enumerate(statistics.events):
        if not events:
            text = (
                f"input channel p={channel} has no event in {statistics.samples} recordings: its weights learn nothing"
            )
            yield Finding("input", str(channel), text)


def _layer_findings(layer: LayerStatistics, statistics: NetworkStatistics, *, has_input: bool) -> Iterator[Finding]:
    spiking = layer.spiking
    assert spiking is not None
    if (constant := short_time_constant(layer)) is not None and statistics.dt is not None:
        text = f"{layer.name} has no memory: its tau_mem of {constant.ms:.3g} ms is {constant.steps:.2g} of a step"
        yield Finding("no_memory", layer.name, f"{text} ({statistics.dt:g} ms)")
    if is_silent(layer):
        receives = f"{layer.name} receives {spiking.max_membrane:.2g} of its threshold ({spiking.v_threshold:.3g})"
        text = f"{receives}: no neuron spikes"
        if has_input and spiking.max_membrane < WEAK_INPUT:
            yield Finding("silent", layer.name, text)
        elif statistics.spikes_after.get(layer.name, 0) is None:
            yield Finding("silent", layer.name, f"{text}, also not after {TEST_STEPS} steps of training on this batch")
        return
    if spiking.above_two >= MAX_SATURATED or spiking.saturated >= MAX_SATURATED:
        text = f"{layer.name} is saturated: its membranes reach {spiking.max_membrane:.3g} thresholds"
        above, on = f"{spiking.above_two:.0%} of them two or more at a step", f"{spiking.saturated:.0%} of its neurons"
        yield Finding("saturated", layer.name, f"{text}, {above}; {on} spike at nearly every step")
    if spiking.surrogate_mean < MIN_SURROGATE_MEAN:
        width = f"{layer.name}'s surrogate is {spiking.width:.2g} thresholds wide"
        text = f"{width}, its mean is {spiking.surrogate_mean:.2g} of its peak: almost no gradient passes"
        yield Finding("narrow", layer.name, text)


def _gradient_findings(statistics: NetworkStatistics) -> Iterator[Finding]:
    """Yield the layer where the gradient ceases to be finite: it comes from the output."""
    for layer in reversed(statistics.layers):
        if not math.isfinite(layer.gradient + layer.weight_gradient):
            in_layer = math.isfinite(layer.gradient)
            text = f"of {layer.name}'s weights" if in_layer else f"at {layer.name}'s output"
            value = layer.weight_gradient if in_layer else layer.gradient
            yield Finding("gradient", layer.name, f"the gradient {text} is {value}: the network cannot learn")
            return


def _rate_findings(statistics: NetworkStatistics) -> Iterator[Finding]:
    updates = {layer.name: layer.relative_update for layer in statistics.layers if layer.relative_update is not None}
    if not updates:
        return
    name = max(updates, key=lambda key: updates[key])
    if updates[name] > MAX_UPDATE:
        text = f"one step of the optimizer changes {name}'s weights by {updates[name]:.2g} times their size"
        yield Finding("rate", name, text)
    elif updates[name] < MIN_UPDATE:
        text = f"one step of the optimizer changes no weights by more than {updates[name]:.1g} of their size ({name})"
        yield Finding("rate", name, text)


# A shorter delay than this part of a recording needs no explanation.
LATE_PART = 0.25


def delay_notes(statistics: NetworkStatistics) -> list[str]:
    """Return the reasons for a late or missing output, one line per layer; an empty list if the output is in time."""
    first, input_starts = statistics.layers[-1].first_step, statistics.input_first
    if input_starts is None:
        return []
    if first is None:
        return ["the output is 0 in this batch:", *_delay_by_layer(statistics, input_starts)]
    if first - input_starts < LATE_PART * statistics.steps:
        return []
    head = f"the output is 0 before step {first} of {statistics.steps}, counted from 0:"
    return [head, *_delay_by_layer(statistics, input_starts)]


def _delay_by_layer(statistics: NetworkStatistics, input_starts: int) -> Iterator[str]:
    """Yield a line for each spiking layer, up to the first silent one."""
    since = input_starts
    for layer in statistics.layers:
        if layer.spiking is None:
            continue
        if is_silent(layer) or layer.first_step is None:
            yield f"  {_describe_silent(layer, statistics)}"
            return
        delay = layer.first_step - since
        yield (
            f"  {layer.name} spikes first at step {layer.first_step}, {delay} after its input begins: its membranes"
            f" reach {layer.spiking.max_membrane:.2f} thresholds at the most{_describe_filters(layer)}"
        )
        since = layer.first_step
    if statistics.layers[-1].spiking is None and statistics.layers[-1].first_step == since:
        yield f"  {statistics.layers[-1].name} gives its first output in the same step"


def _describe_silent(layer: LayerStatistics, statistics: NetworkStatistics) -> str:
    assert layer.spiking is not None
    text = f"{layer.name} is silent, its membranes reach {layer.spiking.max_membrane:.2g} of its threshold"
    spikes_after = statistics.spikes_after.get(layer.name)
    plural = "s" * (spikes_after != 1)
    return (
        text
        if spikes_after is None
        else f"{text}; it spikes after {spikes_after} step{plural} of training on this batch"
    )


def _describe_filters(layer: LayerStatistics) -> str:
    filters = [f"{constant.name} of {constant.steps:.3g}" for constant in layer.constants]
    return f", after filters {' and '.join(filters)} steps" if filters else ""


NO_VALUE = "−"


def statistics_table(statistics: NetworkStatistics) -> Table:
    """Return a table with the frames in the first row, then one row per layer of neurons."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("layer", no_wrap=True)
    unit = "ms" if statistics.dt is not None else "step"
    rate = ["Hz"] if statistics.dt is not None else []
    heads = ["input a step", "reaches", "spikes", *rate, "silent", "on", "over", f"first {unit}"]
    for head in (*heads, "gradient", "its weights'", "passes"):
        table.add_column(head, justify="right", no_wrap=True)
    frames = f"{statistics.input_mean:.2g} ± {statistics.input_std:.2g}"
    blank = [""] * (4 + len(rate))
    table.add_row(
        "(frames)", frames, "", *blank, _format_time(statistics.input_first, statistics.dt), "", "", "", style="dim"
    )
    for layer in statistics.layers:
        table.add_row(layer.name, *_row_values(layer, statistics))
    return table


def legend() -> str:
    """Return the explanation of the table's columns."""
    return (
        "  reaches: largest membrane, in thresholds. spikes: per neuron and recording. on: neurons that spike at each\n"
        "  step. over: steps with a membrane of two thresholds or more. gradient: its norm at the output. passes:\n"
        "  mean of the surrogate gradient, as a part of its peak."
    )


def _row_values(layer: LayerStatistics, statistics: NetworkStatistics) -> list[str]:
    spiking = layer.spiking
    drive = f"{layer.drive_mean:.2g} ± {layer.drive_std:.2g}"
    tail = [_format_time(layer.first_step, statistics.dt), f"{layer.gradient:.1e}", f"{layer.weight_gradient:.1e}"]
    if spiking is None or layer.spikes_per_step is None:
        return [drive, *[NO_VALUE] * (6 if statistics.dt is not None else 5), *tail, NO_VALUE]
    rate = [] if statistics.dt is None else [f"{layer.spikes_per_step * 1000 / statistics.dt:.3g}"]
    spikes = f"{layer.spikes_per_step * statistics.mean_length:.2g}"
    return [
        drive,
        f"{spiking.max_membrane:.2f}",
        spikes,
        *rate,
        f"{spiking.silent:.0%}",
        f"{spiking.saturated:.0%}",
        f"{spiking.above_two:.0%}",
        *tail,
        f"{spiking.surrogate_mean:.2g}",
    ]


def _format_time(step: int | None, dt: float | None) -> str:
    return "never" if step is None else f"{step if dt is None else step * dt:g}"
