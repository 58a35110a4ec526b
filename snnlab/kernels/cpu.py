"""Loops for CPUs, rendered from a step: forward, and back from the last step.

A task is a sample and a group of its neurons; it goes through all steps with its part of the state in the cache, and is
the same whichever thread runs it. All arrays are flat. Where pooling follows, or where the input is a convolution of
events, neurons are taken in pieces of whole rows of the image; sums of events, and gradients that go back to them, lie
in lines with room on either side, so that a kernel reaches beyond the image.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from snnlab.kernels.emit import Form, Lines, Source, Words, Writer, block, input_at, source
from snnlab.kernels.trace import Step

NUMBA = Words(
    where="({1} if {0} else {2})",
    abs="abs({0})",
    exp="exp_({0})",
    sqrt="np.sqrt({0})",
    trunc="np.trunc({0})",
    floor="np.floor({0})",
    const="real({0})",
    read="{0}[{1}]",
    write="{0}[{1}] = {2}",
    state="{0}[s + n]",
)

_RANGE = ["lengths", "batch", "neurons", "begin", "end", "skip", "group"]
_IMAGE = ["size", "channels", "width", "windows"]
_AT = "o = (t * batch + sample) * neurons"
_PIECE = "(size * width)"
# Where the pooled outputs of a sample begin, and of a piece of its neurons.
_POOLED = f"o = (t * batch + sample) * (neurons // {_PIECE}) * (windows * channels)"
_OUTPUT = f"((t * batch + sample) * (neurons // {_PIECE}) + start // {_PIECE}) * (windows * channels)"
# Where a line of the image begins among lines with room on either side.
_SHIFT = "shift = (line - {0}) // width * stride + margin"


def forward(step: Step, form: Form, title: str) -> Source:
    """Return the loop forward, which keeps what `step.keep` says."""
    writer = Writer(step, form, NUMBA, "{0}[n]")
    x = "drive[n - line + shift]" if form.events else f"x[{input_at(step, form)}]"
    y = "row[n - start] = y_n" if form.pool else "y[o + n] = y_n"
    body = writer.forward(x, y)
    steps = block(f"for n in range({'start, stop' if form.pool else 'low, high'}):", body)
    rooms = writer.constants()
    if form.events:
        rooms += ["drive = np.empty(bias.size, real)"]
        steps = [
            *block("for n in range(np.uintp(bias.size)):", "drive[n] = bias[n]"),
            "convolve(drive, (stop - start) // width, lists, kernel, geometry, t * batch + sample, start // width)",
            *block(_EACH_LINE, _SHIFT.format("start"), block("for n in range(line, line + width):", body)),
        ]
    silent = block("for n in range(low, high):", "y[o + n] = 0")
    if form.pool:
        rooms += ["row = np.empty(size * width, real)"]
        how = f"np.uintp({form.pool.size}), channels, width, windows, {form.pool.kind == 'max'}"
        steps += block(f"if stop - start == {_PIECE}:", f"pool(y, {_OUTPUT}, row, {how})")
        first, last = (f"{end} // {_PIECE} * (windows * channels)" for end in ("low", "high"))
        silent = block(f"for n in range({first}, {last}):", "y[o + n] = 0")
    tasks = [
        *block("for t in range(begin, min(end, np.uintp(lengths[sample]))):", _AT, _in_pieces(form, steps)),
        *block("for t in range(max(begin, np.uintp(lengths[sample])), end):", _POOLED if form.pool else _AT, silent),
    ]
    return _source(title, "forward", "y", step, form, rooms, tasks)


def backward(step: Step, form: Form, title: str) -> Source:
    """Return the loop back; gradients of numbers are summed for each sample and neuron, in double precision."""
    writer = Writer(step, form, NUMBA, "{0}[n]")
    real = "d_bias" if form.events else "keep0" if form.inplace else "dx"
    gy = {"max": "row[n - start]", "average": "row[n - line]"}[form.pool.kind] if form.pool else "gy[o - skip + n]"
    dx = ["beside[n - line + shift] = new_x", "d_bias[s + n] += new_x"] if form.events else [f"{real}[o + n] = new_x"]
    # States before the step that follow from what is kept of the step before it go through rows of their own: to read
    # what is beside what is written would keep the compiler from vectorising.
    carried = "row_{0}[n - low]"
    body = writer.backward(gy, dx, carried)
    first, later, spikes = Lines(), Lines(), Lines()
    for name in step.carried:
        later += block("for n in range(low, high):", writer.before(name), f"{carried.format(name)} = {name}_before")
        first += block("for n in range(low, high):", f"{carried.format(name)} = s_{name}[s + n]")
    rooms = [f"row_{name} = np.empty(group, real)" for name in step.carried]
    if form.pool and form.pool.kind == "max" and form.gy:
        spikes = block("for n in range(start, stop):", writer.output(carried), "fired[n - start] = y_n")
        rooms += ["fired, left = np.empty(size * width, real), np.empty(channels, real)"]
    steps = block("for n in range(low, high):", body)
    if form.in_pieces:
        # A row of an image at a time: an average reaches all rows of a window alike.
        shift = [_SHIFT.format("low")] * form.events
        steps = block(_EACH_LINE, shift, block("for n in range(line, line + width):", body))
    if form.pool and form.gy:
        rooms += ["row = np.empty(size * width, real)"]
        how = f"{_OUTPUT}, np.uintp({form.pool.size}), channels, width, windows"
        arrived = f"spread(row, fired, left, gy, {how})" if spikes else f"repeat(row, gy, {how})"
        steps = [*block(f"if stop - start == {_PIECE}:", spikes, arrived), *block("else:", "row[:] = 0"), *steps]
    past, behind = Lines(), Lines()
    if form.events:
        # Behind the last line are as many numbers to spare as behind the rows of the bias.
        rooms += ["beside = np.zeros((group // np.intp(width) + 1) * geometry[-2] + bias.size, real)"]
        part = "task * parts // (np.intp(batch) * groups) * (dkernel.size // parts)"
        lines = "low // width, (high - low) // width, lists, geometry, t * batch + sample"
        behind = [f"correlate(dkernel, {part}, beside, {lines})"]
    else:
        past = block("for n in range(low, high):", f"{real}[o + n] = 0")
        past = block("for t in range(max(begin, np.uintp(lengths[sample])), end):", _AT, past)
    before = [*block("if t > np.uintp(0):", later), *block("else:", first)] if step.carried else []
    tasks = [
        *past,
        "stop_t = min(end, np.uintp(lengths[sample]))",
        *block(
            "for back in range(begin, stop_t):",
            "t = stop_t - np.uintp(1) - (back - begin)",
            _AT,
            before,
            _in_pieces(form, steps),
            behind,
        ),
    ]
    rooms = ["row_stride = batch * neurons", *writer.constants(), *rooms]
    return _source(title, "backward", real, step, form, rooms, tasks)


_EACH_LINE = "for line in range(start, stop, width):"


def _in_pieces(form: Form, steps: Lines) -> Lines:
    if not form.in_pieces:
        return steps
    return block(f"for start in range(low, high, {_PIECE}):", f"stop = min(start + {_PIECE}, high)", steps)


def _source(title: str, name: str, real: str, step: Step, form: Form, rooms: Lines, tasks: Lines) -> Source:
    events = ["lists, kernel, bias = events[:4], events[4], events[5]"] * form.events
    events += ["stride, margin = np.uintp(geometry[-2]), np.uintp(geometry[-1])"] * form.events
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import numpy as np",
        f"from snnlab.kernels.runtime import {', '.join(['exp_', *['pool', 'repeat', 'spread'] * bool(form.pool)])}",
        *["from snnlab.kernels.events import convolve, correlate"] * form.events,
        "",
        "",
        *block(
            f"def {name}(ARGUMENTS, first, last):",
            f"real = {real}.dtype.type",
            "groups = (np.intp(neurons) + group - 1) // group",
            events,
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
    more = _IMAGE * form.in_pieces + ["events", "geometry"] * form.events
    more += ["dkernel", "parts"] * (form.events and name == "backward")
    return source(step, text, [*_RANGE, *more])
