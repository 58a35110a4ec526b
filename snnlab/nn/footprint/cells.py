"""Neurons whose compiled loops go step by step, those with an adaptive threshold and the recurrent ones, made hollow.

They compute nothing, and take and drop the memory that `kernels.adaptive` and `kernels.recurrent` do.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.hooks import bare
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.alif import ALIF
from snnlab.nn.neurons.base import Neuron, rounded
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.nn.neurons.recurrent import Feedback, Recurrent, Weights
from snnlab.nn.temporal import OWN, Counts


class _Layer(NamedTuple):
    kind: str
    rule: Rule
    feedback: Feedback | None
    names: tuple[str, ...]  # of the numbers that are learned


def hollow_out(neuron: Neuron) -> bool:
    """Let a neuron that may be spoiled run hollow, if it has compiled loops of this sort; return whether it has."""
    own = neuron.neuron if isinstance(neuron, Recurrent) else neuron
    if not isinstance(own, LeakyMembrane) or own.cell is None or own.backend not in ("auto", "numba", "triton"):
        return False
    if isinstance(neuron, Recurrent):
        feedback = neuron.feedback
        if not (type(feedback).__dict__.get("by_hand", False) and bare(feedback)):
            return False
    elif type(neuron) is not ALIF:
        return False
    neuron.forward = partial(_run, neuron, own)
    return True


def _run(
    neuron: Neuron,
    own: LeakyMembrane,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    counts: Counts | None = None,
) -> tuple[Tensor, Any]:
    state = neuron.initial_state(x[0]) if state is None else state
    k = rounded(neuron.coefficients(), x)
    feedback, weights = None, Weights(x.new_zeros(0), None)
    if isinstance(neuron, Recurrent):
        feedback, (k, weights) = neuron.feedback, k
    learned = {name: value for name, value in own.numbers(k)._asdict().items() if isinstance(value, Tensor)}
    layer = _Layer(str(own.cell), own.rule(), feedback, tuple(learned))
    y, n = _Hollow.apply(layer, x, *weights, *learned.values())
    if counts is not None and own.spiking:
        counts[OWN] = n
    return y, state


def _kept(layer: _Layer, wanted: Collection[str]) -> tuple[int, bool, bool]:
    """Return how many tensors as large as the input are kept, and whether the input and the output are."""
    rule = layer.rule
    if layer.kind == "adaptive":
        attached = not rule.detach_reset
        threshold = rule.reset == "adapted" and (attached or "r" in wanted)
        adaptation = threshold or (rule.reset == "value" and attached) or bool({"rho", "adaptation"} & {*wanted})
        outputs = rule.reset in ("adapted", "value") or "r" in wanted
        return 1 + ("a" in wanted) + adaptation, "g" in wanted, outputs
    synapse = rule.synapse != "none"
    own = rule.spikes + ("a" in wanted or rule.reset_delay) + (synapse and "g" in wanted) + (synapse and "b" in wanted)
    return own, ("g" in wanted and not synapse) or ("b" in wanted and rule.synapse == "decay_first"), False


class _Hollow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: _Layer, x: Tensor, weight: Tensor, bias: Tensor | None, *numbers: Tensor) -> Any:
        wanted = [name for name, number in zip(layer.names, numbers, strict=True) if number.requires_grad]
        own, keeps_x, keeps_y = _kept(layer, wanted)
        kept = [torch.zeros_like(x) for _ in range(own)]
        y, n = torch.zeros_like(x), torch.zeros_like(x[0])
        if keeps_x:
            kept.append(x if layer.feedback is None else torch.zeros_like(x))
        if keeps_y or layer.feedback is not None:
            kept.append(y.detach())
        ctx.layer, ctx.wanted, ctx.like = layer, wanted, len(kept)
        ctx.save_for_backward(*kept, weight, bias, *numbers)
        return y, n

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gn: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        layer: _Layer = ctx.layer
        (*kept,) = ctx.saved_tensors[: ctx.like]
        weight, bias, *numbers = ctx.saved_tensors[ctx.like :]
        arriving = None if layer.feedback is not None else gy.contiguous()
        dx = torch.zeros_like(kept[0])
        sums = dx.new_zeros(len(ctx.wanted), *dx.shape[1:], dtype=torch.float64)
        given = iter(sums)
        found = [
            next(given).sum(0).sum_to_size(number.shape).to(number.dtype) if name in ctx.wanted else None
            for name, number in zip(layer.names, numbers, strict=True)
        ]
        del arriving
        of_weights: tuple[Tensor | None, Tensor | None] = (None, None)
        if layer.feedback is not None:
            folded = dx.flatten(0, 1), kept[-1].flatten(0, 1)
            of_weights = layer.feedback.to_weights(*folded, Weights(weight, bias))
        return None, dx, *of_weights, *found
