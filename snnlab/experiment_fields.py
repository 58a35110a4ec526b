"""Parts of an experiment whose settings are known without importing torch: those of every dataset, plots, monitors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from snnlab.errors import ConfigError
from snnlab.spec.field import Excludes
from snnlab.spec.interval import Count, NonNegative, Positive, above, at_least, between
from snnlab.spec.signatures import checks_arguments

# More steps than any network is unrolled over at once: more is a wrong unit.
MANY_STEPS = 20_000
# The length of the run, in a schedule of torch.
RUN = "run"
# The settings of every dataset that its constructor may take.
SHARED = ("root", "download", "sensor_size", "num_classes", "duration_ms", "targets", "name", "on_bad")
# The settings of these that only some datasets take, and the reason for the others.
NOT_FOR_ALL = {"root": "reads no files", "download": "fetches nothing"}
Targets = Literal["class", "value", "steps", "series"]
OnBad = Literal["fail", "skip"]


@dataclass(eq=False)
class PlotSettings:
    """The plots of a training.

    Args:
        recordings: Number of validation recordings, the first ones, of different classes if they have one; >= 1.
        every_epochs: Epochs between two drawings; >= 1.
    """

    recordings: Count = 2
    every_epochs: Count = 12

    def __post_init__(self) -> None:
        """Called once the settings are set; the callback begins here."""


@dataclass(eq=False)
class MonitorSettings:
    """The layer statistics of a training.

    Args:
        every_steps: Steps between two measurements, the first one before the first step; >= 1.
        recordings: Number of recordings, the first of the batch; >= 2, since batch norm in training needs two.
        every_epochs: Epochs between two plots; >= 1.
    """

    every_steps: Count = 100
    recordings: Annotated[int, at_least(2)] = 8
    every_epochs: Count = 4

    def __post_init__(self) -> None:
        """Called once the settings are set; the callback begins here."""


@checks_arguments
@dataclass(frozen=True)
class AnnealingSettings:
    """A factor of the width of all surrogates.

    Args:
        start: Factor in the first epoch.
        epochs: Number of epochs over which it changes.
        end: Factor in the last of these epochs and later; 1 is the width that the layer sets.
    """

    start: Positive
    epochs: Count
    end: Positive = 1.0


@dataclass(frozen=True)
class DataFields:
    """The settings of every dataset: how recordings become batches of frames.

    Args:
        sensor_size: [W, H, P]: width, height and number of polarities; H = 1 for sensors without rows.
        num_classes: Number of classes; for value targets, the number of values per recording, or per step.
        duration_ms: Length of the window [0, duration_ms), ms.
        num_bins: Number of steps in the window; alternative to `dt`.
        dt: Length of a step, ms; must divide the window; alternative to `num_bins`.
        bin_by: Steps of equal `time`, or of equal `count` of events. Steps by count have no dt: all time constants must
            then be given in steps, and there are no rates in Hz.
        events_per_bin: Events per step, by count, for at most num_bins steps; null: num_bins equal parts of the events.
        overlap_ms: Overlap of a frame with the next step, ms: a frame also counts the first events of the next step.
        stride_ms: After the split, recordings are cut into windows of duration_ms, one every stride_ms, ms; null: one
            window from the start.
        length_from: Valid steps of a recording: all of the `window`, or those until the last event of the `recording`.
        representation: How events become frames: a node of `list representations` or its type: counts, binary, ...
        camera_path: Motion of a static scene over the sensor while the camera moves: corners [ms, x, y], pixels.
        stabilize: Whether the motion of camera_path is subtracted, so that each part of the scene stays at its place.
        crop: [left, top, width, height] of the used part of the sensor, pixels.
        downsample: Side of a cell, pixels; the events of all pixels of a cell are counted together.
        hot_pixels_hz: Pixels with more events per second than this, over the windows of all training recordings, are
            dropped.
        batch_size: Recordings per batch.
        num_workers: Loader processes; 0 loads in the main process.
        val_fraction: Fraction of the training recordings held out for validation.
        split_seed: Seed of the validation split, independent of the run's seed.
        folds: Number of folds of the training recordings, of which `fold` is held out; replaces val_fraction.
        fold: Index of the fold that is held out, 0 .. folds - 1.
        split_file: A CSV with the columns recording and split (train, val, test), or the split.json of another run: the
            part of each recording.
        on_bad: Reaction to recordings, rows of a table and names of files that cannot be used, to the same events in
            two parts of the split, and to a person, or parts of one file, in two parts of `split_file`: fail, naming
            them, or skip them. Of what is in two parts, the test recordings stay, or else those for validation.
        store_dir: Folder of the packed recordings; null: a folder in the user's cache.
        targets: Targets of recordings, for datasets that have several: a `class`; `value`, one or several numbers;
            `steps`, a label at each step; or `series`, one or several numbers at each step.
        root: Folder of the original recordings, for datasets that have files.
        download: Whether missing files are downloaded.
        name: Name of the recordings; null: the name of the YAML file that describes them.
        augment: Random augmentations of training recordings, in order: nodes of `list augmentations`. They apply to the
            events of the window, and to the events that they move into it.
        label_map: New class of a recording for each old class, after an augmentation that changes the scene (flip_x,
            flip_y, reverse); null: the result has no class. Augmentations that are not listed keep the class.
        mix: Mixing of training recordings with each other: a node of `list mixes` or its type alone; null: none.
    """

    sensor_size: Annotated[Sequence[int], at_least(1)]
    num_classes: Count
    duration_ms: Annotated[float, "ms", above(0)]
    num_bins: Annotated[int | None, between(1, MANY_STEPS), Excludes("dt")] = None
    dt: Annotated[float | None, "ms", above(0), Excludes("num_bins")] = None
    bin_by: Literal["time", "count"] = "time"
    events_per_bin: Annotated[int | None, at_least(1)] = None
    overlap_ms: Annotated[float, "ms", at_least(0)] = 0.0
    stride_ms: Annotated[float | None, "ms", at_least(0.001)] = None
    length_from: Literal["window", "recording"] = "window"
    representation: Mapping[str, Any] | str = "counts"
    camera_path: Sequence[Sequence[float]] | None = None
    stabilize: bool = False
    crop: Sequence[int] | None = None
    downsample: Count = 1
    hot_pixels_hz: Annotated[float | None, "Hz", above(0)] = None
    batch_size: Count = 32
    num_workers: NonNegative = 0
    val_fraction: Annotated[float, between(0, 1, with_high=False)] = 0.1
    split_seed: NonNegative = 0
    folds: Annotated[int | None, at_least(2)] = None
    fold: NonNegative = 0
    split_file: str | None = None
    on_bad: OnBad = "fail"
    store_dir: str | None = None
    targets: Targets = "class"
    root: str | None = None
    download: bool = True
    name: str | None = None
    augment: Sequence[Mapping[str, Any]] = ()
    label_map: Mapping[str, Sequence[int] | None] = field(default_factory=dict)
    mix: Mapping[str, Any] | str | None = None

    def __post_init__(self) -> None:
        if (self.num_bins is None) == (self.dt is None):
            raise ConfigError("", "give exactly one of num_bins and dt (ms)")
