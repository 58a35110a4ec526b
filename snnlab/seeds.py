"""Independent random streams of one seed: the draws of one stream do not change those of another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The use of a random number."""

    INIT = 0
    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3
    SPLIT = 4
    TEST = 5
    MIXING = 6
    CONTROL = 7
    DISTURBANCE = 8
    LEARNING = 9


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Return the generator of (seed, stream, keys), for instance (seed, ORDER, epoch)."""
    return np.random.default_rng(_seed_sequence(seed, stream, keys))


def derived_seed(seed: int, stream: Stream, *keys: int) -> int:
    """Return a seed for torch, 0 .. 2^63 - 1, from (seed, stream, keys)."""
    return int(_seed_sequence(seed, stream, keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _seed_sequence(seed: int, stream: Stream, keys: tuple[int, ...]) -> np.random.SeedSequence:
    # A spawn key, because entropy is padded with zeros: [s, 1] and [s, 1, 0] would give the same stream.
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *keys))
