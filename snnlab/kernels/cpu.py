"""Loops for CPUs, rendered from a step: forward, and back from the last step.

A task is a sample and a group of its neurons; it goes through all steps with its part of the state in the cache, and is
the same whichever thread runs it. All arrays are flat: `o` is where a sample's neurons begin at a step, `s` where its
state does, `n` is a neuron. Where pooling follows, or where the input is a convolution of events, neurons are taken in
pieces of whole rows of the image.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from snnlab.kernels.emit import NUMBA, Lines, Writer, block, flat
from snnlab.kernels.trace import Node, Step


class Form(NamedTuple):
    """What loops are rendered for, besides a step.

    Attributes:
        own: The numbers, by the name of their argument, of which neurons have their own.
        pool: The pooling that is done on the way.
        inplace: Whether what is kept first lies in x's memory, and the gradient of x in that.
        counts: Whether spikes are counted, or counts have a gradient.
        gy: Whether the output has a gradient.
        events: Whether the input is a convolution of events, summed on the way.
    """

    own: frozenset[str] = frozenset()
    pool: Literal["max", "average"] | None = None
    inplace: bool = False
    counts: bool = False
    gy: bool = True
    events: bool = False

    @property
    def in_pieces(self) -> bool:
        """Whether neurons are taken in pieces of whole rows of the image."""
        return self.pool is not None or self.events


class Source(NamedTuple):
    """A rendered function.

    Attributes:
        text: Its module.
        arguments: Names of what it takes, before the first task and the one behind the last.
    """

    text: str
    arguments: list[str]


_RANGE = ["lengths", "batch", "neurons", "begin", "end", "skip", "group"]
_IMAGE = ["size", "channels", "width", "windows"]
_PLACE = "((t * batch + sample) * (neurons // (size * width)) + start // (size * width)) * (windows * channels)"


def forward(step: Step, form: Form, title: str) -> Source:
    """Return the loop forward, which keeps what `step.keep` says."""
    x = "drive[n - start]" if form.events else "x[o + n]" if form.inplace or step.x in step.keep else "x[o - skip + n]"
    names = _numbers(step, form) | {step.x: x} | {node: f"s_{name}[s + n]" for name, node in step.before.items()}
    writer = Writer(names, NUMBA, {})
    places = {"x" if form.inplace and at == 0 else f"keep{at}": node for at, node in enumerate(step.keep)}
    kept = {place: node for place, node in places.items() if node not in in_memory(step, form)}
    texts = writer.write([step.y, *step.after.values(), *kept.values()])
    values = ["y_n", *(f"{name}_n" for name in step.after), *(f"{place}_n" for place in kept)]
    body = [*writer.lines, *(f"{value} = {text}" for value, text in zip(values, texts, strict=True))]
    body += [f"{place}[o + n] = {place}_n" for place in kept]
    body += [f"s_{name}[s + n] = {name}_n" for name in step.after]
    body += ["row[n - start] = y_n" if form.pool else "y[o + n] = y_n"]
    body += ["counts[s + n] += y_n"] if form.counts else []
    arguments = [
        *([] if form.events else ["x"]),
        "y",
        *(place for place in kept if place != "x"),
        *(f"s_{name}" for name in step.after),
        *(["counts"] if form.counts else []),
        *used(step.numbers, body),
        *_RANGE,
        *(_IMAGE if form.in_pieces else []),
        *(["events", "geometry"] if form.events else []),
    ]
    rooms = ["row, column = np.empty(size * width, real), np.empty(width, real)"] if form.pool else []
    if form.events:
        rooms += [
            f"drive = np.empty(size * width + np.uintp({_SPARE}), real)",
            "offsets, rows, columns, values, kernel, bias = events",
        ]
    silent = block("for n in range(low, high):", "y[o + n] = 0")
    if form.pool:
        share, piece = "(windows * channels)", "(size * width)"
        silent = block(f"for n in range(low // {piece} * {share}, high // {piece} * {share}):", "y[o + n] = 0")
    silent = [f"o = (t * batch + sample) * {_OUTPUTS if form.pool else 'neurons'}", *silent]
    tasks = [
        *block("for t in range(begin, min(end, np.uintp(lengths[sample]))):", _AT, _steps_forward(body, form)),
        *block("for t in range(max(begin, np.uintp(lengths[sample])), end):", silent),
    ]
    return _source(title, "forward", "y", arguments, form, [*_constants(writer.constants), *rooms], tasks)


def backward(step: Step, form: Form, title: str) -> Source:
    """Return the loop back; gradients of numbers are summed for each sample and neuron, in double precision."""
    places = {f"keep{at}": node for at, node in enumerate(step.keep)}
    at = {node: f"{place}[o + n]" for place, node in places.items()}
    before = {node: f"{place}[o - row_stride + n]" for place, node in places.items()}
    numbers, constants = _numbers(step, form), dict[str, str]()
    dx = "dx_n[n - start]" if form.events else f"{'keep0' if form.inplace else 'dx'}[o + n]"
    arriving = {node: f"g_{name}[s + n]" for name, node in step.arriving.items()}
    arriving[step.arriving["y"]] = _arriving(form)

    # States before the step that follow from what is kept of the step before it go through rows of their own: to read
    # what is beside what is written would keep the compiler from vectorising.
    first: Lines = []
    later: Lines = []
    for name in step.carried:
        writer = Writer(before | numbers, NUMBA, constants)
        (text,) = writer.write([step.after[name]])
        later += block("for n in range(low, high):", writer.lines, f"row_{name}[n - low] = {text}")
        first += block("for n in range(low, high):", f"row_{name}[n - low] = s_{name}[s + n]")
    carried = block("if t > np.uintp(0):", later) + block("else:", first) if step.carried else []

    known = at | numbers | arriving | {step.before[name]: f"row_{name}[n - low]" for name in step.carried}
    spikes: Lines = []
    if form.pool == "max" and form.gy:
        writer = Writer(known, NUMBA, constants)
        (text,) = writer.write([step.y])
        spikes = [*writer.lines, f"fired[n - start] = {text}"]
    writer = Writer(known, NUMBA, constants)
    texts = dict(zip(step.to, writer.write(step.to.values()), strict=True))
    body = [*writer.lines, *(f"new_{name} = {text}" for name, text in texts.items())]
    body += [f"{dx} = new_x" if "x" in texts else f"{dx} = real(0.0)"]
    body += ["d_bias[s + n] += new_x"] if form.events and "x" in texts else []
    body += [f"g_{name}[s + n] = {f'new_g_{name}' if f'g_{name}' in texts else 'real(0.0)'}" for name in step.before]
    sums = [name for name in texts if name.startswith("d_")]
    body += [f"{name}[s + n] += new_{name}" for name in sums]
    arguments = [
        *(["d_bias"] if form.events else [] if form.inplace else ["dx"]),
        *(["gy"] if form.gy else []),
        *(["gn"] if form.counts else []),
        *places,
        *(f"g_{name}" for name in step.before),
        *(f"s_{name}" for name in step.carried),
        *sums,
        *used(step.numbers, [*body, *spikes, *later]),
        *_RANGE,
        *(_IMAGE if form.in_pieces else []),
        *(["events", "geometry", "dkernel", "parts", "across"] if form.events else []),
    ]
    rooms = [*_constants(constants), *(f"row_{name} = np.empty(group, real)" for name in step.carried)]
    rooms += ["row = np.empty(size * width, real)"] * (form.pool is not None and form.gy)
    rooms += ["fired = np.empty(size * width, real)"] * bool(spikes)
    if form.events:
        rooms += [
            "dx_n = np.empty(size * width, real)",
            "beside = np.zeros(beside_size(group // np.intp(width), geometry), real)",
        ]
        rooms += ["offsets, rows, columns, values, kernel, _ = events"]
    steps = [_AT, *carried, *_steps_backward(body, spikes, form)]
    real = "d_bias" if form.events else "keep0" if form.inplace else "dx"
    past = (
        []
        if form.events
        else block(
            "for t in range(max(begin, np.uintp(lengths[sample])), end):",
            _AT,
            *[block("for n in range(low, high):", f"{dx} = 0")],
        )
    )
    tasks = [
        *past,
        "stop_t = min(end, np.uintp(lengths[sample]))",
        *block("for back in range(begin, stop_t):", "t = stop_t - np.uintp(1) - (back - begin)", steps),
    ]
    return _source(title, "backward", real, arguments, form, ["row_stride = batch * neurons", *rooms], tasks)


def in_memory(step: Step, form: Form) -> list[Node]:
    """Return what is in memory anyhow, and need not be written to be kept."""
    return [*([] if form.events else [step.x]), *([] if form.pool else [step.y])]


_SPARE = 16  # see `events.LANES`
_AT = "o = (t * batch + sample) * neurons"
_OUTPUTS = "(neurons // (size * width)) * (windows * channels)"


def _steps_forward(body: Lines, form: Form) -> Lines:
    if not form.in_pieces:
        return block("for n in range(low, high):", body)
    sums = block("for n in range(stop - start):", "drive[n] = bias[n]") if form.events else []
    if form.events:
        events = "offsets, rows, columns, values, kernel, geometry"
        sums += [f"convolve(drive, stop - start, {events}, t * batch + sample, start // width)"]
    pooled = f"pool(y, {_PLACE}, row, column, size, channels, width, windows, {form.pool == 'max'})"
    return block(
        "for start in range(low, high, size * width):",
        "stop = min(start + size * width, high)",
        sums,
        block("for n in range(start, stop):", body),
        block("if stop - start == size * width:", pooled) if form.pool else [],
    )


def _steps_backward(body: Lines, spikes: Lines, form: Form) -> Lines:
    if not form.in_pieces:
        return block("for n in range(low, high):", body)
    given: Lines = []
    if form.pool and form.gy:
        image = "size, channels, width, windows"
        arrived = f"spread(row, fired, gy, {_PLACE}, {image})" if spikes else f"repeat(row, gy, {_PLACE}, {image})"
        given = block(
            "if stop - start == size * width:", block("for n in range(start, stop):", spikes) * bool(spikes), arrived
        )
        given += block("else:", "row[:] = 0")
    # A row of an image at a time: an average reaches all rows of a window alike.
    inner = block("for line in range(start, stop, width):", block("for n in range(line, line + width):", body))
    lay = ["lay_out(beside, dx_n, stop - start, (start - low) // width, geometry)"] * form.events
    steps = block(
        "for start in range(low, high, size * width):", "stop = min(start + size * width, high)", given, inner, lay
    )
    if form.events:
        lines = "low // width, (high - low) // width"
        events = "offsets, rows, columns, values, geometry"
        part = "task * parts // (np.intp(batch) * groups) * (dkernel.size // parts), across"
        steps += [f"correlate(dkernel, {part}, beside, {lines}, {events}, t * batch + sample)"]
    return steps


def _arriving(form: Form) -> str:
    parts = []
    if form.gy:
        parts.append({"max": "row[n - start]", "average": "row[n - line]", None: "gy[o - skip + n]"}[form.pool])
    parts += ["gn[s + n]"] if form.counts else []
    return f"({' + '.join(parts) or 'real(0.0)'})"


def _source(title: str, name: str, real: str, arguments: list[str], form: Form, rooms: Lines, tasks: Lines) -> Source:
    helpers = ["exp_", *(["pool", "repeat", "spread"] if form.pool else [])]
    lines = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import numpy as np",
        f"from snnlab.kernels.runtime import {', '.join(helpers)}",
        *(["from snnlab.kernels.events import beside_size, convolve, correlate, lay_out"] if form.events else []),
        "",
        "",
        *block(
            f"def {name}({', '.join([*arguments, 'first', 'last'])}):",
            f"real = {real}.dtype.type",
            "groups = (np.intp(neurons) + group - 1) // group",
            rooms,
            block(
                "for task in range(first, last):",
                "sample = np.uintp(task // groups)",
                "low = np.uintp(task % groups * group)",
                "high = min(low + np.uintp(group), neurons)",
                "s = sample * neurons",
                tasks,
            ),
        ),
    ]
    return Source("\n".join([*lines, ""]), arguments)


def _numbers(step: Step, form: Form) -> dict[Node, str]:
    return {node: f"{name}[n]" if name in form.own else name for name, node in step.numbers.items()}


def _constants(constants: Mapping[str, str]) -> Lines:
    return [f"{name} = {text}" for text, name in constants.items()]


def used(numbers: Iterable[str], lines: Lines) -> list[str]:
    """Return the numbers that lines use."""
    words = set(re.findall(r"[A-Za-z_]\w*", " ".join(flat(lines))))
    return [name for name in numbers if name in words]
