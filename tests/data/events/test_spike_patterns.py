from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snnlab.data.events import Events, SensorSize
from snnlab.data.events.simulators import Motifs, Recipe, draw_motifs, draw_orders, simulate_spike_patterns

CHANNELS, CLASSES, RECORDINGS = 100, 5, 500
SENSOR: SensorSize = (CHANNELS, 1, 1)
EXACT = Recipe(spread=0.0, jitter=0.0, warp=0.0, drop=0.0, noise=0.0)


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([7, *key])


def _motifs(channels: int = CHANNELS, recipe: Recipe = EXACT) -> Motifs:
    return draw_motifs(channels, _rng(0), recipe)


def _one(recipe: Recipe, seed: int = 1) -> Events:
    return simulate_spike_patterns(_motifs(), np.arange(5), SENSOR, _rng(seed), recipe)


@pytest.fixture(scope="module")
def recordings() -> tuple[list[Events], np.ndarray]:
    recipe, targets = Recipe(), np.arange(RECORDINGS) % CLASSES
    motifs, orders = draw_motifs(CHANNELS, _rng(0), recipe), draw_orders(CLASSES, _rng(1), recipe)
    return [
        simulate_spike_patterns(motifs, orders[k], SENSOR, _rng(2, i), recipe) for i, k in enumerate(targets)
    ], targets


def _counted(recordings: list[Events], bins: int) -> np.ndarray:
    """Return the spikes of each channel in each of `bins` parts of the recording, `[R, N * bins]`."""
    cells = [events.x.astype(np.int64) * bins + events.t * bins // 1_000_000 for events in recordings]
    return np.stack([np.bincount(cell, minlength=CHANNELS * bins) for cell in cells]).astype(float)


def _by_nearest_mean(train: np.ndarray, targets: np.ndarray, test: np.ndarray) -> np.ndarray:
    means = np.stack([train[targets == k].mean(axis=0) for k in range(CLASSES)])
    return ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)


def _accuracy(features: np.ndarray, targets: np.ndarray) -> float:
    """Return the classifier's accuracy on the second half, after training on the first."""
    half = RECORDINGS // 2
    return float((_by_nearest_mean(features[:half], targets[:half], features[half:]) == targets[half:]).mean())


def test_counts_do_not_reveal_the_class_but_times_do(recordings: tuple[list[Events], np.ndarray]) -> None:
    events, targets = recordings
    # Three standard deviations of a guess at 250 recordings.
    assert _accuracy(_counted(events, 1), targets) < 1 / CLASSES + 3 * (0.2 * 0.8 / 250) ** 0.5
    assert _accuracy(_counted(events, 100), targets) > 0.9


def test_without_variation_the_spikes_come_where_arithmetic_says() -> None:
    motifs = Motifs(np.array([[0, 4], [2, 1]]), np.array([[0.0, 109.0], [10.5, 20.0]]), np.zeros((2, 2, 2)))
    events = simulate_spike_patterns(motifs, np.array([3, 0, 1, 2, 4]), (2, 1, 1), _rng(), EXACT)
    # Slots of 160 ms from 100 ms on, with 25 ms without spikes at either end.
    assert events.t.tolist() == [145_000, 295_500, 605_000, 874_000]
    assert events.x.tolist() == [1, 1, 0, 0]


def test_classes_have_the_same_motifs_in_different_places() -> None:
    motifs, orders = _motifs(), np.array([[0, 1, 2, 3, 4], [2, 1, 0, 3, 4]])
    first, second = (simulate_spike_patterns(motifs, order, SENSOR, _rng(1), EXACT) for order in orders)
    for start, other in ((100, 420), (420, 100), (260, 260), (580, 580)):
        one, two = (
            [(t - 1000 * begin, x) for t, x in zip(events.t, events.x, strict=True) if begin * 1000 <= t < end]
            for events, begin, end in ((first, start, (start + 160) * 1000), (second, other, (other + 160) * 1000))
        )
        assert len(one) > 10
        assert sorted(one) == sorted(two)


