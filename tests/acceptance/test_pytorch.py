"""`snnlab.nn` as plain PyTorch: what README, docs/tutorials/pytorch.md, docs/losses.md and docs/runs.md promise."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snnlab
from snnlab.nn import LI, LIF, CountError, Network, keep_heap
from snnlab.nn.losses import LOSSES

T, B, CLASSES = 30, 16, 2


@pytest.fixture
def network() -> Any:  # whose names lead to parts that a type checker does not know
    torch.manual_seed(0)
    layers = {"fc1": nn.Linear(8, 12), "lif1": LIF(dt=1.0, tau_mem=10.0), "fc2": nn.Linear(12, CLASSES)}
    return Network({**layers, "readout": LI(dt=1.0, tau_mem=20.0)})


@pytest.fixture
def x() -> Tensor:
    return torch.bernoulli(torch.full((T, B, 8), 0.4), generator=torch.Generator().manual_seed(0))


def test_importing_it_imports_no_framework() -> None:
    modules = "snnlab.nn, snnlab.kernels.function, snnlab.data.events.frames"
    code = f"import sys, {modules}; print(*{{'hydra', 'omegaconf', 'lightning', 'tonic'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_loop_of_ones_own_trains_it(network: Any, x: Tensor) -> None:
    keep_heap()
    targets = torch.arange(B) % CLASSES
    x = x * (1 + targets[:, None])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        readout, _ = network(x)
        loss = nn.functional.cross_entropy(readout.mean(0), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_state_goes_in_and_out_and_pieces_give_the_same_bit_for_bit(network: Any, x: Tensor) -> None:
    with torch.no_grad():
        whole, _ = network(x)
        first, state = network(x[:11])
        again, _ = network(x[:11])
        second, _ = network(x[11:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(first, again)  # nothing is hidden in a module


def test_counts_are_filled_with_the_spikes_of_each_neuron(network: Any, x: Tensor) -> None:
    counts: dict[str, Tensor] = {}
    with torch.no_grad():
        network(x, counts=counts)
        spikes, _ = Network({name: network.get_submodule(name) for name in ("fc1", "lif1")})(x)
    assert set(counts) == {"lif1"}
    assert torch.equal(counts["lif1"], spikes.sum(0))


def test_names_lead_to_parts(network: Any) -> None:
    assert isinstance(network.lif1, LIF)
    assert network.fc1.weight.shape == (12, 8)
    assert [name for name, _ in network.named_children()] == ["fc1", "lif1", "fc2", "readout"]


def test_a_copy_runs_and_trains_by_itself(network: Any, x: Tensor) -> None:
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x)[0], network(x)[0])
    before = network.fc1.weight.detach().clone()
    twin(x)[0].sum().backward()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    assert torch.equal(network.fc1.weight, before)


def test_a_plan_of_how_it_runs_can_be_read(network: Any, x: Tensor) -> None:
    assert "lif1" in str(network.plan(x))


def test_losses_are_modules_that_return_their_terms_by_name(x: Tensor) -> None:
    network: Any = Network({"fc": nn.Linear(8, 3), "lif": LIF(dt=1.0, tau_mem=10.0)})
    counts: dict[str, Tensor] = {}
    spikes, _ = network(x, counts=counts)
    targets, lengths = torch.randint(3, (B,)), torch.full((B,), T)
    loss, terms = CountError(correct_rate=0.8, incorrect_rate=0.2)(spikes, targets, lengths, counts)
    loss.backward()
    assert network.fc.weight.grad is not None
    assert list(terms) == ["mse_count"]
    assert {"cross_entropy", "tet", "mse_rate", "mse_first_spike", "van_rossum"} <= set(LOSSES)


def test_events_become_frames_without_a_run() -> None:
    from snnlab.data import to_frames

    events = {"t": np.array([0, 15_000, 319_999]), "x": np.array([0, 3, 33]), "y": np.array([1, 2, 3])}
    events["p"] = np.array([0, 1, 1])
    frames = to_frames(events, num_bins=32, duration_ms=320, sensor_size=(34, 34, 2))
    assert frames.shape == (32, 1, 2, 34, 34)
    found = {tuple(index) for index in torch.nonzero(frames).tolist()}
    assert found == {(0, 0, 0, 1, 0), (1, 0, 1, 2, 3), (31, 0, 1, 3, 33)}


def test_the_names_of_the_package_can_be_completed_and_are_there() -> None:
    assert {"Session", "__version__", "load", "nn", "stream", "train"} <= set(dir(snnlab))
    assert all(getattr(snnlab, name) is not None for name in snnlab.__all__)
    with pytest.raises(AttributeError, match="tarin"):
        snnlab.tarin  # type: ignore[attr-defined]  # noqa: B018
