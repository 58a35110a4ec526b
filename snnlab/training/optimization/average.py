"""An average of the weights over a training, with which it is validated and tested."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.registry import Registry

AVERAGES = Registry("average")

Every = Literal["step", "epoch"]


class AverageRule(ABC):
    """How much a network's newest weights count.

    Args:
        every: When they are looked at: behind each `step` of the optimizer, or the last one of each `epoch`.
    """

    def __init__(self, every: Every) -> None:
        self.every: Every = every

    @abstractmethod
    def share(self, updates: int) -> float:
        """Return the newest weights' share of the average, of which so many are before them."""

    def first(self, epochs: int | None) -> int:
        """Return the first epoch, of so many, in which weights count; None or -1: of a run without an end."""
        return 0

    def begins(self, epoch: int, epochs: int | None) -> bool:
        """Return whether weights count in an epoch of so many."""
        return epoch >= self.first(epochs)


@AVERAGES.register("ema")
class Exponential(AverageRule):
    """Exponential moving average, mean <- d mean + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)).

    Args:
        decay: What is left of the average at each update, behind the first ones, in which n of them are less.
        every: `step` or `epoch`.

    Raises:
        ValueError: if decay is not within 0 and 1.
    """

    def __init__(self, decay: float = 0.999, every: Every = "step") -> None:
        super().__init__(every)
        if not 0 < decay < 1:
            raise ValueError(f"decay is between 0 and 1, got {decay}")
        self.decay = decay

    def share(self, updates: int) -> float:
        """Return 1 - d."""
        return 1.0 - min(self.decay, (1 + updates) / (10 + updates))


@AVERAGES.register("swa")
class Equal(AverageRule):
    """Stochastic weight averaging: the plain mean over the last part of a run; before that there is no average.

    A run that is resumed for longer has another last part, and another average.

    Args:
        start: Part of the run's epochs that is left out.
        every: `step` or `epoch`.

    Raises:
        ValueError: if start is not within 0 and 1.

    Source: Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018.
    """

    def __init__(self, start: float = 0.75, every: Every = "epoch") -> None:
        super().__init__(every)
        if not 0 <= start < 1:
            raise ValueError(f"start is a part of the run, 0 <= start < 1, got {start}")
        self.start = start

    def share(self, updates: int) -> float:
        """Return 1 / (n + 1)."""
        return 1.0 / (updates + 1)

    def first(self, epochs: int | None) -> int:
        """Return the first epoch behind the part that is left out."""
        return 0 if epochs is None or epochs < 0 else int(self.start * epochs)


class Average(nn.Module):
    """Keeps the average as buffers, so that checkpoints hold it beside the weights.

    What batch norm has seen of the data is averaged in the same way.

    Args:
        network: The network.
        rule: How much its newest weights count.
    """

    def __init__(self, network: nn.Module, rule: AverageRule) -> None:
        super().__init__()
        self.rule, self.updates, self.applied = rule, 0, False
        for name, value in _averaged(network):
            self.register_buffer(_key(name), value.detach().clone())

    def get_extra_state(self) -> Tensor:
        """Return how often weights were counted; no buffer, since a device would have to be waited for."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on counting."""
        self.updates = int(state)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Let the network's weights count."""
        own, new = self._pairs(network)
        share = self.rule.share(self.updates) if self.updates else 1.0
        for mine, newest in zip(own, new, strict=True):
            mine.lerp_(newest, share)
        self.updates += 1

    def follow(self, before: int | None, epochs: int | None) -> None:
        """Go on in a run of `before` epochs that has `epochs` from now on: anew where other epochs count."""
        if self.rule.first(before) != self.rule.first(epochs):
            self.updates = 0

    @torch.no_grad()
    def exchange(self, network: nn.Module) -> None:
        """Put the average into the network, and its weights here, or back; nothing where there is no average yet."""
        if not self.updates:
            return
        own, theirs = self._pairs(network)
        for mine, other in zip(own, theirs, strict=True):
            kept = mine.clone()
            mine.copy_(other)
            other.copy_(kept)
        self.applied = not self.applied

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """Let the network have the average for a while."""
        if self.applied:
            yield
            return
        self.exchange(network)
        try:
            yield
        finally:
            if self.applied:
                self.exchange(network)

    def _pairs(self, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        values = dict(_averaged(network))
        return [self.get_buffer(_key(name)) for name in values], list(values.values())


def averaged_weights(state: Mapping[str, Any], network: str, average: str) -> dict[str, Tensor]:
    """Return a network's weights out of a module's state: their average, where there is one.

    Args:
        state: The state of a module.
        network: The name of the network in it.
        average: The name of the `Average` in it.
    """
    weights = {key.removeprefix(f"{network}."): value for key, value in state.items() if key.startswith(f"{network}.")}
    if not int(state.get(f"{average}._extra_state", 0)):
        return weights
    return {name: state.get(f"{average}.{_key(name)}", value) for name, value in weights.items()}


def _averaged(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from ((name, value) for name, value in network.named_buffers() if value.is_floating_point())


def _key(name: str) -> str:
    """Return a name without the dots that a buffer's may not have; no layer's name has a slash."""
    return name.replace(".", "/")
