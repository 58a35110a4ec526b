"""The networks of Higuchi et al. (ICML 2024) answer from their own files, as published.

Axes: T steps, B recordings, N neurons, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from torch import Tensor

from snnlab.data.splits import TEST
from snnlab.interop.state_dicts import load_state_dict, read_state_dict
from snnlab.nn.layer import Counts, TemporalLayer, fold_time
from snnlab.nn.network import Network
from snnlab.session import Session

OMEGA_DT, GAMMA = 0.01, 0.9  # of their code
RIGHT = {"smnist_brf": 9914, "smnist_alif": 9244, "psmnist_brf": 9522, "psmnist_alif": 8380}


@pytest.fixture(scope="module")
def foreign(real_data: Path) -> Path:
    path = real_data / "foreign" / "brf"
    if not path.is_dir():
        pytest.skip(f"no networks of other projects: {path} is missing")
    return path


class Theirs(NamedTuple):
    """What an independent loop of their equations gives: spikes `[T, B, N]`, outputs `[T, B, K]`."""

    spikes: np.ndarray
    outputs: np.ndarray


def loop(path: Path, x: np.ndarray) -> Theirs:
    """Run the equations of their code in double precision on an input `[T, B, C]`."""
    w = {name: value.double().numpy() for name, value in read_state_dict(path).items()}
    joined = w["hidden.linear.weight"] * w["hidden.linear.mask"]
    inputs, recurrent = joined[:, : x.shape[2]], joined[:, x.shape[2] :]
    z, u, v, q = np.zeros((4, x.shape[1], len(joined)))
    out = np.zeros((x.shape[1], len(w["out.tau_mem"])))
    keep = np.exp(-1.0 / np.abs(w["out.tau_mem"]))
    spikes, outputs = [], []
    for step in x:
        drive = step @ inputs.T + z @ recurrent.T
        if "hidden.omega" in w:
            omega, dt = np.abs(w["hidden.omega"]), OMEGA_DT
            b = (-1.0 + np.sqrt(1.0 - (dt * omega) ** 2)) / dt - np.abs(w["hidden.b_offset"]) - q
            u, v = u + b * u * dt - omega * v * dt + drive * dt, v + omega * u * dt + b * v * dt
            z = (u - 1.0 - q > 0).astype(float)
            q = q * GAMMA + z
        else:
            alpha, rho = np.exp(-1.0 / np.abs(w["hidden.tau_mem"])), np.exp(-1.0 / np.abs(w["hidden.tau_adp"]))
            q = q * rho + z * (1.0 - rho)
            threshold = 0.01 + 1.8 * q
            u = u * alpha + drive * (1.0 - alpha)
            z = (u - threshold > 0).astype(float)
            u = u - z * threshold
        out = out * keep + (z @ w["out.linear.weight"].T) * (1.0 - keep)
        spikes.append(z)
        outputs.append(out)
    return Theirs(np.stack(spikes), np.stack(outputs))


def composed(name: str, real_data: Path, foreign: Path, store_dir: Path, *more: str) -> Session:
    """Return an experiment with one of their networks, and its data."""
    task, kind = name.split("_")
    if task == "ecg":
        size = ("data=ecg_qtdb", "loss=cross_entropy_steps", "model=alif_recurrent", "model.layers.fc1.out_features=36")
        data = size if kind == "alif" else ("experiment=ecg_brf",)
    else:
        own = f"data.permutation={foreign}/{name}_permuted_idx.pt"
        data = (f"model={kind}_recurrent", "data=pixel_mnist", *([own] if task == "psmnist" else []))
    file = f"model.weights.file={foreign / name}.pt"
    return Session.composed(*data, f"data.root={real_data}", f"data.store_dir={store_dir}", file, *more)


def first_frames(session: Session, number: int | None = None) -> Tensor:
    """Return the frames of the first test recordings in double precision, `[T, B, ...]`, made from their events."""
    settings = session.settings
    tested = np.flatnonzero(session.dataset.split == TEST)[:number]
    events = [session.dataset.read(int(index)) for index in tested]
    x = torch.zeros(settings.steps, len(events), *settings.frame_shape, dtype=torch.float64)
    step_us = settings.duration_us // settings.steps
    for place, one in enumerate(events):
        steps, column = torch.from_numpy(one.t // step_us), torch.from_numpy(one.x.astype(np.int64))
        if session.experiment.data["type"] == "pixel_mnist":
            x[steps, place] = ((column.double() + 1.0) / 255.0).view(-1, *[1] * len(settings.frame_shape))
        else:
            x[steps, place, column] = 1.0
    return x


def read_labels(session: Session) -> np.ndarray:
    """Return the labels of the test recordings in their file, -1 for none, `[T, B]`."""
    path = session.dataset.origin / "QTDB_test.mat"  # type: ignore[attr-defined]
    y = loadmat(path, variable_names=["y"])["y"][:, :-1]
    return np.where(y.any(2), y.argmax(2), -1).T


def run(network: Network, x: Tensor) -> Theirs:
    """Run a network's layers one after the other, each on all steps."""
    spikes = np.zeros(0)
    with torch.no_grad():
        for name, layer in network.layers():
            x = layer(x)[0] if isinstance(layer, TemporalLayer) else fold_time(layer, x)
            spikes = x.numpy() if name in ("brf1", "alif1") else spikes
    return Theirs(spikes, x.numpy())


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param("ecg_brf", 4, marks=pytest.mark.long),
        pytest.param("ecg_alif", 4, marks=pytest.mark.long),
        ("smnist_brf", 4),
        ("psmnist_alif", 4),
        pytest.param("smnist_brf", 200, marks=pytest.mark.slow),
        pytest.param("smnist_alif", 100, marks=pytest.mark.long),
        pytest.param("psmnist_brf", 100, marks=pytest.mark.long),
        pytest.param("ecg_brf", 141, marks=pytest.mark.long),
        pytest.param("ecg_alif", 141, marks=pytest.mark.long),
    ],
)
def test_in_double_precision_every_spike_is_that_of_an_independent_loop(
    name: str, number: int, real_data: Path, foreign: Path, store_dir: Path
) -> None:
    session = composed(name, real_data, foreign, store_dir)
    weights = session.experiment.foreign_weights
    network = session.built.network.double().eval()
    assert weights is not None
    load_state_dict(network, foreign / f"{name}.pt", weights.rename)
    x = first_frames(session, number)
    theirs = loop(foreign / f"{name}.pt", x.flatten(2).numpy())
    found = run(network, x)
    assert np.array_equal(found.spikes, theirs.spikes)
    assert theirs.spikes.sum() > 1000 * number
    np.testing.assert_allclose(found.outputs, theirs.outputs, rtol=1e-9, atol=1e-12)


