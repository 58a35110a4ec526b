"""The compiled loops that keep the inputs of the last steps, of layers with delays; see `buffers`."""

from __future__ import annotations

from typing import Any

from numba import njit

from snnlab.compiled import keep_apart
from snnlab.kernels.vectors import trailing_zeros
from snnlab.streaming.scatter_loops import NONE, ONE, ZERO, copy_pixel

_inner = njit(nogil=True, error_model="numpy", forceinline=True)
_once = njit(nogil=True, error_model="numpy")


@_once
def take_delayed(k: Any, step: Any, layers: Any, values: Any, bits: Any) -> None:
    """Keep what has arrived at layer k, if it does so, and set the input to that of its delay."""
    keep_apart()
    t = layers[k]
    if t.keeps:
        slot = step % t.slots
        kept, kept_bits = t.kept + slot * t.slot_values, t.kept_bits + slot * t.slot_bits
        _clear(t, values, bits, kept, kept_bits)
        _copy(t, values, bits, t.input, t.in_bits, kept, kept_bits)
        if t.copy_kept_to >= 0:
            _copy_to(layers[t.copy_kept_to], t, values, bits, kept, kept_bits)
        _clear(t, values, bits, t.input, t.in_bits)
    slot = (step - t.delay) % t.slots
    _copy(t, values, bits, t.kept + slot * t.slot_values, t.kept_bits + slot * t.slot_bits, t.input, t.in_bits)


@_inner
def _copy(t: Any, values: Any, bits: Any, first: Any, bitmap: Any, to: Any, to_bitmap: Any) -> None:
    """Copy an input, with its bitmap and summary, to a place where all is 0."""
    for word in range(t.in_height * t.in_words):
        pixels = bits[bitmap + word]
        bits[to_bitmap + word] = pixels
        while pixels != 0:
            at = _place(t, word, pixels)
            pixels &= pixels - ONE
            for n in range(at, at + t.in_channels):
                values[to + n] = values[first + n]
    for word in range(t.in_height * t.in_words, t.slot_bits):
        bits[to_bitmap + word] = bits[bitmap + word]


@_inner
def _clear(t: Any, values: Any, bits: Any, first: Any, bitmap: Any) -> None:
    """Clear an input, its bitmap and its summary."""
    for word in range(t.in_height * t.in_words):
        pixels = bits[bitmap + word]
        while pixels != 0:
            at = _place(t, word, pixels)
            pixels &= pixels - ONE
            for n in range(at, at + t.in_channels):
                values[first + n] = ZERO
    for word in range(bitmap, bitmap + t.slot_bits):
        bits[word] = NONE


@_inner
def _copy_to(to: Any, t: Any, values: Any, bits: Any, first: Any, bitmap: Any) -> None:
    """Add an input to that of another layer."""
    for word in range(t.in_height * t.in_words):
        pixels = bits[bitmap + word]
        while pixels != 0:
            at = _place(t, word, pixels)
            pixels &= pixels - ONE
            pixel = at // t.in_channels
            y, x = pixel // t.in_width, pixel % t.in_width
            copy_pixel(to, values, bits, first + at, t.in_channels, t.divisor, y, x)


@_inner
def _place(t: Any, word: Any, pixels: Any) -> int:
    """Return where the channels of the first pixel of a bitmap's word are in an input."""
    x = ((word % t.in_words) << 6) + trailing_zeros(pixels)
    return ((word // t.in_words) * t.in_width + x) * t.in_channels
