"""Pictures in TensorBoard: some validation recordings, and what the network makes of them as it learns.

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
from snnlab.nn.network import Network
from snnlab.nn.record import record
from snnlab.runs.plots import Seen, default_style, draw_answer, draw_rates, draw_recording, render
from snnlab.runs.plots.answers import draw_confusion
from snnlab.settings import Count, checks_arguments
from snnlab.target_kinds import IGNORED, kind_of
from snnlab.training.module import Outputs, SpikingModule, counted_targets
from snnlab.training.weight_averaging import averaged


@checks_arguments
class Pictures(L.Callback):
    """Draws rasters, membranes, readout, rates and confusion each few epochs and at the end, in TensorBoard.

    The recordings' events are drawn with the first of these alone: they stay as they are. Nothing is drawn where there
    is no TensorBoard or no validation recording. The training is the same bit for bit with and without it.

    Args:
        recordings: Number of validation recordings, the first ones, of different classes if they have one; >= 1.
        every_epochs: Epochs from one drawing to the next; >= 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(self, recordings: Count = 2, every_epochs: Count = 12) -> None:
        self.recordings, self.every_epochs = recordings, every_epochs
        self._counts: dict[str, Tensor] = {}
        self._steps = 0
        self._confusion: Tensor | None = None
        self._drawn_at = -1
        self._events_drawn = False

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count anew."""
        self._counts, self._steps, self._confusion = {}, 0, None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the spikes of each neuron, for the rates, and the answers to each class."""
        assert isinstance(outputs, Outputs)
        for name, counts in outputs.counts.items():
            new = counts.float().sum(0)
            self._counts[name] = self._counts[name] + new if name in self._counts else new
        self._steps = self._steps + batch.lengths.sum()
        if kind_of(batch.targets) != "value":
            scores = pl_module.loss.readout(outputs.y, batch.lengths)
            new = _answers(scores.argmax(-1), counted_targets(batch), scores.shape[-1])
            self._confusion = new if self._confusion is None else self._confusion + new

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw, if this epoch is one of the few."""
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the last epoch, which only now is known to be it, if that was not done."""
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, module: SpikingModule) -> None:
        self._drawn_at = trainer.global_step
        writers: list[Any] = [g.experiment for g in trainer.loggers if isinstance(g, TensorBoardLogger)]
        if not writers or not trainer.is_global_zero or not _data(trainer).split.val.size:
            return
        step = trainer.global_step - 1  # Lightning logs an epoch's scalars under the number of its last step
        for tag, pixels in self._pixels(trainer, module):
            for writer in writers:
                # Not add_figure, which goes through pyplot, where the user's own figures live.
                writer.add_image(f"plots/{tag}", pixels, step, dataformats="HWC")

    def _pixels(self, trainer: L.Trainer, module: SpikingModule) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each picture's tag and pixels."""
        data = _data(trainer)
        with default_style(), averaged(trainer, module):
            for index in _some(data.store.targets, data.split.val, self.recordings).tolist():
                device, context = module.device, trainer.precision_plugin.val_step_context()
                seen = see(data, module.network, module.loss, index, device, context)
                for what, figure in chain(() if self._events_drawn else draw_recording(seen), draw_answer(seen)):
                    yield f"recording_{index}/{what}", render(figure)
            self._events_drawn = True
            for name, counts in self._counts.items():
                yield (
                    f"rates/{name}",
                    render(draw_rates(counts.cpu().numpy(), int(self._steps), data.settings.step_ms, name)),
                )
            if self._confusion is not None:
                names = data.class_names or [str(number) for number in range(len(self._confusion))]
                yield "confusion", render(draw_confusion(self._confusion.cpu().numpy(), names))


def _answers(answers: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Count the answers to each class, steps without a label left out, `[K, K]`: class, answer."""
    labelled = targets != IGNORED
    pairs = targets[labelled] * num_classes + answers[labelled]
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def first_of_classes(targets: np.ndarray, places: np.ndarray, number: int) -> np.ndarray:
    """Return the first `number` recordings of different classes; where classes run out, their second ones follow.

    Args:
        targets: Class of each recording of the store.
        places: The recordings to choose from, in order.
        number: How many; fewer where there are not as many.
    """
    seen: dict[int, int] = {}
    rounds = []
    for label in targets[places].tolist():
        rounds.append(seen.get(label, 0))
        seen[label] = rounds[-1] + 1
    return places[np.argsort(rounds, kind="stable")[:number]]


def _some(targets: np.ndarray, places: np.ndarray, number: int) -> np.ndarray:
    return first_of_classes(targets, places, number) if kind_of(targets) == "class" else places[:number]


def see(
    data: EventDataModule,
    network: Network,
    loss: Any,
    index: int,
    device: torch.device,
    context: AbstractContextManager[Any],
) -> Seen:
    """Run one recording through a network as validation does, without a trace in it or in random numbers.

    Args:
        loss: What reads its outputs out.
        index: The recording's place in the store; of windows, the first of it is taken.
        context: In what the network is run, such as a precision.
    """
    events: EventBatch = data.events_of(data.places_of(np.array([index]))[:1])
    moved = EventBatch(*(None if column is None else column.to(device) for column in events))  # type: ignore[arg-type]
    batch: Batch = data.on_after_batch_transfer(moved, 0)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        context,
    ):
        recording = record(network, batch.x, lengths=batch.lengths)
        answers = loss.answers(recording.y)
    valid = int(batch.lengths[0])
    return Seen(
        Events(*(None if column is None else column.numpy() for column in events[:4])),  # type: ignore[arg-type]
        data.settings.size,
        data.settings.duration_ms,
        data.settings.step_ms,
        _target(batch.targets, valid),
        _only(recording.y, valid),
        _only(answers, valid),
        {name: _only(spikes, valid) for name, spikes in recording.spikes.items()},
        {name: _only(of["v"], valid) for name, of in recording.states.items() if "v" in of},
        dict(_thresholds(network, recording.spikes)),
        data.class_names,
    )


def _target(targets: Tensor, valid: int) -> int | np.ndarray:
    """Return the class of the one recording, its values, or its labels of the valid steps."""
    kind = kind_of(targets)
    if kind == "class":
        return int(targets[0])
    return targets[0].cpu().numpy() if kind == "value" else _only(targets, valid)


def _data(trainer: L.Trainer) -> EventDataModule:
    return trainer.datamodule  # type: ignore[attr-defined]


def _only(values: Tensor, valid: int) -> np.ndarray:
    """Return the valid steps of the one recording, `[T, ...]`."""
    values = values[:valid, 0].cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _thresholds(network: torch.nn.Module, layers: Any) -> Iterator[tuple[str, float]]:
    """Yield the layers that have one threshold for all neurons, and the threshold."""
    for name in layers:
        threshold = getattr(network.get_submodule(name), "v_threshold", None)
        if threshold is not None and torch.as_tensor(threshold).numel() == 1:
            yield name, float(threshold)
