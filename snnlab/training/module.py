"""The Lightning module: time unrolled, loss, metrics and spike rates logged.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.layer import Counts, only_spikes
from snnlab.nn.losses import Loss
from snnlab.nn.network import BuiltNetwork
from snnlab.nn.summary import learned_figures
from snnlab.nn.tbptt import run_windows
from snnlab.seeds import Stream, derived_seed
from snnlab.target_kinds import Targets
from snnlab.training.distributed import Shares, size_of
from snnlab.training.metrics import StageMetrics
from snnlab.training.optimizer import rates
from snnlab.training.schedules import MakeOptimizer, RunLength, Schedule as Schedule
from snnlab.training.weight_averaging import averaging_of


def batch_loss(loss: Loss, y: Tensor, batch: Batch, counts: Counts) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, mixed or not, and its parts by name.

        mean_b [(1 - w_b) loss(y_b, targets_b) + w_b loss(y_b, mix.targets_b)],   w = mix.weight

    Args:
        loss: What the network is trained for.
        y: The network's output.
        batch: The batch.
        counts: What its spiking layers did.

    Shape:
        y `[T, B, K]`; scalars come out.
    """
    if batch.mix is None:
        return loss(y, batch.targets, batch.lengths, counts)
    own, parts = loss(y, batch.targets, batch.lengths, counts, 1 - batch.mix.weight)
    others, more = loss(y, batch.mix.targets, batch.lengths, counts, batch.mix.weight)
    return own + others, {name: part + more[name] for name, part in parts.items()}


def counted_targets(batch: Batch) -> Tensor:
    """Return what counts as right: of recordings of mixed classes the one with the larger weight."""
    if batch.mix is None:
        return batch.targets
    return torch.where(batch.mix.weight > 0.5, batch.mix.targets, batch.targets)


STAGES = ("train", "val", "test")


class Options(NamedTuple):
    """What changes how a network learns.

    Attributes:
        window: Steps of a window of truncated backpropagation; None: all.
        frozen: Layers that stay in evaluation.
    """

    window: int | None = None
    frozen: Sequence[nn.Module] = ()


PLAIN = Options()


class Outputs(NamedTuple):
    """What a validation or test step hands to the callbacks: the network's output `[T, B, K]` and the counts."""

    y: Tensor
    counts: Counts
    batch: Batch


