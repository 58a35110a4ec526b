"""Checks before a training: the class counts of a weighted loss, and memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from snnlab.config.compose import compose_experiment
from snnlab.data.windows import Windows
from snnlab.errors import ConfigError
from snnlab.nn.learning import BPTT
from snnlab.nn.losses import CrossEntropy
from snnlab.session import Session, checks
from snnlab.session.build_data import set_class_counts

from ..refusals import assert_raises


def data(windows: Windows | None, targets: Any = "class") -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(targets=targets, num_classes=3),
        split=SimpleNamespace(train=np.array([0, 1, 3])),
        store=SimpleNamespace(targets=np.array([0, 1, 2, 1, 2])),
        windows=windows,
    )


def weights(of: Any) -> list[float] | None:
    loss = CrossEntropy(class_weight="balanced")
    set_class_counts(loss, of)
    found = loss.class_weights.weights
    return None if found is None else found.tolist()


def test_training_recordings_are_counted() -> None:
    assert weights(data(None)) == pytest.approx([3 / 2, 3 / 4, 1.0])


def test_windows_of_recordings_are_counted() -> None:
    recording = np.array([0, 0, 0, 1, 2, 2, 3])  # training windows: three of class 0, two of class 1
    assert weights(data(Windows(recording, np.zeros(7, np.int64), 1000))) == pytest.approx([5 / 6, 5 / 4, 1.0])


def test_a_batch_that_does_not_fit_into_memory_is_refused_with_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["model=mlp_lif", "data=spike_patterns", "data.batch_size=20000"]

    def check(*overrides: str) -> None:
        experiment, _ = compose_experiment([*settings, *overrides], None)
        session = Session(experiment)
        checks.check_memory(experiment, session.settings, session.built, BPTT())

    monkeypatch.setattr(checks, "available_memory", lambda: 1e9)
    with assert_raises(ConfigError, "data.batch_size", "20000 recordings", "1.0 GB", "checkpoint_segments") as caught:
        check()
    fits = int(caught.value.hint.split()[0])
    assert 1 < fits < 20000
    check(f"data.batch_size={fits}")
    monkeypatch.setattr(checks, "available_memory", lambda: None)
    check()
