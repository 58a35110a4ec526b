"""The compiled loops of neurons: a vector of membranes at a time, with the rules of their layer.

The operations are those of the neurons' own `step`, in its order, so that the results are its bit for bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from snnlab.kernels.vectors import (
    LANES,
    above,
    add,
    at_least,
    differs,
    divide,
    load,
    multiply,
    select,
    splat,
    store,
    subtract,
    total,
    truncate,
)
from snnlab.streaming.buffers import (
    ADAPTED_RESET,
    COEFFICIENTS,
    DECAY_FIRST,
    FLOOR,
    INTEGRATE,
    MAX_POOL,
    NEXT_STEP,
    NO_ARRAYS,
    NO_FLOOR,
    NO_SYNAPSE,
    PER_CHANNEL,
    RELAY,
    SUBTRACT,
    VALUE,
)

# Bits 0 to 15: lanes that spiked; bits 16 to 31: lanes that are still at the threshold.
SPIKED = np.uint64(0xFFFF)
STILL = np.uint64(16)
ZERO = np.float32(0)
A, G, C, V_THRESHOLD, R, V_RESET, _, B, RHO, ADAPTATION = range(len(COEFFICIENTS))

_inner = njit(nogil=True, error_model="numpy", forceinline=True)


@_inner
def leak(t: Any, values: Any, weights: Any) -> None:
    """Multiply a layer's membranes by a; 0 is added as the plain loop does, which turns -0 to 0."""
    factor, nothing, first = splat(t.a, LANES), splat(ZERO, LANES), t.membrane
    if t.arrays == NO_ARRAYS:
        for n in range(0, t.height * t.width * t.channels, LANES):
            store(add(multiply(load(values, first + n, LANES), factor), nothing), values, first + n)
        return
    for pixel in range(t.height * t.width):
        for block in range(0, t.channels, LANES):
            n = pixel * t.channels + block
            factor = load(weights, t.coefficients + (block if t.arrays == PER_CHANNEL else n), LANES)
            store(add(multiply(load(values, first + n, LANES), factor), nothing), values, first + n)


@_inner
def coefficient(t: Any, weights: Any, at: Any, number: Any, alone: Any) -> Any:
    """Return a vector of coefficient `number` of the neurons whose membranes are at a place; `alone` is for all."""
    if t.arrays == NO_ARRAYS:
        return splat(alone, LANES)
    n = at - t.membrane
    place = n % t.channels if t.arrays == PER_CHANNEL else n
    return load(weights, t.coefficients + number * t.span + place, LANES)


class Rules(NamedTuple):
    """The numbers that a layer's neurons need, in registers: fields of `LAYER`, and those of the next layer's input."""

    channels: Any
    membrane: Any
    width: Any
    current_width: Any
    current: Any
    left: Any
    current_pool_y: Any
    current_pool_x: Any
    pool: Any
    per_pool_y: Any
    per_pool_x: Any
    overlaps: Any
    window_y: Any
    window_x: Any
    pool_stride_y: Any
    pool_stride_x: Any
    pool_pad_y: Any
    pool_pad_x: Any
    unused: Any
    reset: Any
    delayed: Any
    strict: Any
    several: Any
    floor_rule: Any
    is_dense: Any
    has_bias: Any
    bias: Any
    a: Any
    g: Any
    c: Any
    v_threshold: Any
    r: Any
    v_reset: Any
    floor: Any
    synapse: Any
    synaptic: Any
    b: Any
    adapts: Any
    adaptive: Any
    rho: Any
    adaptation: Any
    arrays: Any
    coefficients: Any
    span: Any
    feeds_itself: Any
    input: Any
    in_bits: Any
    in_rows: Any
    in_words: Any
    to_input: Any
    to_in_height: Any
    to_in_width: Any
    to_in_bits: Any
    to_in_rows: Any
    to_in_words: Any


class SpecialRules(NamedTuple):
    """The numbers of `Rules` that are known of plain layers."""

    current_pool_y: Any
    current_pool_x: Any
    overlaps: Any
    reset: Any
    delayed: Any
    is_dense: Any
    has_bias: Any
    g: Any
    c: Any
    synapse: Any
    adapts: Any
    arrays: Any
    feeds_itself: Any


