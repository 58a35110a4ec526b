"""Augmentations: random changes of training recordings, applied one after the other.

Random numbers depend on (seed, epoch, recording) alone: the result is the same in any order of recordings and with any
number of loader processes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from scipy.ndimage import map_coordinates

from snnlab.data.events import Events, Packed
from snnlab.data.events.recording import polarity_dtype
from snnlab.errors import ConfigError
from snnlab.registry import Registry
from snnlab.seeds import Stream, generator
from snnlab.spec.declared import Declared, no_setting, setting
from snnlab.spec.interval import Interval, Positive, above, at_least, between
from snnlab.target_kinds import Targets, kind_of

AUGMENTATIONS = Registry("augmentation")
# The probability of a change, and a fraction of a whole.
Probability = Annotated[float, between(0, 1, with_low=False)]
Ratio = Annotated[float, Interval(0, 1)]
Angle = Annotated[float, "degrees", between(0, 180)]
Shear = Annotated[float, "degrees", between(0, 60)]


class Augmentation(Declared, ABC):
    """A change of a recording; the result is sorted by time and within the sensor.

    Args:
        p: Probability that it is applied.
    """

    p: Probability = setting(default=1.0, kw_only=False)
    # The kind of change that may change a recording's class, a key of data.label_map; None: the class stays.
    label_change: str | None = no_setting(None)
    # Whether all events get new times, so that labels over time would be wrong.
    shifts_time: bool = no_setting(False)

    def is_applied(self, rng: np.random.Generator) -> bool:
        """Return whether the augmentation is applied this time."""
        return self.p == 1 or rng.random() < self.p

    def read_until_us(self, until_us: float) -> float:
        """Return the time (us) up to which it must read a recording, to be exact before `until_us`; infinite: its end.

        Later events are not read. The base class returns `until_us`, or infinity if all events get new times.
        """
        return math.inf if self.shifts_time else until_us

    @abstractmethod
    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the changed recording; the input is not modified.

        Args:
            events: The recording.
            rng: Source of all random numbers.
        """


class SensorAugmentation(Augmentation):
    """Base class of augmentations that need the size of the sensor.

    Args:
        sensor_size: `[W, H, P]`.
    """

    sensor_size: Annotated[Sequence[int], "pixels, pixels, polarities"] = setting()

    def prepare(self) -> None:
        self.width, self.height, self.polarities = self.sensor_size


def sort_by_time(events: Events) -> Events:
    """Return events sorted by time; events of one time keep their order."""
    if (events.t[1:] >= events.t[:-1]).all():
        return events
    return events.take(np.argsort(events.t, kind="stable"))


def offsets_in_pixel(events: Events, rng: np.random.Generator) -> np.ndarray:
    """Return a random offset of each event within its pixel along one axis, uniform in [-1/2, 1/2)."""
    return rng.random(events.t.size, np.float32) - np.float32(0.5)


def move_events(events: Events, x: np.ndarray, y: np.ndarray | float, width: int, height: int) -> Events:
    """Move events to new positions, rounded to pixels; events outside the sensor are dropped.

    Args:
        events: The events; if they have no rows, y is ignored.
        x: New columns, pixels.
        y: New rows, pixels.
        width: Width of the sensor, pixels.
        height: Height of the sensor, pixels.
    """
    new_x = np.rint(x).astype(np.int64)
    inside = (new_x >= 0) & (new_x < width)
    if events.y is None:
        return events._replace(x=new_x.astype(events.x.dtype)).take(inside)
    new_y = np.rint(y).astype(np.int64)
    inside &= (new_y >= 0) & (new_y < height)
    return events._replace(x=new_x.astype(events.x.dtype), y=new_y.astype(events.y.dtype)).take(inside)


def check_range(name: str, bounds: Sequence[float], least: float, most: float) -> None:
    """Raise a ConfigError unless `least <= bounds[0] <= bounds[1] <= most`."""
    if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
        raise ConfigError(name, f"must be [from, to] with {least:g} <= from <= to <= {most:g}, got {list(bounds)}")


PLACE = "data.augment"
Classes = Sequence[int]


