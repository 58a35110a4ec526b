"""Layers that run in compiled loops against the same layers in the plain loop.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from equality import gradient_error, leaf
from torch import Tensor, nn

from snnlab.kernels.function import Backend
from snnlab.nn import surrogate as surrogates
from snnlab.nn.layer import OWN_SPIKES
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.surrogate import Surrogate

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


class Nameless(surrogates.Atan):
    """A user-defined surrogate."""


SURROGATES: dict[str, Surrogate] = {
    "Atan": surrogates.Atan(),
    "Triangle": surrogates.Triangle(),
    "MultiGaussian": surrogates.MultiGaussian(),
    "Nameless": Nameless(),
}


class Outcome(NamedTuple):
    """Outputs of a layer by name, and the gradients of a weighted sum of them by the name of the input."""

    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def assert_equals_loop(
    layer: nn.Module,
    x: Tensor,
    state: Any = None,
    lengths: Tensor | None = None,
    backend: Backend = "numba",
    **options: Any,
) -> None:
    """Assert that outputs equal those of the plain loop, and gradients up to a tolerance.

    Outputs are equal bit for bit, unless the neuron is `approximate`.
    """
    expected = outcome(layer, "reference", x, state, lengths, **options)
    found = outcome(layer, backend, x, state, lengths, **options)
    assert found.outputs.keys() == expected.outputs.keys()
    for name, value in expected.outputs.items():
        if getattr(layer, "approximate", False):
            torch.testing.assert_close(found.outputs[name], value)
            continue
        differs = int((found.outputs[name] != value).sum())
        assert torch.equal(found.outputs[name], value), f"{name} differs in {differs} of {value.numel()}"
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        error = gradient_error(found.gradients[name], gradient)
        assert error <= TOLERANCES[x.dtype], f"the gradient of {name} is off by {error:.1e} of the largest"


def outcome(
    layer: Any,
    backend: Backend,
    x: Tensor,
    state: Any = None,
    lengths: Tensor | None = None,
    through: str = "",
    asks: str = "",
    count: bool = True,
) -> Outcome:
    """Run a layer on new leaves, and return outputs and the gradients of a weighted sum of them.

    Args:
        layer: The layer.
        backend: The backend.
        x: Input.
        state: State before the first step, or None.
        lengths: Valid steps of each sample, or None.
        through: Outputs with gradients, by the start of their names; empty for all.
        asks: Inputs that need gradients, by the start of their names; empty for all.
        count: Whether spikes are counted.
    """
    set_backend(layer, backend)
    inputs = {"x": leaf(x), **{name: leaf(part) for name, part in named(state).items()}}
    leaves = {name: part.requires_grad_() for name, part in inputs.items() if name.startswith(asks)}
    leaves |= {name: part for name, part in layer.named_parameters() if name.startswith(asks)}
    counts: dict[str, Tensor] | None = {} if count else None
    given = None if state is None else filled(state, inputs)
    y, after = layer(inputs["x"], given, lengths=lengths, counts=counts)
    outputs = {"y": y, **named(after), **({"counts": counts[OWN_SPIKES]} if counts else {})}
    parts = [(part * weights(part)).sum() for name, part in outputs.items() if name.startswith(through)]
    # An input that reaches no output has the gradient zero.
    loss = torch.stack([*parts, *((value * 0.0).sum() for value in leaves.values())]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return Outcome({name: part.detach() for name, part in outputs.items()}, dict(zip(leaves, gradients, strict=True)))


def named(state: Any, path: str = "state") -> dict[str, Tensor]:
    """Return the tensors of a state by their path."""
    if state is None:
        return {}
    if isinstance(state, Tensor):
        return {path: state}
    return {n: v for name, part in state._asdict().items() for n, v in named(part, f"{path}.{name}").items()}


def filled(state: Any, parts: dict[str, Tensor], path: str = "state") -> Any:
    """Return a state with these tensors."""
    if isinstance(state, Tensor):
        return parts[path]
    return type(state)(*(filled(part, parts, f"{path}.{name}") for name, part in state._asdict().items()))


def weights(part: Tensor) -> Tensor:
    """Return weights that are always the same for a shape."""
    generator = torch.Generator().manual_seed(part.dim())
    return torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)


def drive(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Return an input that makes neurons spike every few steps."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) * 1.6 - 0.4).to(dtype)


def nonzero_state(layer: Any, x: Tensor) -> Any:
    """Return a state away from rest."""
    own = named(layer.initial_state(x[0]))
    parts = {name: drive(*part.shape, seed=at + 1).abs().to(x) for at, (name, part) in enumerate(own.items())}
    return filled(layer.initial_state(x[0]), parts)


def perturbed(layer: nn.Module) -> Any:
    """Return a layer with perturbed parameters, so that no two neurons are the same."""
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * 0.1
    return layer