@_inner
def fill_rules(layers: Any, k: Any, special: Any) -> Rules:
    """Return the numbers of layer k, with those of `special`."""
    t = layers[k]
    then = layers[t.to]
    return Rules(
        t.channels,
        t.membrane,
        t.width,
        t.current_width,
        t.current,
        t.left,
        special.current_pool_y,
        special.current_pool_x,
        t.pool,
        t.per_pool_y,
        t.per_pool_x,
        special.overlaps,
        t.window_y,
        t.window_x,
        t.pool_stride_y,
        t.pool_stride_x,
        t.pool_pad_y,
        t.pool_pad_x,
        t.unused,
        special.reset,
        special.delayed,
        t.strict,
        t.several,
        t.floor_rule,
        special.is_dense,
        special.has_bias,
        t.bias,
        t.a,
        special.g,
        special.c,
        t.v_threshold,
        t.r,
        t.v_reset,
        t.floor,
        special.synapse,
        t.synaptic,
        t.b,
        special.adapts,
        t.adaptive,
        t.rho,
        t.adaptation,
        special.arrays,
        t.coefficients,
        t.span,
        special.feeds_itself,
        t.input,
        t.in_bits,
        t.in_rows,
        t.in_words,
        then.input,
        then.in_height,
        then.in_width,
        then.in_bits,
        then.in_rows,
        then.in_words,
    )


@_inner
def rules_of(layers: Any, k: Any) -> Rules:
    """Return the numbers of layer k."""
    t = layers[k]
    special = SpecialRules(
        t.current_pool_y,
        t.current_pool_x,
        t.overlaps,
        t.reset,
        t.delayed,
        t.is_dense,
        t.has_bias,
        t.g,
        t.c,
        t.synapse,
        t.adapts,
        t.arrays,
        t.feeds_itself,
    )
    return fill_rules(layers, k, special)


@_inner
def plain_rules_of(layers: Any, k: Any) -> Rules:
    """Return the numbers of a plain layer k, with constants that let the compiler leave out what it does not need."""
    return fill_rules(layers, k, SpecialRules(1, 1, 0, SUBTRACT, 0, 0, 0, np.float32(1), ZERO, 0, 0, 0, 0))


@_inner
def synaptic_current(t: Any, values: Any, weights: Any, at: Any, current: Any) -> Any:
    """Add an input to the decaying currents of neurons, and return the current that the membranes read."""
    place = t.synaptic + at - t.membrane
    before, b = load(values, place, LANES), coefficient(t, weights, at, B, t.b)
    after = multiply(b, add(before, current)) if t.synapse == DECAY_FIRST else add(multiply(b, before), current)
    store(after, values, place)
    return before if t.synapse == NEXT_STEP else after


@_inner
def threshold_of(t: Any, values: Any, weights: Any, at: Any) -> Any:
    """Return the thresholds of neurons, which their spikes may have raised."""
    threshold = coefficient(t, weights, at, V_THRESHOLD, t.v_threshold)
    if t.adapts:
        w = load(values, t.adaptive + at - t.membrane, LANES)
        return add(multiply(coefficient(t, weights, at, ADAPTATION, t.adaptation), w), threshold)
    return threshold


@_inner
def adapt(t: Any, values: Any, weights: Any, at: Any, number: Any) -> None:
    """Let adaptations decay, and add the numbers of spikes."""
    place = t.adaptive + at - t.membrane
    w = multiply(coefficient(t, weights, at, RHO, t.rho), load(values, place, LANES))
    store(add(w, number), values, place)


@_inner
def spikes_at(t: Any, threshold: Any, v: Any) -> np.uint64:
    """Return the lanes where membranes reach the threshold, as bits."""
    return above(v, threshold) if t.strict else at_least(v, threshold)


@_inner
def after_reset(t: Any, weights: Any, at: Any, threshold: Any, v: Any, spiked: Any, number: Any) -> Any:
    """Return membranes after a reset of the lanes that spiked; `number` is how often."""
    if t.reset == SUBTRACT:
        if t.adapts == ADAPTED_RESET:
            return subtract(v, multiply(number, threshold))
        return subtract(v, multiply(number, coefficient(t, weights, at, R, t.r)))
    if t.reset == VALUE:
        return select(spiked, coefficient(t, weights, at, V_RESET, t.v_reset), v)
    return v


@_inner
def spike_numbers(t: Any, threshold: Any, v: Any, spiked: Any) -> Any:
    """Return how often each lane spikes."""
    nothing = splat(ZERO, LANES)
    if t.several:
        return select(spiked, truncate(divide(v, threshold)), nothing)
    return select(spiked, splat(np.float32(1), LANES), nothing)


