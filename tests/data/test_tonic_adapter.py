"""Tonic's transforms by name: the same results as tonic with the same seed, and no effects outside the recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tonic.transforms
import torch
from torch.utils.data import DataLoader

from snnlab.data.augmentation import AUGMENTATIONS, Augmentation, Pipeline, build_pipeline
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, Store
from snnlab.data.events.recording import check_events
from snnlab.data.splits import Split
from snnlab.data.tonic_adapter import ALLOWED
from snnlab.errors import ConfigError, DataError, UnknownSettingError

from ..refusals import assert_raises

SENSOR, LINE = (20, 14, 2), (20, 1, 2)
SETTINGS: dict[str, dict[str, Any]] = {
    "CropTime": {"min": 20_000, "max": 80_000},
    "Decimation": {"n": 2},
    "Denoise": {"filter_time": 5000},
    "DropEvent": {"p": [0.1, 0.4]},
    "DropEventByArea": {"area_ratio": 0.4},
    "DropEventByTime": {"duration_ratio": [0.1, 0.5]},
    "DropPixel": {"coordinates": [[3, 4], [5, 6]]},
    "EventDrop": {},
    "MergePolarities": {},
    "RandomDropPixel": {"p": 0.3},
    "RandomFlipLR": {"p": 1.0},
    "RandomFlipPolarity": {"p": 0.5},
    "RandomFlipUD": {"p": 1.0},
    "RandomTimeReversal": {"p": 1.0},
    "RefractoryPeriod": {"delta": [100, 5000]},
    "SpatialJitter": {"var_x": 4, "var_y": 4, "clip_outliers": True},
    "TimeAlignment": {},
    "TimeJitter": {"std": 3000},
    "TimeSkew": {"coefficient": [0.8, 1.2], "offset": 5},
    "UniformNoise": {"n": 200},
}
NEED_ROWS = {
    *("Denoise", "DropEventByArea", "DropPixel", "EventDrop", "RandomDropPixel", "RandomFlipUD"),
    *("RefractoryPeriod", "SpatialJitter"),
}


def recording(sensor: tuple[int, int, int] = SENSOR, number: int = 400, seed: int = 1) -> Events:
    rng = np.random.default_rng(seed)
    width, height, polarities = sensor
    y = rng.integers(0, height, number).astype(np.int16) if height > 1 else None
    p = rng.integers(0, polarities, number)
    p = p.astype(np.uint8) if polarities > 2 else p > 0
    return Events(np.sort(rng.integers(0, 100_000, number)), rng.integers(0, width, number).astype(np.int16), y, p)


def build(name: str, sensor: tuple[int, int, int] = SENSOR, **settings: Any) -> Augmentation:
    node = {"name": name, "settings": settings}
    return AUGMENTATIONS.build("tonic", node, "data.augment[0]", sensor_size=sensor)


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in events if column is not None), strict=True))


def directly(name: str, events: Events, seed: int) -> list[tuple[int, ...]]:
    """Call tonic as its documentation does, under the seed that the augmentation draws."""
    columns = {key: column for key, column in events._asdict().items() if column is not None}
    table = np.empty(events.t.size, [(key, np.int64) for key in columns])
    for key, column in columns.items():
        table[key] = column
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in SETTINGS[name].items()}
    kind = getattr(tonic.transforms, name)
    if "sensor_size" in kind.__dataclass_fields__:
        settings["sensor_size"] = SENSOR
    np.random.seed(int(np.random.default_rng(seed).integers(2**32)))
    found = kind(**settings)(table)
    found = found[np.argsort(found["t"], kind="stable")]
    return list(zip(*(found[key].tolist() for key in columns), strict=True))


def test_every_transform_that_is_allowed_is_tried() -> None:
    assert SETTINGS.keys() == set(ALLOWED)


@pytest.mark.parametrize("name", SETTINGS)
def test_it_does_what_tonic_does_under_the_same_seed(name: str) -> None:
    events = recording()
    changed = False
    for seed in range(4):
        done = build(name, **SETTINGS[name]).apply(events, np.random.default_rng(seed))
        assert rows(done) == directly(name, events, seed)
        changed |= rows(done) != rows(events)
    assert changed


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("number", [0, 1, 400])
def test_the_result_is_a_valid_recording_and_the_input_is_unchanged(name: str, number: int) -> None:
    events = recording(number=number)
    before = rows(events)
    augmentation = build(name, **SETTINGS[name])
    for seed in range(5):
        done = augmentation.apply(events, np.random.default_rng(seed))
        check_events(done, SENSOR, name)
        assert [column.dtype for column in done if column is not None] == [np.int64, np.int16, np.int16, np.bool_]
    assert rows(events) == before


@pytest.mark.parametrize("name", SETTINGS)
def test_without_rows_it_works_or_is_refused_when_the_yaml_is_read(name: str) -> None:
    try:
        augmentation = build(name, LINE, **SETTINGS[name])
    except ConfigError as error:
        refusal = str(error)
    else:
        refusal = ""
        check_events(augmentation.apply(recording(LINE), np.random.default_rng(0)), LINE, name)
    assert ("rows" in refusal) == bool(refusal) == (name in NEED_ROWS)


def test_more_than_two_polarities_keep_their_numbers() -> None:
    colours = (20, 14, 4)
    events = build("UniformNoise", colours, n=50).apply(recording(colours), np.random.default_rng(0))
    check_events(events, colours, "colours")
    assert set(events.p.tolist()) == {0, 1, 2, 3}
    with assert_raises(ConfigError, "data.augment[0].name", 4):
        build("RandomFlipPolarity", colours)
    with assert_raises(ConfigError, "data.augment[0].name", "settings.flip_polarities"):
        build("RandomTimeReversal", colours)


def test_numpys_global_numbers_neither_decide_nor_change() -> None:
    augmentation = build("EventDrop")
    found = []
    for seed in (0, 1):
        np.random.seed(seed)
        expected = np.random.random()
        np.random.seed(seed)
        found.append(rows(augmentation.apply(recording(), np.random.default_rng(5))))
        assert np.random.random() == expected
    assert found[0] == found[1]


def test_numpys_global_numbers_are_restored_when_tonic_fails() -> None:
    augmentation = build("DropEvent", p=0.5)
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    vars(augmentation)["_settings"]["p"] = 1.5  # more than all
    with assert_raises(ValueError, "larger"):
        augmentation.apply(recording(), np.random.default_rng(0))
    assert np.random.random() == expected


def test_nothing_is_kept_from_one_recording_to_the_next() -> None:
    short, long = recording(), recording()
    long = long._replace(t=2 * long.t)
    used = build("CropTime")  # it stores the end of the first recording
    used.apply(short, np.random.default_rng(0))
    assert rows(used.apply(long, np.random.default_rng(0))) == rows(long)


NODES = [
    {"type": "tonic", "name": "EventDrop"},
    {"type": "tonic", "name": "SpatialJitter", "settings": {"clip_outliers": True}},
    {"type": "tonic", "name": "TimeJitter", "settings": {"std": 50}, "p": 0.7},
]


# From Python 3.12 on, starting a loader's worker in a process with threads warns; torch forks all the same.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("tiny_store", [(5, 4, 2)], indirect=True, ids=str)
def test_any_number_of_workers_and_any_order_change_a_recording_alike(tiny_store: Store, tiny_split: Split) -> None:
    def contents(workers: int, batch_size: int) -> dict[int, list[Any]]:
        settings = DataSettings((5, 4, 2), 4, 1.0, 5, batch_size=batch_size, num_workers=workers, augment=NODES)
        loader = EventDataModule(tiny_store, tiny_split, settings, 3, pipeline=settings.pipeline).train_dataloader()
        assert isinstance(loader, DataLoader)
        found = {}
        for batch in loader:
            sizes = batch.offsets.diff().tolist()
            columns = [torch.split(column, sizes) for column in (batch.t, batch.x, batch.y, batch.p)]
            for place, *each in zip(batch.index.tolist(), *columns, strict=True):
                found[place] = [column.tolist() for column in each]
        return found

    alone = contents(0, 4)
    assert alone == contents(1, 4) == contents(2, 4) == contents(2, 3)
    assert any(each[0] != tiny_store[place].t.tolist() for place, each in alone.items())


@pytest.mark.parametrize(
    ("name", "label_change"),
    [("RandomFlipLR", "flip_x"), ("RandomFlipUD", "flip_y"), ("RandomTimeReversal", "reverse")],
)
def test_a_flip_or_reversal_gives_the_class_of_labels_after(name: str, label_change: str) -> None:
    def pipeline(classes: list[int] | None) -> Pipeline:
        node = {"type": "tonic", "name": name, "settings": {"p": 0.5}}
        return build_pipeline([node], {label_change: classes}, 2, SENSOR)

    with assert_raises(ConfigError, "data.augment[0]", "recordings", label_change):
        pipeline(None)
    events, targets = recording(), []
    for seed in range(40):
        done, target = pipeline([1, 0]).augment_one(events, 0, np.random.default_rng(seed))
        assert (target == 1) == (rows(done) != rows(events))
        targets.append(target)
    assert 8 < sum(targets) < 32


def test_events_outside_are_an_error_that_names_the_transform() -> None:
    augmentation = build("TimeSkew", coefficient=1.0, offset=0)
    with assert_raises(DataError, "", -5):
        augmentation.apply(recording()._replace(t=np.arange(400) - 5), np.random.default_rng(0))
    with assert_raises(ConfigError, "data.augment[0].settings", "clip_outliers"):
        build("SpatialJitter", var_x=50.0)


@pytest.mark.parametrize(
    ("name", "settings", "message_parts"),
    [
        ("DropEvnt", {}, ("data.augment[0].name", "DropEvnt", "DropEvent")),
        ("ToFrame", {"n_time_bins": 3}, ("data.augment[0].name", "data.num_bins", "data.dt")),
        ("ToImage", {}, ("data.augment[0].name", "data.num_bins")),
        ("Downsample", {"spatial_factor": 0.5}, ("data.augment[0].name", "sensor")),
        ("Compose", {"transforms": []}, ("data.augment[0].name", "already")),
        ("DropEvent", {"q": 0.1}, ("data.augment[0].settings.q",)),
        ("DropEvent", {}, ("data.augment[0].settings", "DropEvent")),
        ("DropEvent", {"p": "much"}, ("data.augment[0].settings.p", "expected")),
        ("DropEvent", {"p": 1.5}, ("data.augment[0].settings", "DropEvent")),
        ("DropEventByTime", {"duration_ratio": 1.5}, ("data.augment[0].settings", "range")),
        ("DropEventByArea", {"area_ratio": [0.1, 0.3]}, ("data.augment[0].settings.area_ratio", 0, 1, "drop_area")),
        ("TimeSkew", {"coefficient": -1.0}, ("data.augment[0].settings.coefficient", 0)),
        ("RandomFlipLR", {"p": 0.0}, ("data.augment[0].p", 0)),
        (
            "UniformNoise",
            {"n": 3, "sensor_size": [9, 9, 2]},
            ("data.augment[0].settings.sensor_size", "data.sensor_size"),
        ),
        ("TimeJitter", {"std": 30_000.0, "clip_negative": False}, ("data.augment[0].settings", "clip_negative")),
    ],
)
def test_an_invalid_node_is_named_by_its_place(name: str, settings: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        AUGMENTATIONS.build("tonic", {"name": name, "settings": settings}, "data.augment[0]", sensor_size=SENSOR)
