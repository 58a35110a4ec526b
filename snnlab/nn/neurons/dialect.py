"""What a neuron says of itself to whoever reads a network: its dialect in words, and what in it depends on dt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Remark(NamedTuple):
    """Something that changes with the length of a step, and what to do about it."""

    text: str
    cure: str


LATE_FEEDBACK = Remark("its feedback comes one step later, however long that is", "keep dt, or train again")


class Dialect(NamedTuple):
    """A neuron's dialect in words.

    Attributes:
        words: Gain, threshold, reset and the like, by their name.
        input_gain: What the setting of this name says; empty where there is none.
        drive_power: k, where impulses of the same total drive the neuron n^k times as strongly in n times the steps;
            0 suits spikes and events, -1 a level that is there at each step. None: not known.
        cures: By a k that does not suit what arrives, the setting that makes up for it.
        remarks: What else in its dialect depends on dt.
    """

    words: Mapping[str, str] = {}
    input_gain: str = ""
    drive_power: int | None = None
    cures: Mapping[int, str] = {}
    remarks: tuple[Remark, ...] = ()
