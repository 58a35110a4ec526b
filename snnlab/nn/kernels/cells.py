"""Neurons as the drivers of walks through time see them: the same calls, whichever walk it is.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.rule import Rule


class Job(Protocol):
    """What a walk is told besides numbers.

    Attributes:
        rule: The dialect.
        steps: Valid steps of each sample, `[B]`, as the walk takes them.
        counts: Whether spikes are counted.
        layout: How the neurons lie.
        shape: That of the steps of one call, `[steps, B, ...]`.
    """

    @property
    def rule(self) -> Rule: ...
    @property
    def steps(self) -> Any: ...
    @property
    def counts(self) -> bool: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def shape(self) -> torch.Size: ...


class Cell(ABC):
    """Neurons on their way through the steps, forward after `begin` or back after `resume`.

    Args:
        job: What the walks are told; its steps are those of one call.
        k: Numbers of the recurrence, a NamedTuple.
        like: A tensor of the input's precision, on its device.
    """

    # Names of the variables of the state before the first step.
    states: ClassVar[tuple[str, ...]]
    # In which precision gradients of numbers are summed over steps; None for the input's.
    sums_in: ClassVar[torch.dtype | None] = None

    def __init__(self, job: Job, k: Any, like: Tensor) -> None:
        self.job, self.k, self.like = job, k, like
        self.batch, self.sample = job.shape[1], job.shape[2:]
        self.state: list[Tensor] = []
        self.kept: dict[str, Tensor] = {}
        self.keeping: list[str] = []
        self.n: Tensor | None = None
        self.names: list[str] = []
        self.sums = like.new_empty(0)

    @classmethod
    @abstractmethod
    def told(
        cls, rule: Rule, lengths: Tensor | None, counts: bool, layout: Layout, shape: torch.Size, num_steps: int
    ) -> Job:
        """Return what the walks are told.

        Args:
            rule: The dialect.
            lengths: Valid steps of each sample, or None where all are.
            counts: Whether spikes are counted.
            layout: How the neurons lie.
            shape: That of the steps of one call, `[steps, B, ...]`.
            num_steps: T.

        Raises:
            ValueError: if lengths are not whole numbers, one for each sample.
        """

    @abstractmethod
    def array(self, rows: Tensor | None) -> Any:
        """Return rows of neurons, or that there are none, as the walks take them; steps can be cut out of it."""

    @abstractmethod
    def valid(self, num_steps: int) -> tuple[Any, list[Tensor] | None]:
        """Return how many steps of each one, 0 or 1, are valid, by the step, and which, as far as they differ."""

    @abstractmethod
    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs of the way forward, where these inputs ask for gradients."""

    @abstractmethod
    def run(self, steps: slice, x: Any, y: Any, lengths: Any) -> None:
        """Go through some steps.

        Args:
            steps: Which.
            x: Their input, an `array`.
            y: Their output, written.
            lengths: How many of them are valid, for each sample.

        Shape:
            x, y: `[steps, B, n]`; lengths: `[B]`.
        """

    @abstractmethod
    def back(self, steps: slice, gy: Any, dx: Any, lengths: Any) -> None:
        """Go back through some steps; see `run`.

        Args:
            steps: Which.
            gy: Gradient of their output; without room where there is none.
            dx: Gradient of their input, written.
            lengths: How many of them are valid, for each sample.
        """

    def begin(self, states: Sequence[Tensor], wanted: Collection[str], num_steps: int) -> None:
        """Stand before the first step, with room for all that `keeps` names but input and output."""
        self.state = [self._rows_of(part) for part in states]
        self.keeping = self.keeps(wanted) if wanted else []
        names = [name for name in self.keeping if name not in ("x", "y")]
        self.keep({name: self.room(num_steps, self.batch) for name in names})
        self.n = self.room(self.batch).zero_() if self.job.counts else None

    def resume(
        self,
        kept: Mapping[str, Tensor],
        grads: Sequence[Tensor | None],
        gn: Tensor | None,
        wanted: Collection[str],
    ) -> None:
        """Stand behind the last step, with the gradients of the state there and of the counts."""
        self.keep(kept)
        self.state = [self._rows_of(part) for part in grads]
        self.n = None if gn is None else self._rows_of(gn)
        self.names = [name for name in type(self.k)._fields if name in wanted]
        shape = len(self.names), self.batch, self.sample.numel()
        self.sums = self.like.new_zeros(shape, dtype=self.sums_in or self.like.dtype)

    def found(self) -> dict[str, Tensor]:
        """Return the gradients of the state before the first step and of the numbers, by name."""
        found = dict(zip(self.states, self.ends(), strict=False))
        for name, of_samples in zip(self.names, self.sums, strict=True):
            number = getattr(self.k, name)
            of_neurons = self.spread(of_samples.sum(0, dtype=torch.float64))
            found[name] = of_neurons.sum_to_size(number.shape).to(number.dtype)
        return found

    def ends(self) -> list[Tensor]:
        """Return the variables of the state, or their gradients, where the way has led."""
        return [self.spread(part) for part in self.state]

    def spread(self, rows: Tensor) -> Tensor:
        """Return `[..., n]` with a sample's own axes."""
        return self.job.layout.spread(rows, self.sample)

    def rows(self, x: Tensor) -> Tensor:
        """Return `[..., n]` of a tensor with a sample's own axes, contiguous; shares memory where x lies so."""
        return self.job.layout.flat(x.detach()).contiguous()

    def room(self, *front: int) -> Tensor:
        """Return memory for rows of neurons."""
        return self.like.new_empty(*front, self.sample.numel())

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Keep more for the way back."""
        self.kept |= kept

    def _rows_of(self, part: Tensor | None) -> Tensor:
        """Return rows of neurons that may be changed, with these values or zeros."""
        rows = self.room(self.batch)
        return rows.zero_() if part is None else rows.copy_(self.job.layout.flat(part.detach()))


def laid(x: Tensor) -> tuple[Tensor, Layout]:
    """Return an input that can be walked through, a copy where it has gaps, and how it lies."""
    layout = Layout.of(x)
    return (x, layout) if layout else (x.contiguous(), Layout(tuple(range(x.dim() - 2))))
