"""The one place that imports tonic (GPL-3.0-only), and only when a file is read or a transform is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.augmentation import AUGMENTATIONS, JITTER_REACH, Augmentation, Chance, in_order
from snnlab.data.events import Events
from snnlab.data.events.recording import polarity_dtype
from snnlab.errors import ConfigError, DataError, did_you_mean
from snnlab.settings import check_settings, takes


def tonic() -> Any:
    """Return the package, which takes a second to import."""
    import tonic

    return tonic


def read_nmnist_file(path: Path) -> Events:
    """Read a recording in the format of N-MNIST and N-Caltech101, through tonic."""
    columns = tonic().io.read_mnist_file(str(path), dtype=np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    return Events(
        t=columns["t"].astype(np.int64),
        x=columns["x"].astype(np.int16),
        y=columns["y"].astype(np.int16),
        p=columns["p"].astype(bool),
    )


def transform(name: str) -> Callable[..., Any]:
    """Return a class of `tonic.transforms`."""
    return getattr(tonic().transforms, name)


# What may make another class of a scene, by our own augmentations' names for it.
_ALTERS = {"RandomFlipLR": "flip_x", "RandomFlipUD": "flip_y", "RandomTimeReversal": "reverse"}
_SHIFTS_TIME = ("CropTime", "RandomTimeReversal", "TimeAlignment", "TimeSkew")
_WITHOUT_ROWS = {
    *("CropTime", "Decimation", "DropEvent", "DropEventByTime", "MergePolarities", "RandomFlipLR"),
    *("RandomFlipPolarity", "RandomTimeReversal", "TimeAlignment", "TimeJitter", "TimeSkew", "UniformNoise"),
}
_WITH_ROWS = {
    *("Denoise", "DropEventByArea", "DropPixel", "EventDrop", "RandomDropPixel", "RandomFlipUD"),
    *("RefractoryPeriod", "SpatialJitter"),
}
ALLOWED = tuple(sorted(_WITHOUT_ROWS | _WITH_ROWS))
_NO_SENSOR = "training recordings alone would be of another sensor; use affine with scale, or drop_area"
_NO_FRAMES = "frames are made by snnlab: set data.num_bins or data.dt"
_CURES = {
    **dict.fromkeys(("CenterCrop", "Downsample", "EventDownsampling", "RandomCrop"), _NO_SENSOR),
    **dict.fromkeys(("ToAveragedTimesurface", "ToBinaRep", "ToFrame", "ToImage", "ToSparseTensor"), _NO_FRAMES),
    **dict.fromkeys(("ToTimesurface", "ToVoxelGrid", "NumpyAsType"), _NO_FRAMES),
    **dict.fromkeys(("Repeat", "ToOneHotEncoding"), "it changes labels, and not events"),
    "Compose": "data.augment is a list itself: give each transform its own {type: tonic, ...}",
}
_CLIP = {"SpatialJitter": "clip_outliers", "TimeJitter": "clip_negative"}
_AT_FIRST = 64  # events of the recording that is tried when a YAML is read


@AUGMENTATIONS.register("tonic")
class FromTonic(Augmentation):
    """Do what a transform of tonic does, `{type: tonic, name: DropEvent, settings: {p: 0.1}}`.

    Its random numbers are the recording's own, whatever else was drawn before; `sensor_size` is `data.sensor_size`;
    events that come back in another order are put into that of time. A recording without events stays as it is. Of
    mirrors and of the reversal, the transform's own p is part of the probability that it is done, so that
    `data.labels_after` is followed.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: The class in `tonic.transforms`; it takes events and gives events of the same sensor.
        settings: What the class takes; times in us.
        p: Probability that it is done.

    Raises:
        ConfigError: if there is no such transform, it is not one of events, or its settings cannot be.
        ValueError: if p is out of its range.
    """

    def __init__(
        self, sensor_size: tuple[int, int, int], name: str, settings: Mapping[str, Any] | None = None, p: Chance = 1.0
    ) -> None:
        self.name, self.sensor_size = name, (sensor_size[0], sensor_size[1], sensor_size[2])
        _check_name(name, self.sensor_size[1])
        self._make = transform(name)
        given = dict(settings or {})
        _check_given(name, self._make, given, self.sensor_size)
        self.alters, self.shifts_time = _ALTERS.get(name), name in _SHIFTS_TIME
        if self.alters is not None:
            p, given["p"] = p * given.get("p", 0.5), 1.0
        super().__init__(p)
        self._settings = {key: _as_tuples(value) for key, value in given.items()}
        if takes(self._make, "sensor_size"):
            self._settings["sensor_size"] = self.sensor_size
        self._try()

    def reach_us(self, until_us: float) -> float:
        if self.name == "TimeJitter":
            return until_us + JITTER_REACH * float(self._settings["std"])
        return super().reach_us(until_us)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        """Return what the transform makes of the events.

        Raises:
            DataError: if some of them are before time 0 or outside the sensor.
        """
        if not events.t.size:  # many of tonic's look for the first or the largest
            return events
        # A new one each time, since some remember; NumPy's global numbers are all that tonic draws from.
        transform = self._make(**self._settings)
        before = np.random.get_state()
        np.random.seed(int(rng.integers(2**32)))
        try:
            found = transform(_to_tonic(events))
        finally:
            np.random.set_state(before)
        if found.dtype.names is None:  # an empty list of events has lost its columns' names
            return events.take(slice(0, 0))
        self._check(found)
        return in_order(_from_tonic(found, self.sensor_size[2]))

    def _check(self, found: np.ndarray) -> None:
        limits = {"t": None, **dict(zip("xyp", self.sensor_size, strict=True))}
        for key in (found.dtype.names or ()) if found.size else ():
            low, high, size = int(found[key].min()), int(found[key].max()), limits[key]
            if low >= 0 and (size is None or high < size or (key == "p" and high <= 1)):
                continue
            allowed = "times start at 0" if size is None else f"the sensor has 0..{size - 1}"
            cure = f"; set {_CLIP[self.name]}: true" if self.name in _CLIP else ""
            raise DataError("", f"tonic's {self.name}: {key} spans {low}..{high} after it, {allowed}{cure}")

    def _try(self) -> None:
        """Do it once, since tonic checks most settings by assertions, and only when events come."""
        rng = np.random.default_rng(0)
        width, height, _ = self.sensor_size
        t = 1000 * np.arange(_AT_FIRST)
        y = rng.integers(0, height, _AT_FIRST) if height > 1 else None
        p = rng.integers(0, 2, _AT_FIRST).astype(polarity_dtype(self.sensor_size[2]))
        try:
            self.apply(Events(t, rng.integers(0, width, _AT_FIRST), y, p), rng)
        except DataError as error:
            raise ConfigError("settings", error) from error
        except (AssertionError, IndexError, TypeError, ValueError) as error:
            reason = str(error) or "a value is out of its range or of another type"
            raise ConfigError("settings", f"tonic's {self.name} cannot be used so ({reason})") from error


def _check_name(name: str, height: int) -> None:
    if name in _CURES:
        raise ConfigError("name", f"tonic's {name} cannot be an augmentation", _CURES[name])
    if name not in ALLOWED:
        meant = did_you_mean(name, ALLOWED)
        raise ConfigError("name", f"there is no transform '{name}'", meant, ALLOWED)
    if height == 1 and name in _WITH_ROWS:
        raise ConfigError("name", f"tonic's {name} needs rows, and this sensor has none (H = 1)")


def _check_given(name: str, make: Callable[..., Any], given: dict[str, Any], sensor_size: tuple[int, int, int]) -> None:
    """Refuse what tonic would take, and do something else than its words say."""
    if "sensor_size" in given:
        raise ConfigError("settings.sensor_size", "is data.sensor_size", "leave it out")
    check_settings(make, given, "settings", name, given=("sensor_size",))
    if name == "DropEventByArea" and not isinstance(given.get("area_ratio", 0.2), float):
        # Of a range, tonic 1.7 draws from its end up to 1.
        raise ConfigError("settings.area_ratio", "must be one number between 0 and 1", "drop_area draws from a range")
    if name == "TimeSkew" and np.min(given["coefficient"]) <= 0:
        raise ConfigError(
            "settings.coefficient", "must be above 0", "RandomTimeReversal lets a recording run backwards"
        )
    flips = name == "RandomFlipPolarity" or (name == "RandomTimeReversal" and given.get("flip_polarities", True))
    if flips and sensor_size[2] > 2:
        cure = "" if name == "RandomFlipPolarity" else "; set settings.flip_polarities: false"
        raise ConfigError("name", f"tonic's {name} knows two polarities, and this sensor has {sensor_size[2]}{cure}")


def _as_tuples(value: Any) -> Any:
    """Return lists as tuples, by which tonic knows a range."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _to_tonic(events: Events) -> np.ndarray:
    """Return a structured copy; int64, because differences of narrow or unsigned columns wrap."""
    columns = {key: column for key, column in events._asdict().items() if column is not None}
    found = np.empty(events.t.size, [(key, np.int64) for key in columns])
    for key, column in columns.items():
        found[key] = column
    return found


def _from_tonic(found: np.ndarray, polarities: int) -> Events:
    names = found.dtype.names or ()
    y = found["y"].astype(np.int16) if "y" in names else None
    return Events(found["t"].copy(), found["x"].astype(np.int16), y, found["p"].astype(polarity_dtype(polarities)))
