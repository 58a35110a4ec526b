"""Rules with eligibility traces of all states of a neuron: e-prop, OSTL and diagonal real-time recurrent learning.

Axes: T steps, B samples, N neurons, S states, K outputs, L leaks of the readout.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.compat import has_no_hooks
from snnlab.errors import ConfigError
from snnlab.kernels.eligibility import LayerSteps, Traces, advance, advance_all, no_traces
from snnlab.kernels.forward_derivatives import INPUT, OUTPUT, Derivatives
from snnlab.kernels.reference import cut_time, detached, valid_steps
from snnlab.nn.layer import Counts
from snnlab.nn.learning.connections import (
    CONVOLUTIONS,
    Connection,
    StepDerivatives,
    connections_of,
    derivatives_of,
)
from snnlab.nn.learning.rule import RULES, ForwardRule, Gradients, Piece, RuleContext, Task
from snnlab.nn.network import BuiltNetwork, Network, zero_past_end
from snnlab.nn.neurons.base import Neuron, cast_coefficients
from snnlab.nn.neurons.recurrent import DenseFeedback, Recurrent


class _Layer(NamedTuple):
    """A linear layer with its neurons, for one batch.

    Attributes:
        connection: Both.
        step: The derivatives of the neurons' step.
        k: The neurons' coefficients.
        numbers: The learned numbers of the step, each with its graph.
        feedback: Weights of the feedback, `[N, N]`; None without one.
        is_readout: Whether no layer with weights is behind it.
    """

    connection: Connection
    step: StepDerivatives
    k: Any
    numbers: Mapping[str, Tensor]
    feedback: Tensor | None
    is_readout: bool


@dataclass
class _LayerState:
    """What is kept of a layer: its neurons' state and last output, its traces, and the gradient of all columns."""

    state: Any = None
    output: Tensor | None = None
    traces: Traces | None = None
    gradient: Tensor | None = None


@dataclass
class _RuleState:
    """What is kept from step to step: the layers, what is kept of each, and the states of other layers."""

    layers: dict[str, _Layer]
    of: dict[str, _LayerState]
    state: dict[str, Any] = field(default_factory=dict)


class _Ran(NamedTuple):
    """Some steps of a layer: the inputs of its columns, its output in the graph, and the derivatives."""

    inputs: Tensor
    y: Tensor
    derivatives: Derivatives


class _Signal(NamedTuple):
    """The learning signal of a layer, in parts whose traces are filtered with one decay each.

    Attributes:
        by_leak: The parts, `[L, T, B, N]`.
        decay: Factor of each filter, `[L]`.
    """

    by_leak: Tensor
    decay: Tensor


