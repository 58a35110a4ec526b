"""How the eager kernel walks through memory: some samples at a time, some steps at a time, to where the samples end.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Neurons that a core goes through all steps with: the few rows of them that a step touches stay in its caches. A fourth
# of this takes up to 1.6 times as long, because of the calls (one core of an EPYC, 1 MB of second-level cache).
BLOCK = 2**17

# On a GPU, where a launch costs more than memory, a block is all samples; this many neurons of it, steps counted, take
# part in an operation that several steps can share.
GPU_TILE = 2**22


class Ends(NamedTuple):
    """Where the samples of a block end.

    Attributes:
        shortest: Steps that are valid for all samples.
        longest: Steps that are valid for any.
        samples: The samples of each length that there is.
    """

    shortest: int
    longest: int
    samples: dict[int, slice | Tensor]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Ends:
        """Return the ends of samples with these numbers of valid steps, at least one sample."""
        shortest, longest = min(lengths), max(lengths)
        if shortest == longest:
            return cls(shortest, longest, {longest: slice(None)})
        order = torch.tensor(sorted(range(len(lengths)), key=lengths.__getitem__), device=device)
        counts = {length: lengths.count(length) for length in sorted(set(lengths))}
        parts = order.split(list(counts.values()))
        return cls(shortest, longest, dict(zip(counts, parts, strict=True)))

    def valid(self, row: Tensor) -> Tensor | None:
        """Return 1 for a valid step and 0 past it, to multiply a block's steps by, or None where all are valid."""
        if self.shortest == self.longest:
            return None
        valid = row.new_ones(self.longest, len(row))
        for length, samples in self.samples.items():
            valid[length:, samples] = 0.0
        return valid.reshape(*valid.shape, *[1] * (row.dim() - 1))

    def within(self, steps: slice) -> Iterator[tuple[int, slice | Tensor]]:
        """Yield which samples have their last valid step in a group of steps, and at which place of it."""
        for length, samples in self.samples.items():
            if steps.start < length <= steps.stop:
                yield length - 1 - steps.start, samples


def blocks(row: Tensor, lengths: Sequence[int]) -> Iterator[tuple[slice, Ends]]:
    """Yield the samples of a row `[B, ...]` block by block, with where they end."""
    size = len(row)
    if row.device.type == "cpu" and row.numel():
        size = max(1, _room(row) // row[0].numel())
    for start in range(0, len(row), max(size, 1)):
        some = slice(start, min(start + size, len(row)))
        yield some, Ends.of(lengths[some], row.device)


def tiles(num_steps: int, row: Tensor) -> list[slice]:
    """Return the steps in groups, each as many as fit into the cache with a row `[B, ...]`, or one.

    What does not go from step to step is done for a group at once: small layers spend their time on calls.
    """
    size = max(1, _room(row) // max(row.numel(), 1))
    return [slice(start, min(start + size, num_steps)) for start in range(0, num_steps, size)]


class Rooms:
    """Memory for what a group of steps needs for itself, by name; it lies as the rows do.

    Args:
        row: One step of a block.
        groups: All groups of steps, the first of which is the longest.
    """

    def __init__(self, row: Tensor, groups: Sequence[slice]) -> None:
        self.row, self.num_steps = row, groups[0].stop if groups else 1
        self.named: dict[str, Tensor] = {}

    def __call__(self, name: str, steps: slice) -> Tensor:
        """Return the room of a group, with what was written there last."""
        if name not in self.named:
            one = torch.empty_like(self.row)
            self.named[name] = one.new_empty_strided((self.num_steps, *one.shape), (one.numel(), *one.stride()))
        return self.named[name][: steps.stop - steps.start]


def _room(row: Tensor) -> int:
    return BLOCK * torch.get_num_threads() if row.device.type == "cpu" else GPU_TILE
