"""The loss of a mixed batch, and the class that metrics compare with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.data.events.frames import Batch, Mix
from snnlab.nn.losses import CrossEntropy, Readout
from snnlab.training.module import scored_targets
from snnlab.training.task import batch_loss

T, B, K = 5, 4, 3
TARGETS, OTHERS = torch.tensor([2, 0, 1, 1]), torch.tensor([0, 2, 1, 2])
WEIGHT = torch.tensor([0.0, 0.25, 0.6, 1.0])
LENGTHS = torch.tensor([5, 5, 3, 4])


def batch(weight: Tensor | None) -> Batch:
    mix = None if weight is None else Mix(OTHERS, weight)
    return Batch(torch.zeros(T, B, 2), LENGTHS, TARGETS, torch.arange(B), mix)


def output(readout: str) -> Tensor:
    y = 2 * torch.randn(T, B, K, generator=torch.Generator().manual_seed(0))
    return (y > 1).float() if readout == "first_spike" else y


def test_it_is_the_loss_computed_by_hand() -> None:
    y = output("mean")
    each = []
    for b in range(B):
        chances = functional.log_softmax(y[: LENGTHS[b], b].mean(0), 0)
        w = float(WEIGHT[b])
        each.append(-(1 - w) * chances[TARGETS[b]] - w * chances[OTHERS[b]])
    torch.testing.assert_close(batch_loss(CrossEntropy(), y, batch(WEIGHT), {})[0], torch.stack(each).mean())


@pytest.mark.parametrize("readout", get_args(Readout))
def test_no_weight_is_the_own_classes_loss_and_full_weight_the_others(readout: Readout) -> None:
    loss, y = CrossEntropy(readout), output(readout)
    own, others = loss(y, TARGETS, LENGTHS, {})[0], loss(y, OTHERS, LENGTHS, {})[0]
    assert torch.equal(batch_loss(loss, y, batch(None), {})[0], own)
    for weight, expected in ((0.0, own), (1.0, others), (0.25, 0.75 * own + 0.25 * others)):
        torch.testing.assert_close(batch_loss(loss, y, batch(torch.full((B,), weight)), {})[0], expected)


def test_the_class_with_the_larger_weight_counts() -> None:
    assert scored_targets(batch(WEIGHT)).tolist() == [2, 0, 1, 2]
    assert scored_targets(batch(torch.tensor([0.9, 0.5, 0.1, 0.51]))).tolist() == [0, 0, 1, 2]
    assert scored_targets(batch(None)) is TARGETS


def test_a_training_step_trains_on_both_classes_and_counts_one(
    make_module: Callable[..., Any], batches: list[Batch]
) -> None:
    module = make_module().eval()
    plain = batches[1]
    others = (plain.targets + 1) % 3
    for weight, targets in ((0.0, plain.targets), (1.0, others)):
        given = plain._replace(mix=Mix(others, torch.full((4,), weight)))
        module.trainer = SimpleNamespace(  # type: ignore[assignment]
            world_size=1, accumulate_grad_batches=1, log_every_n_steps=1000, should_stop=False, global_step=0
        )
        loss, y = module.training_step(given, 0), module(plain.x, plain.short_lengths)
        torch.testing.assert_close(loss, module.loss(y, targets, plain.lengths, {})[0])
        right = (module.loss.readout(y, plain.lengths).argmax(-1) == targets).float().mean()
        assert float(module._metrics("train").collect()["accuracy"]) == pytest.approx(float(right))
