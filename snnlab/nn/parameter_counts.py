"""The trainable parameters of a network by what they are: weights, norms, neurons, delays, and unused ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab.nn.delays import Delays, delays_of
from snnlab.nn.dt_checks import NORMS
from snnlab.nn.network import BuiltNetwork, Shape
from snnlab.nn.neurons.base import Neuron, plain_loops
from snnlab.nn.neurons.recurrent import Feedback
from snnlab.nn.record import evaluation

# Steps after which every parameter has had an effect: a jump of an adaptation, then its effect on the membrane, then
# the effect of that on the output, and one more for a feedback.
_STEPS = 4


class ParameterCounts(NamedTuple):
    """Numbers of trainable parameters; each parameter is in one of them.

    Attributes:
        weights: Weights and biases of layers, and of feedback.
        norms: Scales and shifts of normalizations.
        neurons: Time constants and other settings that neurons learn.
        delays: Learned delays.
        unused: Parameters of any kind without effect on the output.
    """

    weights: int = 0
    norms: int = 0
    neurons: int = 0
    delays: int = 0
    unused: int = 0


def count_parameters(built: BuiltNetwork, in_shape: Shape) -> ParameterCounts:
    """Return the numbers of trainable parameters of a network; shared ones count once.

    Args:
        built: The network and its shapes.
        in_shape: Input shape of one sample at one step.
    """
    used = _used_parameters(built, in_shape)
    counts = dict.fromkeys(ParameterCounts._fields, 0)
    seen = set[int]()
    for kind, parameter in _kinds(built.network, "weights"):
        if parameter.requires_grad and id(parameter) not in seen:
            seen.add(id(parameter))
            counts[kind if id(parameter) in used else "unused"] += parameter.numel()
    return ParameterCounts(**counts)


def _kinds(module: nn.Module, kind: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of a module with their kinds; `kind` is that of the modules around it."""
    if isinstance(module, NORMS):
        kind = "norms"
    elif isinstance(module, Feedback):
        kind = "weights"
    elif isinstance(module, Delays):
        kind = "delays"
    elif isinstance(module, Neuron):
        kind = "neurons"
    for name, parameter in module.named_parameters(recurse=False):
        yield ("delays" if name.startswith("delay") else kind), parameter
    for name, child in module.named_children():
        yield from _kinds(child, "delays" if name == "delay" else kind)


def _used_parameters(built: BuiltNetwork, in_shape: Shape) -> set[int]:
    """Return the identities of the parameters on which the output depends: those of the graph of its gradient."""
    steps = built.num_steps if built.num_steps > 1 else _STEPS
    with evaluation(built.network), plain_loops(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        for delays in delays_of(built.network):
            delays.train()  # the whole steps of evaluation have no gradient
        y, _ = built.network(torch.ones(steps, 1, *in_shape))
    return {id(parameter) for parameter in _output_tensors(y)}


def _output_tensors(y: Tensor) -> Iterator[Tensor]:
    pending, seen = [y.grad_fn], set[object]()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), Tensor):
            yield leaf
        pending += [following for following, _ in node.next_functions]
