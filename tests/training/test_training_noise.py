"""Noise on the weights in training: the gradient is at the noisy weights, the step is one of the clean weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from snnlab import load, train
from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network
from snnlab.training.training_noise import TrainingNoise

from ..cli.conftest import FAST, digits_store
from ..refusals import assert_raises

__all__ = ["digits_store"]

LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 8},
    "lif1": {"type": "lif", "recurrent": True, "learn": ["tau_mem"]},
    "out": {"type": "linear", "out_features": 3},
}
RUN: Any = (*FAST, "plots=null", "monitors=null", "model.layers.fc1.out_features=16", "data.num_bins=4")


def network() -> Network:
    torch.manual_seed(0)
    return build_network(LAYERS, in_shape=(5,), dt=2.0).network


def gradients(net: Network) -> dict[str, torch.Tensor]:
    x = torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(1))
    net.zero_grad()
    net(x)[0].square().sum().backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def begin(noise: TrainingNoise, step: int, batch: int = 0) -> None:
    noise.on_train_batch_start(SimpleNamespace(global_step=step), None, None, batch)  # type: ignore[arg-type]


@pytest.mark.long
def test_the_gradient_is_that_of_the_noisy_weights_and_the_step_that_of_the_clean_ones():
    net = network()
    clean = {name: p.detach().clone() for name, p in net.named_parameters()}
    noise = TrainingNoise(net, 0.2, 0)
    begin(noise, 3)
    noisy = {name: p.detach().clone() for name, p in net.named_parameters()}
    found = gradients(net)
    noise.on_after_backward(None, None)  # type: ignore[arg-type]
    assert all(torch.equal(p, clean[name]) for name, p in net.named_parameters())
    other = network()
    other.load_state_dict(noisy, strict=False)
    assert all(torch.equal(value, found[name]) for name, value in gradients(other).items())
    for name in ("fc1.weight", "lif1.feedback.weight", "out.weight"):
        assert 0.1 < (noisy[name] / clean[name] - 1).std() < 0.3
    assert all(torch.equal(noisy[n], clean[n]) for n in clean if not n.endswith("weight"))


def test_the_noise_depends_on_seed_step_and_batch():
    def weights(seed: int, step: int, batch: int) -> torch.Tensor:
        net = network()
        begin(TrainingNoise(net, 0.2, seed), step, batch)
        return net.get_parameter("out.weight").detach().clone()

    first = weights(0, 0, 0)
    assert torch.equal(first, weights(0, 0, 0))
    assert all(not torch.equal(first, weights(*key)) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


def test_frozen_weights_and_a_batch_that_fails_keep_the_clean_weights():
    net = network()
    net.get_parameter("fc1.weight").requires_grad_(False)
    clean = [p.detach().clone() for p in net.parameters()]
    noise = TrainingNoise(net, 0.2, 0)
    begin(noise, 0)
    assert torch.equal(net.get_parameter("fc1.weight"), clean[0])
    noise.on_exception(None, None, RuntimeError())  # type: ignore[arg-type]
    assert all(torch.equal(p, of) for p, of in zip(net.parameters(), clean, strict=True))


@pytest.mark.long
def test_a_training_with_noise_is_recorded_repeated_and_another_one(tmp_path: Any, digits_store: str):
    runs = [
        load(train(*RUN, digits_store, f"output_dir={tmp_path}/{place}", f"model.noise={level}").folder)
        for place, level in enumerate((0.3, 0.3, 0.0))
    ]
    assert [run.config["model"]["noise"] for run in runs] == [0.3, 0.3, 0.0]
    one, again, without = (dict(run.network.named_parameters())["fc1.weight"] for run in runs)
    assert torch.equal(one, again)
    assert not torch.equal(one, without)


@pytest.mark.parametrize("value", ["-0.1", "much", "true"])
def test_another_value_is_refused(value: str):
    with assert_raises(ConfigError, "model.noise", ">= 0"):
        train(*RUN, f"model.noise={value}")


def test_a_network_without_connections_has_no_noise():
    assert TrainingNoise(nn.Sequential(nn.ReLU()), 0.1, 0).weights == []
