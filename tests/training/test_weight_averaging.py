from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snnlab.errors import ConfigError
from snnlab.training.weight_averaging import (
    AverageRule,
    Averaging,
    ExponentialAverage,
    StochasticWeightAverage,
    averaged_weights,
)

from ..marks import mostly_long
from ..refusals import assert_raises

Make = Callable[..., Any]


def test_the_last_quarter_of_a_run_counts() -> None:
    assert [epoch for epoch in range(12) if StochasticWeightAverage(0.75).includes(epoch, 12)] == [9, 10, 11]
    assert ExponentialAverage().includes(0, 12)


def test_it_restarts_where_an_extended_run_averages_other_epochs() -> None:
    for rule, before, now, left in (
        (StochasticWeightAverage(0.75), 4, 12, 0),
        (StochasticWeightAverage(0.75), 8, 9, 5),
        (ExponentialAverage(), 4, 12, 5),
    ):
        averaging = Averaging(rule)
        averaging.updates = 5
        averaging.continue_run(before, now)
        assert averaging.updates == left


@pytest.mark.parametrize(
    ("make", "setting"),
    [(lambda: ExponentialAverage(decay=1.0), "decay"), (lambda: StochasticWeightAverage(start=1.0), "start")],
)
def test_a_value_out_of_range_is_refused(make: Callable[[], AverageRule], setting: str) -> None:
    with assert_raises((ValueError, ConfigError), setting):
        make()


class WeightRecorder(L.Callback):
    """Stores the weights of each validation and each training batch, and the contents of a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.validated: list[Tensor] = []
        self.trained: list[Tensor] = []
        self.saved: list[Tensor] = []
        self.own: list[Tensor] = []

    def _weight(self, module: Any) -> Tensor:
        return module.network.get_parameter("fc.weight").detach().clone()

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        self.validated.append(self._weight(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(self._weight(pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        for weights_only in (True, False):
            trainer.save_checkpoint(self.folder / "a.ckpt", weights_only=weights_only)
            checkpoint = torch.load(self.folder / "a.ckpt", weights_only=True)
            own = checkpoint.get("current_model_state", checkpoint["state_dict"])
            self.saved.append(checkpoint["state_dict"]["network.fc.weight"])
            self.own.append(own["network.fc.weight"])
        with averaged_weights(trainer, pl_module), averaged_weights(trainer, pl_module):
            assert torch.equal(self._weight(pl_module), self.saved[-1])
        assert torch.equal(self._weight(pl_module), self.trained[-1])


def fitted(
    make: Make, quiet_trainer: Make, loader: DataLoader[Any], rule: AverageRule | None, folder: Path
) -> WeightRecorder:
    seen = WeightRecorder(folder)
    averaging = [] if rule is None else [Averaging(rule)]
    quiet_trainer(callbacks=[seen, *averaging], max_epochs=4).fit(make(), loader, loader)
    return seen


RULES: dict[str, AverageRule] = {
    "ema": ExponentialAverage(0.25),
    "an epoch": ExponentialAverage(0.9, "epoch"),
    "swa": StochasticWeightAverage(0.5),
    "swa of steps": StochasticWeightAverage(0.0, "step"),
}


@pytest.mark.parametrize("rule", mostly_long([pytest.param(rule, id=name) for name, rule in RULES.items()], 2))
def test_averages_are_validated_and_saved_and_training_is_unchanged(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], rule: AverageRule, tmp_path: Path
) -> None:
    seen, without = (fitted(make_module, quiet_trainer, loader, one, tmp_path) for one in (rule, None))
    assert len(seen.trained) == 12
    assert all(torch.equal(a, b) for a, b in zip(seen.trained, without.trained, strict=True))
    includes = [rule.includes(epoch, 4) for epoch in range(4)]
    for epoch in range(4):
        validated, last = seen.validated[3 * epoch], seen.trained[3 * epoch + 2]
        assert all(torch.equal(validated, saved) for saved in seen.saved[2 * epoch : 2 * epoch + 2])
        assert all(torch.equal(last, own) for own in seen.own[2 * epoch : 2 * epoch + 2])
        first = rule.every == "epoch" and includes.index(True) == epoch
        assert torch.equal(validated, last) == (first or not includes[epoch])
    expected, counted = seen.trained[2 if rule.every == "epoch" else 0], seen.trained[1:]
    if rule.every == "epoch":
        counted = [seen.trained[3 * epoch + 2] for epoch in range(4) if includes[epoch]]
        expected, counted = counted[0], counted[1:]
    for n, weights in enumerate(counted, 1):
        expected = torch.lerp(expected, weights, rule.newest_fraction(n))
    torch.testing.assert_close(seen.saved[-1], expected)


def test_newest_fractions() -> None:
    assert [StochasticWeightAverage().newest_fraction(n) for n in range(1, 4)] == [1 / 2, 1 / 3, 1 / 4]
    assert ExponentialAverage(0.25).newest_fraction(1) == 1 - 2 / 11
    assert ExponentialAverage(0.25).newest_fraction(100) == 0.75


def test_batch_norm_statistics_are_averaged_too() -> None:
    mean, count = torch.tensor([2.0]), torch.tensor(5)
    averaging = Averaging(StochasticWeightAverage(every="step"))
    averaging.updates = 1
    assert averaging._update_average(torch.tensor([0.0]), mean, None) == 1.0
    assert averaging._update_average(torch.tensor(3), count, None) is count
