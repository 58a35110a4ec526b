"""Proves that the sums of a layer have the same bits in any order, where its weights lie on a grid of powers of two.

A float32 holds every whole number up to 2^24 exactly. If all products of a sum are multiples of one power of two, and
the sum of their magnitudes is at most 2^24 of it, then no partial sum is rounded, in whatever order it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf, isfinite, log2, prod
from typing import NamedTuple

import numpy as np

from snnlab.streaming.stream_layers import StreamLayer

_EXACT = 2**24


class GridProof(NamedTuple):
    """Whether the sums of a layer are exact.

    Attributes:
        layer: Name of the convolution or the linear layer.
        problem: Why they are not; empty: they are.
        most: Largest input, a number of events or spikes, for which the proof holds.
        largest: Largest input that was seen; 0 if inputs cannot be larger than `most`.
    """

    layer: str
    problem: str
    most: float
    largest: float

    @property
    def is_proved(self) -> bool:
        """Whether no sum is rounded."""
        return not self.problem


class _Input(NamedTuple):
    """What a layer's weights are multiplied with.

    Attributes:
        unit: A power of two; all inputs are multiples of it. 0: there is none.
        bound: Largest possible input.
    """

    unit: float
    bound: float


def grid_proofs(layers: Sequence[StreamLayer], largest: Mapping[str, float]) -> list[GridProof]:
    """Return a proof for each layer that has weights.

    Args:
        layers: The layers of a stream.
        largest: The largest input of each layer that was seen: it counts where no bound is known, as for events and for
            neurons that can spike several times in a step.
    """
    inputs = _inputs(layers)
    found: list[GridProof] = []
    group: list[int] = []
    for k, layer in enumerate(layers):
        group.append(k)
        if layer.adds_to_next:
            continue
        if not layer.relays:
            found += _proofs([layers[n] for n in group], [inputs[n] for n in group], largest)
        group = []
    merged: dict[str, GridProof] = {}
    for one in found:  # a layer with delays is several, of one name
        before = merged.get(one.layer, one)
        problem, most = before.problem or one.problem, min(before.most, one.most)
        merged[one.layer] = GridProof(one.layer, problem, most, max(before.largest, one.largest))
    return list(merged.values())


def _inputs(layers: Sequence[StreamLayer]) -> list[_Input]:
    """Return the inputs of all layers, divided by the windows of average pooling."""
    raw: list[list[_Input]] = [[] for _ in range(len(layers) + 1)]
    divisors = [1] * (len(layers) + 1)
    raw[0].append(_Input(1.0, inf))
    found = []
    for k, layer in enumerate(layers):
        form = next(one.form for one in layers[k:] if not one.adds_to_next)
        once = 1.0 if form is not None and not form.is_graded else inf
        if layer.feeds_itself:
            own = _Input(1.0, once)
        elif layer.delay is not None and not layer.keeps:
            own = found[-1]  # an input that the layer before it keeps
        else:
            unit = min(one.unit for one in raw[k]) / divisors[k] if log2(divisors[k]).is_integer() else 0.0
            own = _Input(unit, sum(one.bound for one in raw[k]) / divisors[k])
        found.append(own)
        if layer.copy_to is not None:
            raw[layer.copy_to].append(own)
        if not layer.adds_to_next:
            to = k + 1 if layer.to is None else layer.to
            sent = own if layer.relays else _Input(1.0, once)
            raw[to].append(
                sent._replace(bound=sent.bound * (prod(layer.window) if layer.pool in ("avg", "sum") else 1))
            )
            if layer.pool == "avg":
                divisors[to] = prod(layer.window)
    return found


def _proofs(layers: Sequence[StreamLayer], inputs: Sequence[_Input], largest: Mapping[str, float]) -> list[GridProof]:
    """Return the proofs of layers whose products are added to the same currents."""
    sizes, seen = [], []
    for layer, given in zip(layers, inputs, strict=True):
        seen.append(0.0 if isfinite(given.bound) else largest.get(layer.name, 0.0))
        rows = np.abs(layer.weight.astype(np.float64)).reshape(len(layer.weight), -1)
        sizes.append(rows.sum(1))
    counts = [
        given.bound if isfinite(given.bound) else max(one, given.unit) for given, one in zip(inputs, seen, strict=True)
    ]
    biases = [np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.astype(np.float64) for layer in layers]
    sums = np.sum([size * count for size, count in zip(sizes, counts, strict=True)], 0) + np.abs(biases).sum(0)
    unit = 2.0 ** ceil(log2(sums.max() / _EXACT)) if sums.max() > 0 else 1.0
    found = []
    for layer, given, size, count, bias, one in zip(layers, inputs, sizes, counts, biases, seen, strict=True):
        problem = _problem(layer, given, unit)
        grid = min(_grid(layer.weight) * given.unit, _grid(bias))
        others = sums - size * count
        room = (_EXACT * grid - others)[size > 0] / size[size > 0] if not problem else np.zeros(1)
        most = float(room.min()) if room.size and isfinite(room.min()) else inf
        found.append(GridProof(layer.name, problem, most, one))
    return found


def _problem(layer: StreamLayer, given: _Input, unit: float) -> str:
    """Return what is no multiple of a unit; empty: nothing."""
    if not given.unit:
        return "its input are means over a number of outputs that is no power of two"
    if not np.isfinite(layer.weight).all() or not np.isfinite(0 if layer.bias is None else layer.bias).all():
        return "its weights are not finite"
    weight = layer.weight.reshape(len(layer.weight), -1) if layer.whole else layer.weight
    for kind, values, step in (("weights", weight, unit / given.unit), ("biases", layer.bias, unit)):
        if values is None:
            continue
        scaled = values.astype(np.float64) / step
        if (places := np.argwhere(scaled != np.rint(scaled))).size:
            at = tuple(int(n) for n in places[0])
            total = np.count_nonzero(values)
            text = f"{len(places):,} of {total:,} {kind} other than 0 are no multiples of 2^{round(log2(step))}"
            return f"{text}, the first at {list(at)}: {values[at]:.9g}"
    return ""


def _grid(values: np.ndarray) -> float:
    """Return the largest power of two that all values are multiples of; infinity if all are 0."""
    mantissa, exponent = np.frexp(values[np.nonzero(values)].astype(np.float64))
    if not mantissa.size:
        return inf
    whole = (mantissa * 2.0**53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min())
