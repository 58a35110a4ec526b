"""Losses of output spikes: counts, rates, first spikes, and the van Rossum distance.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.compat import ConvNd
from snnlab.errors import ConfigError, error_context
from snnlab.nn.layer import Counts
from snnlab.nn.layers.delayed import DelayedConnections
from snnlab.nn.layers.dense import Voting
from snnlab.nn.losses.loss import (
    LOSSES,
    ClassWeighted,
    Loss,
    LossAndTerms,
    LossContext,
    mean_over_samples,
    within_lengths,
)
from snnlab.nn.network import BuiltNetwork, Network
from snnlab.nn.neurons.base import Neuron
from snnlab.spec.declared import setting
from snnlab.spec.interval import above, at_least, between

# Layers whose output is spikes, or means of spikes, if their input is spikes.
_SPIKES_FROM_SPIKES = (nn.Flatten, nn.Identity, nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, Voting)
_NEVER_SPIKES = (nn.Linear, ConvNd, DelayedConnections, nn.RNNBase)


def require_several_steps(steps: int, what: str) -> None:
    """Raise a ConfigError if there is only one step, so that all first spikes have the same time."""
    if steps < 2:
        raise ConfigError("", f"{what} compares spike times, but the data have 1 step", "set data.num_bins")


def require_spikes(built: BuiltNetwork, what: str, instead: str) -> None:
    """Reject a network whose output certainly is no spikes; the values of an unknown output are checked later.

    Args:
        built: The network.
        what: The reason why spikes are needed, as text.
        instead: An alternative for the user, as text.
    """
    name = _layer_without_spikes(built.network, "")
    if name is not None:
        raise ConfigError(
            "", f"{what}, but model.layers.{name} has none", f"end the model with a spiking layer, or {instead}"
        )


def spikes_at_most_once(network: nn.Module) -> bool:
    """Return whether each neuron spikes at most once a step."""
    return not any(isinstance(layer, Neuron) and layer.graded for layer in network.modules())


def _layer_without_spikes(network: Network, within: str) -> str | None:
    for name, layer in reversed(list(network.layers())):
        if isinstance(layer, _SPIKES_FROM_SPIKES):
            continue
        if type(layer) is Network:
            return _layer_without_spikes(layer, f"{within}{name}.layers.")
        no_spikes = isinstance(layer, _NEVER_SPIKES) or (isinstance(layer, Neuron) and not layer.spiking)
        return f"{within}{name}" if no_spikes else None
    return None


def target_values(
    targets: Tensor, classes: int, right: Tensor | float, wrong: Tensor | float, dtype: torch.dtype
) -> Tensor:
    """Return `right` for the class of each sample and `wrong` for the others, `[B, K]`.

    Args:
        targets: Classes, `[B]`.
        classes: K.
        right: A number, or one a sample, `[B]`.
        wrong: As `right`.
        dtype: Data type of the result.
    """
    is_right = functional.one_hot(targets, classes).bool()
    right, wrong = (
        each.to(dtype)[:, None] if isinstance(each, Tensor) else targets.new_full((), each, dtype=dtype)
        for each in (right, wrong)
    )
    return torch.where(is_right, right, wrong)


def require_different(loss: Loss, right: str, wrong: str) -> None:
    """Raise a ConfigError if both settings have one value, so that nothing can be learned."""
    value = getattr(loss, right)
    if value == getattr(loss, wrong):
        raise ConfigError(right, f"must differ from {wrong}, both are {value:g}")


@LOSSES.register("mse_rate")
class RateError(ClassWeighted):
    """Squared error of each output's mean over the valid steps (for spikes, of its rate), for classes.

        loss = w[target] * mean_k (mean_t y[t, k] - goal[k])^2
        goal[k] = correct_rate for the target class, incorrect_rate for the others

    Args:
        correct_rate: Target mean of the correct class's output; for spikes at most 1.
        incorrect_rate: Target mean of the other outputs.

    Source: with 1 and 0, Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """

    correct_rate: Annotated[float, "spikes a step", at_least(0)] = 1.0
    incorrect_rate: Annotated[float, "spikes a step", at_least(0)] = 0.0

    def prepare(self) -> None:
        super().prepare()
        require_different(self, "correct_rate", "incorrect_rate")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        goal = target_values(targets, y.shape[-1], self.correct_rate, self.incorrect_rate, y.dtype)
        each = (self.readout(y, lengths) - goal).square().mean(-1)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_rate": loss}


@LOSSES.register("mse_count")
class CountError(ClassWeighted):
    """Squared error of each output's number of spikes, for classes, divided by the number of valid steps.

        loss = w[target] * mean_k (sum_t s[t, k] - goal[k])^2 / steps

    The goals are numbers of spikes in a recording, or rates times the number of steps of each recording.

    Args:
        correct_rate: Target rate of the correct class's output; the name is snnTorch's, which rounds goals down.
        incorrect_rate: Target rate of the other outputs.
        correct_count: Target number of spikes of the correct class's output, instead of a rate.
        incorrect_count: Target number of spikes of the other outputs.

    Source: counts: Shrestha and Orchard, SLAYER, NeurIPS 2018. rates: Eshraghian et al., Training spiking neural
        networks using lessons from deep learning, Proceedings of the IEEE 2023.
    """

    reduction = "sum"
    correct_rate: Annotated[float, "spikes a step", between(0, 1)] = 1.0
    incorrect_rate: Annotated[float, "spikes a step", between(0, 1)] = 0.0
    correct_count: Annotated[float | None, "spikes", at_least(0)] = None
    incorrect_count: Annotated[float | None, "spikes", at_least(0)] = None

    def prepare(self) -> None:
        super().prepare()
        if (self.correct_count is None) != (self.incorrect_count is None):
            raise ConfigError("correct_count", "is used together with incorrect_count", "set both or neither")
        self.counted = self.correct_count is not None
        right, wrong = ("correct_count", "incorrect_count") if self.counted else ("correct_rate", "incorrect_rate")
        require_different(self, right, wrong)
        self.right, self.wrong = getattr(self, right), getattr(self, wrong)

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        require_spikes(context.built, "mse_count counts spikes", "set loss=mse_rate for the mean of any output")
        if self.counted and self.right > context.num_steps:
            raise ConfigError("correct_count", f"{self.right:g} spikes do not fit into {context.num_steps} steps")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        steps = 1 if self.counted else lengths.to(y.dtype)
        goal = target_values(targets, y.shape[-1], self.right * steps, self.wrong * steps, y.dtype)
        each = (self.readout(y, lengths) - goal).square().mean(-1) / lengths
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_count": loss}


@LOSSES.register("mse_first_spike")
class FirstSpikeError(ClassWeighted):
    """Squared error of the time of each output's first spike, for classes, as fractions of the recording.

        loss = w[target] * mean_k ((time[k] - goal[k]) / steps)^2
        time[k] = steps - sum_t (1 - prod_(u <= t) (1 - s[u, k]))

    For an output without spikes the time is the end of the recording. Its gradient still reaches all steps, because in
    the product a first spike at any step changes the time. The output that fires first is the answer. `cross_entropy`
    with `readout: first_spike` is the cross-entropy of these times.

    Args:
        correct: Target time of the correct class's first spike, from the start of the recording.
        incorrect: Target time of the other outputs; null: the end of the recording, without a spike.

    Source: the goals are those of mse_temporal_loss in snnTorch; the gradient is not.
    """

    reduction = "first_spike"
    correct: Annotated[float, "ms; steps where they have no length", at_least(0)] = 0.0
    incorrect: Annotated[float | None, "ms; steps where they have no length", at_least(0)] = None

    def prepare(self) -> None:
        super().prepare()
        require_different(self, "correct", "incorrect")
        self._step = 1.0

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        require_spikes(context.built, "mse_first_spike reads spikes", "set loss=cross_entropy")
        require_several_steps(context.num_steps, "mse_first_spike")
        self._step = context.dt or 1.0
        if self.correct >= context.num_steps * self._step:
            unit = "steps" if context.dt is None else "ms"
            raise ConfigError(
                "correct",
                (
                    f"{self.correct:g} {unit} is not before the end of the recording,"
                    f" {context.num_steps * self._step:g} {unit}, so that no spike is needed"
                ),
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        steps = lengths.to(y.dtype)
        time = steps[:, None] - self.readout(y, lengths)
        right, wrong = (self._goal(at, steps) for at in (self.correct, self.incorrect))
        goal = target_values(targets, y.shape[-1], right, wrong, y.dtype)
        each = ((time - goal) / steps[:, None]).square().mean(-1)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_first_spike": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the number of steps since each output's first spike."""
        with error_context("loss"):
            return super().readout(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the number of steps from each output's first spike to each step."""
        with error_context("loss"):
            return super().running(y)

    def _goal(self, at: float | None, steps: Tensor) -> Tensor:
        return steps if at is None else torch.full_like(steps, at / self._step).minimum(steps)


# Number of steps in one matrix product.
_BLOCK = 256
TrainRate = Annotated[float, "Hz; spikes a step where steps have no length", at_least(0)]


@LOSSES.register("van_rossum")
class VanRossum(ClassWeighted):
    """Van Rossum distance between each output's spikes and a regular spike train, whose rate depends on the class.

        loss = w[target] * mean_k (1 / tau) integral (f_k - g_k)^2 dt,   f[t] = exp(-dt/tau) f[t-1] + s[t]
             = w[target] * mean_k (1 - exp(-2 dt/tau)) / 2 * sum_t (f_k[t] - g_k[t])^2

    over the valid steps, with g the trace of the target train and f that of the spikes s. One extra or missing spike
    costs 1/2. A train of r spikes a step has its spikes where floor(r t + 1/2) increases, the first in the middle of
    the first interval. A short tau compares spike times, a long tau spike counts. The output with the most spikes is
    the answer.

    Args:
        tau: Time constant of the trace of a spike.
        correct_rate: Rate of the target train of the correct class's output.
        incorrect_rate: Rate of the target train of the other outputs.

    Source: van Rossum, A novel spike distance, Neural Computation 13(4), 2001.
    """

    reduction = "sum"
    tau: Annotated[float, "ms; steps where they have no length", above(0)] = setting()
    correct_rate: TrainRate = setting()
    incorrect_rate: TrainRate = 0.0

    def prepare(self) -> None:
        super().prepare()
        require_different(self, "correct_rate", "incorrect_rate")
        self._dt: float | None = None

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        require_spikes(context.built, "van_rossum compares spikes", "set loss=cross_entropy")
        self._dt = context.dt
        for name in ("correct_rate", "incorrect_rate"):
            rate = getattr(self, name)
            if self._per_step(rate) > 1:
                most = "1 spike a step" if context.dt is None else f"{1000 / context.dt:g} Hz, a spike in every step"
                raise ConfigError(name, f"is at most {most}, got {rate:g}")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        right, wrong = (self.regular_train(rate, y) for rate in (self.correct_rate, self.incorrect_rate))
        is_right = targets[:, None] == torch.arange(y.shape[-1], device=y.device)
        difference = y - torch.where(is_right, right[:, None, None], wrong[:, None, None])
        constants = (self._dt or 1.0) / self.tau  # length of a step in time constants
        trace = spike_traces(within_lengths(difference, lengths), constants)
        each = within_lengths(trace.square().mean(-1), lengths).sum(0) * (-math.expm1(-2 * constants) / 2)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"van_rossum": loss}

    def regular_train(self, rate: float, like: Tensor) -> Tensor:
        """Return a regular spike train with a rate, `[T]`."""
        steps = torch.arange(len(like) + 1, dtype=torch.float64, device=like.device)
        return (steps * self._per_step(rate) + 0.5).floor().diff().to(like)

    def _per_step(self, rate: float) -> float:
        return rate if self._dt is None else rate * self._dt / 1000.0


def spike_traces(s: Tensor, constants: float) -> Tensor:
    """Return f[t] = exp(-constants) f[t-1] + s[t] for every t, by a matrix product for each block of steps.

    Args:
        s: The value that each step adds.
        constants: Length of a step in time constants.

    Shape:
        s: `[T, ...]`; returns the same.
    """
    since = torch.arange(min(len(s), _BLOCK), device=s.device, dtype=s.dtype)
    left = torch.exp(-constants * (since[:, None] - since).clamp(min=0)).tril()
    blocks: list[Tensor] = []
    for block in s.split(_BLOCK):
        f = torch.tensordot(left[: len(block), : len(block)], block, 1)
        if blocks:
            f = f + torch.tensordot(torch.exp(-constants * (since[: len(block)] + 1)), blocks[-1][-1], 0)
        blocks.append(f)
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
