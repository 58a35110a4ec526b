"""Augmentation and mixing of the training recordings in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.schema import Experiment, Mode
from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.events import open_or_build
from snnlab.data.mixing import Mixing
from snnlab.session.build_data import make_data_module


@pytest.mark.parametrize(("mode", "changed"), [("train", True), ("profile", True), ("overfit", False)])
def test_one_batch_of_mode_overfit_is_neither_augmented_nor_mixed(mode: Mode, changed: bool, tmp_path: Path) -> None:
    node = {
        **{"type": "spike_patterns", "sensor_size": [30, 1, 1], "num_classes": 3, "duration_ms": 100.0, "num_bins": 10},
        **{"num_recordings": 30},
        **{"augment": [{"type": "drop_events", "most": 0.5}], "mix": {"type": "mixup"}},
    }
    settings, _, _ = read_settings(node)
    experiment = Experiment("one", 0, model={}, data=node, loss={}, optimizer={}, trainer={}, mode=mode)
    dataset = build_dataset(node)
    module = make_data_module(experiment, settings, open_or_build(dataset, tmp_path), dataset)
    assert isinstance(module.mixing, Mixing) == changed
    assert (module.pipeline is not None) == changed
