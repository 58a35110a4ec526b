"""Effects of each augmentation on events; its result is always a valid recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snnlab.data.tonic_adapter  # noqa: F401  registers the augmentation `tonic`
from snnlab.data import augmentation as geometry
from snnlab.data.augmentation import AUGMENTATIONS
from snnlab.data.events import Events
from snnlab.data.events.recording import check_events
from snnlab.errors import ConfigError, UnknownSettingError

from ..refusals import assert_raises

SENSOR = (20, 14, 2)
SETTINGS: dict[str, dict[str, Any]] = {
    "affine": {"shift": 3, "rotate": 20, "scale": [0.8, 1.2]},
    "elastic": {"strength": 2.0, "sigma": 3.0},
    "flip_x": {"p": 1.0},
    "flip_y": {"p": 1.0},
    "flip_polarity": {"p": 1.0},
    "reverse": {"p": 1.0},
    "time_shift": {"most": 20.0},
    "time_scale": {"scale": [0.5, 2.0]},
    "time_jitter": {"std": 3.0},
    "drop_events": {"most": 0.5},
    "drop_area": {"most": 0.5},
    "drop_time": {"most": 0.5},
    "noise": {"rate": 5.0},
    "nda": {"roll": 3},
    "tonic": {"name": "DropEvent", "settings": {"p": 0.3}},
}


def recording(number: int = 500, sensor: tuple[int, int, int] = SENSOR) -> Events:
    rng = np.random.default_rng(1)
    width, height, _ = sensor
    y = rng.integers(0, height, number).astype(np.int16) if height > 1 else None
    x, p = rng.integers(0, width, number).astype(np.int16), rng.random(number) < 0.5
    return Events(np.sort(rng.integers(0, 100_000, number)), x, y, p)


def apply(kind: str, events: Events, seed: int = 0, sensor: tuple[int, int, int] = SENSOR, **settings: Any) -> Events:
    augmentation = AUGMENTATIONS.build(kind, settings, "data.augment[0]", sensor_size=sensor)
    return augmentation.apply(events, np.random.default_rng(seed))


def rows(events: Events) -> list[tuple[int, ...]]:
    columns = [column.tolist() for column in events if column is not None]
    return list(zip(*columns, strict=True))


@pytest.fixture
def middles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each event be in the middle of its pixel."""
    monkeypatch.setattr(geometry, "offsets_in_pixel", lambda events, rng: np.zeros(events.t.size))


def test_every_augmentation_is_tried() -> None:
    assert set(AUGMENTATIONS) == SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("number", [0, 1, 500])
def test_the_result_is_a_valid_recording_and_the_input_is_unchanged(name: str, number: int) -> None:
    events = recording(number)
    before = rows(events)
    for seed in range(10):
        done = apply(name, events, seed, **SETTINGS[name])
        check_events(done, SENSOR, name)
        assert [column.dtype for column in done if column is not None] == [np.int64, np.int16, np.int16, np.bool_]
    assert rows(events) == before


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ("flip_y", "affine", "nda")])
def test_a_sensor_without_rows_has_none_afterwards(name: str) -> None:
    done = apply(name, recording(sensor=(20, 1, 2)), sensor=(20, 1, 2), **SETTINGS[name])
    check_events(done, (20, 1, 2), name)
    assert done.y is None


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_generator_does_the_same_and_another_something_else(name: str) -> None:
    first, again, other = (rows(apply(name, recording(), seed, **SETTINGS[name])) for seed in (0, 0, 1))
    assert first == again
    assert name in ("flip_x", "flip_y", "flip_polarity", "reverse") or first != other


def test_flips_change_one_coordinate_and_two_flips_nothing() -> None:
    events = recording()
    across, down = apply("flip_x", events), apply("flip_y", events)
    assert events.y is not None
    assert down.y is not None
    assert (across.x + events.x == 19).all()
    assert (down.y + events.y == 13).all()
    assert rows(apply("flip_x", across)) == rows(events)


