"""Small networks in double precision, a batch for them, and the gradients that a rule finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from snnlab.data.events.frames import Batch
from snnlab.nn import BuiltNetwork, build_loss, build_network
from snnlab.nn.learning import RULES, LearningRule, RuleContext, bind_rule
from snnlab.nn.losses import LossContext
from snnlab.training.task import BatchTask

T, B, INPUTS, CLASSES = 13, 3, 5, 3
LENGTHS = (13, 4, 9)
Layers = Mapping[str, Mapping[str, Any]]


def built_network(
    layers: Layers, in_shape: tuple[int, ...] = (INPUTS,), dtype: torch.dtype = torch.float64
) -> BuiltNetwork:
    torch.manual_seed(0)
    built = build_network(layers, in_shape=in_shape, dt=2.0, num_steps=T)
    built.network.to(dtype)
    return built


def batch_of(
    in_shape: tuple[int, ...] = (INPUTS,),
    lengths: tuple[int, ...] = LENGTHS,
    classes: int = CLASSES,
    dtype: torch.dtype = torch.float64,
    *,
    steps: int = T,
    labels_at_steps: bool = False,
) -> Batch:
    rng = torch.Generator().manual_seed(1)
    x = (torch.rand(steps, len(lengths), *in_shape, generator=rng) < 0.4).to(dtype)
    shape = (steps, len(lengths)) if labels_at_steps else (len(lengths),)
    targets = torch.randint(classes, shape, generator=rng)
    return Batch(x, torch.tensor(lengths), targets, torch.arange(len(lengths)))


def make_rule(
    name: str, built: BuiltNetwork, loss: str = "tet", in_shape: tuple[int, ...] = (INPUTS,), **settings: Any
) -> LearningRule:
    """Return a rule bound to a network and a loss."""
    rule = RULES.build(name, settings, "learning")
    bound = build_loss({"type": loss})
    bound.bind(LossContext(built, in_shape, 2.0, T, CLASSES))
    bind_rule(rule, name, RuleContext(built, bound, loss, 0, in_shape, 2.0))
    return rule


def gradients(
    rule: LearningRule,
    built: BuiltNetwork,
    batch: Batch,
    loss: str = "tet",
    update: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Return the gradient of each parameter, the readout, and the spike counts."""
    targets: Any = "steps" if loss == "cross_entropy_steps" else "class"
    counts: dict[str, Tensor] = {}
    built.network.zero_grad(set_to_none=True)
    learned = rule.learn(built.network, BatchTask(batch, build_loss({"type": loss}), targets, update), counts)
    learned.loss.backward()
    found = {name: one.grad.clone() for name, one in built.network.named_parameters() if one.grad is not None}
    return found | {"loss": learned.loss.detach()}, learned.scores.detach(), counts


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float = 1e-9) -> None:
    """Compare gradients by name, relative to the largest of each."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        scale = float(other[name].abs().max())
        assert scale > 0, name
        assert float((value - other[name]).abs().max()) <= tolerance * scale, name