class PipelineStep(NamedTuple):
    """An augmentation, and the new class of a recording for each old class; None if classes stay."""

    augmentation: Augmentation
    classes: Classes | None


class Pipeline(NamedTuple):
    """Augmentations, in order."""

    steps: tuple[PipelineStep, ...]

    def read_until_us(self, until_us: int) -> int | None:
        """Return the time (us) up to which recordings are read, to be exact before `until_us`; None: to their end."""
        reach = float(until_us)
        for augmentation, _ in reversed(self.steps):
            reach = augmentation.read_until_us(reach)
        return None if math.isinf(reach) else math.ceil(reach)

    def augment(self, packed: Packed, seed: int, epoch: int) -> Packed:
        """Return packed recordings, each augmented.

        Args:
            packed: The recordings.
            seed: The run's seed.
            epoch: The epoch.
        """
        ends = zip(packed.offsets[:-1].tolist(), packed.offsets[1:].tolist(), strict=True)
        whole = Events(packed.t, packed.x, packed.y, packed.p)
        targets, of_class = packed.targets.copy(), kind_of(packed.targets) == "class"
        changed: list[Events] = []
        for recording, (start, stop) in enumerate(ends):
            window = () if packed.start is None else (int(packed.start[recording]),)
            rng = generator(seed, Stream.AUGMENTATION, epoch, int(packed.index[recording]), *window)
            events, target = self.augment_one(
                whole.take(slice(start, stop)), int(targets[recording]) if of_class else 0, rng
            )
            changed.append(events)
            if of_class:
                targets[recording] = target
        if not changed:
            return packed
        t, x, y, p = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*changed, strict=True))
        offsets = np.concatenate([[0], np.cumsum([events.t.size for events in changed])])
        return packed._replace(t=t, x=x, y=y, p=p, offsets=offsets, targets=targets)

    def augment_one(self, events: Events, target: int, rng: np.random.Generator) -> tuple[Events, int]:
        """Return an augmented recording and its new class."""
        for augmentation, classes in self.steps:
            if augmentation.is_applied(rng):
                events = augmentation.apply(events, rng)
                target = target if classes is None else classes[target]
        return events, target


def build_pipeline(
    nodes: Sequence[Mapping[str, Any]],
    label_map: Mapping[str, Classes | None],
    num_classes: int,
    sensor_size: Sequence[int],
    targets: Targets = "class",
) -> Pipeline:
    """Build the augmentations of a YAML.

    Args:
        nodes: Nodes of the augmentations, in order.
        label_map: By kind of change: the new class for each old class, or None if the result has no class.
        num_classes: Number of classes.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        targets: Kind of the targets.
    """
    if targets != "class" and (changed := [name for name, classes in label_map.items() if classes is not None]):
        raise ConfigError(f"data.label_map.{changed[0]}", f"needs targets of type class, and data.targets is {targets}")
    return Pipeline(
        tuple(
            _build_step(node, f"{PLACE}[{number}]", label_map, num_classes, sensor_size, targets)
            for number, node in enumerate(nodes)
        )
    )


def _build_step(
    node: Mapping[str, Any],
    place: str,
    label_map: Mapping[str, Classes | None],
    num_classes: int,
    sensor_size: Sequence[int],
    targets: Targets,
) -> PipelineStep:
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{type: affine, shift: 2}}, got {node!r}")
    settings = dict(node)
    kind = settings.pop("type", None)
    augmentation = AUGMENTATIONS.build(kind, settings, place, sensor_size=sensor_size)
    if targets in ("steps", "series") and augmentation.shifts_time:
        what = f"but not the {'labels' if targets == 'steps' else 'values'} of data.targets={targets}"
        raise ConfigError(place, f"{kind} moves events in time, {what}", "remove it")
    label_change = augmentation.label_change
    if label_change not in label_map:
        return PipelineStep(augmentation, None)
    classes = label_map[label_change]
    if classes is None:
        raise ConfigError(
            place, f"{label_change} would change the class of these recordings", "data.label_map sets the new class"
        )
    if sorted(classes) != list(range(num_classes)):
        raise ConfigError(f"data.label_map.{label_change}", f"must be the new class for each of {num_classes} classes")
    return PipelineStep(augmentation, tuple(classes))