def test_nda_rolls_rotates_or_shears_and_a_roll_loses_no_event(middles: None) -> None:
    events, drawn = recording(), []
    assert events.y is not None
    for seed in range(40):
        done = apply("nda", events, seed, roll=3, rotate=0, shear=30)
        assert done.y is not None
        if rows(done) == rows(events):
            drawn.append("a rotation by 0")
        elif len(done.t) == len(events.t) and (done.y - events.y).any():
            ways = {(int(x), int(y)) for x, y in zip((done.x - events.x) % 20, (done.y - events.y) % 14, strict=True)}
            ((across, down),) = ways  # one way for all events
            assert across in (0, 1, 2, 3, 17, 18, 19)
            assert down in (0, 1, 2, 3, 11, 12, 13)
            drawn.append("a roll")
        else:
            drawn.append("a shear")
    assert {"a rotation by 0", "a roll", "a shear"} == set(drawn)
    assert AUGMENTATIONS.build("nda", {}, "data", sensor_size=(48, 96, 2)).rolls == (5, 10)
    with assert_raises(ConfigError, "data.augment[0]", "nda"):
        apply("nda", recording(sensor=(20, 1, 2)), sensor=(20, 1, 2))


def test_a_recording_that_runs_backwards_twice_is_itself_from_its_first_event_on() -> None:
    events = recording()
    twice = apply("reverse", apply("reverse", events))
    assert rows(twice) == rows(events._replace(t=events.t - events.t[0]))
    assert (apply("reverse", events).p == ~events.p[::-1]).all()


def test_a_shift_moves_all_events_alike_and_loses_those_at_the_edge() -> None:
    events = recording()
    assert events.y is not None
    done = apply("affine", events, seed=3, shift=4)
    across, down, *_ = np.random.default_rng(3).uniform([-4, -4, 0, 1], [4, 4, 0, 1])
    x, y = np.rint(events.x + across), np.rint(events.y + down)
    inside = (x >= 0) & (x < 20) & (y >= 0) & (y < 14)
    assert 0 < inside.sum() < events.t.size
    assert done.y is not None
    assert (done.x.tolist(), done.y.tolist()) == (x[inside].tolist(), y[inside].tolist())


@pytest.mark.usefixtures("middles")
def test_half_a_turn_is_both_mirrors() -> None:
    events = recording()
    turned = AUGMENTATIONS.build("affine", {"rotate": 180}, "a", sensor_size=SENSOR).apply(events, _Most())
    assert rows(turned) == rows(apply("flip_y", apply("flip_x", events)))


@pytest.mark.usefixtures("middles")
def test_a_shear_moves_rows_by_their_distance_from_the_middle() -> None:
    events = recording()
    assert events.y is not None
    done = AUGMENTATIONS.build("affine", {"shear": 30}, "a", sensor_size=SENSOR).apply(events, _Most())
    x = np.rint(events.x + (events.y - 6.5) / np.sqrt(3))
    inside = (x >= 0) & (x < 20)
    assert 0 < inside.sum() < events.t.size
    assert done.y is not None
    assert (done.x.tolist(), done.y.tolist()) == (x[inside].tolist(), events.y[inside].tolist())


