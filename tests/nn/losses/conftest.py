"""Fixtures for tests of losses: a network that ends with spikes, and one batch of its outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnlab.nn import build_network
from snnlab.nn.losses import LOSSES, LossContext, LossTerm, build_loss

T, B, K, HIDDEN, INPUTS = 9, 5, 3, 4, 6
LENGTHS = torch.tensor([9, 1, 4, 7, 9])
SPIKING: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": HIDDEN},
    "lif": {"type": "lif", "tau_mem": 10.0},
    "out": {"type": "linear", "out_features": K},
    "last": {"type": "lif", "tau_mem": 10.0},
}
# Settings of each tested loss; the others need none.
SETTINGS: dict[str, dict[str, Any]] = {
    "tet": {"mix": 0.3},
    "mse_count": {"correct_rate": 0.8, "incorrect_rate": 0.2},
    "mse_first_spike": {"correct": 2.0},
    "van_rossum": {"tau": 8.0, "correct_rate": 200.0},
    "rate_band": {"lower": 30.0, "upper": 60.0, "of": "neuron"},
    "membrane_band": {"lower": -0.5, "upper": 1.2},
    "spike_budget": {"budget": 2.0},
    "synaptic_operations": {"budget": 6.0},
}


class LossInputs(NamedTuple):
    """A batch's output, targets of each kind, lengths and counts."""

    y: Tensor
    targets: dict[str, Tensor]
    lengths: Tensor
    counts: dict[str, Tensor]


def make_context(
    layers: dict[str, dict[str, Any]] | None = None, dt: float | None = 2.0, steps: int = T
) -> LossContext:
    """Return the network and data that a loss is bound to."""
    torch.manual_seed(0)
    built = build_network(layers or SPIKING, in_shape=(INPUTS,), dt=dt, num_steps=steps)
    return LossContext(built, (INPUTS,), dt, steps, K)


@pytest.fixture
def inputs() -> LossInputs:
    """Return spikes in double precision, with different lengths."""
    rng = torch.Generator().manual_seed(0)
    valid = (torch.arange(T)[:, None] < LENGTHS)[..., None]
    y, hidden = ((torch.rand(T, B, n, generator=rng) < 0.4).double() * valid for n in (K, HIDDEN))
    labels = torch.where(valid[..., 0], torch.randint(K, (T, B), generator=rng), -100)
    targets = {"class": torch.tensor([2, 0, 1, 1, 0]), "value": torch.randn(B, K, generator=rng).double()}
    targets |= {"steps": labels, "series": torch.randn(T, B, K, generator=rng).double()}
    return LossInputs(y, targets, LENGTHS, {"lif": hidden.sum(0), "last": y.sum(0)})


def bound(name: str, **settings: Any) -> LossTerm:
    """Return a registered loss or regularizer, bound to the spiking network."""
    part = LOSSES.build(name, {**SETTINGS.get(name, {}), **settings}, "loss")
    part.bind(make_context())
    return part


def built_loss(**node: Any) -> Any:
    """Return a loss from its YAML node, bound."""
    loss = build_loss(node)
    loss.bind(make_context())
    return loss