@AUGMENTATIONS.register("flip_polarity")
class FlipPolarity(SensorAugmentation):
    """Swap ON and OFF; the sensor has both."""

    p: Probability = 0.5

    def prepare(self) -> None:
        super().prepare()
        if self.polarities != 2:
            raise ConfigError("", f"flip_polarity: the sensor has {self.polarities} polarities, expected 2")

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(p=~events.p)


@AUGMENTATIONS.register("drop_events")
class DropEvents(Augmentation):
    """Drop each event with a probability that is drawn per recording, uniform in [0, most].

    Args:
        most: Largest probability.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    most: Ratio = setting()

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events.take(rng.random(events.t.size) >= rng.uniform(0, self.most))


@AUGMENTATIONS.register("drop_area")
class DropArea(SensorAugmentation):
    """Drop the events of a rectangle; each side is a fraction of the sensor's side, drawn uniformly from [0, most].

    Args:
        most: Largest fraction of a side.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    most: Ratio = setting()

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        inside = _in_random_interval(events.x, self.width, self.most, rng)
        if events.y is not None:
            inside &= _in_random_interval(events.y, self.height, self.most, rng)
        return events.take(~inside)


@AUGMENTATIONS.register("drop_time")
class DropTime(Augmentation):
    """Drop the events of a time interval; its length is a fraction of the recording's, uniform in [0, most].

    Args:
        most: Largest fraction of the time until the last event.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    most: Ratio = setting()

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        if not events.t.size:
            return events
        return events.take(~_in_random_interval(events.t, int(events.t[-1]) + 1, self.most, rng))


@AUGMENTATIONS.register("noise")
class Noise(SensorAugmentation):
    """Add events at random places and times, a Poisson process until the last event.

    Args:
        rate: Rate of the added events of the whole sensor.
    """

    rate: Annotated[float, "1/ms", above(0)] = setting()

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        end = int(events.t[-1]) + 1 if events.t.size else 0
        number = int(rng.poisson(self.rate * end / 1000))
        x, y = rng.integers(0, self.width, number), rng.integers(0, self.height, number)
        p = rng.integers(0, max(self.polarities, 2), number).astype(polarity_dtype(self.polarities))
        joined = Events(
            np.concatenate([events.t, rng.integers(0, max(end, 1), number)]),
            np.concatenate([events.x, x.astype(events.x.dtype)]),
            None if events.y is None else np.concatenate([events.y, y.astype(events.y.dtype)]),
            np.concatenate([events.p, p]),
        )
        return sort_by_time(joined)


def _in_random_interval(values: np.ndarray, size: int, most: float, rng: np.random.Generator) -> np.ndarray:
    """Return a mask of the values in a random interval within `[0, size)`."""
    length = rng.uniform(0, most) * size
    start = rng.uniform(0, size - length)
    return (values >= start) & (values < start + length)


@AUGMENTATIONS.register("affine")
class Affine(SensorAugmentation):
    """Shift, rotate, shear and scale a recording about the sensor's centre c; events outside the sensor are dropped.

        x' = round(c + s R(angle) H (x + u - c) + d),  H (x, y) = (x + y tan(shear), y)

    For each event, u is uniform in [-1/2, 1/2) along each axis, since an event comes from somewhere within its pixel:
    without u, a scaled or rotated recording has stripes. For a shift alone, u is 0 and d is rounded.

    Args:
        shift: Largest |d| along each axis.
        rotate: Largest |angle|; sensors without rows cannot rotate.
        scale: [from, to] of s.
        shear: Largest |shear|; sensors without rows cannot shear.
    """

    shift: Annotated[float, "pixels", at_least(0)] = 0.0
    rotate: Angle = 0.0
    scale: Sequence[float] = (1.0, 1.0)
    shear: Shear = 0.0

    def prepare(self) -> None:
        super().prepare()
        check_range("scale", self.scale, 0.1, 10)
        if self.height == 1 and self.rotate:
            raise ConfigError("rotate", "a sensor without rows cannot rotate")
        if self.height == 1 and self.shear:
            raise ConfigError("shear", "a sensor without rows cannot shear")
        self.resamples = bool(self.rotate or self.shear) or tuple(self.scale) != (1, 1)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        across, down, turn, size = rng.uniform(
            [-self.shift, -self.shift, -self.rotate, self.scale[0]],
            [self.shift, self.shift, self.rotate, self.scale[1]],
        )
        middle_x, middle_y = (self.width - 1) / 2, (self.height - 1) / 2
        x = events.x - middle_x
        y = 0.0 if events.y is None else events.y - middle_y
        if self.resamples:
            x = x + offsets_in_pixel(events, rng)
            y = y if events.y is None else y + offsets_in_pixel(events, rng)
        if self.shear:
            x = x + y * math.tan(math.radians(rng.uniform(-self.shear, self.shear)))
        cosine, sine = size * math.cos(math.radians(turn)), size * math.sin(math.radians(turn))
        new_x, new_y = cosine * x - sine * y, sine * x + cosine * y
        return move_events(events, new_x + (middle_x + across), new_y + (middle_y + down), self.width, self.height)


# The largest shift of the authors' recipe for CIFAR10-DVS, as a fraction of the sensor: 5 of 48 pixels.
_NDA_ROLL = 5 / 48


@AUGMENTATIONS.register("nda")
class NDA(SensorAugmentation):
    """Roll, rotate or shear a recording: one of the three, drawn anew each time, with a random amount.

        roll: x' = (x + d) mod W, and rows likewise; events that leave the sensor enter it on the other side

    In the paper a flip (`flip_x`) comes before it, and `data.mix: {type: cutmix}` after it.

    Args:
        roll: Largest |d| along each axis; null: 5/48 of the sensor's sides, as in the authors' recipe.
        rotate: Largest |angle|.
        shear: Largest |shear|.

    Source: Li et al., Neuromorphic data augmentation for training spiking neural networks, ECCV 2022; the amounts are
        those for CIFAR10-DVS of the authors' code, github.com/Intelligent-Computing-Lab-Yale/NDA_SNN.
    """

    roll: Annotated[int | None, "pixels", at_least(0)] = None
    rotate: Angle = 30.0
    shear: Shear = 30.0

    def prepare(self) -> None:
        super().prepare()
        if self.height == 1:
            raise ConfigError("", "nda: the sensor has no rows")
        sides = self.width, self.height
        self.rolls = tuple(round(_NDA_ROLL * side) if self.roll is None else self.roll for side in sides)
        self.turn = Affine(sensor_size=self.sensor_size, rotate=self.rotate)
        self.slant = Affine(sensor_size=self.sensor_size, shear=self.shear)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        choices = (self._roll, self.turn.apply, self.slant.apply)
        return choices[int(rng.integers(len(choices)))](events, rng)

    def _roll(self, events: Events, rng: np.random.Generator) -> Events:
        across, down = (int(rng.integers(-most, most + 1)) for most in self.rolls)
        x = ((events.x.astype(np.int64) + across) % self.width).astype(events.x.dtype)
        y = None if events.y is None else ((events.y.astype(np.int64) + down) % self.height).astype(events.y.dtype)
        return events._replace(x=x, y=y)


@AUGMENTATIONS.register("flip_x")
class FlipX(SensorAugmentation):
    """Flip left and right: x' = W - 1 - x."""

    label_change = "flip_x"
    p: Probability = 0.5

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(x=self.width - 1 - events.x)


