"""A network's form step by step with plain dense sums, in a stated order: what a stream and an export must equal.

A sum begins with zeros and goes over the maps, kernel rows, kernel columns and channels; each product is rounded before
it is added, and the bias is added last. A neuron's step is run expression by expression.

Axes: C, H, W.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from snnlab.compiled import compiled
from snnlab.nn.network_form import INPUT, Currents, NetworkForm, Neurons, Pooling, Value, WeightMap


@compiled(nogil=True, error_model="numpy")
def add_dense(x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, u: Any) -> None:
    """Add a convolution to u by a plain loop, whose sums go over kernel rows, kernel columns, channels.

    Shape:
        x: `[H, W, C]`; weight: `[rows, columns, C, C']`; u: `[H', W', C']`.
    """
    rows, columns, channels, outputs = weight.shape
    for to_y in range(u.shape[0]):
        for to_x in range(u.shape[1]):
            total = u[to_y, to_x]
            for row in range(rows):
                y = to_y * stride[0] + row * dilation[0] - padding[0]
                if y < 0 or y >= x.shape[0]:
                    continue
                for column in range(columns):
                    at = to_x * stride[1] + column * dilation[1] - padding[1]
                    if at < 0 or at >= x.shape[1]:
                        continue
                    for channel in range(channels):
                        value = x[y, at, channel]
                        line = weight[row, column, channel]
                        for output in range(outputs):
                            total[output] += value * line[output]


class DenseLoops:
    """Run a network's form on frames, one step at a time.

    Args:
        form: The network's form.

    Attributes:
        states: States after the last step, by the name of the neurons.
        before: States before the last step.
        inputs: Currents of the neurons in the last step.
        outputs: Outputs of the neurons in the last step; spikes: of those that spike.
        past: Values of the last steps by the index of their operation, the last one first.

    Shape:
        states, before, inputs, outputs, spikes: `[C, H, W]`.
    """

    def __init__(self, form: NetworkForm) -> None:
        self.form = form
        self.states: dict[str, dict[str, np.ndarray]] = {
            name: dict(one.form.start) for name, one in form.neurons.items()
        }
        self.before: dict[str, dict[str, np.ndarray]] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.past = {source.of: deque[np.ndarray](maxlen=0) for source in _sources(form)}
        for source in _sources(form):
            size = max(self.past[source.of].maxlen or 0, source.delay)
            self.past[source.of] = deque([np.zeros(form.shape_of(source), np.float32)] * size, size)

    def step(self, frame: np.ndarray) -> np.ndarray:
        """Run one step and return the output.

        Shape:
            frame: one sample at one step, float32; returns `[C, H, W]`.
        """
        values = {INPUT: np.asarray(frame, np.float32).reshape(self.form.in_shape)}
        for number, one in enumerate(self.form.operations):
            if isinstance(one, Currents):
                values[number] = self._currents(one, values)
            elif isinstance(one, Neurons):
                values[number] = self._neurons(one, values[one.source.of])
            elif isinstance(one, Pooling):
                values[number] = _pooled(one, values[one.source.of])
            else:
                first, *others = (values[source.of] for source in one.sources)
                values[number] = sum(others, first)
        for number, past in self.past.items():
            past.appendleft(values[number])
        return values[self.form.output.of]

    @property
    def spikes(self) -> dict[str, np.ndarray]:
        """The outputs of the neurons that spike."""
        return {name: y for name, y in self.outputs.items() if self.form.neurons[name].form.spiking}

    def _currents(self, one: Currents, values: dict[int, np.ndarray]) -> np.ndarray:
        channels, *size = one.shape
        u = np.zeros((*size, channels), np.float32)
        for part in one.maps:
            delay = part.source.delay
            x = self.past[part.source.of][delay - 1] if delay else values[part.source.of]
            _add_map(part, x, u)
        y = u.transpose(2, 0, 1)
        return y if one.bias is None else y + one.bias[:, None, None]

    def _neurons(self, one: Neurons, x: np.ndarray) -> np.ndarray:
        self.inputs[one.name], self.before[one.name] = x, self.states[one.name]
        y, self.states[one.name] = one.form.run(x, self.states[one.name])
        self.outputs[one.name] = y
        return y


def _sources(form: NetworkForm) -> list[Value]:
    return [one.source for each in form.operations if isinstance(each, Currents) for one in each.maps]


def _add_map(one: WeightMap, x: np.ndarray, u: np.ndarray) -> None:
    outputs = one.weight.shape[0] // one.groups
    for group, values in enumerate(np.split(x, one.groups)):
        own = slice(group * outputs, (group + 1) * outputs)
        weight = np.ascontiguousarray(one.weight[own].transpose(2, 3, 1, 0))
        part = np.ascontiguousarray(u[:, :, own])
        add_dense(np.ascontiguousarray(values.transpose(1, 2, 0)), weight, one.stride, one.padding, one.dilation, part)
        u[:, :, own] = part


def _pooled(one: Pooling, x: np.ndarray) -> np.ndarray:
    """Return the windows' maxima, means or sums, row by row."""
    (rows, columns), (top, left) = one.window, one.padding
    outside = -np.inf if one.kind == "max" else 0.0
    _, height, width = one.shape
    padded = np.pad(x, ((0, 0), (top, top), (left, left)), constant_values=outside)
    lines = slice(0, (height - 1) * one.stride[0] + 1, one.stride[0])
    parts = [
        padded[:, row:, column:][:, lines, : (width - 1) * one.stride[1] + 1 : one.stride[1]]
        for row in range(rows)
        for column in range(columns)
    ]
    if one.kind == "max":
        return np.maximum.reduce(parts)
    total = sum(parts[1:], parts[0])
    return total / np.float32(rows * columns) if one.kind == "avg" else total