class EligibilityRule(ForwardRule):
    """Base class of rules that carry the derivatives of states by weights from step to step, for linear layers.

        dL/dW = sum_t signal[t] e[t],   signal[t] = dL[t]/dy[t] within the step t

    Neurons of one layer have traces of their own weights, those of the feedback too, and of their learned constants.
    """

    traces_of_all_neurons: ClassVar[bool] = False

    def bind(self, context: RuleContext) -> None:
        """Refuse a loss that is none per step, and layers but linear ones and neurons of features behind one."""
        super().bind(context)
        network, place = context.built.network, "model.layers"
        found = connections_of(network)
        _require_no_convolution(context.built, found)
        behind = {one.neuron_name for one in found if not one.between}
        for name, layer in network.layers():
            if not isinstance(layer, Neuron):
                continue
            if name not in behind:
                if any(one.requires_grad for one in layer.parameters()):
                    raise ConfigError(f"{place}.{name}", "learns, and no linear layer is right before it")
                continue
            if isinstance(layer, Recurrent):
                _require_dense(layer, f"{place}.{name}")
            x = next(network.parameters()).new_zeros(1, *context.built.shapes[name])
            if x.dim() != 2:
                raise ConfigError(f"{place}.{name}", "its neurons have several axes", "put a flatten layer before it")
            derivatives_of(layer, x, f"{place}.{name}")
        for one in found:
            if one.between and one.neuron is not None:
                raise ConfigError(f"{place}.{one.between[0]}", f"lies between {one.name} and {one.neuron_name}")

    def begin(self, network: Network, task: Task) -> _RuleState:
        """Return no traces, and the numbers of the neurons."""
        found = [one for one in connections_of(network) if one.neuron is not None]
        like = next(network.parameters())
        layers = {
            one.name: _layer_of(one, like, is_readout=one is found[-1] and not one.neuron.spiking)  # type: ignore[union-attr]
            for one in found
        }
        return _RuleState(layers, {name: _LayerState() for name in layers})

    def step(self, network: Network, kept: _RuleState, piece: Piece, gradients: Gradients) -> _RuleState:
        """Run some steps, take the signals from their loss, and carry the traces."""
        state, ran, x = dict[str, Any](), dict[str, _Ran](), piece.x
        waiting: list[tuple[str, nn.Module]] = []
        done = {one.connection.neuron_name for one in kept.layers.values()}

        def run_waiting() -> None:
            nonlocal x
            if waiting:
                x = network.run_layers(waiting, x, kept.state, state, piece.lengths, piece.counts)
                waiting.clear()

        with cut_time():
            for name, layer in network.layers():
                if name in kept.layers:
                    run_waiting()
                    ran[name] = _run(kept.layers[name], kept.of[name], x, piece.lengths, piece.counts)
                    x = ran[name].y
                elif name not in done:
                    waiting.append((name, layer))
            run_waiting()
            y = zero_past_end(x, piece.lengths)
            loss = piece.loss(y)
            by = [y, *(one.y for one in ran.values())]
            direct = [one for one in gradients.parameters if not _is_traced(one, kept)]
            found = torch.autograd.grad(loss, [*by, *direct], allow_unused=True, retain_graph=True)
            for parameter, gradient in zip(direct, found[len(by) :], strict=True):
                gradients.add(parameter, gradient)
            within = [torch.zeros_like(one) if part is None else part for one, part in zip(by, found, strict=False)]
            signals = self.signals(kept.layers, by, within)
        for (name, one), signal in zip(ran.items(), signals, strict=True):
            self._carry(kept.layers[name], kept.of[name], one, signal)
        kept.state = detached(state)
        return kept

    def end(self, network: Network, kept: _RuleState, gradients: Gradients) -> None:
        """Hand the gradients of all columns on to weights, biases, feedback and learned constants."""
        for name, layer in kept.layers.items():
            if (found := kept.of[name].gradient) is not None:
                _hand_on(layer, found, gradients)

    def signals(self, layers: Mapping[str, _Layer], outputs: list[Tensor], within: list[Tensor]) -> list[_Signal]:
        """Return the learning signal of each layer.

        Args:
            layers: The linear layers with neurons.
            outputs: The network's output and those of these layers, with the graph of each step.
            within: Derivative of the loss of each step by each of these in it.

        Shape:
            outputs, within: `[T, B, K]` and `[T, B, N]`.
        """
        return [_Signal(one[None], one.new_zeros(1)) for one in within[1:]]

    @abstractmethod
    def own_feedback(self, feedback: Tensor) -> Tensor:
        """Return the weights of a feedback that the traces follow, from each neuron to itself, `[N]`."""

    def _carry(self, layer: _Layer, kept: _LayerState, ran: _Ran, signal: _Signal) -> None:
        steps = _layer_steps(layer, ran)
        whole = self.traces_of_all_neurons and layer.feedback is not None
        if kept.traces is None or kept.gradient is None:
            kept.traces = no_traces(steps, len(signal.decay), all_neurons=whole)
            columns = steps.inputs.shape[-1] + steps.output_by_number.shape[-1]
            kept.gradient = ran.y.new_zeros(ran.y.shape[-1], columns)
        if whole:
            assert layer.feedback is not None
            kept.traces = advance_all(steps, signal.by_leak[0], layer.feedback, kept.traces, kept.gradient)
            return
        none = ran.y.new_zeros(ran.y.shape[-1])
        own = none if layer.feedback is None else self.own_feedback(layer.feedback)
        kept.traces = advance(steps, *signal, own, kept.traces, kept.gradient)


def _require_no_convolution(built: BuiltNetwork, found: list[Connection]) -> None:
    """Raise a ConfigError for a convolution, with the number of traces that those of the network would have."""
    convolutions = [one for one in found if isinstance(one.layer, CONVOLUTIONS)]
    if not convolutions:
        return
    traces = sum(math.prod(built.shapes[one.name]) * one.layer.weight[0].numel() for one in convolutions)
    raise ConfigError(
        f"model.layers.{convolutions[0].name}",
        f"is a convolution: with a trace for each neuron and weight, {traces / 1e6:.1f} million traces a sample",
    )


