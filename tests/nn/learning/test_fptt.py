"""FPTT beside a loop written from the authors' equations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import set_backend

from ...refusals import assert_raises
from .tasks import CLASSES, B, T, assert_equal, batch_of, built_network, gradients, make_rule

LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 7},
    "lif": {"type": "lif", "v_threshold": 0.4},
    "out": {"type": "linear", "out_features": CLASSES},
    "readout": {"type": "li"},
}
PARTS, RATE, ALPHA, BETA = 4, 0.2, 0.3, 0.5


def kag_and_saligrama(batches: int) -> dict[str, Tensor]:
    """Return the weights after some batches: plain gradient steps on the loss of a part and its regularizer."""
    built, batch = built_network(LAYERS), batch_of(lengths=(T,) * B)
    set_backend(built.network, "reference")
    weights = dict(built.network.named_parameters())
    mean = {name: one.detach().clone() for name, one in weights.items()}
    multiplier = {name: torch.zeros_like(one) for name, one in weights.items()}
    for _ in range(batches):
        state: Any = None
        for x in batch.x.split(math.ceil(T / PARTS)):
            y, state = built.network(x, state)
            state = {name: type(part)(*(each.detach() for each in part)) for name, part in state.items()}
            each = [functional.cross_entropy(y_t, batch.targets) for y_t in y]
            loss = torch.stack(each).mean()
            for name, one in weights.items():
                loss = loss - (multiplier[name] * one).sum() + ALPHA / 2 * (one - mean[name]).square().sum()
            found = torch.autograd.grad(loss, [*weights.values()])
            with torch.no_grad():
                for (name, one), gradient in zip(weights.items(), found, strict=True):
                    one -= RATE * gradient
                    multiplier[name] = multiplier[name] - ALPHA * (one - mean[name])
                    mean[name] = (1 - BETA) * mean[name] + BETA * one - BETA / ALPHA * multiplier[name]
    return {name: one.detach() for name, one in weights.items()}


def test_its_weights_are_those_of_the_authors_equations() -> None:
    built, batch = built_network(LAYERS), batch_of(lengths=(T,) * B)
    before = {name: one.detach().clone() for name, one in built.network.named_parameters()}
    rule = make_rule("fptt", built, parts=PARTS, alpha=ALPHA, beta=BETA)
    optimizer = torch.optim.SGD(built.network.parameters(), lr=RATE)
    for _ in range(3):
        found, scores, _ = gradients(rule, built, batch, update=lambda: optimizer.step() and None)
        optimizer.step()
        assert scores.shape == (B, CLASSES)
        assert found["loss"] > 0
    after = {name: one.detach() for name, one in built.network.named_parameters()}
    assert all(not torch.equal(after[name], before[name]) for name in after)
    assert_equal(after, kag_and_saligrama(3), 1e-7)


def test_with_one_part_and_the_first_batch_its_gradient_is_that_of_backpropagation() -> None:
    built = built_network(LAYERS)
    ours = gradients(make_rule("fptt", built, parts=1), built, batch_of())
    true = gradients(make_rule("bptt", built), built, batch_of())
    assert_equal(ours[0], true[0])
    torch.testing.assert_close(ours[1], true[1])


def test_its_means_and_multipliers_are_in_its_state() -> None:
    built = built_network(LAYERS)
    state = make_rule("fptt", built).state_dict()
    assert {name.partition("_")[0] for name in state} == {"mean", "multiplier", "started"}
    assert len(state) == 2 * len([*built.network.parameters()]) + 1


def test_a_loss_of_the_whole_recording_is_refused() -> None:
    with assert_raises(ConfigError, "loss", "fptt", "bptt"):
        make_rule("fptt", built_network(LAYERS), "cross_entropy")
