"""The only file that imports tonic (GPL-3.0-only), and only when a transform is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np

from snnlab.data.augmentation import AUGMENTATIONS, JITTER_REACH, Augmentation, Probability, sort_by_time
from snnlab.data.events import Events
from snnlab.data.events.recording import polarity_dtype
from snnlab.errors import ConfigError, DataError, did_you_mean
from snnlab.spec.signatures import check_settings, has_parameter


def tonic() -> Any:
    """Import tonic, which takes a second, and return it."""
    import tonic

    return tonic


def transform(name: str) -> Callable[..., Any]:
    """Return a class of `tonic.transforms`."""
    return getattr(tonic().transforms, name)


# Transforms that may change a recording's class, with the names of the matching augmentations.
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
_NO_SENSOR = "only training recordings would get another sensor size; use affine with scale, or drop_area"
_NO_FRAMES = "frames are made by snnlab: set data.num_bins or data.dt"
_HINTS = {
    **dict.fromkeys(("CenterCrop", "Downsample", "EventDownsampling", "RandomCrop"), _NO_SENSOR),
    **dict.fromkeys(("ToAveragedTimesurface", "ToBinaRep", "ToFrame", "ToImage", "ToSparseTensor"), _NO_FRAMES),
    **dict.fromkeys(("ToTimesurface", "ToVoxelGrid", "NumpyAsType"), _NO_FRAMES),
    **dict.fromkeys(("Repeat", "ToOneHotEncoding"), "it changes labels, not events"),
    "Compose": "data.augment is a list already: give each transform its own {type: tonic, ...}",
}
_CLIP = {"SpatialJitter": "clip_outliers", "TimeJitter": "clip_negative"}
_TEST_EVENTS = 64  # events of the recording on which a transform is tested when a YAML is read


@AUGMENTATIONS.register("tonic")
class TonicTransform(Augmentation):
    """Apply a transform of tonic: `{type: tonic, name: DropEvent, settings: {p: 0.1}}`.

    Its random numbers depend on (seed, epoch, recording) alone; `sensor_size` is `data.sensor_size`; unsorted results
    are sorted by time. A recording without events stays as it is. For flips and time reversal, the transform's own p is
    multiplied into the probability that it is applied, so that `data.label_map` is followed.

    Args:
        sensor_size: `[W, H, P]`.
        name: The class in `tonic.transforms`; its output must be events of the same sensor.
        settings: Arguments of the class; times in us.
    """

    def __init__(
        self,
        sensor_size: Annotated[tuple[int, int, int], "pixels, pixels, polarities"],
        name: str,
        settings: Mapping[str, Any] | None = None,
        p: Probability = 1.0,
    ) -> None:
        self.name, self.sensor_size = name, (sensor_size[0], sensor_size[1], sensor_size[2])
        _check_transform(name, self.sensor_size[1])
        self._make = transform(name)
        arguments = dict(settings or {})
        _check_transform_settings(name, self._make, arguments, self.sensor_size)
        self.label_change, self.shifts_time = _ALTERS.get(name), name in _SHIFTS_TIME
        if self.label_change is not None:
            p, arguments["p"] = p * arguments.get("p", 0.5), 1.0
        super().__init__(p)
        self._settings = {key: _as_tuples(value) for key, value in arguments.items()}
        if has_parameter(self._make, "sensor_size"):
            self._settings["sensor_size"] = self.sensor_size
        self._check_on_events()

    def read_until_us(self, until_us: float) -> float:
        if self.name == "TimeJitter":
            return until_us + JITTER_REACH * float(self._settings["std"])
        return super().read_until_us(until_us)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        """Apply the transform to the events.

        Raises:
            DataError: if resulting events are before time 0 or outside the sensor.
        """
        if not events.t.size:  # many transforms of tonic fail without a first or largest event
            return events
        # A new object for each call, since some have state; tonic draws from NumPy's global generator only.
        transform = self._make(**self._settings)
        before = np.random.get_state()
        np.random.seed(int(rng.integers(2**32)))
        try:
            found = transform(_to_tonic(events))
        finally:
            np.random.set_state(before)
        if found.dtype.names is None:  # an empty result has no column names
            return events.take(slice(0, 0))
        self._check(found)
        return sort_by_time(_from_tonic(found, self.sensor_size[2]))

    def _check(self, found: np.ndarray) -> None:
        limits = {"t": None, **dict(zip("xyp", self.sensor_size, strict=True))}
        for key in (found.dtype.names or ()) if found.size else ():
            low, high, size = int(found[key].min()), int(found[key].max()), limits[key]
            if low >= 0 and (size is None or high < size or (key == "p" and high <= 1)):
                continue
            allowed = "times start at 0" if size is None else f"the sensor has 0..{size - 1}"
            hint = f"; set {_CLIP[self.name]}: true" if self.name in _CLIP else ""
            raise DataError("", f"tonic's {self.name}: its result has {key} in {low}..{high}, {allowed}{hint}")

    def _check_on_events(self) -> None:
        """Apply it once, since tonic checks most settings by assertions, and only on events."""
        rng = np.random.default_rng(0)
        width, height, _ = self.sensor_size
        t = 1000 * np.arange(_TEST_EVENTS)
        y = rng.integers(0, height, _TEST_EVENTS) if height > 1 else None
        p = rng.integers(0, 2, _TEST_EVENTS).astype(polarity_dtype(self.sensor_size[2]))
        try:
            self.apply(Events(t, rng.integers(0, width, _TEST_EVENTS), y, p), rng)
        except DataError as error:
            raise ConfigError("settings", error) from error
        except (AssertionError, IndexError, TypeError, ValueError) as error:
            reason = str(error) or "a value is out of its range or of another type"
            raise ConfigError(
                "settings", f"tonic's {self.name} cannot be used with these settings ({reason})"
            ) from error


def _check_transform(name: str, height: int) -> None:
    if name in _HINTS:
        raise ConfigError("name", f"tonic's {name} cannot be an augmentation", _HINTS[name])
    if name not in ALLOWED:
        meant = did_you_mean(name, ALLOWED)
        raise ConfigError("name", f"there is no transform '{name}'", meant, ALLOWED)
    if height == 1 and name in _WITH_ROWS:
        raise ConfigError("name", f"tonic's {name} needs rows, and this sensor has none (H = 1)")


def _check_transform_settings(
    name: str, make: Callable[..., Any], settings: dict[str, Any], sensor_size: tuple[int, int, int]
) -> None:
    """Raise for settings that tonic accepts, but does not apply as documented."""
    if "sensor_size" in settings:
        raise ConfigError("settings.sensor_size", "is always data.sensor_size", "remove it")
    check_settings(make, settings, "settings", name, supplied=("sensor_size",))
    if name == "DropEventByArea" and not isinstance(settings.get("area_ratio", 0.2), float):
        # For a range, tonic 1.7 draws from its end up to 1.
        raise ConfigError("settings.area_ratio", "must be one number between 0 and 1", "drop_area draws from a range")
    if name == "TimeSkew" and np.min(settings["coefficient"]) <= 0:
        raise ConfigError(
            "settings.coefficient", "must be above 0", "RandomTimeReversal lets a recording run backwards"
        )
    flips = name == "RandomFlipPolarity" or (name == "RandomTimeReversal" and settings.get("flip_polarities", True))
    if flips and sensor_size[2] > 2:
        hint = "" if name == "RandomFlipPolarity" else "; set settings.flip_polarities: false"
        raise ConfigError("name", f"tonic's {name} supports two polarities, and this sensor has {sensor_size[2]}{hint}")


def _as_tuples(value: Any) -> Any:
    """Convert lists to tuples, which tonic needs for a range."""
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