def _require_dense(layer: Recurrent, place: str) -> None:
    feedback = layer.feedback
    if type(feedback) is not DenseFeedback or feedback.delays is not None or not has_no_hooks(feedback):
        raise ConfigError(f"{place}.recurrent", "the traces are those of a dense feedback without delays")


def _layer_of(connection: Connection, like: Tensor, *, is_readout: bool) -> _Layer:
    neuron = connection.neuron
    assert neuron is not None
    step = derivatives_of(neuron, like.new_zeros(1, connection.layer.weight.shape[0]), connection.name)
    own = neuron.parts()[0]
    k = cast_coefficients(own.coefficients(), like)
    learned = {name: value for name, value in step.numbers.items() if isinstance(value, Tensor) and value.requires_grad}
    feedback = neuron.feedback.weights().weight.detach() if isinstance(neuron, Recurrent) else None
    return _Layer(connection, step, detached(k), learned, feedback, is_readout)


def _run(layer: _Layer, kept: _LayerState, x: Tensor, lengths: Tensor | None, counts: Counts) -> _Ran:
    """Run some steps of a linear layer and its neurons, and keep their state and last output."""
    linear, neuron = layer.connection.layer, layer.connection.neuron
    assert neuron is not None
    assert layer.connection.neuron_name is not None
    drive = linear(x)
    columns = [x.detach(), *[x.new_ones(*x.shape[:2], 1)] * (linear.bias is not None)]
    if isinstance(neuron, Recurrent):
        ran, before = _run_recurrent(layer, neuron, kept, drive.detach(), lengths)
        columns += [before, *[x.new_ones(*x.shape[:2], 1)] * (neuron.feedback.bias is not None)]
    else:
        state = neuron.initial_state(drive[0]) if kept.state is None else kept.state
        ran = layer.step.run(drive, state, layer.k, lengths)
    kept.state = ran.state
    y = _WithDerivative.apply(drive, ran.y, ran.of.get((OUTPUT, INPUT)))
    if neuron.spiking:
        counts[layer.connection.neuron_name] = ran.y.sum(0)
    return _Ran(torch.cat(columns, -1), y, ran)  # type: ignore[arg-type]


def _run_recurrent(
    layer: _Layer, neuron: Recurrent, kept: _LayerState, drive: Tensor, lengths: Tensor | None
) -> tuple[Derivatives, Tensor]:
    """Run the steps one by one, each with the outputs of the one before; return these too, `[T, B, N]`."""
    assert layer.feedback is not None
    bias = None if neuron.feedback.bias is None else neuron.feedback.bias.detach()
    state = neuron.neuron.initial_state(drive[0]) if kept.state is None else kept.state
    last = torch.zeros_like(drive[0]) if kept.output is None else kept.output
    valid = valid_steps(lengths, len(drive), drive)
    before, found = torch.empty_like(drive), list[Derivatives]()
    for t in range(len(drive)):
        before[t] = last
        x = drive[t] + nn.functional.linear(last, layer.feedback, bias)
        left = None if lengths is None else (lengths - t).clamp(0, 1)
        found.append(layer.step.run(x[None], state, layer.k, left))
        state, y = found[-1].state, found[-1].y[0]
        last = y if valid is None else torch.where(valid[t], y, last)
    kept.output = last
    of = {key: torch.cat([one.of[key] for one in found]) for key in found[0].of}
    return Derivatives(torch.cat([one.y for one in found]), state, of), before


