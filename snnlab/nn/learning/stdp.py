"""Spike-timing-dependent plasticity, layer by layer.

Axes: T steps, B samples, I inputs, N neurons, L places of a convolution's kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.errors import ConfigError, did_you_mean
from snnlab.kernels.reference import detached
from snnlab.nn.layer import Counts, add_counts
from snnlab.nn.learning.connections import Connection, connections_of
from snnlab.nn.learning.rule import (
    RULES,
    BatchResult,
    Gradients,
    LearningRule,
    Piece,
    RuleContext,
    Task,
    require_time_can_be_split,
)
from snnlab.nn.network import Network
from snnlab.spec.interval import Count, Finite, above, at_least

Dependence = Literal["none", "step", "power", "linear"]


class _SpikeTraces(NamedTuple):
    """Traces of a layer's input spikes and output spikes, each of one sample at one step in the layer's own shape."""

    inputs: Tensor
    outputs: Tensor


@RULES.register("stdp")
class STDP(LearningRule):
    """Pair-based spike-timing-dependent plasticity with bounds: no loss and no optimizer change the weights.

        pre[t] = pre[t-1] + (dt / tau_pre) (x[t] - pre[t-1]),   post[t] likewise from s[t]
        W = W + sum_b (potentiation(W) s[t] pre[t]^T - depression(W) post[t] x[t]^T), within [w_min, w_max]

    with potentiation(W) = eta_plus times 1 (`dependence: none`), H(w_max - W) (`step`), max(0, w_max - W)^mu (`power`)
    or max(0, w_max - W) (`linear`), and depression likewise with W - w_min. Linear layers and 2d convolutions right
    before spiking neurons learn; other weights, such as those of a readout, stay as they are. The loss is only
    reported.

    Args:
        tau_pre: Time constant of the trace of input spikes, ms.
        tau_post: Time constant of the trace of output spikes, ms.
        eta_plus: Rate of potentiation.
        eta_minus: Rate of depression.
        w_min: Lower bound of the weights.
        w_max: Upper bound of the weights.
        dependence: How a change depends on the distance from the bound.
        mu: Exponent of `dependence: power`.
        clip: Whether weights are clipped to the bounds.
        layers: Names of the layers that learn; null for all that can.
        steps_at_once: Steps after which the network runs with the new weights.

    Source: Gerstner et al., Neuronal Dynamics, 2014, section 19.2; the form of Norse's `stdp_step_linear`.
    """

    changes_weights = True
    remedy = "lower learning.eta_plus and learning.eta_minus"

    tau_pre: Annotated[float, "ms", above(0)] = 50.0
    tau_post: Annotated[float, "ms", above(0)] = 50.0
    eta_plus: Annotated[float, at_least(0)] = 1e-3
    eta_minus: Annotated[float, at_least(0)] = 1e-3
    w_min: Finite = 0.0
    w_max: Finite = 1.0
    dependence: Dependence = "none"
    mu: Annotated[float, at_least(0)] = 0.0
    clip: bool = True
    layers: Sequence[str] | None = None
    steps_at_once: Count = 1

    @property
    def reads(self) -> Any:
        return "pieces"

    def prepare(self) -> None:
        """Refuse bounds that are none."""
        if self.w_min >= self.w_max:
            raise ConfigError("w_min", f"must be below w_max ({self.w_max:g}), got {self.w_min:g}")

    def bind(self, context: RuleContext) -> None:
        """Refuse a network without layers that can learn, and steps without a length."""
        network = context.built.network
        require_time_can_be_split(network)
        if context.dt is None:
            raise ConfigError("learning.tau_pre", "needs steps of a fixed length, and data.bin_by: count has none")
        self.dt = context.dt
        able = [one for one in connections_of(network) if _can_learn(one)]
        if not able:
            raise ConfigError("model.layers", "no linear layer or conv2d is right before spiking neurons")
        names = [one.name for one in able]
        for name in self.layers or ():
            if name not in names:
                near = did_you_mean(name, names)
                raise ConfigError("learning.layers", f"{name} cannot learn by stdp", near, () if near else names)
        self.learning_layers = names if self.layers is None else list(self.layers)

    def learn(self, network: Network, task: Task, counts: Counts) -> BatchResult:
        outputs, state, traces = list[Tensor](), dict[str, Any](), dict[str, _SpikeTraces]()
        connections = {one.name: one for one in connections_of(network) if one.name in self.learning_layers}
        first = 0
        with torch.no_grad():
            for x in task.pieces(self.steps_at_once):
                piece, spikes, after = Piece(task, x, first), dict[str, tuple[Tensor, Tensor]](), dict[str, Any]()
                y, inputs = x, dict[str, Tensor]()
                behind = {one.neuron_name: one.name for one in connections.values()}
                for name, layer in network.layers():
                    if name in connections:
                        inputs[name] = y
                    y = network.run_layers([(name, layer)], y, state, after, piece.lengths, piece.counts)
                    if name in behind:
                        spikes[behind[name]] = inputs[behind[name]], y
                for name, (before, behind_it) in spikes.items():
                    traces[name] = self._change(connections[name], before, behind_it, traces.get(name))
                state = detached(after)
                outputs.append(y)
                add_counts(counts, piece.counts)
                first += len(x)
        y = torch.cat(outputs)
        loss, terms = task.loss(y, counts)
        return BatchResult(Gradients(network.parameters()).attached(loss), terms, task.scores(y))

    def _change(self, one: Connection, x: Tensor, s: Tensor, traces: _SpikeTraces | None) -> _SpikeTraces:
        """Change the weights of a layer by its spikes of some steps, and return the traces after them."""
        pre, post = (torch.zeros_like(x[0]), torch.zeros_like(s[0])) if traces is None else traces
        weight, low, high = one.layer.weight, self.w_min, self.w_max
        for x_t, s_t in zip(x, s, strict=True):
            pre = pre + self.dt / self.tau_pre * (x_t - pre)
            post = post + self.dt / self.tau_post * (s_t - post)
            plus = _pairs(one.layer, s_t, pre) * self.eta_plus * self._dependence(high - weight)
            minus = _pairs(one.layer, post, x_t) * self.eta_minus * self._dependence(weight - low)
            weight.add_(plus - minus)
            if self.clip:
                weight.clamp_(low, high)
        return _SpikeTraces(pre, post)

    def _dependence(self, distance: Tensor) -> Tensor | float:
        if self.dependence == "none":
            return 1.0
        if self.dependence == "step":
            return (distance > 0).to(distance.dtype)
        distance = distance.relu()  # weights start outside of the bounds, where a power is NaN
        return distance.pow(self.mu) if self.dependence == "power" else distance


def _can_learn(one: Connection) -> bool:
    kinds = (nn.Linear, nn.Conv2d)
    plain = isinstance(one.layer, kinds) and getattr(one.layer, "groups", 1) == 1
    return plain and not one.between and one.neuron is not None and one.neuron.spiking


def _pairs(layer: Any, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return the products of outputs and inputs of each weight, summed over the samples, in the weight's shape."""
    if isinstance(layer, nn.Linear):
        return torch.einsum("bn,bi->ni", outputs.flatten(0, -2), inputs.flatten(0, -2))
    columns = functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return torch.einsum("bnl,bil->ni", outputs.flatten(2), columns).view_as(layer.weight)