class SpikingModule(L.LightningModule):
    """Trains a network on frames of events and logs the loss, the scores and what every spiking layer does.

    Args:
        built: The network and the shapes of its layers.
        loss: What it is trained for; says too how the steps become an answer.
        make_optimizer: From the network to an optimizer of its parameters.
        schedule: How the learning rate changes, or None.
        num_classes: Number of classes, or of values.
        dt: Length of a step, ms; None where steps have no length.
        seed: The run's seed.
        targets: What the targets are.
        names: What values are called; None: by their numbers.
        options: What changes how it learns.
    """

    def __init__(
        self,
        built: BuiltNetwork,
        loss: Loss,
        make_optimizer: MakeOptimizer,
        schedule: Schedule | None,
        *,
        num_classes: int,
        dt: float | None,
        seed: int,
        targets: Targets = "class",
        names: Sequence[str] | None = None,
        options: Options = PLAIN,
    ) -> None:
        super().__init__()
        self.network, self.loss = built.network, loss
        self.make_optimizer, self.schedule, self.seed = make_optimizer, schedule, seed
        self._shares = Shares()
        self.window, self.frozen = options.window, list(options.frozen)
        settings = (num_classes, built.spiking, dt, targets, names, loss.names)
        made = {f"{stage}_metrics": StageMetrics(*settings) for stage in STAGES}
        self.metrics = nn.ModuleDict(made)

    def forward(self, x: Tensor | EventFrames, lengths: Tensor | None = None, counts: Counts | None = None) -> Tensor:
        """Return the network's output at every step, from rest."""
        if self.window is not None and self.training:
            return run_windows(self.network, dense(x), self.window, lengths=lengths, counts=counts)
        return self.network(x, lengths=lengths, counts=counts)[0]

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation; frozen layers stay in the latter."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

    def on_train_start(self) -> None:
        """Set frozen layers to evaluation: Lightning leaves all as it finds them, and complains of any before this."""
        self.train()

    def on_train_epoch_start(self) -> None:
        """Remember the learning rates that this epoch is trained with: schedules step before its end."""
        self._rates = rates(self.optimizers().param_groups)  # type: ignore[union-attr]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's learning rates: a resumed epoch does not start again."""
        checkpoint["lr_of_epoch"] = self._rates
        averaging = averaging_of(self.trainer)
        if averaging is not None and "callbacks" not in checkpoint:  # weights alone: Lightning asks no callback
            averaging.on_save_checkpoint(self.trainer, self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's learning rates."""
        self._rates = checkpoint["lr_of_epoch"]
        if not isinstance(self._rates, dict):  # of an older run
            self._rates = {"lr": self._rates}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Give dropout numbers that depend on step, batch and process alone, not on what happened before."""
        process = (self.global_rank,) if self.global_rank else ()
        seed = derived_seed(self.seed, Stream.DROPOUT, self.global_step, batch_idx, *process)
        if self.device.type == "cpu":
            # torch.manual_seed asks for every kind of device whether it is there: half a millisecond, at each step.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch, weighed where it is not all of its step."""
        size = size_of(self.trainer, batch_idx, len(batch.lengths))
        loss, parts, _ = self._step(batch, "train", measured=size.own > 0)
        # Where Lightning hands it on: to log it takes it half a millisecond, and at most steps for nothing.
        every: int = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]  # set from outside
        if (self.global_step + 1) % every == 0 or self.trainer.should_stop:
            self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        if self.trainer.world_size == 1 and self.trainer.accumulate_grad_batches == 1:
            return loss
        labelled = self.loss.labelled(batch.targets)
        return self._shares.weighed(self.trainer, batch_idx, size, loss, parts, labelled, self.network.parameters())

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._step(batch, "val")[2]

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._step(batch, "test")[2]

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, the learning rates it was trained with, and what neurons have learned of constants."""
        self.log_dict(self._rates)
        self.log_dict(learned_figures(self.network))
        self._log_stage("train")

    def on_validation_epoch_end(self) -> None:
        self._log_stage("val")

    def on_test_epoch_end(self) -> None:
        self._log_stage("test")

    def so_far(self) -> dict[str, float]:
        """Return loss, scores and spikes a sample of the epoch's training so far; waits for the device."""
        return self._metrics("train").so_far()

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule as Lightning takes them."""
        optimizer = self.make_optimizer(self.network)
        if self.schedule is None:
            return optimizer
        scheduler = self.make_schedule(optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": self.schedule.interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.schedule.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def make_schedule(self, optimizer: Optimizer) -> Any:
        """Return the schedule of an optimizer, over the run as it is asked for now.

        Raises:
            ConfigError: if the run has no end, and the schedule needs one.
        """
        assert self.schedule is not None
        if not self.schedule.whole_run:
            return self.schedule.make(optimizer, None)
        self.trainer.fit_loop.setup_data()  # so that the number of batches is known
        steps = self.trainer.estimated_stepping_batches
        if not 0 < steps < math.inf:
            raise ConfigError("scheduler", "needs a run with an end", "set trainer.max_epochs")
        batches, accumulated = self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
        return self.schedule.make(optimizer, RunLength(int(steps), math.ceil(batches / accumulated)))

    def _step(self, batch: Batch, stage: str, *, measured: bool = True) -> tuple[Tensor, dict[str, Tensor], Outputs]:
        """Return a batch's loss, its parts and the outputs; `measured`: whether it counts for the stage's figures."""
        counts: Counts = {}
        y = self(batch.frames if self.network.takes_lists else batch.x, batch.lengths, counts)
        loss, parts = batch_loss(self.loss, y, batch, counts)
        if measured:
            scores = self.loss.readout(y, batch.lengths)
            self._metrics(stage).update(loss, scores, counted_targets(batch), counts, batch.lengths, parts)
        return loss, parts, Outputs(y, only_spikes(counts), batch)

    def _metrics(self, stage: str) -> StageMetrics:
        metrics = self.metrics[f"{stage}_metrics"]
        assert isinstance(metrics, StageMetrics)
        return metrics

    def _log_stage(self, stage: str) -> None:
        values = self._metrics(stage).collect()
        self.log_dict({f"{stage}/{name}": value.float() for name, value in values.items()})
