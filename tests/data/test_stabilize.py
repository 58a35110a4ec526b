"""The paths that datasets state: without them, recordings are sharper."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from omegaconf import OmegaConf

from snnlab.config.folders import find_file
from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.events import Events
from snnlab.data.events.simulators import simulate_saccades


def sharpness(events: Events) -> float:
    counts = np.zeros((34, 34))
    assert events.y is not None
    np.add.at(counts, (events.y, events.x), 1)
    return float((counts**2).sum() / counts.sum() ** 2)


def node_of(name: str, **changes: Any) -> dict[str, Any]:
    node = OmegaConf.merge(OmegaConf.load(find_file(f"data/{name}")), changes)
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


@pytest.mark.parametrize("name", ["saccade_digits", "saccade_mnist", "saccade_images"])
def test_stabilized_simulated_recordings_are_sharper(name: str) -> None:
    needed = {"root": "."} if name == "saccade_images" else {}
    settings, *_ = read_settings(node_of(name, stabilize=True, num_classes=10, **needed))
    image = np.zeros((28, 28))
    image[6:22, 13:16] = image[6:9, 8:20] = 1.0
    events = simulate_saccades(image, np.random.default_rng(0))
    assert settings.camera is not None
    assert sharpness(settings.camera.stabilize(events, settings.size)) > 1.3 * sharpness(events)


def test_stabilized_real_recordings_are_sharper(real_data: Path) -> None:
    node = node_of("nmnist", stabilize=True, root=str(real_data), download=False)
    camera, dataset = read_settings(node)[0].camera, build_dataset(node)
    assert camera is not None
    recordings = [dataset.read(index) for index in range(0, 700, 35)]
    gain = [sharpness(camera.stabilize(events, (34, 34, 2))) / sharpness(events) for events in recordings]
    assert min(gain) > 1.1
    assert np.mean(gain) > 1.3
