"""Our packaged presets, and the runs that are compared.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from snnlab.config.folders import find_file
from snnlab.nn.neurons import NEURONS, Neuron, Recurrent

STEPS, BATCH, NEURONS_EACH = 200, 20, 100


class Drive(NamedTuple):
    """Input x `[T, B, ...]`, and membrane v and current i before it, `[B, ...]`; all require gradients."""

    x: Tensor
    v: Tensor
    i: Tensor


class Run(NamedTuple):
    """Results of one library for a drive.

    Attributes:
        y: Outputs, `[T, B, ...]`.
        v: Membranes after each step, `[T, B, ...]`; gradients flow through the last.
        i: Synaptic currents after each step, `[T, B, ...]`, where there is a synapse.
        learned: Parameters whose gradients are compared.
    """

    y: Tensor
    v: Tensor
    i: Tensor | None = None
    learned: tuple[Tensor, ...] = ()


def library(name: str) -> Any:
    """Return another library's module, or skip; warnings at its import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def build(preset: str, dtype: torch.dtype, in_shape: tuple[int, ...] = (NEURONS_EACH,), **changes: Any) -> Any:
    """Return the neuron of `configs/neuron/PRESET.yaml`, with `changes` to its settings."""
    node = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(find_file(f"neuron/{preset}")))) | changes
    return NEURONS.build(node.pop("type"), node, "neuron", dt=1.0, in_shape=in_shape).to(dtype)


def noise(dtype: torch.dtype, mean: float, deviation: float, *shape: int) -> Drive:
    """Return a normal drive; membranes start between -0.5 and 0.9, currents between 0 and 0.5."""
    shape = shape or (STEPS, BATCH, NEURONS_EACH)
    x = torch.randn(shape, dtype=torch.float64) * deviation + mean
    v = torch.rand(shape[1:], dtype=torch.float64) * 1.4 - 0.5
    i = torch.rand(shape[1:], dtype=torch.float64) * 0.5
    return Drive(*(part.to(dtype).requires_grad_() for part in (x, v, i)))


def dyadic() -> Drive:
    """Return a drive in halves, so that with dyadic coefficients 16 steps in double precision round nothing."""
    parts = [torch.randint(-4, 9, (16, BATCH, NEURONS_EACH)), *torch.randint(-2, 3, (2, BATCH, NEURONS_EACH))]
    return Drive(*((part / 2).double().requires_grad_() for part in parts))


def run(neuron: Neuron, drive: Drive, x: Tensor | None = None, learned: tuple[Tensor, ...] = ()) -> Run:
    """Run our neuron over all steps at once, and step by step for the states between.

    Args:
        neuron: Ours.
        drive: The input, and the state before it.
        x: What reaches the neuron in place of the drive's own input.
        learned: See `Run`.
    """
    x = drive.x if x is None else x
    start = neuron.initial_state(x[0])
    if isinstance(neuron, Recurrent):
        start = start._replace(neuron=_filled(start.neuron, drive))
    else:
        start = _filled(start, drive)
    y, end = neuron(x, start)
    outputs, states, state = [], [], start
    with torch.no_grad():
        for x_t in x.split(1):
            y_t, state = neuron(x_t, state)
            outputs.append(y_t)
            states.append(_inner(state))
    assert torch.equal(torch.cat(outputs), y)
    i = torch.stack([state.i for state in states]) if hasattr(states[0], "i") else None
    return Run(y, torch.stack([*(state.v for state in states[:-1]), _inner(end).v]), i, learned)


def unrolled(step: Callable[..., tuple[Tensor, Any]], x: Tensor, state: Any) -> tuple[list[Tensor], list[Any]]:
    """Apply a library's `step(x[t], state) -> (y, state)` to all steps; return its outputs and states."""
    outputs, states = [], []
    for x_t in x:
        y, state = step(x_t, state)
        outputs.append(y)
        states.append(state)
    return outputs, states


def stacked(states: list[Any], field: str) -> Tensor:
    """Return a field of a library's states, `[T, B, ...]`."""
    return torch.stack([getattr(state, field) for state in states])


def _filled(state: Any, drive: Drive) -> Any:
    return state._replace(**{name: getattr(drive, name) for name in state._fields})


def _inner(state: Any) -> Any:
    return getattr(state, "neuron", state)
