"""The networks and recordings of the bench."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from snnlab import load, train
from snnlab.data.formats import ReadOptions, read_file
from snnlab.nn.network import Network
from snnlab.session import Session
from snnlab.step_events import columns_of

# Columns x, y, p of a step.
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


class Recording(NamedTuple):
    """Events of a recording, and the number of the millisecond of each."""

    name: str
    events: Columns
    ms: np.ndarray

    def steps(self, dt: float) -> list[Columns]:
        """Return the events of each step of dt ms."""
        stops = np.searchsorted(self.ms, np.arange(int(self.ms[-1] // dt) + 2) * dt)
        x, y, p = self.events
        return [(x[i:j].copy(), y[i:j].copy(), p[i:j].copy()) for i, j in pairwise(stops)]


class Work(NamedTuple):
    """A network and its recordings.

    Attributes:
        dt: Length of a step, ms.
        in_shape: Shape of a frame, (P, H, W).
    """

    name: str
    network: Network
    in_shape: tuple[int, int, int]
    dt: float
    recordings: list[Recording]


def works(settings: argparse.Namespace) -> Iterator[Work]:
    """Yield the networks that the command line names."""
    data = settings.data
    gesture = ("data=dvsgesture", "data.duration_ms=1440")
    for name in settings.works:
        if name == "speck":
            file = data / "foreign" / "sinabs" / "dvs_gesture_params.pt"
            network = composed(*gesture, "data.dt=1", "model=speck_gesture", f"model.weights.file={file}")
            yield Work(name, network, (2, 128, 128), 1.0, gestures(data))
        elif name == "neurobench":
            file = data / "foreign" / "neurobench" / "dvs_gesture_snn"
            small = ("data.dt=10", "data.downsample=4", "model=neurobench_gesture", f"model.weights.file={file}")
            yield Work(name, composed(*gesture, *small), (2, 32, 32), 10.0, gestures(data, 4))
        else:
            run = settings.conv_lif or trained_conv_lif(settings)
            network = load(run, overrides=["data.num_bins=null", "data.dt=1"]).network
            yield Work(name, network, (2, 34, 34), 1.0, digits(data))


def composed(*overrides: str) -> Network:
    return Session.composed(*overrides).network.eval()


def trained_conv_lif(settings: argparse.Namespace) -> Path:
    """Return a run of conv_lif, trained for some epochs with steps of 5 ms."""
    if done := sorted(settings.out.glob("conv_lif/**/checkpoints/best.ckpt")):
        return done[-1].parents[1]
    own = [f"data.root={settings.data}", f"data.store_dir={settings.out}/store", f"output_dir={settings.out}/conv_lif"]
    steps = ["data.download=false", "data.num_bins=null", "data.dt=5", "trainer.max_epochs=4"]
    return train("model=conv_lif", "data=nmnist", *own, *steps).folder


def gestures(data: Path, downsample: int = 1) -> list[Recording]:
    """Return the gestures; their times are whole milliseconds."""
    found = []
    for path in sorted((data / "DVSGesture").rglob("*.npy")):
        x, y, p, t = np.load(path, allow_pickle=False).astype(np.int64)[:, :4].T
        order = np.argsort(t, kind="stable")
        events = (x[order] // downsample, y[order] // downsample, p[order])
        found.append(Recording(f"gesture {path.stem}", events, t[order]))
    return found


def digits(data: Path, number: int = 4) -> list[Recording]:
    """Return a test recording of each of the first digits."""
    found = []
    for digit in range(number):
        path = sorted((data / "NMNIST" / "Test" / str(digit)).glob("*.bin"))[0]
        events = read_file(path, ReadOptions(time_origin="zero"), (34, 34, 2))
        columns = columns_of(events, 34)
        found.append(Recording(f"digit {digit}", (columns["x"], columns["y"], columns["p"]), columns["t"] // 1000))
    return found


def every_cell(in_shape: Sequence[int]) -> Columns:
    """Return a step with an event in each cell."""
    p, y, x = (column.ravel() for column in np.indices(tuple(in_shape)))
    return x, y, p


def on_grid(network: Network, bits: int = 8) -> None:
    """Round the weights and biases of each layer to multiples of a power of two, in place."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                most = module.weight.abs().max()
                unit = 2.0 ** torch.ceil(torch.log2(most / (2 ** (bits - 1) - 1)))
                for values in (module.weight, module.bias):
                    if values is not None:
                        values.copy_((values / unit).round() * unit)
