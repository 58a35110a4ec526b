"""N-Caltech101: on synthetic files in the genuine format of 5 bytes an event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.sources.recordings import THINGS, NCaltech101

from ...refusals import assert_text_has

PICTURES = {"yin_yang": 10, "BACKGROUND_Google": 10, "ant": 3}


def encode(rng: np.random.Generator) -> bytes:
    """Return 40 events of an image of 200 x 150, away from the corner: x, y, a bit of polarity and 23 bits of us."""
    t, x, y = np.sort(rng.integers(0, 300_000, 40)), rng.integers(5, 200, 40), rng.integers(3, 150, 40)
    p = rng.integers(0, 2, 40)
    return np.stack([x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255], 1).astype(np.uint8).tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, number in PICTURES.items():
        (tmp_path / "NCALTECH101/Caltech101" / name).mkdir(parents=True)
        for picture in range(1, number + 1):
            path = tmp_path / "NCALTECH101/Caltech101" / name / f"image_{picture:04d}.bin"
            path.write_bytes(encode(rng))
    return tmp_path


def test_there_are_101_classes_in_the_order_of_their_names() -> None:
    assert len(THINGS) == 101 == NCaltech101.num_classes
    assert list(THINGS) == sorted(THINGS)
    assert THINGS[:2] == ("BACKGROUND_Google", "Faces_easy")


def test_images_are_sorted_by_class_and_number(root: Path) -> None:
    things = NCaltech101(str(root), download=False)
    assert things.targets.tolist() == [0] * 10 + [THINGS.index("ant")] * 3 + [100] * 10
    assert things.name(1).endswith("BACKGROUND_Google/image_0002.bin")
    assert_text_has(things.notes[0], "ncaltech101", "23 of 8,709 recordings")


@pytest.mark.parametrize(("rule", "last"), [("last", [9, 12, 22]), ("random", None)])
def test_a_tenth_of_each_class_is_for_testing(root: Path, rule: Any, last: list[int] | None) -> None:
    things = NCaltech101(str(root), download=False, test_rule=rule)
    chosen = np.flatnonzero(things.split)
    assert things.targets[chosen].tolist() == [0, THINGS.index("ant"), 100]
    assert last is None or chosen.tolist() == last


def test_places_are_the_files_and_tonics_but_for_the_least(root: Path, tonic_reference: Any) -> None:
    ours, theirs = NCaltech101(str(root), download=False), tonic_reference("NCALTECH101", root)
    names = [Path(path) for path in theirs.data]
    for index in range(len(ours)):
        events, (other, target) = ours.read(index), theirs[names.index(Path(ours.name(index)))]
        assert THINGS[ours.targets[index]] == target
        assert events.y is not None
        assert np.array_equal(events.x - events.x.min(), other["x"])
        assert np.array_equal(events.y - events.y.min(), other["y"])
        assert np.array_equal(events.t, other["t"])
        assert np.array_equal(events.p, other["p"])
        assert events.x.min() > 0


def test_classes_without_a_folder_above_them_are_found_too(root: Path) -> None:
    (root / "NCALTECH101/Caltech101").rename(root / "classes")
    (root / "NCALTECH101").rmdir()
    (root / "classes").rename(root / "NCALTECH101")
    assert len(NCaltech101(str(root), download=False)) == 23
