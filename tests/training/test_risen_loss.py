from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from snnlab.training import health
from snnlab.training.health import LossRiseWarning

from ..refusals import assert_text_has

Make = Callable[..., Any]


def fitted(make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], lr: float, epochs: int) -> LossRiseWarning:
    module, risen = make_module(), LossRiseWarning()
    module.make_optimizer = lambda network: torch.optim.SGD(network.parameters(), lr=lr)
    quiet_trainer(max_epochs=epochs, callbacks=[risen]).fit(module, loader, loader)
    return risen


def test_a_loss_far_above_its_start_is_reported_once(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        risen = fitted(make_module, quiet_trainer, loader, 1e6, 3)
    (record,) = [record for record in caplog.records if record.name.startswith("snnlab")]
    assert_text_has(record.getMessage(), "above")
    assert risen.first is not None
    assert 0.5 < risen.first < 3
    again = LossRiseWarning()
    again.load_state_dict(risen.state_dict())
    assert (again.first, again.reported) == (risen.first, True)


def test_a_falling_loss_is_not_reported(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not fitted(make_module, quiet_trainer, loader, 0.1, 3).reported
    assert not [record for record in caplog.records if record.name.startswith("snnlab")]


@pytest.mark.parametrize(("learned", "reported"), [(0.0, False), (1.1, True)])
def test_an_easy_first_batch_is_not_reported_with_a_high_training_accuracy(
    make_module: Make,
    quiet_trainer: Make,
    loader: DataLoader[Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    learned: float,
    reported: bool,
) -> None:
    monkeypatch.setattr(health, "_LEARNED", learned)
    risen = LossRiseWarning()
    risen.first = 1e-9
    quiet_trainer(max_epochs=1, callbacks=[risen]).fit(make_module(), loader, loader)
    assert risen.reported is reported
