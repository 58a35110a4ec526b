from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from snnlab.data.events import Events, check_events
from snnlab.data.events.simulators import Saccades, _crossings, digit_image, sensor_of, simulate_saccades

from ...refusals import assert_raises

QUIET = Saccades(noise=0.0)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    pixels, _ = load_digits(return_X_y=True)
    return [digit_image(row.reshape(8, 8)) for row in np.asarray(pixels)[:200]]


@pytest.fixture(scope="module")
def recordings(images: list[np.ndarray]) -> list[Events]:
    return [simulate_saccades(image, np.random.default_rng([0, i])) for i, image in enumerate(images)]


def test_counts_are_those_of_the_recipe(recordings: list[Events]) -> None:
    counts = np.array([events.t.size for events in recordings])
    assert 3800 < counts.mean() < 4400
    assert 550 < counts.std() < 1000
    on = sum(int(events.p.sum()) for events in recordings)
    assert 0.9 < on / (counts.sum() - on) < 1.15


def test_there_are_three_saccades_with_rest_between(recordings: list[Events]) -> None:
    t = np.concatenate([events.t for events in recordings]) // 1000
    per_ms = np.bincount(t, minlength=320) / len(recordings)
    for onset in (0, 105, 210):
        assert 1100 < per_ms[onset : onset + 105].sum() < 1700
        # The eye is fast in the middle of a saccade and rests, but for noise, at its end.
        assert per_ms[onset + 30 : onset + 70].mean() > 10 * per_ms[onset + 99 : onset + 105].mean()


def test_an_empty_image_gives_noise_events_only() -> None:
    dark = [simulate_saccades(np.zeros((28, 28)), np.random.default_rng([0, i])) for i in range(100)]
    expected = 0.3 * 34 * 34 * 0.31 * 100
    count = sum(events.t.size for events in dark)
    assert abs(count - expected) < 5 * expected**0.5
    assert abs(sum(int(events.p.sum()) for events in dark) / count - 0.5) < 0.03
    assert simulate_saccades(np.zeros((28, 28)), np.random.default_rng(0), QUIET).t.size == 0


def test_the_image_moves_against_the_camera() -> None:
    image = np.zeros((28, 28))
    image[10:18, 10:18] = 1.0
    events = simulate_saccades(image, np.random.default_rng(0), QUIET)
    # The first saccade goes down and right: the square's upper left edges brighten, the others darken.
    first = events.t < 105_000
    assert events.y is not None
    assert events.x[first & events.p].mean() < events.x[first & ~events.p].mean()
    assert events.y[first & events.p].mean() < events.y[first & ~events.p].mean()


def test_a_pixel_is_held_after_an_event(images: list[np.ndarray]) -> None:
    for hold in (1.0, 4.5):
        events = simulate_saccades(images[0], np.random.default_rng(0), replace(QUIET, hold=hold))
        assert events.y is not None
        pixel = events.y.astype(int) * 34 + events.x
        order = np.lexsort((events.t, pixel))
        gaps = np.diff(events.t[order])[np.diff(pixel[order]) == 0]
        assert gaps.min() >= 1000 * hold - 1


def test_a_ramp_is_crossed_between_samples_and_followed_from_the_release_on() -> None:
    # Exact in binary: 1.5 steps to the threshold, 1 step held. The second release falls on a sample.
    ramp = 0.125 * np.arange(13.0)
    log_light = np.stack([ramp, -ramp], axis=1)
    time, pixel, is_on = _crossings(log_light, np.full((2, 2), 0.1875), 1.0, 1.0)
    for which, polarity in ((0, True), (1, False)):
        assert time[pixel == which].tolist() == [1.5, 4.0, 6.5, 9.0, 11.5]
        assert (is_on[pixel == which] == polarity).all()


def test_an_edge_makes_its_first_event_where_arithmetic_says() -> None:
    camera = Saccades(
        noise=0.0,
        blur=0.0,
        amplitude_spread=0.0,
        contrast_spread=0.0,
        threshold_spread=0.0,
        threshold_mismatch=0.0,
    )
    image = np.zeros((28, 28))
    image[:, 14:] = 1.0
    events = simulate_saccades(image, np.random.default_rng(0), camera)
    # Column 18 sees canvas column 29 + path. The canvas is dark up to 27 and bright from 28, and the
    # first saccade takes the path from -2.75 to 0.
    s = np.linspace(0.0, 1.0, 100_001)
    light = np.clip(29 - 2.75 + 2.75 * s**3 * (10 - 15 * s + 6 * s**2) - 27, 0.0, 1.0)
    expected_us = int(np.argmax(np.log(1 + 9 * light) >= 0.32))
    assert events.y is not None
    seen = (events.x == 18) & (events.y == 16) & events.p
    assert abs(int(events.t[seen][0]) - expected_us) < 60


def test_digits_are_enlarged_into_the_middle() -> None:
    image = digit_image(np.full((8, 8), 16.0))
    assert image.shape == (28, 28)
    assert image.min() == 0.0
    assert image.max() == 1.0
    assert image[14, 14] == pytest.approx(1.0, abs=0.05)
    rows = np.flatnonzero(image.max(axis=1) > 0.5)
    assert abs((rows[0] + rows[-1]) / 2 - 13.5) <= 0.5


@pytest.mark.parametrize("bad", [{"hold": 0.5}, {"step": 0.0}])
def test_a_hold_shorter_than_a_step_is_refused(bad: dict[str, float]) -> None:
    with assert_raises(ValueError, "step"):
        replace(QUIET, **bad)


def test_a_path_outside_the_margin_is_refused() -> None:
    with assert_raises(ValueError, "[H, W]"):
        simulate_saccades(np.zeros(64), np.random.default_rng(0))
    with assert_raises(ValueError, "amplitude"):
        simulate_saccades(np.zeros((28, 28)), np.random.default_rng(0), replace(QUIET, amplitude=30.0))


@pytest.mark.parametrize("shape", [(28, 28), (10, 40), (128, 96)])
def test_the_sensor_is_three_pixels_larger_than_the_image_on_each_side(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape)
    sensor = sensor_of(*shape)
    assert sensor == (shape[1] + 6, shape[0] + 6, 2)
    events = simulate_saccades(image, np.random.default_rng(0))
    check_events(events, sensor, "image")
    assert events.y is not None
    assert events.x.max() > shape[1]
    assert events.y.max() > shape[0]