@pytest.mark.usefixtures("middles")
def test_bending_moves_neighbours_together_and_by_as_much_everywhere() -> None:
    width, height = 60, 40
    places = np.arange(width * height)
    x, y = (places % width).astype(np.int16), (places // width).astype(np.int16)
    bend = AUGMENTATIONS.build("elastic", {"strength": 2.0, "sigma": 4.0}, "a", sensor_size=(width, height, 2))
    assert isinstance(bend, geometry.Elastic)
    fields = np.stack([bend.displacement(np.random.default_rng(seed)) for seed in range(400)])
    assert abs(fields.mean()) < 0.1
    assert np.allclose(fields.std(0), 2.0, rtol=0.2)
    correlation = (fields[:, :, :-1] * fields[:, :, 1:]).mean() / fields.var()
    far = (fields[:, :, :-30] * fields[:, :, 30:]).mean() / fields.var()
    assert correlation > 0.97
    assert abs(far) < 0.05
    done = bend.apply(Events(np.sort(places), x, y, places % 2 == 0), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    across, down = bend.displacement(rng), bend.displacement(rng)
    assert done.y is not None
    new_x, new_y = np.rint(x + across[y, x]), np.rint(y + down[y, x])
    inside = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
    assert 0 < inside.sum() < places.size
    assert (done.x.tolist(), done.y.tolist()) == (new_x[inside].tolist(), new_y[inside].tolist())


@pytest.mark.parametrize(("name", "settings"), [("affine", {"scale": [1.3, 1.3]}), ("elastic", {"strength": 2.0})])
def test_a_scaled_recording_has_no_holes(name: str, settings: dict[str, Any]) -> None:
    x, y = np.tile(np.arange(64), 64 * 50), np.repeat(np.arange(64), 64 * 50)
    even = Events(np.arange(x.size), x.astype(np.int16), y.astype(np.int16), x % 2 == 0)
    done = apply(name, even, sensor=(64, 64, 2), **settings)
    assert done.y is not None
    counts = np.zeros((64, 64))
    np.add.at(counts, (done.y, done.x), 1)
    assert counts[16:-16, 16:-16].min() > 5


class _Most(np.random.Generator):
    """Draws the largest numbers that it may."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64())

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.asarray(high, float)


def test_events_go_with_one_probability() -> None:
    events = recording(20_000)
    kept = [apply("drop_events", events, seed, most=0.4).t.size / 20_000 for seed in range(200)]
    assert min(kept) > 0.58
    assert np.mean(kept) == pytest.approx(0.8, abs=0.02)


def test_an_area_and_an_interval_go_as_a_whole() -> None:
    events = recording(20_000)
    assert events.y is not None
    left = apply("drop_area", events, 5, most=0.9)
    places = set(zip(events.x.tolist(), events.y.tolist(), strict=True))
    assert left.y is not None
    gone = places - set(zip(left.x.tolist(), left.y.tolist(), strict=True))
    wide, tall = {x for x, _ in gone}, {y for _, y in gone}
    assert len(gone) == len(wide) * len(tall) > 1
    times = apply("drop_time", events, 5, most=0.9).t
    assert (np.diff(times) > 1000).sum() == 1


def test_noise_comes_at_its_rate_and_leaves_the_rest() -> None:
    events = recording(100)
    many = [apply("noise", events, seed, rate=2.0) for seed in range(50)]
    assert np.mean([done.t.size - 100 for done in many]) == pytest.approx(2 * events.t[-1] / 1000, rel=0.05)
    assert set(rows(events)) <= set(rows(many[0]))


def test_times_are_shifted_scaled_and_jittered_by_the_settings() -> None:
    events = recording()
    later = apply("time_shift", events, 1, most=10.0)
    moved = round(1000 * np.random.default_rng(1).uniform(-10, 10))
    assert later.t.tolist() == [t + moved for t in events.t.tolist() if t + moved >= 0]
    longer = apply("time_scale", events, 1, scale=[1.5, 1.5])
    assert longer.t.tolist() == (events.t * 1.5).astype(int).tolist()
    assert sorted(apply("time_jitter", events, 1, std=1.0).x.tolist()) == sorted(events.x.tolist())


@pytest.mark.parametrize(
    ("name", "settings", "message_parts"),
    [
        ("affine", {"rotate": 200}, ("data.augment[0].rotate", 0, 180)),
        ("affine", {"shear": 90}, ("data.augment[0].shear", 0, 60, 90)),
        ("affine", {"scale": [1.2, 0.8]}, ("data.augment[0].scale",)),
        ("elastic", {"sigma": 0}, ("data.augment[0].sigma", 0)),
        ("elastic", {"strength": -1}, ("data.augment[0].strength", 0)),
        ("affine", {"shfit": 2}, ("data.augment[0].shfit",)),
        ("drop_events", {"most": 1.0}, ("data.augment[0].most", 0, 1)),
        ("time_jitter", {"std": 0}, ("data.augment[0].std", 0)),
        ("noise", {"rate": -1}, ("data.augment[0].rate", 0)),
        ("flip_x", {"p": 0}, ("data.augment[0].p", 0)),
        ("flipx", {}, ("data.augment[0].type", "flip_x")),
    ],
)
def test_invalid_settings_are_named_by_their_place(name: str, settings: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        apply(name, recording(), **settings)


@pytest.mark.parametrize(
    ("kind", "settings", "read_until_us"),
    [
        ("affine", {"shift": 3}, 1000),
        ("drop_time", {"most": 0.5}, 1000),
        ("time_shift", {"most": 0.5}, 1501),
        ("time_scale", {"scale": [0.5, 2.0]}, 2001),
        ("time_scale", {"scale": [2.0, 3.0], "p": 0.5}, 1001),  # not done to half of them
        ("time_jitter", {"std": 0.1}, 1800),
        ("reverse", {}, np.inf),
        ("tonic", {"name": "TimeJitter", "settings": {"std": 100}}, 1800),
        ("tonic", {"name": "TimeSkew", "settings": {"coefficient": 1.5}}, np.inf),
        ("tonic", {"name": "DropEvent", "settings": {"p": 0.3}}, 1000),
    ],
)
def test_read_until_us_covers_all_needed_events(kind: str, settings: dict[str, Any], read_until_us: float) -> None:
    augmentation = AUGMENTATIONS.build(kind, settings, "data.augment[0]", sensor_size=SENSOR)
    assert augmentation.read_until_us(1000) == read_until_us
