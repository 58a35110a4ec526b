"""Eligibility traces: the derivatives of a layer's states by its weights, carried from step to step, times signals.

For neuron j with states h, and for its weight from input i,

    trace[t] = (dh[t]/dh[t-1]) trace[t-1] + (dh[t]/dx[t]) u[t],   u[t] = in[t, i] + own[j] e[t-1]
    e[t] = (dy[t]/dh[t-1]) trace[t-1] + (dy[t]/dx[t]) u[t]
    gradient[j, i] = sum_t sum_l signal[l, t, j] f_l[t],   f_l[t] = decay[l] f_l[t-1] + e[t]

and likewise for a number of the step, such as a learned time constant, whose u[t] is own[j] e[t-1], and which acts on
states and output directly. Only u of a layer with all of its feedback needs the traces of other neurons.

Axes: T steps, B samples, N neurons, S states, I inputs, K numbers, C = I + K columns, L decays.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.compiled import compiled
from snnlab.threads import share


class LayerSteps(NamedTuple):
    """What the traces of some steps are made of.

    Attributes:
        inputs: What each weight of a neuron is multiplied with, `[T, B, I]`.
        states: dh[t]/dh[t-1], `[T, B, N, S, S]`, the state after the step first.
        states_by_input: dh[t]/dx[t], `[T, B, N, S]`.
        output: dy[t]/dh[t-1], `[T, B, N, S]`.
        output_by_input: dy[t]/dx[t], `[T, B, N]`.
        states_by_number: dh[t]/dk, `[T, B, N, S, K]`.
        output_by_number: dy[t]/dk, `[T, B, N, K]`.
    """

    inputs: Tensor
    states: Tensor
    states_by_input: Tensor
    output: Tensor
    output_by_input: Tensor
    states_by_number: Tensor
    output_by_number: Tensor


class Traces(NamedTuple):
    """The traces after a step.

    Attributes:
        states: trace, `[B, N, S, C]`; of a layer with all of its feedback `[B, N, S, N C]`.
        output: e, `[B, N, C]`, or `[B, N, N C]`.
        filtered: f, `[L, B, N, C]`; of a layer with all of its feedback none.
    """

    states: Tensor
    output: Tensor
    filtered: Tensor


def no_traces(steps: LayerSteps, decays: int = 1, *, all_neurons: bool = False) -> Traces:
    """Return the traces before the first step.

    Args:
        steps: Some steps, for their shapes.
        decays: Number of filters.
        all_neurons: Whether each neuron has traces of the weights of all.
    """
    batch, neurons, states = steps.output.shape[1:]
    columns = steps.inputs.shape[-1] + steps.output_by_number.shape[-1]
    zero = steps.inputs.new_zeros
    if all_neurons:
        columns, decays = columns * neurons, 0
    return Traces(
        zero(batch, neurons, states, columns), zero(batch, neurons, columns), zero(decays, batch, neurons, columns)
    )


def advance(steps: LayerSteps, signal: Tensor, decay: Tensor, own: Tensor, traces: Traces, gradient: Tensor) -> Traces:
    """Carry the traces over some steps, add to the gradient, and return the traces after them.

    Args:
        steps: The steps.
        signal: The learning signal of each filter.
        decay: Factor of each filter.
        own: Weight of each neuron's feedback to itself; 0 where there is none.
        traces: The traces before the steps; changed in place.
        gradient: The gradient, changed in place.

    Shape:
        signal: `[L, T, B, N]`; decay: `[L]`; own: `[N]`; gradient: `[N, C]`.
    """
    if signal.device.type != "cpu":
        return _advance_in_torch(steps, signal, decay, own, traces, gradient)
    parts = (part.contiguous().numpy() for part in (*steps, signal, decay, own))
    kept = (part.numpy() for part in (*traces, gradient))
    run = partial(_advance, *parts, *kept)
    share(run, gradient.shape[0], steps.states.shape[0] * traces.states.numel())
    return traces


@compiled(nogil=True, error_model="numpy")
def _advance(
    inputs: np.ndarray,
    states: np.ndarray,
    states_by_input: np.ndarray,
    output: np.ndarray,
    output_by_input: np.ndarray,
    states_by_number: np.ndarray,
    output_by_number: np.ndarray,
    signal: np.ndarray,
    decay: np.ndarray,
    own: np.ndarray,
    trace: np.ndarray,
    last_output: np.ndarray,
    filtered: np.ndarray,
    gradient: np.ndarray,
    first: int,
    last: int,
) -> None:
    num_steps, batch, num_inputs = inputs.shape
    num_states, columns = trace.shape[2], trace.shape[3]
    new = np.empty((num_states, columns), trace.dtype)
    drive = np.empty(columns, trace.dtype)
    for j in range(first, last):
        for b in range(batch):
            before, e, g = trace[b, j], last_output[b, j], gradient[j]
            for t in range(num_steps):
                for c in range(num_inputs):
                    drive[c] = inputs[t, b, c] + own[j] * e[c]
                for c in range(num_inputs, columns):
                    drive[c] = own[j] * e[c]
                by_input = output_by_input[t, b, j]
                for c in range(columns):
                    e[c] = by_input * drive[c]
                for s in range(num_states):
                    factor = output[t, b, j, s]
                    for c in range(columns):
                        e[c] += factor * before[s, c]
                for c in range(num_inputs, columns):
                    e[c] += output_by_number[t, b, j, c - num_inputs]
                for s in range(num_states):
                    by_input = states_by_input[t, b, j, s]
                    for c in range(columns):
                        new[s, c] = by_input * drive[c]
                    for r in range(num_states):
                        factor = states[t, b, j, s, r]
                        for c in range(columns):
                            new[s, c] += factor * before[r, c]
                    for c in range(num_inputs, columns):
                        new[s, c] += states_by_number[t, b, j, s, c - num_inputs]
                for s in range(num_states):
                    for c in range(columns):
                        before[s, c] = new[s, c]
                for one in range(len(decay)):
                    weight, factor, f = signal[one, t, b, j], decay[one], filtered[one, b, j]
                    for c in range(columns):
                        f[c] = factor * f[c] + e[c]
                        g[c] += weight * f[c]


def _advance_in_torch(
    steps: LayerSteps, signal: Tensor, decay: Tensor, own: Tensor, traces: Traces, gradient: Tensor
) -> Traces:
    trace, e, f = traces
    numbers = steps.output_by_number.shape[-1]
    for t in range(len(steps.inputs)):
        inputs = torch.cat([steps.inputs[t], steps.inputs.new_zeros(len(e), numbers)], 1)
        drive = inputs[:, None] + own[:, None] * e
        e = steps.output_by_input[t][..., None] * drive + (steps.output[t][..., None] * trace).sum(2)
        trace = steps.states[t] @ trace + steps.states_by_input[t][..., None] * drive[:, :, None]
        if numbers:
            e[..., -numbers:] += steps.output_by_number[t]
            trace[..., -numbers:] += steps.states_by_number[t]
        f = decay.view(-1, 1, 1, 1) * f + e
        gradient += torch.einsum("lbn,lbnc->nc", signal[:, t], f)
    return Traces(trace, e, f)


def advance_all(steps: LayerSteps, signal: Tensor, feedback: Tensor, traces: Traces, gradient: Tensor) -> Traces:
    """Carry the traces of a layer with all of its feedback: those of each neuron by the weights of every neuron.

        u[t] = in[t, i] where the weight is the neuron's own, + sum_k feedback[j, k] e_k[t-1]

    Args:
        steps: The steps.
        signal: The learning signal.
        feedback: Weights of the feedback, from column to row.
        traces: The traces before the steps.
        gradient: The gradient, changed in place.

    Shape:
        signal: `[T, B, N]`; feedback: `[N, N]`; gradient: `[N, C]`.
    """
    trace, e, f = traces
    (neurons, columns), numbers = gradient.shape, steps.output_by_number.shape[-1]
    diagonal = torch.arange(neurons, device=signal.device)
    split = (neurons, columns)
    for t in range(len(steps.inputs)):
        drive = torch.einsum("jk,bkp->bjp", feedback, e)
        drive.unflatten(-1, split)[:, diagonal, diagonal, : columns - numbers] += steps.inputs[t][:, None]
        e = steps.output_by_input[t][..., None] * drive + (steps.output[t][..., None] * trace).sum(2)
        trace = steps.states[t] @ trace + steps.states_by_input[t][..., None] * drive[:, :, None]
        if numbers:
            e.unflatten(-1, split)[:, diagonal, diagonal, -numbers:] += steps.output_by_number[t]
            own = trace.movedim(2, 0).unflatten(-1, split)
            own[:, :, diagonal, diagonal, -numbers:] += steps.states_by_number[t].movedim(2, 0)
        gradient += torch.einsum("bj,bjp->p", signal[t], e).view(split)
    return Traces(trace, e, f)
