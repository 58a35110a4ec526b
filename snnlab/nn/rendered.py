"""The loops that a network's neurons run by, as they are rendered; for whoever wants to read them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from snnlab.kernels.emit import Form
from snnlab.kernels.function import Backend, Kernel, kernel_for
from snnlab.nn.build import BuiltNetwork
from snnlab.nn.neurons.base import Neuron, named_neurons, rounded
from snnlab.nn.neurons.recurrent import Recurrent


def rendered(built: BuiltNetwork) -> Iterator[tuple[str, str]]:
    """Yield each neuron's loops, forward and backward, or why it has none, by the layer's name."""
    for name, neuron, x in _neurons(built):
        k = rounded(neuron.coefficients(), x)
        kernel = kernel_for(neuron.step, x, neuron.initial_state(x[0]), k, backend=neuron.backend)
        if isinstance(kernel, str):
            yield name, f"the plain loop, {'as asked for' if kernel == 'reference' else f'because of {kernel}'}"
            continue
        numbers = kernel.traced.numbers(k)
        own = frozenset(name for name, value in numbers.items() if isinstance(value, Tensor) and value.numel() > 1)
        yield name, "\n" + "\n\n".join(kernel.traced.source(way, Form(own)).text for way in ("forward", "backward"))


def rounding_otherwise(built: BuiltNetwork, backend: Backend) -> list[str]:
    """Return the layers whose neurons round otherwise than the plain loop, where a backend runs them."""
    found = []
    for name, neuron, x in _neurons(built):
        if neuron.approximate and backend != "reference":
            kernel = kernel_for(neuron.step, x, neuron.initial_state(x[0]), rounded(neuron.coefficients(), x))
            found += [name] * (isinstance(kernel, Kernel) and not kernel.traced.step.exact)
    return found


def _neurons(built: BuiltNetwork) -> Iterator[tuple[str, Neuron, Tensor]]:
    """Yield each neuron with a step of its input, by the layer's name."""
    for name, layer in named_neurons(built.network):
        neuron = layer.neuron if isinstance(layer, Recurrent) else layer
        yield name, neuron, torch.zeros(1, 1, *built.shapes.get(name, (1,)), requires_grad=True)
