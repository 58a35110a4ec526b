"""The settings of every dataset, and the construction of a dataset from its YAML node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from snnlab.data import (
    sources as sources,  # registers the datasets
    tonic_adapter as tonic_adapter,  # registers tonic's augmentations
)
from snnlab.data.augmentation import Pipeline, build_pipeline
from snnlab.data.dataset import DATASETS, Dataset
from snnlab.data.events.camera import CameraPath
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps
from snnlab.data.mixing import Mixing, build_mixing
from snnlab.errors import ConfigError, DataError, error_context, join_names
from snnlab.experiment_fields import MANY_STEPS, NOT_FOR_ALL, SHARED, DataFields
from snnlab.spec.signatures import check_known, checks_arguments, fields_of, has_parameter

if TYPE_CHECKING:
    from torch import Tensor


@checks_arguments
class DataSettings(DataFields):
    """How recordings become batches of frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.sensor_size) != 3:
            raise ConfigError("sensor_size", f"expected [W, H, P], got {list(self.sensor_size)}")
        if self.name is not None and not re.fullmatch(r"[^./\\\s][^/\\]*", self.name):
            raise ConfigError("name", f"must be a valid file name, got '{self.name}'")
        if self.targets in ("steps", "series") and self.bin_by == "count":
            what = "labels" if self.targets == "steps" else "values"
            raise ConfigError(
                "targets",
                f"{self.targets} needs {what} at times, and steps of bin_by: count have no times",
                "set bin_by: time",
            )
        if self.targets == "series":
            whole = "targets: series are the values of all steps of a window"
            if self.stride_ms is not None:
                raise ConfigError("stride_ms", whole, "set stride_ms: null")
            if self.length_from != "window":
                raise ConfigError("length_from", whole, "set length_from: window")
        if self.num_classes == 1 and self.targets not in ("value", "series"):
            raise ConfigError("num_classes", "must be >= 2, got 1")
        if self.folds is not None and self.fold >= self.folds:
            raise ConfigError("fold", f"must be < {self.folds}, the number of folds, got {self.fold}")
        if self.folds is None and self.fold:
            raise ConfigError("fold", f"{self.fold} needs folds, the number of folds")
        if self.folds is not None and self.split_file is not None:
            raise ConfigError("", "give folds or split_file, not both")
        if self.dt is not None:
            self._check_dt(self.dt)
            if self.bin_by == "count":
                raise ConfigError("bin_by", "count has no dt", "set num_bins, the largest number of steps")
        self._check_camera()
        if self.crop is not None and len(self.crop) != 4:
            raise ConfigError("crop", f"expected [left, top, width, height], got {list(self.crop)}")

    @property
    def camera(self) -> CameraPath | None:
        """The camera motion to subtract, or None."""
        return CameraPath(self.camera_path) if self.stabilize and self.camera_path is not None else None

    @property
    def pipeline(self) -> Pipeline:
        """The augmentations of training recordings."""
        return build_pipeline(self.augment, self.label_map, self.num_classes, self.size, self.targets)

    @property
    def mixing(self) -> Mixing | None:
        """The mixing of training recordings with each other; None: they are not mixed."""
        if self.mix is None:
            return None
        node = {"type": self.mix} if isinstance(self.mix, str) else self.mix
        return build_mixing(node, self.targets)

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return self.num_bins if self.num_bins is not None else round(self.duration_ms / (self.dt or 1.0))

    @property
    def step_ms(self) -> float | None:
        """Length of a step, ms; None for steps by count."""
        if self.bin_by == "count":
            return None
        return self.dt if self.dt is not None else self.duration_ms / self.steps

    @property
    def steps_text(self) -> str:
        """The number and the length of the steps, as text."""
        if self.events_per_bin is not None:
            return f"at most {self.steps} steps of {self.events_per_bin:,} events"
        if self.bin_by == "count":
            return f"{self.steps} steps of equally many events"
        return f"{self.steps} steps of {self.step_ms:g} ms"

    @property
    def duration_us(self) -> int:
        """Length of the window, us."""
        return round(self.duration_ms * 1000)

    @property
    def stride_us(self) -> int | None:
        """Distance between the starts of two windows of a recording, us; None if there is one window only."""
        return None if self.stride_ms is None else round(1000 * self.stride_ms)

    @property
    def size(self) -> tuple[int, int, int]:
        """The sensor's (W, H, P)."""
        width, height, polarities = self.sensor_size
        return width, height, polarities

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame: (C, H, W), (C, W) for sensors of one row, or (W,) for one row and one channel."""
        return self.frame_builder().shape

    def denominator(self) -> int:
        """Return N where all values of frames are whole numbers of 1/N; refuse others."""
        builder = self.frame_builder()
        found = builder.representation.denominator(builder.region.size[0])
        if found is None:
            problem = "has values that are no whole numbers, which quantize needs"
            raise ConfigError(
                "data.representation", problem, "set data.representation=counts, binary, or level without a range"
            )
        return found

    def in_whole_numbers(self) -> DataSettings:
        """Return settings whose frames are `denominator` times as large, and so are whole numbers."""
        if (levels := self.denominator()) == 1:
            return self
        return replace(self, representation={**self._representation_node(), "range": [1, levels]})

    def frame_builder(self, hot: Tensor | None = None) -> FrameBuilder:
        """Return the conversion of events to frames.

        Args:
            hot: Mask of hot pixels, or None.

        Shape:
            hot: bool `[H * W]`.
        """
        node = self._representation_node()
        kind = REPRESENTATIONS.build(node.pop("type", None), node, "data.representation")
        crop = None if self.crop is None else (self.crop[0], self.crop[1], self.crop[2], self.crop[3])
        with error_context("data"):
            region = Region(self.size, crop, self.downsample, hot)
            overlap_us = round(1000 * self.overlap_ms)
            steps = Steps(self.duration_us, self.steps, self.bin_by, self.events_per_bin, overlap_us)
            return FrameBuilder(region, steps, kind, self.length_from)

    def _representation_node(self) -> dict[str, Any]:
        chosen = self.representation
        return {"type": chosen} if isinstance(chosen, str) else dict(chosen)

    def _check_camera(self) -> None:
        if self.camera_path is not None:
            CameraPath(self.camera_path)  # checks the corners
        if self.stabilize and self.camera_path is None:
            raise ConfigError("stabilize", "needs camera_path, the motion to subtract: corners [ms, x, y]")
        if self.stabilize and self.hot_pixels_hz is not None:
            raise ConfigError(
                "", "give stabilize or hot_pixels_hz, not both: without its motion, a scene moves over the pixels"
            )

    def _check_dt(self, dt: float) -> None:
        if dt < self.duration_ms / MANY_STEPS:
            raise ConfigError(
                "dt",
                f"{dt} ms makes more than {MANY_STEPS:,} steps of a window of {self.duration_ms} ms",
                f"if it is in seconds, write {1000 * dt:g}",
            )
        steps = Fraction(str(self.duration_ms)) / Fraction(str(dt))
        if steps.denominator != 1:
            near = max(1, round(float(steps)))
            raise ConfigError(
                "dt",
                f"{dt} ms does not divide the window of {self.duration_ms} ms",
                f"num_bins: {near} gives {self.duration_ms / near:.6g} ms per step",
            )


def read_settings(node: Mapping[str, Any]) -> tuple[DataSettings, str, dict[str, Any]]:
    """Return the shared settings of a data node, its type, and the dataset's own settings."""
    settings = dict(node)
    kind = settings.pop("type", None)
    factory = DATASETS.get(kind, "data")
    shared, own = fields_of(DataSettings), fields_of(factory, SHARED)
    for name, reason in NOT_FOR_ALL.items():
        if has_parameter(factory, name):
            continue
        del shared[name]
        if settings.pop(name, None) is not None:
            others = join_names(other for other in DATASETS if has_parameter(DATASETS.get(other, "data"), name))
            raise ConfigError(
                f"data.{name}",
                f"{kind} {reason}, so this setting has no effect",
                f"remove it, or choose data=NAME, one of {others}",
            )
    check_known({**shared, **own}, settings, "data", str(kind))
    common = read_shared_settings(node)
    if common.targets != "class" and not has_parameter(factory, "targets"):
        whose = "a dataset of your own that takes targets" if common.targets == "series" else "data=folder"
        raise ConfigError("data.targets", f"{common.targets} needs {whose}", f"each recording of {kind} has a class")
    _ = common.pipeline, common.mixing, common.frame_builder()  # checks their settings
    return common, str(kind), {name: value for name, value in settings.items() if name in own}


