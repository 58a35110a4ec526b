from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from snnlab.data.events import Events, check_events
from snnlab.data.events.simulators import digit_image
from snnlab.data.sources.saccades import SaccadeDigits
from snnlab.errors import ConfigError

from ...refusals import assert_raises


def _same(one: Events, other: Events) -> bool:
    assert one.y is not None
    assert other.y is not None
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)


def test_its_recordings_are_the_digits_of_scikit_learn() -> None:
    source = SaccadeDigits()
    images, targets = load_digits(return_X_y=True)
    assert len(source) == targets.size
    np.testing.assert_array_equal(source.targets, targets)
    for index, image in enumerate(images):
        np.testing.assert_array_equal(source.image(index), digit_image(image.reshape(8, 8)))
    assert source.targets.max() + 1 == source.num_classes
    assert source.notes == []


def test_the_test_recordings_are_the_same_for_everyone() -> None:
    split = SaccadeDigits(simulation_seed=9).split
    # Published results depend on it: it must never change.
    assert split.sum() == 359
    places = np.flatnonzero(split)
    assert (places[:8].tolist(), places.sum()) == ([17, 19, 21, 34, 38, 42, 47, 57], 337_970)


def test_a_recording_is_made_from_the_seed_and_its_place_alone() -> None:
    source = SaccadeDigits()
    first = source.read(5)
    source.read(6)
    assert _same(source.read(5), first)
    assert _same(SaccadeDigits().read(5), first)
    assert not _same(SaccadeDigits(simulation_seed=1).read(5), first)
    assert not _same(source.read(6), first)
    check_events(first, source.sensor_size, source.name(5))


def test_the_fingerprint_follows_the_seed() -> None:
    assert SaccadeDigits().fingerprint() == SaccadeDigits().fingerprint()
    assert SaccadeDigits(simulation_seed=1).fingerprint() != SaccadeDigits().fingerprint()


def test_a_negative_seed_is_refused() -> None:
    with assert_raises(ConfigError, "simulation_seed", 0, -1):
        SaccadeDigits(simulation_seed=-1)
