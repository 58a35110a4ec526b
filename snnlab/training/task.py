"""A training batch as learning rules read it: its frames, its loss, whole or of some steps, and the optimizer.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from snnlab.data.events.frames import Batch
from snnlab.event_frames import EventFrames, FramesInPieces, dense
from snnlab.nn.layer import Counts
from snnlab.nn.losses import Loss
from snnlab.nn.losses.loss import LossAndTerms
from snnlab.nn.network import Network
from snnlab.target_kinds import Targets


def batch_loss(loss: Loss, y: Tensor, batch: Batch, counts: Counts, weight: Tensor | None = None) -> LossAndTerms:
    """Return the loss of a batch, mixed or not, and its terms by name.

        mean_b weight_b [(1 - w_b) loss(y_b, targets_b) + w_b loss(y_b, mix.targets_b)],   w = mix.weight

    Args:
        loss: The loss function.
        y: The network's output.
        batch: The batch.
        counts: Spike counts of its spiking layers.
        weight: Weight of each sample; None: 1.

    Shape:
        y: `[T, B, K]`; weight: `[B]`; returns scalars.
    """
    if batch.mix is None:
        return loss(y, batch.targets, batch.lengths, counts, weight)
    mixed, rest = batch.mix.weight, 1 - batch.mix.weight
    own, parts = loss(y, batch.targets, batch.lengths, counts, rest if weight is None else rest * weight)
    others, more = loss(y, batch.mix.targets, batch.lengths, counts, mixed if weight is None else mixed * weight)
    return own + others, {name: part + more[name] for name, part in parts.items()}


class BatchTask:
    """A batch, its loss and the optimizer.

    Args:
        batch: The batch.
        loss: The loss.
        targets: Kind of the targets.
        update: Lets the optimizer change the weights.
    """

    def __init__(self, batch: Batch, loss: Loss, targets: Targets, update: Callable[[], None]) -> None:
        self._batch, self._loss, self.update = batch, loss, update
        self._over_time = targets in ("steps", "series")
        self.num_steps: int = batch.frames.shape[0]
        self.lengths = batch.short_lengths

    def frames(self, network: Network) -> Tensor | EventFrames:
        """Return the input of all steps, as lists of events where the network accepts them."""
        frames = self._batch.frames
        return frames if isinstance(frames, EventFrames) and network.accepts_event_lists else dense(frames)

    def pieces(self, steps: int) -> Iterator[Tensor]:
        """Yield the input in pieces of `steps` steps or fewer."""
        frames = self._batch.frames
        yield from frames.split(steps) if isinstance(frames, FramesInPieces) else dense(frames).split(steps)

    def loss(self, y: Tensor, counts: Counts) -> LossAndTerms:
        """Return the loss of the outputs of all steps."""
        return batch_loss(self._loss, y, self._batch, counts)

    def loss_of_steps(self, y: Tensor, first: int) -> LossAndTerms:
        """Return the part of the loss that belongs to the outputs from step `first` on."""
        batch, weight = self._steps(first, y)
        labelled = self._loss.num_labelled_steps(self._batch.targets)
        if labelled is None:
            return batch_loss(self._loss, y, batch, {}, weight)
        here = self._loss.num_labelled_steps(batch.targets)
        assert here is not None
        loss, terms = batch_loss(self._loss, y, batch, {})
        part = here.to(loss.dtype) / labelled.clamp(min=1)
        return loss * part, {name: term * part for name, term in terms.items()}

    def scores(self, y: Tensor) -> Tensor:
        """Return the readout of the outputs of all steps."""
        return self._loss.readout(y, self._batch.lengths)

    def add_scores(self, before: Tensor | None, y: Tensor, first: int) -> Tensor:
        """Return the readout of the steps up to now: their mean, or the outputs for targets at each step."""
        if self._over_time:
            outputs = y if before is None else torch.cat([before, y])
            last = len(outputs) == self.num_steps
            return self.scores(outputs) if last else outputs
        batch, weight = self._steps(first, y)
        scores = self._loss.readout(y, batch.lengths) * weight[:, None]
        return scores if before is None else before + scores

    def _steps(self, first: int, y: Tensor) -> tuple[Batch, Tensor]:
        """Return the batch of some steps, and the share of them in the valid steps of each sample.

        A sample that has ended keeps one step, whose share is 0, so that means over its steps exist.
        """
        batch, number = self._batch, len(y)
        valid = (batch.lengths - first).clamp(0, number)
        targets = batch.targets[first : first + number] if self._over_time else batch.targets
        known = batch.host_lengths
        known = None if known is None else [min(max(length - first, 1), number) for length in known]
        part = batch._replace(lengths=valid.clamp(min=1), targets=targets, host_lengths=known)
        return part, valid.to(y.dtype) / batch.lengths.clamp(min=1)
