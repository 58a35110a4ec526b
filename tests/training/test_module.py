from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from snnlab.data.events.frames import Batch
from snnlab.nn import BuiltNetwork
from snnlab.nn.losses import LossContext, build_loss
from snnlab.training.module import Schedule, SpikingModule

PARTS = ("loss/cross_entropy", "loss/rate")
Make = Callable[..., Any]
OF_A_STAGE = {
    *("loss", "accuracy", "spikes_per_step/lif", "silent/lif", "rate_hz/lif", "spikes_per_sample"),
}


class _Recorder(L.Callback):
    """Records the metrics at the end of each epoch, and changes torch's random state."""

    def __init__(self, disturb: int = 0) -> None:
        self.disturb = disturb
        self.epochs: list[dict[str, float]] = []
        self.seeds: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.rand(self.disturb)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seeds.append(torch.initial_seed())

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch:
            self.epochs.append({k: float(v) for k, v in trainer.callback_metrics.items()})


def _weights(module: SpikingModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_epoch_logs_loss_accuracy_and_every_spiking_layer(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    trainer = quiet_trainer(max_epochs=1, log_every_n_steps=1)
    trainer.fit(make_module(), loader, loader)
    expected = {f"{stage}/{name}" for stage in ("train", "val") for name in OF_A_STAGE}
    assert set(trainer.callback_metrics) == {*expected, "train/loss_step", "lr"}
    (tested,) = trainer.test(make_module(), loader, verbose=False)
    assert set(tested) == {f"test/{name}" for name in OF_A_STAGE}


def test_steps_that_loggers_skip_log_no_loss(make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]) -> None:
    trainer = quiet_trainer(max_epochs=1, log_every_n_steps=10**6)
    trainer.fit(make_module(), loader, loader)
    assert "train/loss_step" not in trainer.callback_metrics
    assert "train/loss" in trainer.callback_metrics


def test_the_parts_of_a_loss_are_logged_as_they_enter_it(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    module = make_module()
    node = {"type": "cross_entropy", "regularizers": {"rate": {"type": "rate_band", "lower": 400.0, "weight": 0.5}}}
    built = BuiltNetwork(module.network, {}, {"lif": (8,)}, 1)
    loss = build_loss(node)
    loss.bind(LossContext(built, (5,), 2.0, 6, 3))
    module = SpikingModule(built, loss, module.make_optimizer, None, num_classes=3, dt=2.0, seed=0)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, loader, loader)
    for stage in ("train", "val"):
        values = {name: float(trainer.callback_metrics[f"{stage}/{name}"]) for name in ("loss", *PARTS)}
        assert values["loss"] == pytest.approx(sum(values[name] for name in PARTS))
        assert values["loss/rate"] > 0


def test_without_a_length_of_steps_nothing_is_logged_in_hz(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    (tested,) = quiet_trainer().test(make_module(dt=None), loader, verbose=False)
    assert set(tested) == {f"test/{name}" for name in OF_A_STAGE if "hz" not in name}


def test_logged_means_are_over_samples_not_over_batches(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], batches: list[Batch]
) -> None:
    module = make_module()
    (tested,) = quiet_trainer().test(module, loader, verbose=False)
    losses, right, spikes = [], 0, 0.0
    module.eval()
    with torch.no_grad():
        for batch in batches:
            for b, n in enumerate(batch.lengths.tolist()):
                counts: dict[str, Tensor] = {}
                y = module(batch.x[:n, b : b + 1], counts=counts)
                losses.append(functional.cross_entropy(y.mean(0), batch.targets[b : b + 1]))
                right += int(y.mean(0).argmax() == batch.targets[b])
                spikes += float(counts["lif"].sum())
    assert tested["test/loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert tested["test/accuracy"] == pytest.approx(right / 10)
    assert tested["test/spikes_per_sample"] == pytest.approx(spikes / 10)
    assert spikes > 0


def test_dropout_depends_on_seed_and_step_alone(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    after = []
    for seed, disturb in ((0, 0), (0, 5), (1, 0)):
        module = make_module(seed=seed)
        recorder = _Recorder(disturb)
        torch.manual_seed(disturb)
        quiet_trainer(max_epochs=2, callbacks=[recorder]).fit(module, loader, loader)
        after.append(_weights(module))
        assert len(set(recorder.seeds)) == 6  # a new one for every batch
    assert _equal(after[0], after[1])
    assert not _equal(after[0], after[2])


def test_batches_of_one_accumulated_step_draw_their_own_dropout(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    recorder = _Recorder()
    quiet_trainer(max_epochs=2, accumulate_grad_batches=3, callbacks=[recorder]).fit(make_module(), loader, loader)
    assert len(set(recorder.seeds)) == 6


def test_validation_neither_trains_nor_drops(make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]) -> None:
    module = make_module()
    before = _weights(module)
    trainer = quiet_trainer()
    first, second = (trainer.validate(module, loader, verbose=False) for _ in range(2))
    assert first == second
    assert _equal(before, _weights(module))


def test_a_plateau_schedule_runs(make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]) -> None:
    # No epoch is better than the first by the threshold.
    plateau = partial(ReduceLROnPlateau, factor=0.5, patience=0, threshold=100.0, threshold_mode="abs")
    module = make_module(schedule=Schedule(lambda optimizer, _: plateau(optimizer)))
    recorder = _Recorder()
    quiet_trainer(max_epochs=4, callbacks=[recorder]).fit(module, loader, loader)
    assert [epoch["lr"] for epoch in recorder.epochs] == pytest.approx([0.1, 0.1, 0.05])


def test_the_logged_rate_is_the_one_the_epoch_was_trained_with(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any]
) -> None:
    recorder = _Recorder()
    module = make_module(schedule=Schedule(lambda optimizer, _: StepLR(optimizer, step_size=1, gamma=0.1)))
    quiet_trainer(max_epochs=3, callbacks=[recorder]).fit(module, loader, loader)
    assert [epoch["lr"] for epoch in recorder.epochs] == pytest.approx([0.1, 0.01])


def test_a_schedule_steps_at_its_interval(make_module: Make) -> None:
    configured = make_module(
        schedule=Schedule(lambda optimizer, _: StepLR(optimizer, step_size=1), "step")
    ).configure_optimizers()
    scheduler = configured["lr_scheduler"]
    assert isinstance(scheduler["scheduler"], StepLR)
    assert scheduler["scheduler"].optimizer is configured["optimizer"]
    assert scheduler["interval"] == "step"
    assert "monitor" not in scheduler


def test_a_plateau_schedule_gets_its_monitored_metric(make_module: Make) -> None:
    for monitor in ("val/loss", "train/loss"):
        configured = make_module(
            schedule=Schedule(lambda optimizer, _: ReduceLROnPlateau(optimizer), monitor=monitor)
        ).configure_optimizers()
        assert configured["lr_scheduler"]["monitor"] == monitor