@pytest.mark.parametrize(
    ("change", "deviation"), [({"jitter": 3.0}, 3.0), ({"spread": 6.0}, 6.0), ({"spread": 6.0, "latents": 3}, 6.0)]
)
def test_spikes_move_by_what_the_recipe_says(change: dict[str, float], deviation: float) -> None:
    recipe, channels = replace(EXACT, spikes=1, **change), 2000
    motifs = draw_motifs(channels, _rng(0), recipe)
    unvaried = replace(recipe, spread=0.0, jitter=0.0)
    pair = [simulate_spike_patterns(motifs, np.arange(5), (channels, 1, 1), _rng(1), r) for r in (recipe, unvaried)]
    moved, unmoved = (events.t[np.argsort(events.x)] / 1000 for events in pair)
    assert (moved - unmoved).std() == pytest.approx(deviation, rel=0.1)
    assert abs((moved - unmoved).mean()) < 0.1 * deviation


def test_a_latent_coordinate_moves_spikes_together_along_a_smooth_curve() -> None:
    recipe, turns = replace(EXACT, spread=10.0, latents=1), 0.15
    motifs = Motifs(np.array([[0, 4]]), np.array([[50.0, 50.0]]), np.array([[[0.0, turns]]]))
    times = [simulate_spike_patterns(motifs, np.arange(5), (1, 1, 1), _rng(i), recipe).t / 1000 for i in range(200)]
    first, second = ((np.stack(times) - [175.0, 815.0]) / (10 * 2**0.5)).T
    # Two sines of one coordinate, a phase apart: an ellipse.
    delta = 2 * np.pi * turns
    np.testing.assert_allclose(first**2 + second**2 - 2 * first * second * np.cos(delta), np.sin(delta) ** 2, atol=1e-3)
    assert first.min() < -0.95
    assert first.max() > 0.95


def test_time_is_warped_from_the_middle_on() -> None:
    still = _one(EXACT).t / 1000 - 500
    factors = []
    for seed in range(50):
        warped = _one(replace(EXACT, warp=0.2), seed).t / 1000 - 500
        factors.append(warped[0] / still[0])
        np.testing.assert_allclose(warped, factors[-1] * still, atol=2e-3)
    assert 0.8 <= min(factors) < 0.85
    assert 1.15 < max(factors) <= 1.2


def test_spikes_are_dropped_and_noise_is_added_at_the_rates_of_the_recipe() -> None:
    dropped = [_one(replace(EXACT, drop=0.3), seed).t.size for seed in range(100)]
    assert np.mean(dropped) == pytest.approx(0.7 * 200, rel=0.02)
    noise = [_one(replace(EXACT, drop=1.0, noise=4.0), seed) for seed in range(20)]
    t = np.concatenate([events.t for events in noise])
    assert t.size == pytest.approx(20 * 4 * CHANNELS, rel=0.05)
    np.testing.assert_allclose(np.histogram(t, 4, (0, 1_000_000))[0], t.size / 4, rtol=0.1)
    np.testing.assert_allclose(np.bincount(np.concatenate([events.x for events in noise])), 80, rtol=0.5)


def test_no_spike_is_lost_at_the_ends() -> None:
    for seed in range(20):
        events = _one(replace(EXACT, jitter=150.0, margin=0.0), seed)
        assert events.t.size == 2 * CHANNELS
        assert events.t[0] >= 0
        assert events.t[-1] < 1_000_000


@pytest.mark.parametrize("sensor", [(12, 1, 2), (4, 6, 1), (6, 2, 2), (1, 1, 1), (4, 2, 3)])
def test_every_channel_of_any_sensor_fires(sensor: SensorSize) -> None:
    width, height, polarities = sensor
    events = simulate_spike_patterns(_motifs(width * height * polarities), np.arange(5), sensor, _rng(1), EXACT)
    assert (events.y is None) == (height == 1)
    y = np.zeros_like(events.x) if events.y is None else events.y
    found = set(zip(events.x.tolist(), y.tolist(), events.p.astype(int).tolist(), strict=True))
    assert found == {(i, j, k) for i in range(width) for j in range(height) for k in range(polarities)}
    assert events.p.dtype == (bool if polarities < 3 else np.uint8)


def test_orders_are_different_permutations_and_the_first_ones_do_not_depend_on_their_number() -> None:
    orders = draw_orders(120, _rng(), Recipe())
    assert len(set(map(tuple, orders))) == 120
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    np.testing.assert_array_equal(draw_orders(7, _rng(), Recipe()), orders[:7])
