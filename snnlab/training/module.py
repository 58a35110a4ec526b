"""The Lightning module: runs the network over time, computes the loss, logs metrics and spike rates.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError, DivergedError
from snnlab.event_frames import EventFrames
from snnlab.nn.layer import Counts, only_spikes
from snnlab.nn.learning import BPTT, LearningRule
from snnlab.nn.losses import Loss
from snnlab.nn.network import BuiltNetwork
from snnlab.nn.summary import learned_metrics
from snnlab.seeds import Stream, derived_seed
from snnlab.target_kinds import Targets
from snnlab.training.distributed import LossWeights, size_of
from snnlab.training.metrics import StageMetrics
from snnlab.training.optimizer import learning_rates
from snnlab.training.schedules import MakeOptimizer, RunLength, Schedule as Schedule
from snnlab.training.task import BatchTask, batch_loss
from snnlab.training.weight_averaging import averaging_of


def scored_targets(batch: Batch) -> Tensor:
    """Return the targets that metrics compare with: of two mixed recordings that with the larger weight."""
    if batch.mix is None:
        return batch.targets
    return torch.where(batch.mix.weight > 0.5, batch.mix.targets, batch.targets)


STAGES = ("train", "val", "test")


class TrainingOptions(NamedTuple):
    """Options of training.

    Attributes:
        rule: The learning rule; None: backpropagation through time.
        frozen: Layers that stay in evaluation mode.
    """

    rule: LearningRule | None = None
    frozen: Sequence[nn.Module] = ()


DEFAULT_OPTIONS = TrainingOptions()


class Outputs(NamedTuple):
    """Output of a validation or test step, for callbacks: the network's output `[T, B, K]` and its spike counts."""

    y: Tensor
    counts: Counts
    batch: Batch


