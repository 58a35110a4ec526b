"""What mixes the recordings of a batch, and the registry of them.

Axes: T steps, B recordings, P polarities, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.events.frames import Batch, Mix
from snnlab.events.targets import Targets, kind_of
from snnlab.registry import Registry

MIXES = Registry("mixing")
PLACE = "data.mix"


class Mixing(ABC):
    """Mixes each recording of a batch with another one of it.

    Args:
        alpha: The part that comes from the other is drawn from Beta(alpha, alpha): small values, nearly all or nothing.
        p: Probability that a batch is mixed, 0 < p <= 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    # Whether values of what is mixed are the mean of both recordings' values, by the same weight.
    mixes_values: ClassVar[bool] = False

    def __init__(self, alpha: float, p: float) -> None:
        if alpha <= 0:
            raise ValueError(f"alpha must be above 0, got {alpha}")
        if not 0 < p <= 1:
            raise ValueError(f"p must be above 0 and at most 1, got {p}")
        self.alpha, self.p = alpha, p

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Return the batch mixed with a permutation of itself; the one that is given stays as it is.

        Args:
            batch: Frames for training.
            rng: Where everything at random comes from.
        """
        if self.p < 1 and rng.random() >= self.p:
            return batch
        order = torch.from_numpy(rng.permutation(batch.lengths.numel())).to(batch.x.device)
        part = float(rng.beta(self.alpha, self.alpha))
        x, weight = self.mixed(batch.x, batch.x[:, order], part, rng)
        lengths = torch.maximum(batch.lengths, batch.lengths[order])
        batch = batch._replace(frames=x, lengths=lengths)
        if kind_of(batch.targets) == "value":
            return batch._replace(targets=torch.lerp(batch.targets, batch.targets[order], weight[:, None]))
        return batch._replace(mix=Mix(batch.targets[order], weight))

    @abstractmethod
    def mixed(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the mixed frames, and the weight of the other's class in each, 0 to 1.

        Args:
            x: Frames.
            other: The frames with which each recording is mixed.
            part: How much of the result is to be the other's, 0 to 1.
            rng: Where further random numbers come from.

        Shape:
            x, other `[T, B, P, H, W]`, `[T, B, P, W]` or `[T, B, W]`; the weight `[B]`.
        """


def extent(x: Tensor) -> tuple[int, ...]:
    """Return the rows and columns of frames `(H, W)`, or `(W,)` where there are no rows."""
    return tuple(x.shape[-2:]) if x.dim() == 5 else (x.shape[-1],)


def build_mixing(node: Mapping[str, Any], targets: Targets = "class") -> Mixing:
    """Build the mixing of a YAML.

    Args:
        node: Its node, such as `{type: mixup, alpha: 0.2}`.
        targets: What recordings are trained to.

    Raises:
        ConfigError: if a setting is wrong, or mixed recordings would have no such targets.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(f"{PLACE}: expected a mapping such as {{type: mixup, alpha: 0.2}}, got {node!r}")
    settings = dict(node)
    kind = settings.pop("type", None)
    mixing: Mixing = MIXES.build(kind, settings, PLACE)
    if targets == "steps" or (targets == "value" and not mixing.mixes_values):
        cure = "mix=null, or mixup" if targets == "value" else "mix=null"
        raise ConfigError(f"{PLACE}: {kind} does not say what data.targets={targets} would be; set data.{cure}")
    return mixing
