"""What every loss and regulariser is: from the output at every step, the targets and the lengths to a scalar.

Axes: T steps, B samples, K outputs: classes, or values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean
from snnlab.events.targets import Targets
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.temporal import Counts, valid_steps
from snnlab.registry import Registry

LOSSES = Registry("loss")
REGULARISERS = Registry("regulariser", within=LOSSES)

Valued = tuple[Tensor, dict[str, Tensor]]


class Task(NamedTuple):
    """What a loss is used for.

    Attributes:
        built: The network and the shapes of its layers.
        in_shape: Its input, of one sample at one step.
        dt: Length of a step, ms; None where steps have no length.
        num_steps: Steps of the longest recording.
        num_classes: Number of classes, or of values.
    """

    built: BuiltNetwork
    in_shape: Shape
    dt: float | None
    num_steps: int
    num_classes: int


class Part(nn.Module, ABC):
    """A term of what is minimised.

    Shape:
        y: `[T, B, K]`; targets: classes `[B]`, values `[B, K]`, or labels of steps `[T, B]`; lengths: `[B]`; counts:
        see `TemporalLayer`; weight: `[B]`.
    """

    takes: ClassVar[tuple[Targets, ...]] = ("class", "value", "steps")
    """What the targets may be."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its parts are called, where there are several."""
        return ()

    def bind(self, task: Task) -> None:
        """Learn, before the first batch, what the loss is used for.

        Raises:
            ConfigError: starting with the setting that does not go with it.
            ValueError: if it cannot be used for this at all.
        """

    def count_classes(self, counts: Tensor) -> None:
        """Learn how many training recordings there are of each class, `[K]`."""

    def labelled(self, targets: Tensor) -> Tensor | None:
        """Return over how many labelled steps the value is a mean; None where it is one over the samples.

        Several processes, and several batches a step, need it to learn what one large batch would teach.
        """
        return None

    @abstractmethod
    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        """Return the loss and its parts by name: means over the samples of each one's own, times its weight."""


class Loss(Part):
    """What a network is trained for; it knows too how the steps become an answer. See `Part`."""

    takes: ClassVar[tuple[Targets, ...]] = ("class",)

    @abstractmethod
    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return what is compared with the targets: `[B, K]`, or `[T, B, K]` where steps have targets of their own.

        Of classes, the largest of K is the answer; values are the answer themselves.
        """

    def running(self, y: Tensor) -> Tensor:
        """Return what `readout` would be if the recording had ended at each step, `[T, B, K]`.

        This here reads out each beginning anew; a loss that carries its sums from step to step says so in its place.
        """
        steps = [torch.full((y.shape[1],), t, device=y.device) for t in range(1, len(y) + 1)]
        return torch.stack([self.readout(y[:t], length) for t, length in enumerate(steps, 1)])

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Return the answer at each step from what was seen until then: classes `[T, B]`, or values `[T, B, K]`."""


class Regulariser(Part):
    """What a network is kept from while it is trained for something else; a part beside a loss. See `Part`."""


def within_lengths(each: Tensor, lengths: Tensor) -> Tensor:
    """Return `each`, `[T, B, ...]`, with zeros past each sample's end, whatever stood there."""
    valid = valid_steps(lengths, each.shape[0], each)
    return each if valid is None else torch.where(valid, each, 0)


def mean_over_steps(each: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's mean over its valid steps, `[T, B]` to `[B]`."""
    return within_lengths(each, lengths).sum(0) / lengths


def mean_over_samples(each: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of `each`, `[B]`, times `weight`, `[B]`."""
    return (each if weight is None else each * weight).mean()


def chosen(layers: Sequence[str] | None, known: Collection[str], what: str) -> list[str]:
    """Return the layers that are named; a block's name stands for all within it.

    Args:
        layers: Names, or None for all.
        known: All of them, dotted within blocks.
        what: What they are, such as `spiking layer`.

    Raises:
        ConfigError: if there are none, or none of that name.
    """
    if not known:
        raise ConfigError("layers", f"the network has no {what}, so there is nothing to act on")
    found: dict[str, None] = {}
    for name in known if layers is None else layers:
        these = [other for other in known if other == name or other.startswith(f"{name}.")]
        if not these:
            near = did_you_mean(name, known)
            raise ConfigError("layers", f"there is no {what} '{name}'", near, () if near else known)
        found |= dict.fromkeys(these)
    if not found:
        raise ConfigError("layers", "names no layer", "leave it out for all")
    return list(found)