def without_download(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data node whose dataset fetches nothing; of a plugin's dataset, the plugin must be imported."""
    kind = node.get("type")
    fetches = "download" in node or (kind in DATASETS and has_parameter(DATASETS.get(kind, "data"), "download"))
    return {**node, "download": False} if fetches else dict(node)


def read_shared_settings(node: Mapping[str, Any]) -> DataSettings:
    """Return the shared settings of a data node of any dataset."""
    known = fields_of(DataSettings)
    settings = {name: value for name, value in node.items() if name in known}
    check_known(known, settings, "data", str(node.get("type")))
    with error_context("data"):
        return DataSettings(**settings)


def build_dataset(node: Mapping[str, Any]) -> Dataset:
    """Find a dataset's recordings on this machine and check them against the YAML.

    Raises:
        DataError: if recordings are missing, or contradict `num_classes` or `sensor_size`.
    """
    common, kind, own = read_settings(node)
    # Settings that the YAML leaves out have the defaults of the dataset's class, if it has any.
    defaults = {name for name, setting in fields_of(DATASETS.get(kind, "data")).items() if not setting.required}
    context = {name: getattr(common, name) for name in SHARED if name not in defaults or node.get(name) is not None}
    dataset: Dataset = DATASETS.build(kind, own, "data", **context)
    if dataset.num_classes != common.num_classes:
        what = {"value": "values per recording", "series": "values per step"}.get(common.targets, "classes")
        raise DataError("data.num_classes", f"{common.num_classes}, but {kind} has {dataset.num_classes} {what}")
    if tuple(dataset.sensor_size) != common.size:
        raise DataError("data.sensor_size", f"{list(common.size)}, but {kind}'s sensor is {list(dataset.sensor_size)}")
    return dataset
