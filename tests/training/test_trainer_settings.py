"""Effects of Lightning's gradient accumulation and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snnlab.data.events.frames import Batch
from snnlab.nn import build_network
from snnlab.nn.losses import CrossEntropy
from snnlab.training.module import SpikingModule

LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 8},
    "lif": {"type": "lif", "v_threshold": 0.3},
    "out": {"type": "linear", "out_features": 3},
    "readout": {"type": "li"},
}
Trainer = Callable[..., Any]


def batch(first: int, size: int) -> Batch:
    rng = torch.Generator().manual_seed(0)
    x, targets = (torch.rand(6, 8, 5, generator=rng) < 0.5).float(), torch.randint(3, (8,), generator=rng)
    own = slice(first, first + size)
    return Batch(x[:, own], torch.full((size,), 6), targets[own], torch.arange(8)[own])


def weights_after(trainer: Any, batches: list[Batch], lr: float = 0.1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    built = build_network(LAYERS, in_shape=(5,), dt=2.0)
    module = SpikingModule(
        built,
        CrossEntropy(),
        lambda network: torch.optim.SGD(network.parameters(), lr=lr),
        None,
        num_classes=3,
        dt=2.0,
        seed=0,
    )
    loader = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, loader)
    return {name: p.detach() for name, p in built.network.named_parameters()}


def test_a_clipped_step_is_no_longer_than_its_norm(quiet_trainer: Trainer) -> None:
    before = weights_after(quiet_trainer(max_epochs=1), [batch(0, 8)], lr=0.0)
    for clip in (0.01, None):
        after = weights_after(quiet_trainer(max_epochs=1, gradient_clip_val=clip), [batch(0, 8)], lr=1.0)
        length = float(torch.stack([(after[n] - before[n]).square().sum() for n in after]).sum().sqrt())
        assert (length == pytest.approx(0.01, rel=1e-3)) == (clip is not None)
