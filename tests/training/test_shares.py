"""Weights of losses: several processes, or several batches per step, give the gradients of one large batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.data.data_module import BatchSampler
from snnlab.nn.losses import LOSSES, LossTerm
from snnlab.training import distributed
from snnlab.training.distributed import LossWeights, size_of

from ..nn.losses.conftest import HIDDEN, K, T, bound, built_loss

BATCH = 2
STEPS_AND_SPIKES = {"type": "cross_entropy_steps", "regularizers": {"spikes": {"type": "spikes", "weight": 0.3}}}


class Epoch:
    """An epoch of recordings, with losses and gradients of batches."""

    def __init__(self, part: LossTerm, number: int) -> None:
        rng = torch.Generator().manual_seed(3)
        self.part = part
        self.lengths = torch.randint(1, T + 1, (number,), generator=rng)
        valid = (torch.arange(T)[:, None] < self.lengths)[..., None]
        spikes = [(torch.rand(T, number, n, generator=rng) < 0.4).double() * valid for n in (K, HIDDEN)]
        self.y, self.counts = spikes[0], {"lif": spikes[1].sum(0), "last": spikes[0].sum(0)}
        self.counts |= {f"{name}.{key}": 0.3 * n for name, n in self.counts.items() for key in _more_counts(part)}
        labels = torch.where(valid[..., 0], torch.randint(K, (T, number), generator=rng), -100)
        labels[:, 1] = -100
        self.targets = {"class": torch.randint(K, (number,), generator=rng), "steps": labels}
        self.targets["value"] = torch.randn(number, K, generator=rng).double()
        self.targets["series"] = torch.randn(T, number, K, generator=rng).double()
        self.scale = nn.Parameter(1 - 0.3 * torch.rand(T, 1, K, generator=rng).double())
        weights = [getattr(module.double(), name) for module, name in getattr(part, "_of", ())]
        self.parameters = [self.scale, *weights]

    def loss(self, places: Any) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        targets = self.targets[self.part.supported_targets[0]]
        targets = targets[:, places] if targets.shape[0] == T else targets[places]
        counts = {key: n[places] * self.scale.mean() for key, n in self.counts.items()}
        loss, parts = self.part(self.y[:, places] * self.scale, targets, self.lengths[places], counts)
        return loss, parts, self.part.num_labelled_steps(targets)

    def gradients(self) -> list[Tensor]:
        found = [p.grad.clone() for p in self.parameters if p.grad is not None]
        for p in self.parameters:
            p.grad = None
        return found


def _more_counts(part: LossTerm) -> list[str]:
    return [part.cost.key] if hasattr(part, "cost") else []  # type: ignore[attr-defined]


def trainer_of(sampler: BatchSampler, batches: int) -> Any:
    return SimpleNamespace(
        world_size=sampler.num_replicas,
        accumulate_grad_batches=batches,
        num_training_batches=len(sampler),
        is_last_batch=False,
        train_dataloader=SimpleNamespace(sampler=sampler),
    )


def steps_of(
    epoch: Epoch, number: int, world: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[list[int], list[Tensor]]]:
    """Return each step's recordings, and its gradients after DDP and Lightning."""
    samplers = [BatchSampler(np.arange(number), BATCH, 7, rank=rank, world=world) for rank in range(world)]
    draws = [[draw.indices for draw in sampler] for sampler in samplers]

    def labelled_of_all(own: Tensor) -> Tensor:
        counted = [epoch.loss(draws[rank][at])[2] for rank in range(world) if samplers[rank].sizes(at)[0]]
        return torch.stack(counted).sum().to(own.dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(distributed, "all_reduce_sum", labelled_of_all)
    found, at = [], 0
    for first in range(0, len(samplers[0]), batches):
        group = range(first, min(first + batches, len(samplers[0])))
        seen: list[int] = []
        means: list[Tensor] = []
        for rank, sampler in enumerate(samplers):
            trainer, loss_weights = trainer_of(sampler, batches), LossWeights()
            for at in group:
                size, places = size_of(trainer, at, len(draws[rank][at])), draws[rank][at]
                seen += places[: size.local].tolist()
                loss, parts, num_labelled_steps = epoch.loss(places)
                weighted_loss = loss_weights.weighted_loss(
                    trainer, at, size, loss, parts, num_labelled_steps, epoch.parameters
                )
                (weighted_loss / batches).backward()
            mine = epoch.gradients()
            means = [a + b / world for a, b in zip(means or [torch.zeros_like(b) for b in mine], mine, strict=True)]
        found.append((seen, means))
    return found


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_step_is_that_of_one_process_with_one_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = bound(name)
    for world, batches, number in [(2, 1, 11), (3, 1, 7), (1, 2, 11), (1, 3, 7), (2, 2, 7), (3, 4, 23), (2, 3, 24)]:
        epoch = Epoch(part, number)
        steps = steps_of(epoch, number, world, batches, monkeypatch)
        assert sorted(place for seen, _ in steps for place in seen) == list(range(number))
        for seen, gradients in steps:
            epoch.loss(seen)[0].backward()
            torch.testing.assert_close(gradients, epoch.gradients(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("world", [2, 3])
def test_terms_next_to_labels_over_time_are_means_over_recordings(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Epoch(built_loss(**STEPS_AND_SPIKES), 11)
    for seen, gradients in steps_of(epoch, 11, world, 1, monkeypatch):
        epoch.loss(seen)[0].backward()
        torch.testing.assert_close(gradients, epoch.gradients(), rtol=1e-9, atol=1e-12)


def test_batches_of_equal_size_keep_their_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch, loss_weights = Epoch(bound("cross_entropy"), 12), LossWeights()
    trainer = trainer_of(BatchSampler(np.arange(12), BATCH, 7, rank=1, world=2), 3)
    epoch.scale.grad = torch.ones_like(epoch.scale)
    for at in range(3):
        loss, parts, num_labelled_steps = epoch.loss([at])
        size = size_of(trainer, at, BATCH)
        assert loss_weights.weighted_loss(trainer, at, size, loss, parts, num_labelled_steps, epoch.parameters) is loss
    assert (epoch.scale.grad == 1).all()
