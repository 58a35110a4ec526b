"""Mixing of the recordings of a batch: mixup and cutmix, as for images, and EventMix.

Axes: T steps, B recordings, P polarities, H rows, W columns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from snnlab.data.augmentation import Probability
from snnlab.data.events.frames import Batch, Mix
from snnlab.errors import ConfigError
from snnlab.registry import Registry
from snnlab.spec.declared import Declared
from snnlab.spec.interval import Count, Positive
from snnlab.target_kinds import Targets, kind_of

MIXES = Registry("mixing")
PLACE = "data.mix"


class Mixing(Declared, ABC):
    """Mixes each recording of a batch with another recording of the batch.

    Args:
        alpha: The fraction of the other recording is drawn from Beta(alpha, alpha); a small alpha gives mostly 0 or 1.
        p: Probability that a batch is mixed.
    """

    # Whether value targets of a mixed recording are the mean of both recordings' values, with the same weight.
    mixes_values: ClassVar[bool] = False

    alpha: Positive = 1.0
    p: Probability = 1.0

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Return the batch mixed with a permutation of itself; the input is not modified.

        Args:
            batch: Frames for training.
            rng: Source of all random numbers.
        """
        if self.p < 1 and rng.random() >= self.p:
            return batch
        permutation = rng.permutation(batch.lengths.numel())
        order = torch.from_numpy(permutation).to(batch.x.device, non_blocking=True)
        part = float(rng.beta(self.alpha, self.alpha))
        x, weight = self.mix_frames(batch.x, batch.x[:, order], part, rng)
        lengths = torch.maximum(batch.lengths, batch.lengths[order])
        host = batch.host_lengths
        host = None if host is None else [*map(max, host, [host[other] for other in permutation])]
        batch = batch._replace(frames=x, lengths=lengths, host_lengths=host)
        if kind_of(batch.targets) == "value":
            return batch._replace(targets=torch.lerp(batch.targets, batch.targets[order], weight[:, None]))
        return batch._replace(mix=Mix(batch.targets[order], weight))

    @abstractmethod
    def mix_frames(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the mixed frames, and the weight of the other recording's class, 0 to 1.

        Args:
            x: Frames.
            other: Frames of the recording that is mixed in.
            part: Fraction of the other recording in the result, 0 to 1.
            rng: Source of further random numbers.

        Shape:
            x, other `[T, B, P, H, W]`, `[T, B, P, W]` or `[T, B, W]`; the weight `[B]`.
        """


def spatial_shape(x: Tensor) -> tuple[int, ...]:
    """Return the rows and columns of frames, `(H, W)`, or `(W,)` if there are no rows."""
    return tuple(x.shape[-2:]) if x.dim() == 5 else (x.shape[-1],)


def build_mixing(node: Mapping[str, Any], targets: Targets = "class") -> Mixing:
    """Build the mixing of a YAML.

    Args:
        node: Its node, for example `{type: mixup, alpha: 0.2}`.
        targets: Kind of the targets.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(PLACE, f"expected a mapping such as {{type: mixup, alpha: 0.2}}, got {node!r}")
    settings = dict(node)
    kind = settings.pop("type", None)
    mixing: Mixing = MIXES.build(kind, settings, PLACE)
    if targets in ("steps", "series") or (targets == "value" and not mixing.mixes_values):
        hint = "mix=null, or mixup" if targets == "value" else "mix=null"
        raise ConfigError(PLACE, f"{kind} is not defined for data.targets={targets}", f"set data.{hint}")
    return mixing


@MIXES.register("mixup")
class Mixup(Mixing):
    """Average each recording with another one; the counts are then no longer integers.

        x' = (1 - l) x + l x_other,   l ~ Beta(alpha, alpha), once per batch, also the weight of the other's target

    Args:
        alpha: Parameter of the distribution of l; 0.2: mostly near 0 or 1.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """

    mixes_values = True
    alpha: Positive = 0.2

    def mix_frames(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return torch.lerp(x, other, part), x.new_full((x.shape[1],), part)


@MIXES.register("cutmix")
class CutMix(Mixing):
    """Paste a rectangle of another recording, the same at all times, into each; without rows, a range of columns.

    The sides are sqrt(l) times those of the sensor, l ~ Beta(alpha, alpha), around a random centre, clipped at the
    sensor's edge. One rectangle per batch; the weight of the other's class is the rectangle's fraction of the area.

    Args:
        alpha: Parameter of the distribution of l; 1: all areas equally likely.

    Source: Yun et al., CutMix, ICCV 2019.
    """

    def mix_frames(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        sizes = spatial_shape(x)
        box = tuple(_random_range(size, part ** (1 / len(sizes)), rng) for size in sizes)
        result = x.clone()
        result[(..., *box)] = other[(..., *box)]
        covered = math.prod(len(range(size)[side]) / size for side, size in zip(box, sizes, strict=True))
        return result, x.new_full((x.shape[1],), covered)


def _random_range(size: int, part: float, rng: np.random.Generator) -> slice:
    """Return a range of about `part * size` pixels around a random centre, clipped to the sensor."""
    length = round(part * size)
    start = int(rng.integers(0, size)) - length // 2
    return slice(max(start, 0), min(start + length, size))


# Smallest and largest standard deviation, as fractions of an axis.
NARROW, WIDE = 0.1, 0.4


@MIXES.register("eventmix")
class EventMix(Mixing):
    """Take the events of some places and times from another recording, all others from the recording itself.

    The places and times are those at which a sum of Gaussians with random centres and widths is largest, a fraction l
    of all cells, l ~ Beta(alpha, alpha); one mask per batch. Events that are kept do not change. The weight of the
    other's class is the fraction of the result's events that come from the other (0 without events), per recording; for
    frames that are not counts, the fraction of the sum of absolute values.

    Args:
        alpha: Parameter of the distribution of l; 1: all fractions equally likely.
        gaussians: Number of Gaussians.

    Source: after Shen et al., EventMix, arXiv 2205.12054, 2022, with one mask per batch and weights by events.
    """

    gaussians: Count = 3

    def mix_frames(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        from_other = torch.from_numpy(self._mask((x.shape[0], *spatial_shape(x)), part, rng)).to(
            x.device, x.dtype, non_blocking=True
        )
        # [T, 1, 1, H, W], [T, 1, 1, W] or [T, 1, W]
        from_other = from_other.view(from_other.shape[0], *[1] * (x.dim() - from_other.dim()), *from_other.shape[1:])
        result = torch.lerp(x, other, from_other)  # exactly one or the other; faster than torch.where
        axes = [axis for axis in range(x.dim()) if axis != 1]
        # Sums of absolute values: in signed frames, events of both signs count.
        other_events, total = (torch.linalg.vector_norm(each, 1, axes) for each in (result * from_other, result))
        return result, (other_events / total.clamp(min=torch.finfo(total.dtype).tiny)).clamp(max=1)

    def _mask(self, shape: tuple[int, ...], part: float, rng: np.random.Generator) -> np.ndarray:
        """Return the mask of the other's events, `[T, H, W]` or `[T, W]`; on the CPU for any device.

        So it is the same on all devices; it takes a hundredth of a second for a million cells.
        """
        density = np.zeros(shape, np.float32)
        for _ in range(self.gaussians):
            centres, widths = rng.random(len(shape)), rng.uniform(NARROW, WIDE, len(shape))
            bump = np.ones((), np.float32)
            for size, centre, width in zip(shape, centres, widths, strict=True):
                away = ((np.arange(size) + 0.5) / size - centre) / width
                bump = np.multiply.outer(bump, np.exp(-0.5 * away**2).astype(np.float32))
            density += bump
        rest = density.size - round(part * density.size)
        if rest == 0:
            return np.ones(shape, np.bool_)
        return density > np.partition(density, rest - 1, axis=None)[rest - 1]