@_inner
def integrate(t: Any, weights: Any, at: Any, v: Any, current: Any, decays: Any) -> Any:
    """Return a * v + (g * current + c), without the operations that change nothing."""
    if t.g != 1:
        current = multiply(coefficient(t, weights, at, G, t.g), current)
    if t.c != 0:
        current = add(current, coefficient(t, weights, at, C, t.c))
    if decays:
        v = multiply(coefficient(t, weights, at, A, t.a), v)
    return add(v, current)


@_inner
def send(t: Any, values: Any, to: Any, output: Any) -> None:
    """Join outputs to the input of the next layer: the sum of a window, or its maximum."""
    before = load(values, to, LANES)
    if t.pool == MAX_POOL:
        store(select(above(output, before), output, before), values, to)
    else:
        store(add(before, output), values, to)


@_inner
def send_spikes(t: Any, count: Any, values: Any, at: Any, to: Any, number: Any) -> None:
    """Send the numbers of spikes of a vector of neurons, also to themselves, and count them."""
    send(t, values, to, number)
    if t.feeds_itself:
        store(number, values, t.input + at - t.membrane)
    count.spikes += np.int64(total(number))


@_inner
def bounded(t: Any, u: Any) -> Any:
    """Return membranes that are not below their floor."""
    floor, nothing = splat(t.floor, LANES), splat(ZERO, LANES)
    if t.floor_rule == FLOOR:
        return select(above(floor, u), floor, u)
    over = subtract(u, floor)
    return add(select(above(over, nothing), over, nothing), floor)


@_inner
def fire(t: Any, count: Any, values: Any, weights: Any, at: Any, current: Any, to: Any, decays: Any) -> np.uint64:
    """Update a vector of neurons and send its output; return the lanes with an output and those still at threshold."""
    v = load(values, at, LANES)
    if t.reset == RELAY:
        send(t, values, to, current)
        return differs(current, splat(ZERO, LANES))
    if t.synapse != NO_SYNAPSE:
        current = synaptic_current(t, values, weights, at, current)
    threshold = threshold_of(t, values, weights, at)
    if t.delayed:
        spiked = spikes_at(t, threshold, v)
        number = spike_numbers(t, threshold, v, spiked)
        if t.reset == VALUE:
            v = after_reset(t, weights, at, threshold, v, spiked, number)
            u = integrate(t, weights, at, v, current, decays)
        else:
            u = integrate(t, weights, at, v, current, decays)
            u = after_reset(t, weights, at, threshold, u, spiked, number)
        store(u, values, at)
        spiked = spikes_at(t, threshold, u)
        if spiked != 0:
            send_spikes(t, count, values, at, to, spike_numbers(t, threshold, u, spiked))
        return spiked
    u = integrate(t, weights, at, v, current, decays)
    if t.reset == INTEGRATE:
        store(u, values, at)
        store(u, values, to)
        return SPIKED
    spiked = spikes_at(t, threshold, u)
    number = splat(ZERO, LANES)
    if spiked != 0:
        number = spike_numbers(t, threshold, u, spiked)
        u = after_reset(t, weights, at, threshold, u, spiked, number)
        send_spikes(t, count, values, at, to, number)
        spiked |= spikes_at(t, threshold, u) << STILL
    if t.adapts:
        adapt(t, values, weights, at, number)
    if t.floor_rule != NO_FLOOR:
        u = bounded(t, u)
    store(u, values, at)
    return spiked


@_inner
def current_of(t: Any, values: Any, weights: Any, y: Any, x: Any, block: Any) -> Any:
    """Return the current of a vector of neurons, the maximum of a window, with the bias; clear it."""
    nothing = splat(ZERO, LANES)
    found = nothing
    if not t.is_dense:
        at = t.current + (y * t.current_width + x + t.left) * t.channels + block
        found = load(values, at, LANES)
        store(nothing, values, at)
        return found
    for row in range(t.current_pool_y):
        for column in range(t.current_pool_x):
            in_y, in_x = y * t.current_pool_y + row, x * t.current_pool_x + column
            at = t.current + (in_y * t.current_width + in_x + t.left) * t.channels + block
            one = load(values, at, LANES)
            store(nothing, values, at)
            found = one if row + column == 0 else select(above(one, found), one, found)
    return add(found, load(weights, t.bias + block, LANES)) if t.has_bias else found
