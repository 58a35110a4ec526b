"""Plots in TensorBoard: some validation recordings, and the network's activity and outputs during training.

Axes: T steps, B recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from snnlab.data.data_module import EventDataModule
from snnlab.data.events import Events
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.experiment_fields import PlotSettings
from snnlab.nn.network import Network
from snnlab.nn.record import record
from snnlab.runs.plots import SpikeRecord, default_style, draw_network_activity, draw_rates, draw_recording, render
from snnlab.runs.plots.answers import draw_confusion
from snnlab.spec.signatures import checks_arguments
from snnlab.target_kinds import IGNORED, kind_of
from snnlab.training.module import Outputs, SpikingModule, scored_targets
from snnlab.training.weight_averaging import averaged_weights


@checks_arguments
class Plots(PlotSettings, L.Callback):
    """Draws rasters, membranes, readout, rates and confusion every few epochs and at the end, in TensorBoard.

    The recordings' events do not change and are drawn only once. Without TensorBoard or validation recordings nothing
    is drawn. The training is the same bit for bit with and without plots.
    """

    def __post_init__(self) -> None:
        self._counts: dict[str, Tensor] = {}
        self._steps = 0
        self._confusion: Tensor | None = None
        self._drawn_step = -1
        self._events_drawn = False

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset the counts."""
        self._counts, self._steps, self._confusion = {}, 0, None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch to the spike counts of the neurons and to the confusion matrix."""
        assert isinstance(outputs, Outputs)
        for name, counts in outputs.counts.items():
            new = counts.float().sum(0)
            self._counts[name] = self._counts[name] + new if name in self._counts else new
        self._steps = self._steps + batch.lengths.sum()
        if kind_of(batch.targets) in ("class", "steps"):
            scores = pl_module.loss.readout(outputs.y, batch.lengths)
            new = _count_answers(scores.argmax(-1), scored_targets(batch), scores.shape[-1])
            self._confusion = new if self._confusion is None else self._confusion + new

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw at every `every_epochs`-th epoch."""
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the last epoch if that was not done."""
        if self._drawn_step != trainer.global_step:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, module: SpikingModule) -> None:
        self._drawn_step = trainer.global_step
        writers: list[Any] = [g.experiment for g in trainer.loggers if isinstance(g, TensorBoardLogger)]
        if not writers or not trainer.is_global_zero or not _data_module(trainer).split.val.size:
            return
        step = trainer.global_step - 1  # Lightning logs an epoch's scalars under the number of its last step
        for tag, pixels in self._pixels(trainer, module):
            for writer in writers:
                # Not add_figure, which uses pyplot and so the user's own figures.
                writer.add_image(f"plots/{tag}", pixels, step, dataformats="HWC")

    def _pixels(self, trainer: L.Trainer, module: SpikingModule) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the tag and the pixels of each plot."""
        data = _data_module(trainer)
        with default_style(), averaged_weights(trainer, module):
            for index in _choose_recordings(data.store.targets, data.split.val, self.recordings).tolist():
                device, context = module.device, trainer.precision_plugin.val_step_context()
                spike_record = run_recording(data, module.network, module.loss, index, device, context)
                for plot, figure in chain(
                    () if self._events_drawn else draw_recording(spike_record), draw_network_activity(spike_record)
                ):
                    yield f"recording_{index}/{plot}", render(figure)
            self._events_drawn = True
            for name, counts in self._counts.items():
                yield (
                    f"rates/{name}",
                    render(draw_rates(counts.cpu().numpy(), int(self._steps), data.settings.step_ms, name)),
                )
            if self._confusion is not None:
                names = data.class_names or [str(number) for number in range(len(self._confusion))]
                yield "confusion", render(draw_confusion(self._confusion.cpu().numpy(), names))


def _count_answers(answers: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Return the confusion matrix, without steps that have no label, `[K, K]`: class, answer."""
    has_label = targets != IGNORED
    pairs = targets[has_label] * num_classes + answers[has_label]
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def choose_across_classes(targets: np.ndarray, candidates: np.ndarray, number: int) -> np.ndarray:
    """Return the indices of `number` recordings: the first of each class, then the second of each, and so on.

    Args:
        targets: Class of each recording of the store.
        candidates: The recordings to choose from, in order.
        number: Number of recordings; all if there are fewer.
    """
    times_seen: dict[int, int] = {}
    rounds = []
    for label in targets[candidates].tolist():
        rounds.append(times_seen.get(label, 0))
        times_seen[label] = rounds[-1] + 1
    return candidates[np.argsort(rounds, kind="stable")[:number]]


def _choose_recordings(targets: np.ndarray, candidates: np.ndarray, number: int) -> np.ndarray:
    return choose_across_classes(targets, candidates, number) if kind_of(targets) == "class" else candidates[:number]


def run_recording(
    data: EventDataModule,
    network: Network,
    loss: Any,
    index: int,
    device: torch.device,
    context: AbstractContextManager[Any],
) -> SpikeRecord:
    """Run one recording through a network as validation does, without changing the network or the random state.

    Args:
        loss: The loss, whose readout gives the answers.
        index: Index of the recording in the store; of its windows the first is used.
        context: Context in which the network runs, such as autocast.
    """
    events: EventBatch = data.gather_events(data.epoch_items(np.array([index]))[:1])
    moved = EventBatch(*(None if column is None else column.to(device) for column in events))  # type: ignore[arg-type]
    batch: Batch = data.on_after_batch_transfer(moved, 0)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        context,
    ):
        recording = record(network, batch.x, lengths=batch.lengths)
        answers = loss.answers(recording.y)
    valid = int(batch.lengths[0])
    return SpikeRecord(
        Events(*(None if column is None else column.numpy() for column in events[:4])),  # type: ignore[arg-type]
        data.settings.size,
        data.settings.duration_ms,
        data.settings.step_ms,
        _target(batch.targets, valid),
        _valid_steps(recording.y, valid),
        _valid_steps(answers, valid),
        {name: _valid_steps(spikes, valid) for name, spikes in recording.spikes.items()},
        {name: _valid_steps(of["v"], valid) for name, of in recording.states.items() if "v" in of},
        dict(_thresholds(network, recording.spikes)),
        data.class_names,
    )


def _target(targets: Tensor, valid: int) -> int | np.ndarray:
    """Return the class of the recording, its values, or its labels or values at the valid steps."""
    kind = kind_of(targets)
    if kind == "class":
        return int(targets[0])
    return targets[0].cpu().numpy() if kind == "value" else _valid_steps(targets, valid)


def _data_module(trainer: L.Trainer) -> EventDataModule:
    return trainer.datamodule  # type: ignore[attr-defined]


def _valid_steps(values: Tensor, valid: int) -> np.ndarray:
    """Return the valid steps of the recording, `[T, ...]`."""
    values = values[:valid, 0].cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _thresholds(network: torch.nn.Module, layers: Any) -> Iterator[tuple[str, float]]:
    """Yield name and threshold of the layers with a common threshold of all neurons."""
    for name in layers:
        threshold = getattr(network.get_submodule(name), "v_threshold", None)
        if threshold is not None and torch.as_tensor(threshold).numel() == 1:
            yield name, float(threshold)
