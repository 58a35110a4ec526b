from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network
from snnlab.nn.delays import delays_of
from snnlab.training.layer_schedules import LayerSchedules
from snnlab.training.optimizer import Group, GroupedOptimizer, parameter_kinds

from ..refusals import assert_raises

DELAY = {"max": 8, "learn": True}
LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 8, "delay": DELAY | {"sigma_decay": 0.5, "sigma_start": 2.0}},
    "lif": {"type": "lif", "v_threshold": 0.3, "recurrent": {"delay": DELAY}},
    "axon": {"type": "delay", "delay": DELAY},
    "out": {"type": "linear", "out_features": 3},
}


def network() -> Network:
    torch.manual_seed(0)
    return build_network(LAYERS, in_shape=(5,), dt=2.0).network


def test_delays_are_a_kind_of_parameters_and_can_have_a_learning_rate_of_their_own() -> None:
    net = network()
    names = {name for name, kinds in parameter_kinds(net).items() if kinds == {"delays"}}
    assert names == {"fc.delays.fraction", "lif.feedback.delays.fraction", "axon.delays.fraction"}
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=0.01), [Group("delays", ["delays"], {"lr": 0.5})])(net)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert all(rates[id(p)] == (0.5 if name in names else 0.01) for name, p in net.named_parameters())


def test_each_step_of_an_optimizer_leaves_the_delays_in_their_range() -> None:
    net = network()
    optimizer = GroupedOptimizer(partial(torch.optim.SGD, lr=100.0))(net)
    for _ in range(2):
        optimizer.zero_grad()
        (net(torch.ones(20, 3, 5))[0] ** 2).sum().backward()
        optimizer.step()
    for delays in delays_of(net):
        assert delays.fraction.min() >= 0
        assert delays.fraction.max() <= 1
        assert (delays.fraction.frac() == 0).any()  # at an end


class Sigmas(L.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[float, ...]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seen.append(tuple(delays.sigma for delays in delays_of(pl_module.network)))


def test_the_gaussians_become_narrow_in_their_fraction_of_the_epochs(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: DataLoader[Any]
) -> None:
    module, sigmas = make_module(), Sigmas()
    module.network = network()
    quiet_trainer(max_epochs=5, callbacks=[LayerSchedules(module.network), sigmas]).fit(module, loader, loader)
    middle = 2.0 * (0.23 / 2.0) ** 0.5
    assert [sigma[0] for sigma in sigmas.seen] == pytest.approx([2.0, middle, 0.23, 0.23, 0.23])
    assert [sigma[1] for sigma in sigmas.seen] == pytest.approx([2.0, 0.23, 0.23, 0.23, 0.23])


def test_the_band_of_masked_psn_becomes_exact_in_its_fraction_of_the_epochs() -> None:
    settings = {"type": "masked_psn", "masking": 0.2, "masking_rise": 0.5}
    net = build_network({"psn": settings, "fixed": {"type": "masked_psn"}}, in_shape=(5,), dt=2.0, num_steps=4).network
    schedules, seen = LayerSchedules(net), list[float]()
    assert len(schedules.modules) == 1
    for epoch in range(8):
        schedules.set_epoch(epoch, 8)
        seen.append(float(net.get_buffer("psn.masking")))
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0])


def test_a_training_without_an_end_is_refused(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: DataLoader[Any]
) -> None:
    module = make_module()
    module.network = network()
    trainer = quiet_trainer(max_epochs=-1, max_steps=3, callbacks=[LayerSchedules(module.network)])
    with assert_raises(ConfigError, "trainer.max_epochs"):
        trainer.fit(module, loader, loader)
