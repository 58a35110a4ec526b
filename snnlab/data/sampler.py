"""Which recordings make up each batch of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import DistributedSampler

from snnlab.seeds import Stream, generator


class Draw(NamedTuple):
    """A batch to be made: places in the store, and in which epoch."""

    indices: np.ndarray
    epoch: int


# One of torch's distributed samplers by name alone: Lightning leaves those as they are, and would divide the batches of
# any other among the processes once more.
class BatchSampler(DistributedSampler[Draw]):
    """Yield the batches of an epoch; the order is that of (seed, epoch), whatever happened before.

    Of several processes, each reads every `world`-th recording of the same order, and has as many batches as the
    others. No recording comes twice: the shares may differ by one. For training, each batch of all processes together
    is that of one process with `world` times the batch size, and so the last batches may differ by one recording;
    `sizes` tells by how much. Where there are fewer recordings left than processes, some get the first one of the
    order, which is to count nothing. For evaluation each share is divided evenly into batches.

    Args:
        indices: Places in the store.
        batch_size: Recordings a batch and process; the last batch may be smaller. In an evaluation by one recording a
            batch, of shares that differ, the larger ones have a batch of two.
        seed: The run's seed; None keeps the given order, for evaluation.
        repeats: How often the epoch's batches come, one round after the other.
        rank: Which of the processes this is, 0 <= rank < world.
        world: Number of processes.
        begins: Epoch of a resumed training, and how many of that epoch's batches are left out.

    Raises:
        ValueError: if rank is not one of world, or there are fewer recordings to evaluate than processes.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        seed: int | None,
        repeats: int = 1,
        rank: int = 0,
        world: int = 1,
        begins: tuple[int, int] = (0, 0),
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not one of {world} processes")
        if seed is None and 0 < len(indices) < world:
            raise ValueError(f"{len(indices)} recordings cannot be divided among {world} processes")
        self.indices, self.batch_size, self.seed, self.repeats = indices, batch_size, seed, repeats
        self.rank, self.num_replicas = rank, world
        self.begins = begins
        self.epoch = begins[0]  # workers ask for the first batches before Lightning says which epoch it is

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._batches * self.repeats

    def sizes(self, batch: int) -> tuple[int, int]:
        """Return how many recordings of a training batch count, of this process and of all; 0 of one without any."""
        size = self.batch_size * self.num_replicas
        of_all = min(size, len(self.indices) - batch % self._batches * size)
        return -(-(of_all - self.rank) // self.num_replicas), of_all

    def __iter__(self) -> Iterator[Draw]:
        share = self._share()
        if self.seed is None and self.num_replicas > 1 and share.size:
            batches = np.array_split(share, self._batches)
        else:
            starts = range(0, self._batches * self.batch_size, self.batch_size)
            batches = [share[start : start + self.batch_size] for start in starts]
        over = self.begins[1] if self.epoch == self.begins[0] else 0
        for batch in (batches * self.repeats)[over:]:
            yield Draw(batch, self.epoch)

    @property
    def _batches(self) -> int:
        least, more = divmod(len(self.indices), self.num_replicas)
        batches = -(-(least + (more > 0)) // self.batch_size)
        return min(batches, least) if self.seed is None else batches

    def _share(self) -> np.ndarray:
        """Return this process's recordings of the epoch, in their order."""
        if self.seed is None:
            return self.indices[self.rank :: self.num_replicas]
        order = generator(self.seed, Stream.ORDER, self.epoch).permutation(self.indices)
        share = order[self.rank :: self.num_replicas]
        if share.size % self.batch_size == 0 and share.size < self._batches * self.batch_size:
            share = np.append(share, order[:1])
        return share
