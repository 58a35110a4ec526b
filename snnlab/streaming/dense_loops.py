"""A network step by step with plain dense sums, in a stated order: what the event-driven engine must equal bit for bit.

Axes: B = 1 sample, then C, H, W.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.compiled import compiled
from snnlab.nn.blocks.branches import SHORTCUT, Residual
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, cast_coefficients
from snnlab.nn.neurons.recurrent import Recurrent

Shape = tuple[int, ...]


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
    """Run a network of convolutions, linear layers, neurons and pooling on frames, one step at a time.

    Convolutions and linear layers are plain loops, and a linear layer after a flatten is a convolution that covers the
    whole input; neurons are their own `step` in PyTorch.

    Args:
        network: The network, in eval mode.

    Attributes:
        membranes: Membranes after the last step, by the name of the neurons, `[C, H, W]`.
        spikes: Spikes of the last step, by the name of the neurons, `[C, H, W]`.
        largest: Largest input of each convolution and linear layer so far, by its name.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.membranes: dict[str, np.ndarray] = {}
        self.spikes: dict[str, np.ndarray] = {}
        self.largest: dict[str, float] = {}
        self._states: dict[str, Any] = {}
        self._flattened: Shape = ()
        self._feedback: dict[str, Tensor] = {}
        self._bias: Tensor | None = None

    def step(self, frame: np.ndarray) -> np.ndarray:
        """Run one step and return the output.

        Shape:
            frame: one sample at one step, float32; returns one sample at one step.
        """
        with torch.no_grad():
            return self._run(self.network, torch.from_numpy(frame)[None], "")[0].numpy()

    def _run(self, network: Network, x: Tensor, prefix: str) -> Tensor:
        layers = [(f"{prefix}{name}", layer) for name, layer in network.layers()]
        for n, (name, layer) in enumerate(layers):
            following = layers[n + 1][1] if n + 1 < len(layers) else None
            if isinstance(following, Recurrent):
                self._bias, x = getattr(layer, "bias", None), self._apply(name, layer, x, has_bias=False)
            else:
                x = self._apply(name, layer, x)
        return x

    def _residual(self, name: str, layer: Residual, x: Tensor) -> Tensor:
        flattened = self._flattened
        branch = self._run(layer, x, f"{name}.")
        shortcut = getattr(layer, SHORTCUT, None)
        if shortcut is not None:
            self._flattened = flattened
            x = self._apply(f"{name}.{SHORTCUT}", shortcut, x)
        return x + branch

    def _apply(self, name: str, layer: nn.Module, x: Tensor, *, has_bias: bool = True) -> Tensor:
        if isinstance(layer, Residual):
            return self._residual(name, layer, x)
        if type(layer) is Network:
            return self._run(layer, x, f"{name}.")
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            self._see(name, x)
        if isinstance(layer, nn.Conv2d):
            return _convolution(layer, x, has_bias=has_bias)
        if isinstance(layer, nn.Conv1d):
            return _convolution(layer, x[:, :, None], has_bias=has_bias)[:, :, 0]
        if isinstance(layer, nn.Linear):
            shape, self._flattened = self._flattened or (x.shape[1], 1, 1), ()
            bias = layer.bias if has_bias else None
            return _summed(x.reshape(1, *shape), layer.weight.reshape(-1, *shape), bias).flatten(1)
        if isinstance(layer, nn.Flatten):
            self._flattened = (x.shape[1], *(1,) * (4 - x.dim()), *x.shape[2:])
        if isinstance(layer, Recurrent):
            return self._recurrent(name, layer, x)
        if isinstance(layer, Neuron):
            return self._neurons(name, layer, x)
        return layer(x[None])[0][0] if isinstance(layer, TemporalLayer) else layer(x)

    def _see(self, name: str, x: Tensor) -> None:
        self.largest[name] = max(self.largest.get(name, 0.0), float(x.max()))

    def _recurrent(self, name: str, layer: Recurrent, x: Tensor) -> Tensor:
        """Add the feedback to the sums of the input, then the bias of either, and run the neurons."""
        weight, bias = layer.feedback.weights()
        kernel = (1, 1, *weight.shape[2:])[-2:]
        spikes = self._feedback.get(name, torch.zeros_like(x))
        shape = (1, x.shape[1], *(1,) * (4 - x.dim()), *x.shape[2:])
        padding = kernel[0] // 2, kernel[1] // 2
        self._see(f"{name}.feedback", spikes)
        weight = weight.reshape(x.shape[1], x.shape[1], *kernel)
        bias = self._bias if bias is None else bias
        summed = _summed(spikes.reshape(shape), weight, bias, padding=padding, begun=x.reshape(shape))
        self._feedback[name] = y = self._neurons(name, layer.neuron, summed.reshape(x.shape))
        return y

    def _neurons(self, name: str, layer: Neuron, x: Tensor) -> Tensor:
        state = self._states.get(name)
        state = layer.initial_state(x) if state is None else state
        y, state = layer.step(x, state, cast_coefficients(layer.coefficients(), x))
        self._states[name] = state
        self.membranes[name] = state.v[0].numpy()
        if layer.spiking:
            self.spikes[name] = y[0].numpy()
        return y


def _convolution(layer: nn.Conv1d | nn.Conv2d, x: Tensor, *, has_bias: bool) -> Tensor:
    """Return a convolution of frames `[1, C, H, W]`; one over one axis has H = 1."""
    lines = isinstance(layer, nn.Conv1d)
    weight = layer.weight[:, :, None] if lines else layer.weight

    def sizes(size: Any, alone: int) -> tuple[int, int]:
        return (alone, *size) if lines else tuple(size)

    if layer.padding == "same":
        whole = [d * (k - 1) for d, k in zip(sizes(layer.dilation, 1), weight.shape[2:], strict=True)]
        x, padding = nn.functional.pad(x, [n for p in reversed(whole) for n in (p // 2, p - p // 2)]), (0, 0)
    else:
        padding = (0, 0) if isinstance(layer.padding, str) else sizes(layer.padding, 0)
    rules = sizes(layer.stride, 1), padding, sizes(layer.dilation, 1)
    return _summed(x, weight, layer.bias if has_bias else None, *rules, groups=layer.groups)


def _summed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    *,
    groups: int = 1,
    begun: Tensor | None = None,
) -> Tensor:
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True)
    ]
    parts = []
    for values, kernel in _groups(x[0].float().numpy(), weight.detach().float().numpy(), groups):
        u = np.zeros((*size, kernel.shape[0]), np.float32)
        if begun is not None:
            u[:] = begun[0].numpy().transpose(1, 2, 0)
        ordered = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
        add_dense(np.ascontiguousarray(values.transpose(1, 2, 0)), ordered, stride, padding, dilation, u)
        parts.append(u.transpose(2, 0, 1))
    y = torch.from_numpy(np.concatenate(parts))[None]
    return y if bias is None else y + bias[:, None, None]


def _groups(x: np.ndarray, weight: np.ndarray, groups: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from zip(np.split(x, groups), np.split(weight, groups), strict=True)
