"""The curves of Higuchi et al.'s network on S-MNIST, `brf/robustness`, are ours with their weights.

    python -m tests.nn.test_published_robustness FOLDER 10000      # another number of digits; prints each level

Their definitions are those of their code, experiments/smnist/noise_robustness: `weight_noise` is on matrices alone, and
`bit_precision` has 1, 2, 4, 8, 16, 32 and more bits. The network whose weights they publish is the third of five.

Axes: T pixels, B digits, L levels, R repetitions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.nn import Network, build_network
from snnlab.nn.disturbances import DISTURBANCES, Disturbance

DIGITS, REPETITIONS = 1000, 2
LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 256, "bias": False},
    "brf1": {"type": "brf", "omega": [15.0, 50.0], "damping": [0.1, 1.0], "recurrent": True},
    "out": {"type": "linear", "out_features": 10, "bias": False},
    "readout": {"type": "li", "tau_mem": "20 steps", "input_gain": "1-a", "learn": {"tau_mem": "channel"}},
}
ARRAYS = {
    "spikes_deleted": ("spike_deletion_rf", tuple(round(0.1 * k, 1) for k in range(10))),
    "weight_noise": ("weight_noise_rf", tuple(round(0.1 * k, 1) for k in range(11))),
    "input_noise": ("input_noise_rf", tuple(round(0.05 * k, 2) for k in range(8))),
    "precision": ("bit_precision_rf", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 52.0)),
}
THEIRS = 2  # the place of their network among five


class Level(NamedTuple):
    """Our accuracies at a level, one for each repetition, and theirs, in percent."""

    name: str
    level: float
    ours: list[float]
    theirs: np.ndarray
    digits: int

    @property
    def errors(self) -> float:
        """The difference in standard errors: of both means, and of a part of the digits in place of all."""
        p = self.theirs.mean() / 100
        part = 1e4 * p * (1 - p) / self.digits * (1 - self.digits / 10_000)
        of_noise = (
            float(self.theirs.var(ddof=1)) * (1 / len(self.ours) + 1 / self.theirs.size)
            if self.theirs.size > 1
            else 0.0
        )
        return float(np.mean(self.ours) - self.theirs.mean()) / max(np.sqrt(part + of_noise), 0.02)


def their_network(data: Path) -> Network:
    stored = torch.load(data / "foreign/brf/smnist_brf.pt", map_location="cpu", weights_only=True)["model_state_dict"]
    network = build_network(LAYERS, in_shape=(1,), dt=10.0, num_steps=784).network.eval()
    joined = stored["hidden.linear.weight"]
    values = {
        **{
            "fc1.weight": joined[:, :1],
            "brf1.feedback.weight": joined[:, 1:],
            "out.weight": stored["out.linear.weight"],
        },
        **{"brf1.neuron.omega": stored["hidden.omega"], "brf1.neuron.damping": stored["hidden.b_offset"]},
        "readout.learned.tau_mem": stored["out.tau_mem"].abs().log(),
    }
    network.load_state_dict(values)
    return network


def digits(data: Path, number: int) -> tuple[Tensor, Tensor]:
    """Return the pixels of equally spaced test digits, `[T, B, 1]`, and their classes; the two halves differ."""
    images = np.fromfile(data / "smnist/t10k-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 784)
    labels = np.fromfile(data / "smnist/t10k-labels-idx1-ubyte", np.uint8, offset=8)
    every = 10_000 // number
    x = torch.from_numpy(images[::every].T.copy()).float()[..., None] / 255
    return x, torch.from_numpy(labels[::every].astype(np.int64))


def accuracy(network: Network, x: Tensor, targets: Tensor, one: Disturbance, seed: int) -> float:
    """Return the accuracy of a disturbed copy, in percent."""
    rng, disturbed, right = torch.Generator().manual_seed(seed), deepcopy(network), 0
    with torch.no_grad():
        one.disturb(disturbed, x[:1, :1], rng)
        for part, of in zip(x.split(500, 1), targets.split(500), strict=True):
            right += int((disturbed(one.frames(part, rng))[0][-1].argmax(1) == of).sum())
    return 100 * right / len(targets)


def levels(data: Path, name: str, number: int, repetitions: int) -> Iterator[Level]:
    """Yield each level of an array but those that change nothing."""
    file, each = ARRAYS[name]
    theirs = np.load(data / f"foreign/brf/robustness/{file}.npy", allow_pickle=False)[1]
    network, (x, targets) = their_network(data), digits(data, number)
    kind: Any = DISTURBANCES.get(name, "")
    for place, level in enumerate(each):
        if level:
            seeds = range(repetitions if kind.random else 1)
            ours = [accuracy(network, x, targets, kind(level), 100 * place + seed) for seed in seeds]
            yield Level(name, level, ours, np.atleast_1d(theirs[place, THEIRS]), number)


@pytest.mark.slow  # ten minutes
@pytest.mark.parametrize("name", ARRAYS)
def test_each_level_of_a_published_curve_is_met_within_three_standard_errors(real_data: Path, name: str):
    if not (real_data / "foreign/brf/robustness").is_dir() or not (real_data / "smnist").is_dir():
        pytest.skip(f"no foreign/brf/robustness or no smnist in {real_data}")
    for one in levels(real_data, name, DIGITS, REPETITIONS):
        assert abs(one.errors) < 3, one


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    for array in sys.argv[4:] or ARRAYS:
        for found in levels(folder, array, count, int(sys.argv[3])):
            print(f"{array} {found.level:g}: ours {found.ours}, theirs {found.theirs}, {found.errors:+.2f}", flush=True)