class _WithDerivative(torch.autograd.Function):
    """Outputs with the derivative by the input of their own step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, derivative: Tensor | None) -> Tensor:
        ctx.save_for_backward(derivative)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (derivative,) = ctx.saved_tensors
        return (None if derivative is None else grads[0] * derivative), None, None


def _layer_steps(layer: _Layer, ran: _Ran) -> LayerSteps:
    of, y, states, numbers = ran.derivatives.of, ran.derivatives.y, layer.step.states, [*layer.numbers]
    zeros = torch.zeros_like(y)

    def stacked(outputs: tuple[str, ...], by: list[str] | tuple[str, ...]) -> Tensor:
        """Return the derivatives as `[T, B, N, outputs, by]`."""
        if not by:
            return y.new_zeros(*y.shape, len(outputs), 0)
        return torch.stack([torch.stack([of.get((out, one), zeros) for one in by], -1) for out in outputs], -2)

    return LayerSteps(
        ran.inputs,
        stacked(states, states),
        stacked(states, [INPUT])[..., 0],
        stacked((OUTPUT,), states)[..., 0, :],
        of.get((OUTPUT, INPUT), zeros),
        stacked(states, numbers),
        stacked((OUTPUT,), numbers)[..., 0, :],
    )


def _is_traced(parameter: nn.Parameter, kept: _RuleState) -> bool:
    """Return whether the traces give the gradient of a parameter."""
    modules = (part for one in kept.layers.values() for part in (one.connection.layer, one.connection.neuron))
    return any(parameter is one for module in modules if module is not None for one in module.parameters())


def _hand_on(layer: _Layer, found: Tensor, gradients: Gradients) -> None:
    """Add the gradients of a layer's columns to its parameters."""
    linear, neuron = layer.connection.layer, layer.connection.neuron
    assert neuron is not None
    parts: list[tuple[Any, int]] = [(linear.weight, linear.weight.shape[1])]
    parts += [(linear.bias, 0)] if linear.bias is not None else []
    feedback = neuron.feedback if isinstance(neuron, Recurrent) else None
    if feedback is not None:
        parts += [(feedback.weight, feedback.weight.shape[1])]
        parts += [(feedback.bias, 0)] if feedback.bias is not None else []
    columns = [*found.split([size or 1 for _, size in parts] + [len(layer.numbers)], 1)]
    for (parameter, size), gradient in zip(parts, columns[:-1], strict=True):
        if feedback is not None and parameter is feedback.weight and not feedback.autapses:
            gradient = gradient.masked_fill(feedback.autapse, 0.0)
        gradients.add(parameter, gradient if size else gradient[:, 0])
    learned = [one for one in neuron.parameters() if one.requires_grad]
    for at, number in enumerate(layer.numbers.values()):
        gradient = columns[-1][:, at]
        gradient = gradient.sum().expand(number.shape) if number.numel() == 1 else gradient.view(number.shape)
        by = torch.autograd.grad(number, learned, gradient.to(number.dtype), allow_unused=True, retain_graph=True)
        for parameter, part in zip(learned, by, strict=True):
            gradients.add(parameter, part)


FeedbackOfErrors = Literal["symmetric", "random", "adaptive"]


