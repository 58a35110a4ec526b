from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from snnlab.errors import ConfigError
from snnlab.experiment_fields import AnnealingSettings
from snnlab.nn import Network, build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.neurons.membrane import SpikingMembrane
from snnlab.training.surrogate_annealing import SurrogateAnnealing

from ..refusals import assert_raises

LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 8},
    "lif1": {"type": "lif", "surrogate": {"type": "atan", "width": 0.2}},
    "fc2": {"type": "linear", "out_features": 8},
    "alif": {"type": "alif", "surrogate": {"type": "atan", "alpha": 2.0}, "recurrent": True},
    "readout": {"type": "li"},
}


def network() -> Network:
    torch.manual_seed(0)
    return build_network(LAYERS, in_shape=(5,), dt=2.0).network


def widths(net: Network) -> list[float]:
    return [m.surrogate.size.width for m in net.modules() if isinstance(m, SpikingMembrane)]


def test_all_widths_go_from_start_to_end_in_equal_parts() -> None:
    net = network()
    own, annealing = widths(net), SurrogateAnnealing(net, AnnealingSettings(4.0, 3))
    for epoch, factor in enumerate((4.0, 2.0, 1.0, 1.0, 1.0)):
        annealing.set_epoch(epoch)
        assert widths(net) == pytest.approx([factor * width for width in own])
    assert len(own) == 2


def test_one_epoch_has_the_end() -> None:
    assert SurrogateAnnealing(network(), AnnealingSettings(4.0, 1, 2.0)).factor(0) == 2.0


@pytest.mark.parametrize(("start", "epochs", "name"), [(0.0, 3, "start"), (1.0, 0, "epochs")])
def test_a_value_out_of_range_is_refused(start: float, epochs: int, name: str) -> None:
    with assert_raises(ConfigError, name, 0):
        SurrogateAnnealing(network(), AnnealingSettings(start, epochs))


def test_a_network_without_surrogates_is_refused() -> None:
    with assert_raises(ConfigError, "", "surrogate"):
        SurrogateAnnealing(torch.nn.Linear(1, 1), AnnealingSettings(2.0, 3))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_gradient_follows_and_the_spikes_stay(backend: Any) -> None:
    net = network()
    set_backend(net, backend)
    x = (torch.rand(20, 3, 5, generator=torch.Generator().manual_seed(0)) < 0.5).float() * 3
    annealing, found = SurrogateAnnealing(net, AnnealingSettings(4.0, 2)), []
    for epoch in (0, 1):
        annealing.set_epoch(epoch)
        net.zero_grad()
        y, _ = net(x)
        y.sum().backward()
        gradient = net.get_parameter("fc1.weight").grad
        assert gradient is not None
        found.append((y.detach(), gradient.clone()))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


class Widths(L.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(widths(pl_module.network)[0])


def test_each_epoch_of_a_training_has_its_width(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: DataLoader[Any]
) -> None:
    module, seen = make_module(), Widths()
    (own,) = widths(module.network)
    annealing = SurrogateAnnealing(module.network, AnnealingSettings(4.0, 3))
    quiet_trainer(max_epochs=4, callbacks=[annealing, seen]).fit(module, loader, loader)
    assert seen.seen == pytest.approx([f * own for f in (4.0,) * 3 + (2.0,) * 3 + (1.0,) * 6])
