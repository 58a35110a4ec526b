"""The loops that a network's neurons run by, as they are rendered; for whoever wants to read them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from snnlab.kernels.emit import Form
from snnlab.kernels.function import kernel_for
from snnlab.nn.build import BuiltNetwork
from snnlab.nn.neurons.base import Neuron, named_neurons, rounded
from snnlab.nn.neurons.recurrent import Recurrent


def rendered(built: BuiltNetwork) -> Iterator[tuple[str, str]]:
    """Yield each neuron's loops, forward and backward, or why it has none, by the layer's name."""
    for name, layer in named_neurons(built.network):
        neuron = layer.neuron if isinstance(layer, Recurrent) else layer
        yield name, _text(neuron, torch.zeros(1, 1, *built.shapes.get(name, (1,)), requires_grad=True))


def _text(neuron: Neuron, x: Tensor) -> str:
    k = rounded(neuron.coefficients(), x)
    kernel = kernel_for(neuron.step, x, neuron.initial_state(x[0]), k, backend=neuron.backend)
    if isinstance(kernel, str):
        return f"the plain loop, {'as asked for' if kernel == 'reference' else f'because of {kernel}'}"
    numbers = kernel.traced.numbers(k)
    own = frozenset(name for name, value in numbers.items() if isinstance(value, Tensor) and value.numel() > 1)
    sources = [kernel.traced.source(way, Form(own)).text for way in ("forward", "backward")]
    return "\n" + "\n\n".join(sources)