SCORES = {"ecg_brf": (158_037, 140_656, 0.8066, 6913.61), "ecg_alif": (129_265, 117_986, 0.6527, 4612.96)}


@pytest.mark.long
@pytest.mark.parametrize("name", list(SCORES))
def test_their_ecg_networks_have_the_scores_of_their_logs_and_ours(
    name: str, real_data: Path, foreign: Path, store_dir: Path
) -> None:
    """In single precision: their score counts steps without a label as class 0; ALIF's leaves out ten steps."""
    session = composed(name, real_data, foreign, store_dir, "data.unlabelled=null")
    x = first_frames(session).float()
    found = run(session.network.eval(), x)
    answers = found.outputs.argmax(2)
    labels = read_labels(session)
    right = answers == labels
    as_theirs = answers == np.maximum(labels, 0)
    all_right, labelled_right, balanced, spikes = SCORES[name]
    slack = 60  # of 183,300 steps: another processor rounds sums differently
    assert abs(as_theirs.sum() - all_right) <= slack
    assert abs(right[labels >= 0].sum() - labelled_right) <= slack
    assert np.mean([right[labels == k].mean() for k in range(6)]) == pytest.approx(balanced, abs=1e-3)
    assert found.spikes.sum() / x.shape[1] == pytest.approx(spikes, rel=1e-3)
    published = {"ecg_brf": as_theirs.mean() - 0.862, "ecg_alif": as_theirs[10:].mean() - 0.7075}[name]
    assert abs(published) < 5e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RIGHT))
def test_their_mnist_networks_have_the_published_accuracy_on_all_test_digits(
    name: str, real_data: Path, foreign: Path, store_dir: Path
) -> None:
    """The figures are comments of their code, with two decimals of a percent (`psmnist_alif`: one)."""
    session = composed(name, real_data, foreign, store_dir)
    network, data = session.network.eval(), session.data
    data.setup("test")
    right, spikes = 0, 0.0
    with torch.no_grad():
        for batch in data.test_dataloader():
            batch = data.on_after_batch_transfer(batch, 0)
            counts: Counts = {}
            y = network(batch.x, counts=counts)[0]
            read = y[-1] if name.startswith("smnist") else y.mean(0)
            right += int((read.argmax(1) == batch.targets).sum())
            spikes += sum(float(one.double().sum()) for one in counts.values())
    assert abs(right - RIGHT[name]) <= (2 if name == "smnist_brf" else 5)
    if name == "smnist_brf":
        assert spikes / 10_000 == pytest.approx(16_100.154, rel=1e-5)
