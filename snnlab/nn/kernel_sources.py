"""Text about the kernels of a network for `snnlab show`: how its layers run, and the source of its neurons' loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from snnlab.errors import error_context
from snnlab.kernels.emit import LoopVariant
from snnlab.kernels.function import Backend, Kernel, kernel_for
from snnlab.nn.blocks import Loop
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.neurons.base import Neuron, cast_coefficients, named_neurons
from snnlab.nn.plan import InputSpec, make_plan
from snnlab.nn.stages import NamedLayers, Stage


def kernel_sources(built: BuiltNetwork) -> Iterator[tuple[str, str]]:
    """Yield the source of each neuron's forward and backward loops, or why it has none, with the layer's name."""
    for name, layer in named_neurons(built.network):
        found = _kernel(layer, built.shapes.get(name, (1,)))
        if isinstance(found, str):
            yield name, found
            continue
        kernel, per_neuron = found
        yield (
            name,
            "\n"
            + "\n\n".join(kernel.traced.source(way, LoopVariant(per_neuron)).text for way in ("forward", "backward")),
        )


def require_kernels(built: BuiltNetwork) -> None:
    """Check that each neuron has a kernel for its backend."""
    for name, layer in named_neurons(built.network):
        with error_context(f"model.layers.{name}"):
            _kernel(layer, built.shapes.get(name, (1,)))


def layers_rounding_differently(built: BuiltNetwork, backend: Backend) -> list[str]:
    """Return the layers whose neurons a backend rounds differently from the plain loop."""
    found = []
    for name, layer in named_neurons(built.network) if backend != "reference" else ():
        neuron = layer.parts()[0]
        if neuron.approximate:
            kernel = _kernel(layer, built.shapes.get(name, (1,)))
            found += [] if isinstance(kernel, str) or kernel[0].traced.step.exact else [name]
    return found


def planned_layers(built: BuiltNetwork, in_shape: Shape) -> list[tuple[str, str]]:
    """Return the layers that run together in training on the CPU, each with how they run, as text.

    Args:
        built: The network and its shapes.
        in_shape: Frames of one sample at one step.
    """
    frames = torch.zeros(1, 1, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, like frames of events
    with torch.enable_grad():
        return list(_plan_rows(built.network, InputSpec.of(frames), built.shapes, ""))


def _plan_rows(
    network: Network, spec: InputSpec, shapes: Mapping[str, Shape], block_prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield the names of layers that run together and how they run; layers of blocks have dotted names."""
    for layers, prefix in _planned_layers(network):
        first = type(network) is Network and not block_prefix
        plan = make_plan(layers, spec, network.run_settings, first=first)
        for stage in plan.stages:
            names = [f"{block_prefix}{name}" for name, _ in stage.layers]
            yield (
                ", ".join(names),
                prefix + _stage_text(stage, shapes.get(f"{block_prefix}{stage.name}", (1,)), plan.not_fused),
            )
            if isinstance(stage.layer, Network):
                yield from _plan_rows(stage.layer, spec._replace(sample=None), shapes, f"{block_prefix}{stage.name}.")


def _planned_layers(network: Network) -> Iterator[tuple[NamedLayers, str]]:
    """Yield the layers of a network that share a plan, and a prefix for the text of how they run."""
    step_by_step_layers = dict(network.step_by_step_layers()) if isinstance(network, Loop) else dict[str, nn.Module]()
    layers = [(name, layer) for name, layer in network.layers() if name not in step_by_step_layers]
    if layers:
        yield layers, ""
    known = {name for name, _ in layers}
    for name, layer in network.named_children():
        if name not in known:
            yield [(name, layer)], "step by step: " if name in step_by_step_layers else ""


def _stage_text(stage: Stage, shape: Shape, not_fused: Mapping[str, str]) -> str:
    """Return how a stage runs, and why it is not fused with the neurons before it."""
    if isinstance(stage.layer, Network):
        return stage.layer.connection() or "its layers, listed below"
    why = f"; not fused with the neurons before it: {not_fused[stage.name]}" if stage.name in not_fused else ""
    kernel = _kernel(stage.layer, shape) if isinstance(stage.layer, Neuron) else None
    return (kernel if isinstance(kernel, str) else stage.description()) + why


def _kernel(layer: Neuron, shape: Shape) -> tuple[Kernel, frozenset[str]] | str:
    """Return a neuron's kernel with the names of its per-neuron coefficients, or as text why it has no kernel."""
    neuron = layer.parts()[0]
    if neuron.parallel:
        return "a matrix product over time, PyTorch's"
    x = torch.zeros(1, 1, *shape, requires_grad=True)
    k = cast_coefficients(neuron.coefficients(), x)
    kernel = kernel_for(neuron.step, x, neuron.initial_state(x[0]), k, backend=neuron.backend)
    if isinstance(kernel, str):
        return f"the plain loop, {'as configured' if kernel == 'reference' else f'because of {kernel}'}"
    numbers = kernel.traced.numbers(k)
    return kernel, frozenset(name for name, value in numbers.items() if isinstance(value, Tensor) and value.numel() > 1)
