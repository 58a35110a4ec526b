"""Where a stream has read its input, so that it is read on there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np

from snnlab.streaming.event_input import CHECKSUM_BYTES
from snnlab.streaming.stream_state import MOST_WHOLE, Entry

# Bytes of the name of an input, such as a path, and of its form.
_NAME_BYTES, _FORM_BYTES = 4096, 256


class SourceName(NamedTuple):
    """An input, and the form in which it is read, with which a position is another place."""

    name: str
    form: str

    @classmethod
    def of(cls, name: str, form: str) -> Self:
        """Return the name of an input, whose end is kept if it is long."""
        return cls(os.fsdecode(os.fsencode(name)[-_NAME_BYTES:]), form)


NO_SOURCE = SourceName("", "")


class SavedPlace(NamedTuple):
    """Where a stream has read its input.

    Attributes:
        source: The input.
        position: The position in it; see `EventInput`.
        num_lines: Number of lines before the position.
        origin_us: Time of the input that is time 0, us; None: no event has come.
        checksum: Of what the input has before the position.
    """

    source: SourceName = NO_SOURCE
    position: int = 0
    num_lines: int = 0
    origin_us: int | None = None
    checksum: bytes = bytes(CHECKSUM_BYTES)

    @staticmethod
    def state_entries() -> list[Entry]:
        """Return what the state of a place holds."""
        return [
            Entry("source", "|u1", (_NAME_BYTES,), 0, 255),
            Entry("form", "|u1", (_FORM_BYTES,), 0, 255),
            Entry("checksum", "|u1", (CHECKSUM_BYTES,), 0, 255),
            Entry("position", "<i8", (), 0, MOST_WHOLE),
            Entry("lines", "<i8", (), 0, MOST_WHOLE),
            Entry("origin", "<i8", (), -MOST_WHOLE // 2, MOST_WHOLE // 2),
            Entry("has_origin", "|u1", (), 0, 1),
        ]

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of `state_entries`."""
        texts = {"source": (self.source.name, _NAME_BYTES), "form": (self.source.form, _FORM_BYTES)}
        numbers = {"position": self.position, "lines": self.num_lines}
        numbers |= {"origin": self.origin_us or 0, "has_origin": self.origin_us is not None}
        return {
            "checksum": _bytes_array(self.checksum),
            **{key: _bytes_array(os.fsencode(text).ljust(size, b"\0")) for key, (text, size) in texts.items()},
            **{key: np.array(number) for key, number in numbers.items()},
        }

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> Self:
        """Return the place in arrays of `state_entries` that were checked."""
        name, form = (os.fsdecode(state[one].tobytes().rstrip(b"\0")) for one in ("source", "form"))
        origin_us = int(state["origin"]) if state["has_origin"] else None
        position, num_lines = int(state["position"]), int(state["lines"])
        return cls(SourceName(name, form), position, num_lines, origin_us, state["checksum"].tobytes())


def _bytes_array(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