@RULES.register("eprop")
class EProp(EligibilityRule):
    """E-prop: eligibility traces of all states of a neuron, times a learning signal from the output's errors.

        dL/dW = sum_t signal[t] f[t],   f[t] = decay f[t-1] + e[t],   decay that of a leaky readout

    Where each output has a leak of its own, there are a signal and a filter for each. The traces do not follow a
    feedback. The signal of a hidden layer is the derivative of the step's loss by its
    output (`symmetric`); or the errors of the outputs times fixed random weights (`random`), or times random weights
    that change as those of the readout do (`adaptive`).

    Args:
        feedback: How the errors of the outputs reach the hidden layers.
        steps_at_once: Steps of a piece, which are computed together.

    Source: Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, Nature
        Communications 2020.
    """

    feedback: FeedbackOfErrors = "symmetric"

    def bind(self, context: RuleContext) -> None:
        """Refuse also a readout with several states, and `adaptive` with several hidden layers."""
        super().bind(context)
        network = context.built.network
        found = [one for one in connections_of(network) if one.neuron is not None]
        hidden = [one for one in found if one.neuron is not None and one.neuron.spiking]
        for one in found:
            if one.neuron is None or one.neuron.spiking:
                continue
            place = f"model.layers.{one.neuron_name}"
            x = next(network.parameters()).new_zeros(1, *context.built.shapes[one.name])
            if isinstance(one.neuron, Recurrent) or not derivatives_of(one.neuron, x, place).has_leak():
                raise ConfigError(place, "has no leak, by which eprop filters the traces", "set its type: li")
        if self.feedback == "symmetric":
            return
        if self.feedback == "adaptive" and len(hidden) != 1:
            raise ConfigError("learning.feedback", f"adaptive is for one hidden layer, and there are {len(hidden)}")
        outputs = next(reversed(context.built.shapes.values()))[0]
        generator = torch.Generator().manual_seed(context.seed)
        like = next(network.parameters())
        for one in hidden:
            size = one.layer.weight.shape[0]
            weights = torch.randn(outputs, size, generator=generator).to(like) / math.sqrt(size)
            self.register_buffer(f"errors_to_{one.name}", weights)
        if self.feedback == "adaptive":
            readout = connections_of(network)[-1].layer.weight
            self.register_buffer("readout", readout.detach().clone())
            # The weights may be loaded after this.
            self.register_buffer("started", torch.zeros((), dtype=torch.bool))
            self._knows_readout = False

    def begin(self, network: Network, task: Task) -> _RuleState:
        if self.feedback == "adaptive":
            readout, known = connections_of(network)[-1].layer.weight.detach(), self.get_buffer("readout")
            if not self._knows_readout and not bool(self.get_buffer("started")):
                known.copy_(readout)
            self._knows_readout = True
            self.get_buffer("started").fill_(True)
            for name, weights in self.named_buffers():
                if name.startswith("errors_to_"):
                    weights += readout - known
            known.copy_(readout)
        return super().begin(network, task)

    def signals(self, layers: Mapping[str, _Layer], outputs: list[Tensor], within: list[Tensor]) -> list[_Signal]:
        own = super().signals(layers, outputs, within)
        readout = next((one for one in layers.values() if one.is_readout), None)
        like = own[0].decay
        decay = like if readout is None else torch.as_tensor(readout.step.leak, dtype=like.dtype, device=like.device)
        decay = decay.view(-1)
        # The error of each output alone, where each has a leak of its own.
        errors = within[0][None] if len(decay) == 1 else torch.diag_embed(within[0]).movedim(-2, 0)
        hidden = [at for at, one in enumerate(layers.values()) if not one.is_readout]
        if self.feedback != "symmetric":
            # The random weights stand in place of the readout's, so that the gain behind these counts.
            gain = 1.0 if readout is None else readout.step.derivative(OUTPUT, INPUT)
            assert gain is not None
            parts = [
                (errors * gain) @ self.get_buffer(f"errors_to_{name}")
                for name, one in layers.items()
                if not one.is_readout
            ]
        elif len(decay) == 1:
            parts = [own[at].by_leak for at in hidden]
        else:
            behind = [outputs[1 + at] for at in hidden]
            by = [torch.autograd.grad(outputs[0], behind, error, retain_graph=True) for error in errors]
            parts = [torch.stack(one) for one in zip(*by, strict=True)]
        for at, part in zip(hidden, parts, strict=True):
            own[at] = _Signal(part, decay)
        return own

    def own_feedback(self, feedback: Tensor) -> Tensor:
        return torch.zeros_like(feedback[0])


@RULES.register("d_rtrl")
class DiagonalRTRL(EligibilityRule):
    """Real-time recurrent learning with the diagonal of a layer's recurrent Jacobian.

    The traces of a neuron follow its own states, and its feedback to itself; not its feedback over other neurons.

    Args:
        steps_at_once: Steps of a piece, which are computed together.

    Source: Wang et al., BrainScale: enabling scalable online learning in spiking neural networks, bioRxiv 2024.
    """

    def own_feedback(self, feedback: Tensor) -> Tensor:
        return feedback.diagonal().contiguous()


@RULES.register("ostl")
class OSTL(EligibilityRule):
    """Online spatio-temporal learning: traces with the layer's own recurrent Jacobian, signals within the step.

    For one hidden layer before a readout without memory it is exact. With a feedback each neuron has traces of the
    weights of all neurons of its layer: N times as many as with `d_rtrl`.

    Args:
        steps_at_once: Steps of a piece, which are computed together.

    Source: Bohnstingl et al., Online spatio-temporal learning in deep neural networks, IEEE Transactions on Neural
        Networks and Learning Systems 2022.
    """

    traces_of_all_neurons = True

    def own_feedback(self, feedback: Tensor) -> Tensor:
        return feedback.diagonal().contiguous()
