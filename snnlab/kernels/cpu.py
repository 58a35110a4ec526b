"""Loops for CPUs, rendered from a step: forward, and backward from the last step.

A task is a sample and a group of its neurons; it runs all steps with its part of the state in the cache, and does not
depend on its thread. All arrays are flat. With a fused pooling, or a convolution of events as input, the neurons are
taken in blocks of whole rows of the image; the sums of a convolution of events and their gradients have padded rows, so
that a kernel may reach beyond the image.

Axes: T steps, B samples, n neurons in the order of memory.
"""

from __future__ import annotations

from snnlab.kernels.emit import Lines, LoopSource, LoopVariant, Syntax, Writer, block, input_index, source
from snnlab.kernels.trace import StepGraph

NUMBA = Syntax(
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

_COMMON_ARGUMENTS = ["lengths", "batch", "neurons", "begin", "end", "skip", "group"]
_IMAGE_ARGUMENTS = ["size", "channels", "width", "windows"]
_OFFSET = "o = (t * batch + sample) * neurons"
_BLOCK_SIZE = "(size * width)"
# Offsets of the pooled outputs of a sample, and of a block of its neurons.
_POOLED_OFFSET = f"o = (t * batch + sample) * (neurons // {_BLOCK_SIZE}) * (windows * channels)"
_BLOCK_OFFSET = f"((t * batch + sample) * (neurons // {_BLOCK_SIZE}) + start // {_BLOCK_SIZE}) * (windows * channels)"
# Offset of a row of the image in memory with padded rows.
_SHIFT = "shift = (line - {0}) // width * stride + margin"


def forward(step: StepGraph, options: LoopVariant, title: str) -> LoopSource:
    """Return the forward loop, which writes the values to save."""
    writer = Writer(step, options, NUMBA, "{0}[n]")
    x = "drive[n - line + shift]" if options.events else f"x[{input_index(step, options)}]"
    y = "row[n - start] = y_n" if options.pool else "y[o + n] = y_n"
    body = writer.forward(x, y)
    steps = block(f"for n in range({'start, stop' if options.pool else 'low, high'}):", body)
    buffers = writer.constants()
    if options.events:
        buffers += ["drive = np.empty(bias.size, real)"]
        steps = [
            *block("for n in range(np.uintp(bias.size)):", "drive[n] = bias[n]"),
            "convolve(drive, (stop - start) // width, lists, kernel, geometry, t * batch + sample, start // width)",
            *block(_FOR_EACH_LINE, _SHIFT.format("start"), block("for n in range(line, line + width):", body)),
        ]
    zero_output = block("for n in range(low, high):", "y[o + n] = 0")
    if options.pool:
        buffers += ["row = np.empty(size * width, real)"]
        sizes = f"np.uintp({options.pool.size}), channels, width, windows, {options.pool.kind == 'max'}"
        steps += block(f"if stop - start == {_BLOCK_SIZE}:", f"pool(y, {_BLOCK_OFFSET}, row, {sizes})")
        first, last = (f"{end} // {_BLOCK_SIZE} * (windows * channels)" for end in ("low", "high"))
        zero_output = block(f"for n in range({first}, {last}):", "y[o + n] = 0")
    offset = _POOLED_OFFSET if options.pool else _OFFSET
    tasks = [
        *block("for t in range(begin, min(end, np.uintp(lengths[sample]))):", _OFFSET, _in_row_blocks(options, steps)),
        *block("for t in range(max(begin, np.uintp(lengths[sample])), end):", offset, zero_output),
    ]
    return _loop_source(title, "forward", "y", step, options, buffers, tasks)


def backward(step: StepGraph, options: LoopVariant, title: str) -> LoopSource:
    """Return the backward loop; gradients of numbers are summed for each sample and neuron, in double precision."""
    writer = Writer(step, options, NUMBA, "{0}[n]")
    real = "d_bias" if options.events else "saved0" if options.inplace else "dx"
    pooled = {"max": "row[n - start]", "average": "row[n - line]"}
    gy = pooled[options.pool.kind] if options.pool else "gy[o - skip + n]"
    dx = [f"{real}[o + n] = new_x"]
    if options.events:
        dx = ["padded_grad[n - line + shift] = new_x", "d_bias[s + n] += new_x"]
    # Recomputed states go through separate rows: a read next to a write in one array would prevent vectorization.
    recomputed = "row_{0}[n - low]"
    body = writer.backward(gy, dx, recomputed)
    first, later, spikes = Lines(), Lines(), Lines()
    for name in step.recomputed:
        later += block(
            "for n in range(low, high):", writer.recompute_state(name), f"{recomputed.format(name)} = {name}_before"
        )
        first += block("for n in range(low, high):", f"{recomputed.format(name)} = s_{name}[s + n]")
    buffers = [f"row_{name} = np.empty(group, real)" for name in step.recomputed]
    if options.pool and options.pool.kind == "max" and options.gy:
        spikes = block("for n in range(start, stop):", writer.recompute_output(recomputed), "spikes[n - start] = y_n")
        buffers += ["spikes, left = np.empty(size * width, real), np.empty(channels, real)"]
    steps = block("for n in range(low, high):", body)
    if options.in_row_blocks:
        # One row of the image at a time: with average pooling, all rows of a window have the same gradient.
        shift = [_SHIFT.format("low")] * options.events
        steps = block(_FOR_EACH_LINE, shift, block("for n in range(line, line + width):", body))
    if options.pool and options.gy:
        buffers += ["row = np.empty(size * width, real)"]
        sizes = f"{_BLOCK_OFFSET}, np.uintp({options.pool.size}), channels, width, windows"
        unpool = f"average_pool_backward(row, gy, {sizes})"
        if spikes:
            unpool = f"max_pool_backward(row, spikes, left, gy, {sizes})"
        steps = [*block(f"if stop - start == {_BLOCK_SIZE}:", spikes, unpool), *block("else:", "row[:] = 0"), *steps]
    past, kernel_grad = Lines(), Lines()
    if options.events:
        # As many spare numbers after the last row as after the rows of the bias.
        buffers += ["padded_grad = np.zeros((group // np.intp(width) + 1) * geometry[-2] + bias.size, real)"]
        part = "task * parts // (np.intp(batch) * groups) * (dkernel.size // parts)"
        lines = "low // width, (high - low) // width, lists, geometry, t * batch + sample"
        kernel_grad = [f"correlate(dkernel, {part}, padded_grad, {lines})"]
    else:
        past = block("for n in range(low, high):", f"{real}[o + n] = 0")
        past = block("for t in range(max(begin, np.uintp(lengths[sample])), end):", _OFFSET, past)
    before = [*block("if t > np.uintp(0):", later), *block("else:", first)] if step.recomputed else []
    tasks = [
        *past,
        "stop_t = min(end, np.uintp(lengths[sample]))",
        *block(
            "for back in range(begin, stop_t):",
            "t = stop_t - np.uintp(1) - (back - begin)",
            _OFFSET,
            before,
            _in_row_blocks(options, steps),
            kernel_grad,
        ),
    ]
    buffers = ["step_stride = batch * neurons", *writer.constants(), *buffers]
    return _loop_source(title, "backward", real, step, options, buffers, tasks)


_FOR_EACH_LINE = "for line in range(start, stop, width):"


def _in_row_blocks(options: LoopVariant, steps: Lines) -> Lines:
    if not options.in_row_blocks:
        return steps
    return block(f"for start in range(low, high, {_BLOCK_SIZE}):", f"stop = min(start + {_BLOCK_SIZE}, high)", steps)


def _loop_source(
    title: str, name: str, real: str, step: StepGraph, options: LoopVariant, buffers: Lines, tasks: Lines
) -> LoopSource:
    events = ["lists, kernel, bias = events[:4], events[4], events[5]"] * options.events
    events += ["stride, margin = np.uintp(geometry[-2]), np.uintp(geometry[-1])"] * options.events
    functions = ["exp_", *["pool", "average_pool_backward", "max_pool_backward"] * bool(options.pool)]
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import numpy as np",
        f"from snnlab.kernels.runtime import {', '.join(functions)}",
        *["from snnlab.kernels.events import convolve, correlate"] * options.events,
        "",
        "",
        *block(
            f"def {name}(ARGUMENTS, first, last):",
            f"real = {real}.dtype.type",
            "groups = (np.intp(neurons) + group - 1) // group",
            events,
            buffers,
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
    more = _IMAGE_ARGUMENTS * options.in_row_blocks + ["events", "geometry"] * options.events
    more += ["dkernel", "parts"] * (options.events and name == "backward")
    return source(step, text, [*_COMMON_ARGUMENTS, *more])