class EpochCallback(L.Callback):
    """A callback that is called when an epoch is logged; Lightning calls `on_train_epoch_end` before that."""

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Act on the epoch that `trainer.callback_metrics` describes."""


def call_epoch_callbacks(module: L.LightningModule) -> None:
    """Call the callbacks that wait for the epoch that a module has logged."""
    for callback in module.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EpochCallback):
            callback.on_epoch_logged(module.trainer, module)


class SpikingModule(L.LightningModule):
    """Trains a network on event frames and logs the loss, the scores and the activity of every spiking layer.

    Args:
        built: The network and the shapes of its layers.
        loss: The loss; it contains the readout.
        make_optimizer: Returns the optimizer of a network's parameters.
        schedule: Schedule of the learning rate, or None.
        num_classes: Number of classes, or of values.
        dt: Length of a step, ms; None where steps have no length.
        seed: The run's seed.
        targets: Kind of the targets.
        names: Names of the values; None: their indices.
        options: Options of training.
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
        options: TrainingOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        self.network, self.loss = built.network, loss
        self.make_optimizer, self.schedule, self.seed = make_optimizer, schedule, seed
        self._loss_weights = LossWeights()
        self._gradient_norms: Tensor | float = 0.0  # summed since the last check
        self.rule, self.frozen = options.rule or BPTT(), list(options.frozen)
        self.targets: Targets = targets
        settings = (num_classes, built.spiking, dt, targets, names, loss.names)
        metrics = {f"{stage}_metrics": StageMetrics(*settings) for stage in STAGES}
        self.metrics = nn.ModuleDict(metrics)

    def forward(self, x: Tensor | EventFrames, lengths: Tensor | None = None, counts: Counts | None = None) -> Tensor:
        """Return the network's output at every step, starting at rest."""
        return self.network(x, lengths=lengths, counts=counts)[0]

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

    def on_train_start(self) -> None:
        """Set frozen layers to evaluation mode; Lightning keeps modes, and warns if any layer is in it before this."""
        self.train()

    def on_train_epoch_start(self) -> None:
        """Store the learning rates of this epoch: schedules step before it ends."""
        self._rates = learning_rates(self.optimizers().param_groups)  # type: ignore[union-attr]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's learning rates: a resumed epoch does not run `on_train_epoch_start` again."""
        checkpoint["lr_of_epoch"] = self._rates
        averaging = averaging_of(self.trainer)
        if averaging is not None and "callbacks" not in checkpoint:  # weights only: Lightning calls no callback
            averaging.on_save_checkpoint(self.trainer, self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the epoch's learning rates."""
        self._rates = checkpoint["lr_of_epoch"]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by step, batch and rank only, so that its numbers do not depend on earlier batches."""
        process = (self.global_rank,) if self.global_rank else ()
        seed = derived_seed(self.seed, Stream.DROPOUT, self.global_step, batch_idx, *process)
        if self.device.type == "cpu":
            # torch.manual_seed checks every kind of device: half a millisecond at each step.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch, weighted if an optimizer step has several batches."""
        size = size_of(self.trainer, batch_idx, len(batch.lengths))
        counts: Counts = {}
        task = BatchTask(batch, self.loss, self.targets, self._update)
        loss, parts, scores = self.rule.learn(self.network, task, counts)
        if size.local > 0:
            self._measure("train", batch, loss, parts, scores, counts)
        # Only at steps that loggers record: `log` takes half a millisecond.
        log_every: int = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]  # set from outside
        if (self.global_step + 1) % log_every == 0 or self.trainer.should_stop:
            self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        if self.trainer.world_size == 1 and self.trainer.accumulate_grad_batches == 1:
            return loss
        num_labelled_steps = self.loss.num_labelled_steps(batch.targets)
        return self._loss_weights.weighted_loss(
            self.trainer, batch_idx, size, loss, parts, num_labelled_steps, self.network.parameters()
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, its learning rates and the learned constants of neurons; call what waits for them."""
        self.log_dict(self._rates)
        self.log_dict(learned_metrics(self.network))
        self._log_stage("train")
        call_epoch_callbacks(self)

    def on_validation_epoch_end(self) -> None:
        self._log_stage("val")

    def on_test_epoch_end(self) -> None:
        self._log_stage("test")

    def running_values(self) -> dict[str, float]:
        """Return running loss, scores and spikes per sample of this training epoch; waits for the device."""
        return self._metrics("train").running_values()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Check the norm of the gradient, then clip: divided by an infinite norm the gradient would be 0."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:  # which leaves out such a step itself
            gradients = [values.grad for values in self.parameters() if values.grad is not None]
            self._gradient_norms = self._gradient_norms + nn.utils.get_total_norm(gradients)
            if self.device.type == "cpu":  # of a GPU reading it would wait for the device
                self.require_finite_gradient()
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def require_finite_gradient(self) -> None:
        """Require that the norms of all gradients since the last call are finite.

        Raises:
            DivergedError: naming the last parameter whose gradient is not.
        """
        norms, self._gradient_norms = float(self._gradient_norms), 0.0
        if math.isfinite(norms):
            return
        infinite = [
            name.removeprefix("network.")
            for name, values in self.named_parameters()
            if values.grad is not None and not torch.isfinite(torch.linalg.vector_norm(values.grad))
        ]
        when = f"epoch {self.trainer.current_epoch + 1}, batch {self.trainer.fit_loop.batch_idx + 1}"
        raise DivergedError(
            infinite[-1] if infinite else "",
            f"the norm of the gradient is {norms:g} in {when}",
            "narrow neuron.surrogate.width or lower optimizer.lr, clipping does not help; see snnlab doctor",
        )

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in Lightning's format."""
        optimizer = self.make_optimizer(self.network)
        if self.schedule is None:
            return optimizer
        scheduler = self.make_schedule(optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": self.schedule.interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.schedule.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def make_schedule(self, optimizer: Optimizer) -> Any:
        """Return the schedule of an optimizer over the run's current length."""
        assert self.schedule is not None
        if not self.schedule.needs_run_length:
            return self.schedule.make(optimizer, None)
        self.trainer.fit_loop.setup_data()  # sets the number of batches
        steps = self.trainer.estimated_stepping_batches
        if not 0 < steps < math.inf:
            raise ConfigError("scheduler", "needs a run with an end", "set trainer.max_epochs")
        batches, accumulated = self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
        return self.schedule.make(optimizer, RunLength(int(steps), math.ceil(batches / accumulated)))

    def _evaluate(self, batch: Batch, stage: str) -> Outputs:
        counts: Counts = {}
        y = self(batch.frames if self.network.accepts_event_lists else batch.x, batch.short_lengths, counts)
        loss, parts = batch_loss(self.loss, y, batch, counts)
        self._measure(stage, batch, loss, parts, self.loss.readout(y, batch.lengths), counts)
        return Outputs(y, only_spikes(counts), batch)

    def _measure(
        self, stage: str, batch: Batch, loss: Tensor, parts: Mapping[str, Tensor], scores: Tensor, counts: Counts
    ) -> None:
        targets = self.loss.readout_targets(scored_targets(batch))
        self._metrics(stage).update(loss, scores, targets, counts, batch.lengths, parts)

    def _update(self) -> None:
        """Let the optimizer change the weights within a batch, for rules that learn within it."""
        # The optimizer itself: Lightning counts the step of the batch alone.
        optimizer = self.trainer.optimizers[0]
        self.configure_gradient_clipping(optimizer)
        optimizer.step()

    def _metrics(self, stage: str) -> StageMetrics:
        metrics = self.metrics[f"{stage}_metrics"]
        assert isinstance(metrics, StageMetrics)
        return metrics

    def _log_stage(self, stage: str) -> None:
        values = self._metrics(stage).collect()
        self.log_dict({f"{stage}/{name}": value.float() for name, value in values.items()})
