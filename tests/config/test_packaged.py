"""Every packaged configuration composes, builds and runs one forward pass."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder
from snnlab.nn.layer import only_spikes
from snnlab.nn.neurons.base import plain_loops
from snnlab.session import Session
from snnlab.session.checks import check_targets

from ..marks import thinned

# Values that files leave to their user, and those that a loss of spikes needs.
SPIKES = ["model.layers.readout.type=lif"]
FEW_STEPS = ["data.num_bins=2"]
GESTURES = ["data=dvsgesture", "data.root=mine", "data.num_bins=5"]
NEEDED = {
    **dict.fromkeys(("mse_count", "mse_first_spike", "van_rossum"), SPIKES),
    **dict.fromkeys(("speck_gesture", "plif_conv5", "dvsgesture_net", "sew_gesture"), GESTURES),
    "strided_lif": ["data=pixel_mnist"],
    "speck": [*GESTURES, "model=speck_gesture"],
    # As many steps as show that they build and run.
    **dict.fromkeys(("spikformer", "qkformer", "spike_driven_transformer"), FEW_STEPS),
    **dict.fromkeys(("sew_resnet18", "sew_resnet34", "sew_resnet50", "vgg_snn", "cifar10dvs_vgg_tet"), FEW_STEPS),
    "dvsgesture_plif": FEW_STEPS,
    "saccade_images": ["data.root=mine", "data.num_classes=3"],
    "folder": ["data.root=mine", "data.sensor_size=[34,34,2]", "data.num_classes=3", "data.duration_ms=100"],
    "spoken_digits": ["data.root=mine"],
}
# Suites are built by test_suites.py.
FILES = sorted(
    path
    for path in config_folder().rglob("*.yaml")
    if path.parent != config_folder() and path.parent.name not in ("sweep", "suite")
)


# A few in `make test`, a third of the others in `make check`, all in `make slow`.
FIRST = {"lif", "conv_lif", "mlp_lif", "gru", "sew_resnet", "saccade_digits", "yin_yang", "cross_entropy", "cosine"}
CASES = [
    pytest.param(path, id=f"{path.parent.name}={path.stem}", marks=() if path.stem in FIRST else pytest.mark.long)
    for path in FILES
]


@pytest.mark.parametrize("path", thinned(CASES, 3))
def test_it_composes_builds_and_runs_one_forward_pass(path: Path):
    experiment, _ = compose_experiment([f"{path.parent.name}={path.stem}", *NEEDED.get(path.stem, ())], None)
    session = Session(experiment, skip_target_check=True)
    settings, built, loss = session.settings, session.built, session.loss
    session.build("optimization")
    check_targets(experiment, replace(settings, targets=loss.supported_targets[0]), loss, built)
    frames = (torch.rand(settings.steps, 2, *settings.frame_shape) < 0.1).float()
    counts: dict[str, torch.Tensor] = {}
    # The neurons' own tests compile them. Without gradients: recipes at full size would save gigabytes.
    with torch.no_grad(), plain_loops() if path.parent.name == "neuron" else nullcontext():
        y, _ = built.network(frames, counts=counts)
    labels = torch.zeros(y.shape[:2], dtype=torch.int64)
    targets = {"class": torch.tensor([0, 1]), "value": y[0], "steps": labels, "series": y}
    value, _ = loss(y, targets[loss.supported_targets[0]], torch.full((2,), settings.steps), counts)
    assert y.shape == (settings.steps, 2, settings.num_classes)
    assert torch.isfinite(value)
    assert set(only_spikes(counts)) == set(built.spiking)
