"""NeuroBench's and SynSense's gesture networks: all spikes of all layers are those of their own libraries.

Axes: T steps, B recordings, then the layer's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.interop.state_dicts import read_state_dict
from snnlab.nn.network import Network
from snnlab.nn.record import NetworkRecord, record
from snnlab.session import Session

from ..marks import one_long

pytestmark = pytest.mark.long  # whole recordings through two libraries

# The classes of the four recordings, which are the names of their files.
CLASSES = [0, 3, 6, 9]
DENOISE_US = 10_000
SPECK_LAYERS = [f"iaf{number}" for number in range(1, 10)]


def library(name: str) -> Any:
    """Return another library's module, or skip; warnings at its import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.fixture(scope="module")
def foreign(real_data: Path) -> Path:
    path = real_data / "foreign"
    if not path.is_dir():
        pytest.skip(f"no networks of other projects: {path} is missing")
    return path


def gestures(real_data: Path, dt_ms: int, *, denoised: bool, side: int, classes: Sequence[int] = CLASSES) -> Tensor:
    """Return the counts of recordings after transforms of tonic, `[T, B, 2, side, side]`."""
    transforms = library("tonic.transforms")
    steps = 1440 // dt_ms
    x = torch.zeros(steps, len(classes), 2, side, side)
    for place, target in enumerate(classes):
        (path,) = (real_data / "DVSGesture").rglob(f"{target}.npy")
        columns = np.load(path, allow_pickle=False)
        events = np.zeros(len(columns), [("x", int), ("y", int), ("p", int), ("t", int)])
        events["x"], events["y"], events["p"], events["t"] = *columns[:, :3].T, columns[:, 3] * 1000
        if denoised:
            events = transforms.Denoise(filter_time=DENOISE_US)(events)
        if side < 128:
            events = transforms.Downsample(sensor_size=(128, 128, 2), target_size=(side, side))(events)
        events = events[events["t"] < 1_440_000]
        where = tuple(events[name].astype(int) for name in ("p", "y", "x"))
        np.add.at(x[:, place].numpy(), (events["t"] // (dt_ms * 1000), *where), 1.0)
    return x


def of_neurobench(foreign: Path, dt_ms: int) -> Network:
    file = foreign / "neurobench" / "dvs_gesture_snn"
    data = ["data=dvsgesture", "data.downsample=4", "data.duration_ms=1440", f"data.dt={dt_ms}"]
    return Session.composed("model=neurobench_gesture", *data, f"model.weights.file={file}").network.eval()


def of_speck(foreign: Path) -> Network:
    file = foreign / "sinabs" / "dvs_gesture_params.pt"
    data = ["data=dvsgesture", "data.duration_ms=1440", "data.dt=10"]
    return Session.composed("model=speck_gesture", *data, f"model.weights.file={file}").network.eval()


def run(network: Network, x: Tensor) -> NetworkRecord:
    """Return the record of a run, whose output is that of a run that records nothing and fuses layers."""
    with torch.no_grad():
        found = record(network, x)
        assert torch.equal(network(x)[0], found.y)
    return found


def answers(found: NetworkRecord) -> list[int]:
    """Return the classes with most spikes."""
    return found.y.sum(0).argmax(-1).tolist()


class OfSnntorch(nn.Module):
    """NeuroBench's network with snnTorch's neurons; constants come from the file."""

    def __init__(self) -> None:
        super().__init__()
        leaky = library("snntorch").Leaky
        for number, (before, after) in enumerate([(2, 16), (16, 32), (32, 64)], 1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, 5, padding="same"))
        self.linear1 = nn.Linear(1024, 11)
        for number in range(1, 5):
            self.add_module(f"lif{number}", leaky(beta=0.5))

    def spikes(self, x: Tensor) -> dict[str, Tensor]:
        """Return the spikes of each layer, step by step, `[T, B, ...]`."""
        membranes = {f"lif{number}": self.get_submodule(f"lif{number}").reset_mem() for number in range(1, 5)}  # type: ignore[operator]
        found: dict[str, list[Tensor]] = {name: [] for name in membranes}
        for h in x:
            for number, name in enumerate(membranes, 1):
                if number < 4:
                    h = torch.max_pool2d(self.get_submodule(f"conv{number}")(h), 2)
                else:
                    h = self.linear1(h.flatten(1))
                h, membranes[name] = self.get_submodule(name)(h, membranes[name])
                found[name].append(h)
        return {name: torch.stack(steps) for name, steps in found.items()}


@pytest.mark.peers
@pytest.mark.parametrize("dt_ms", one_long([20, 40]))
def test_all_layers_of_neurobench_spike_as_in_snntorch(foreign: Path, real_data: Path, dt_ms: int) -> None:
    theirs = OfSnntorch()
    theirs.load_state_dict(read_state_dict(foreign / "neurobench" / "dvs_gesture_snn"))
    x = gestures(real_data, dt_ms, denoised=True, side=32)
    with torch.no_grad():
        expected = theirs.spikes(x)
    found = run(of_neurobench(foreign, dt_ms), x)
    assert found.spikes.keys() == expected.keys()
    for name, spikes in expected.items():
        assert spikes.sum() > 100
        assert torch.equal(found.spikes[name], spikes), name


@pytest.mark.parametrize("dt_ms", one_long([20, 40]))
def test_neurobench_recognizes_four_of_four_gestures(foreign: Path, real_data: Path, dt_ms: int) -> None:
    """No accuracy: the network may have been trained on these recordings."""
    assert answers(run(of_neurobench(foreign, dt_ms), gestures(real_data, dt_ms, denoised=True, side=32))) == CLASSES


@pytest.mark.peers
@pytest.mark.parametrize("target", one_long(CLASSES))
def test_all_layers_of_speck_spike_as_in_sinabs(foreign: Path, real_data: Path, target: int) -> None:
    """Sinabs makes its network from the one with ReLU."""
    layers, from_torch = library("sinabs.layers"), library("sinabs.from_torch")
    ann = relu_network()
    ann.load_state_dict(read_state_dict(foreign / "sinabs" / "dvs_gesture_params.pt"))
    theirs = from_torch.from_model(ann, add_spiking_output=True, batch_size=1).spiking_model.eval()
    expected: list[Tensor] = []
    for module in theirs.modules():
        if isinstance(module, layers.IAF):
            module.register_forward_hook(lambda _, __, spikes: expected.append(spikes))
    x = gestures(real_data, 10, denoised=False, side=128, classes=[target])
    with torch.no_grad():
        theirs(x[:, 0])
    found = run(of_speck(foreign), x)
    assert [*found.spikes] == SPECK_LAYERS
    for name, spikes in zip(SPECK_LAYERS, expected, strict=True):
        assert spikes.sum() > 100
        assert torch.equal(found.spikes[name][:, 0], spikes), name
    # Right for all four, which is no accuracy: the network may have been trained on these recordings.
    assert answers(found) == [target]


def relu_network() -> nn.Sequential:
    """Return SynSense's network as it was trained."""

    def conv(before: int, after: int, kernel: int, **settings: int) -> nn.Module:
        return nn.Conv2d(before, after, kernel, bias=False, **settings)  # type: ignore[arg-type]

    parts: list[nn.Module] = [conv(2, 16, 2, stride=2), nn.ReLU()]
    for before, after in [(16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]:
        parts += [conv(before, after, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    parts += [nn.Dropout2d(), conv(64, 256, 2), nn.ReLU(), nn.Dropout2d(), nn.Flatten()]
    parts += [nn.Linear(256, 128, bias=False), nn.ReLU(), nn.Linear(128, 11, bias=False)]
    return nn.Sequential(*parts)
