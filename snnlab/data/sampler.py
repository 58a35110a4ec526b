"""Which recordings make up each batch of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from snnlab.seeds import Stream, generator


class Draw(NamedTuple):
    """A batch to be made: places in the store, and in which epoch."""

    indices: np.ndarray
    epoch: int


class BatchSampler(Sampler[Draw]):
    """Yield the batches of an epoch; the order is that of (seed, epoch), whatever happened before.

    Args:
        indices: Places in the store.
        batch_size: Recordings a batch; the last batch may be smaller.
        seed: The run's seed; None keeps the given order.
        repeats: How often the epoch's batches come, one round after the other.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, seed: int | None, repeats: int = 1) -> None:
        self.indices, self.batch_size, self.seed, self.repeats = indices, batch_size, seed, repeats
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size) * self.repeats

    def __iter__(self) -> Iterator[Draw]:
        order = self.indices
        if self.seed is not None:
            order = generator(self.seed, Stream.ORDER, self.epoch).permutation(order)
        for start in list(range(0, len(order), self.batch_size)) * self.repeats:
            yield Draw(order[start : start + self.batch_size], self.epoch)
