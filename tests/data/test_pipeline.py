from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnlab.data.augmentation import build_pipeline
from snnlab.data.events import Packed, Store
from snnlab.errors import ConfigError

from ..refusals import assert_raises

NODES = [{"type": "affine", "shift": 1}, {"type": "flip_x"}, {"type": "drop_events", "most": 0.5}]


def changed(store: Store, indices: list[int], seed: int = 0, epoch: int = 0, **labels: Any) -> Packed:
    packed = store.gather(np.array(indices, np.int64))
    return build_pipeline(NODES, labels, 4, store.sensor_size).augment(packed, seed, epoch)


def contents(packed: Packed) -> dict[int, list[Any]]:
    columns = [column for column in (packed.t, packed.x, packed.y, packed.p) if column is not None]
    return {
        place: [column[start:stop].tolist() for column in columns]
        for place, start, stop in zip(
            packed.index.tolist(), packed.offsets[:-1].tolist(), packed.offsets[1:].tolist(), strict=True
        )
    }


def test_a_recording_is_augmented_alike_in_any_batch(tiny_store: Store) -> None:
    together, alone = contents(changed(tiny_store, [3, 7, 5, 1])), contents(changed(tiny_store, [5]))
    assert together[5] == alone[5]
    assert together[5] != contents(tiny_store.gather(np.array([5])))[5]


def test_another_epoch_or_seed_changes_it_in_another_way(tiny_store: Store) -> None:
    found = [contents(changed(tiny_store, [5, 6], seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert found[0] != found[1] != found[2] != found[0]


def test_a_flipped_recording_has_the_class_of_labels_after(tiny_store: Store) -> None:
    everything = list(range(20))
    plain, mapped = changed(tiny_store, everything), changed(tiny_store, everything, flip_x=[1, 0, 2, 3])
    assert contents(plain) == contents(mapped)
    assert plain.targets.tolist() == tiny_store.targets.tolist()
    different = mapped.targets != plain.targets
    assert 1 <= different.sum() < (plain.targets < 2).sum()
    assert (mapped.targets[different] == 1 - plain.targets[different]).all()


def test_no_recordings_stay_none(tiny_store: Store) -> None:
    assert changed(tiny_store, []).offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("nodes", "labels", "message_parts"),
    [
        (
            [{"type": "flip_x"}],
            {"flip_x": None},
            ("data.augment[0]", "flip_x"),
        ),
        (NODES, {"flip_x": [0, 1]}, ("data.label_map.flip_x", 4)),
        (["flip_x"], {}, ("data.augment[0]", 2, "flip_x")),
    ],
)
def test_an_invalid_table_is_named(nodes: Any, labels: Any, message_parts: tuple) -> None:
    with assert_raises(ConfigError, *message_parts):
        build_pipeline(nodes, labels, 4, (20, 14, 2))


@pytest.mark.parametrize("targets", ["value", "steps"])
def test_labels_after_is_refused_without_classes(targets: Any) -> None:
    with assert_raises(ConfigError, "data.label_map.flip_x", "data.targets", targets):
        build_pipeline([], {"flip_x": [1, 0]}, 2, (20, 14, 2), targets)


@pytest.mark.parametrize(
    "node",
    [
        {"type": "time_shift", "most": 3},
        {"type": "time_scale", "scale": [0.9, 1.1]},
        {"type": "reverse"},
        {"type": "tonic", "name": "TimeSkew", "settings": {"coefficient": 1.1}},
    ],
)
def test_augmentations_that_move_events_in_time_are_refused_for_labels_over_time(node: dict[str, Any]) -> None:
    with assert_raises(ConfigError, "data.augment[0]", "events", node["type"]):
        build_pipeline([node], {}, 2, (20, 14, 2), "steps")
    assert len(build_pipeline([node], {}, 2, (20, 14, 2), "value").steps) == 1


@pytest.mark.parametrize("targets", [np.ones((4, 2), np.float32), np.array([[0, 0, 50, 1], [2, 0, 90, 0]])])
def test_other_targets_than_classes_stay_as_they_are(targets: np.ndarray, tiny_store: Store) -> None:
    packed = tiny_store.gather(np.array([3, 7, 5, 1]))
    done = build_pipeline(NODES, {}, 4, tiny_store.sensor_size).augment(packed._replace(targets=targets), 0, 0)
    np.testing.assert_array_equal(done.targets, targets)
    assert contents(done) == contents(changed(tiny_store, [3, 7, 5, 1]))