@AUGMENTATIONS.register("flip_y")
class FlipY(SensorAugmentation):
    """Flip top and bottom: y' = H - 1 - y."""

    label_change = "flip_y"
    p: Probability = 0.5

    def prepare(self) -> None:
        super().prepare()
        if self.height == 1:
            raise ConfigError("", "flip_y: the sensor has no rows")

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events if events.y is None else events._replace(y=self.height - 1 - events.y)


@AUGMENTATIONS.register("elastic")
class Elastic(SensorAugmentation):
    """Deform a recording elastically: neighbouring pixels move together, distant pixels independently.

        x' = round(x + u + strength D(x + u)),  D = S_H N S_W^T,  N ~ Normal(0, 1) for each pixel and axis

    The rows of S are Gaussians of standard deviation sigma and of norm 1, so D has standard deviation 1 everywhere; u
    is the offset of an event within its pixel, uniform in [-1/2, 1/2). Events outside the sensor are dropped.

    Args:
        strength: Standard deviation of the displacement of a pixel along each axis.
        sigma: Distance within which pixels move together.

    Source:
        Simard et al., Best practices for convolutional neural networks applied to visual document analysis,
        ICDAR 2003; there the field is scaled after smoothing.
    """

    strength: Annotated[float, "pixels", at_least(0)] = 1.0
    sigma: Annotated[Positive, "pixels"] = 5.0

    def prepare(self) -> None:
        super().prepare()
        self.along_x, self.along_y = (_smoothing_matrix(side, self.sigma) for side in (self.width, self.height))

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        x = events.x + offsets_in_pixel(events, rng)
        y = np.zeros_like(x) if events.y is None else events.y + offsets_in_pixel(events, rng)
        across = self._displacement_at(y, x, rng)
        down = 0.0 if events.y is None else self._displacement_at(y, x, rng)
        return move_events(events, x + across, y + down, self.width, self.height)

    def _displacement_at(self, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the displacement of positions along one axis, bilinear between pixels."""
        return map_coordinates(self.displacement(rng), (y, x), order=1, mode="nearest", output=np.float32)

    def displacement(self, rng: np.random.Generator) -> np.ndarray:
        """Return the displacement of each pixel along one axis, pixels, `[H, W]`."""
        noise = rng.standard_normal((self.height, self.width))
        return self.strength * (self.along_y @ noise @ self.along_x.T)


def _smoothing_matrix(size: int, sigma: float) -> np.ndarray:
    """Return a matrix whose rows are Gaussians around each index, of norm 1."""
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    rows = np.exp(-0.5 * (apart / sigma) ** 2)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Standard deviations of a jitter beyond which no event is read: one event of 10^15 moves further.
JITTER_REACH = 8


@AUGMENTATIONS.register("time_shift")
class TimeShift(Augmentation):
    """Shift a recording in time; events before time 0 are dropped.

        t' = t + d,   |d| <= most

    Args:
        most: Largest |d|.
    """

    shifts_time = True
    most: Annotated[float, "ms", above(0)] = setting()

    def read_until_us(self, until_us: float) -> float:
        return until_us + 1000 * self.most + 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        t = events.t + round(1000 * rng.uniform(-self.most, self.most))
        return events._replace(t=t).take(slice(int(np.searchsorted(t, 0)), None))


@AUGMENTATIONS.register("time_scale")
class TimeScale(Augmentation):
    """Stretch or compress a recording in time.

        t' = floor(s t)

    Args:
        scale: [from, to] of s.
    """

    shifts_time = True
    scale: Sequence[float] = setting()

    def prepare(self) -> None:
        check_range("scale", self.scale, 0.1, 10)
        self.least, self.most = self.scale

    def read_until_us(self, until_us: float) -> float:
        return until_us / min(self.least, 1.0) + 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(t=(events.t * rng.uniform(self.least, self.most)).astype(np.int64))


@AUGMENTATIONS.register("time_jitter")
class TimeJitter(Augmentation):
    """Move every event by a random time; events before time 0 move to 0.

        t' = max(0, t + std e),   e ~ N(0, 1)

    Args:
        std: Standard deviation.
    """

    std: Annotated[float, "ms", above(0)] = setting()

    def read_until_us(self, until_us: float) -> float:
        return until_us + JITTER_REACH * 1000 * self.std

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        moved = np.rint(rng.normal(0.0, 1000 * self.std, events.t.size)).astype(np.int64)
        return sort_by_time(events._replace(t=np.maximum(events.t + moved, 0)))


@AUGMENTATIONS.register("reverse")
class Reverse(Augmentation):
    """Reverse a recording in time and swap ON and OFF: t' = t_last - t, p' = not p (of two polarities)."""

    label_change = "reverse"
    shifts_time = True
    p: Probability = 0.5

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        if not events.t.size:
            return events
        back = events.take(slice(None, None, -1))
        p = ~back.p if back.p.dtype == np.bool_ else back.p
        return back._replace(t=events.t[-1] - back.t, p=p)
