"""A non-finite loss ends the training, and its origin is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError, DivergedError
from snnlab.nn import build_network
from snnlab.nn.losses import LossContext, build_loss
from snnlab.nn.network import BuiltNetwork
from snnlab.training.health import DivergenceGuard, locate_non_finite
from snnlab.training.module import SpikingModule

from ..refusals import assert_raises, assert_text_has


@pytest.fixture
def built() -> BuiltNetwork:
    layers = {
        "flat": {"type": "flatten"},
        "fc1": {"type": "linear", "out_features": 4},
        "lif1": {"type": "lif"},
        "out": {"type": "linear", "out_features": 2},
    }
    return build_network(layers, in_shape=(2, 3, 3), dt=1.0, num_steps=5)


def batch(x: Tensor) -> Batch:
    lengths = torch.full((x.shape[1],), x.shape[0])
    return Batch(x, lengths, torch.zeros(x.shape[1], dtype=torch.int64), torch.arange(x.shape[1]))


def test_a_weight_is_named(built: BuiltNetwork):
    with torch.no_grad():
        built.network.get_submodule("fc1").get_parameter("weight")[0, 0] = torch.nan
    where = locate_non_finite(built.network, batch(torch.ones(5, 2, 2, 3, 3)))
    assert_text_has(where, "fc1.weight")


def test_recordings_are_named(built: BuiltNetwork):
    x = torch.ones(5, 2, 2, 3, 3)
    x[2, 0, 0, 0, 0] = torch.inf
    assert_text_has(locate_non_finite(built.network, batch(x)), "recordings")


def test_the_first_layer_with_a_non_finite_output_is_named(built: BuiltNetwork):
    with torch.no_grad():
        built.network.get_submodule("fc1").get_parameter("weight").fill_(3e38)
    where = locate_non_finite(built.network, batch(torch.ones(5, 2, 2, 3, 3)))
    assert_text_has(where, "output of fc1")


def test_where_everything_is_finite_nothing_is_named(built: BuiltNetwork):
    assert locate_non_finite(built.network, batch(torch.ones(5, 2, 2, 3, 3))) == ""


def test_a_gpu_is_read_at_the_guards_checks_only(
    make_module: Callable[..., SpikingModule],
    loader: DataLoader[Any],
    quiet_trainer: Callable[..., L.Trainer],
    monkeypatch: pytest.MonkeyPatch,
):
    """The gradient of the first batch is infinite, and clipped by its norm it is 0: the later ones are finite."""
    module, batches = make_module(), iter((torch.inf, 0.0, 0.0))
    monkeypatch.setattr(SpikingModule, "device", torch.device("cuda"))
    monkeypatch.setattr(nn.utils, "get_total_norm", lambda _: torch.tensor(next(batches)))
    with assert_raises(DivergedError, "", "epoch", 1):
        quiet_trainer(max_epochs=1, callbacks=[DivergenceGuard()]).fit(module, loader, loader)
    assert next(batches) == 0.0  # of the second batch, before which the guard has read it


SUM = {"type": "cross_entropy", "readout": "sum"}
BUDGET = {"type": "mse_rate", "regularizers": {"few": {"type": "weights", "weight": 1e39}}}


@pytest.mark.parametrize(("value", "node", "name"), [(3e38, SUM, "readout"), (1.0, BUDGET, "few")])
def test_a_loss_of_a_finite_output_is_named(built: BuiltNetwork, value: float, node: dict[str, Any], name: str):
    """Sums of all outputs are equal infinities, whose cross-entropy is NaN; or a regularizer is infinite."""
    out = built.network.get_submodule("out")
    with torch.no_grad():
        out.get_parameter("weight").zero_()
        out.get_parameter("bias").fill_(value)
    loss = build_loss(node)
    loss.bind(LossContext(built, (2, 3, 3), 1.0, 5, 2))
    here = batch(torch.ones(5, 2, 2, 3, 3))
    assert not loss(built.network(here.x)[0], here.targets, here.lengths, {})[0].isfinite()
    where = locate_non_finite(built.network, here, loss)
    assert_text_has(where, name, "loss")


def test_a_readout_that_does_not_take_the_output_says_so_itself(built: BuiltNetwork):
    """On a GPU values that are no spikes become NaN, because a check at each step would wait for it."""
    with torch.no_grad():
        built.network.get_submodule("out").get_parameter("weight").zero_()
        built.network.get_submodule("out").get_parameter("bias").fill_(7.0)
    loss = build_loss({"type": "cross_entropy", "readout": "first_spike"})
    with assert_raises(ConfigError, "loss.readout", "first_spike", "7"):
        locate_non_finite(built.network, batch(torch.ones(5, 2, 2, 3, 3)), loss)
