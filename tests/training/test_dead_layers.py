"""A dead or saturated layer is reported once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from snnlab.training.health import DeadLayerWarning

from ..refusals import assert_text_has


def warnings_of(warning: DeadLayerWarning, caplog: pytest.LogCaptureFixture, **values: float) -> list[str]:
    caplog.clear()
    metrics = {f"train/{name.replace('__', '/')}": torch.tensor(value) for name, value in values.items()}
    trainer = SimpleNamespace(callback_metrics=metrics, current_epoch=0)
    warning.on_epoch_logged(cast(Any, trainer), cast(Any, None))
    return [record.getMessage() for record in caplog.records]


def test_a_dead_layer_is_reported_once_with_a_hint_at_the_doctor(caplog: pytest.LogCaptureFixture):
    warning = DeadLayerWarning()
    (text,) = warnings_of(warning, caplog, silent__lif1=1.0, silent__lif2=0.99, spikes_per_step__lif1=0.0)
    assert_text_has(text, "lif1", "neuron", "epoch 1", "v_threshold")
    assert "snnlab doctor" in text
    assert not warnings_of(warning, caplog, silent__lif1=1.0)


def test_a_saturated_layer_is_reported_unless_it_spikes_several_times_a_step(caplog: pytest.LogCaptureFixture):
    warning = DeadLayerWarning()
    (text,) = warnings_of(
        warning, caplog, spikes_per_step__lif1=0.95, spikes_per_step__lif2=0.5, spikes_per_step__lif3=1.7
    )
    assert_text_has(text, "lif1", "epoch 1")
    assert not warnings_of(warning, caplog, spikes_per_step__lif1=0.95)
