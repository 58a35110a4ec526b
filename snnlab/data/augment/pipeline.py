"""Augmentations one after the other, and what they do to the class; keyed by (seed, epoch, recording).

Whatever order recordings come in, and however many processes load them, each is changed in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.augment.base import AUGMENTATIONS, Augmentation
from snnlab.errors import ConfigError
from snnlab.events import Events, Packed
from snnlab.events.targets import Targets, kind_of
from snnlab.seeds import Stream, generator

PLACE = "data.augment"
Classes = Sequence[int]


class Step(NamedTuple):
    """An augmentation, and the class of a recording after it for each class before; None where it stays."""

    augmentation: Augmentation
    classes: Classes | None


class Pipeline(NamedTuple):
    """Augmentations in their order."""

    steps: tuple[Step, ...]

    def reach_us(self, until_us: int) -> int | None:
        """Return until when (us) recordings are read, to be right before `until_us`; None: to their end."""
        reach = float(until_us)
        for augmentation, _ in reversed(self.steps):
            reach = augmentation.reach_us(reach)
        return None if math.isinf(reach) else math.ceil(reach)

    def packed(self, packed: Packed, seed: int, epoch: int) -> Packed:
        """Return packed recordings, each changed.

        Args:
            packed: The recordings.
            seed: The run's seed.
            epoch: The epoch.
        """
        ends = zip(packed.offsets[:-1].tolist(), packed.offsets[1:].tolist(), strict=True)
        whole = Events(packed.t, packed.x, packed.y, packed.p)
        targets, of_class = packed.targets.copy(), kind_of(packed.targets) == "class"
        changed: list[Events] = []
        for place, (start, stop) in enumerate(ends):
            window = () if packed.start is None else (int(packed.start[place]),)
            rng = generator(seed, Stream.AUGMENTATION, epoch, int(packed.index[place]), *window)
            events, target = self.one(whole.take(slice(start, stop)), int(targets[place]) if of_class else 0, rng)
            changed.append(events)
            if of_class:
                targets[place] = target
        if not changed:
            return packed
        t, x, y, p = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*changed, strict=True))
        offsets = np.concatenate([[0], np.cumsum([events.t.size for events in changed])])
        return packed._replace(t=t, x=x, y=y, p=p, offsets=offsets, targets=targets)

    def one(self, events: Events, target: int, rng: np.random.Generator) -> tuple[Events, int]:
        """Return a recording changed, and its class then."""
        for augmentation, classes in self.steps:
            if augmentation.happens(rng):
                events = augmentation.apply(events, rng)
                target = target if classes is None else classes[target]
        return events, target


def build_pipeline(
    nodes: Sequence[Mapping[str, Any]],
    labels_after: Mapping[str, Classes | None],
    num_classes: int,
    sensor_size: Sequence[int],
    targets: Targets = "class",
) -> Pipeline:
    """Build the augmentations of a YAML.

    Args:
        nodes: Their nodes, in their order.
        labels_after: By what alters a scene: the class after it for each class before, or None where that is none.
        num_classes: Number of classes.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        targets: What recordings are trained to.

    Raises:
        ConfigError: if a setting is wrong, one would make recordings of no class, or labels over time no longer right.
    """
    if targets != "class" and (given := [name for name, classes in labels_after.items() if classes is not None]):
        raise ConfigError(
            f"data.labels_after.{given[0]}", f"is for classes of recordings, and data.targets is {targets}"
        )
    return Pipeline(
        tuple(
            _step(node, f"{PLACE}[{number}]", labels_after, num_classes, sensor_size, targets)
            for number, node in enumerate(nodes)
        )
    )


def _step(
    node: Mapping[str, Any],
    place: str,
    labels_after: Mapping[str, Classes | None],
    num_classes: int,
    sensor_size: Sequence[int],
    targets: Targets,
) -> Step:
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{type: affine, shift: 2}}, got {node!r}")
    settings = dict(node)
    kind = settings.pop("type", None)
    augmentation = AUGMENTATIONS.build(kind, settings, place, sensor_size=sensor_size)
    if targets == "steps" and augmentation.shifts_time:
        raise ConfigError(
            place, f"{kind} moves events in time, and not the labels of data.targets=steps", "leave it out"
        )
    alters = augmentation.alters
    if alters not in labels_after:
        return Step(augmentation, None)
    classes = labels_after[alters]
    if classes is None:
        raise ConfigError(place, f"{alters} would make these recordings of another class", "see data.labels_after")
    if sorted(classes) != list(range(num_classes)):
        raise ConfigError(
            f"data.labels_after.{alters}", f"must be the class after it for each of {num_classes} classes"
        )
    return Step(augmentation, tuple(classes))
