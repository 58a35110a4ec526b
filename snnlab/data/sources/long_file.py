"""A camera's file that is read in pieces, so that segments of any file take the memory of a segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from snnlab.data.camera_files import CAMERA_FORMATS
from snnlab.data.events import Events, SensorSize
from snnlab.data.formats import ReadOptions, read_pieces
from snnlab.errors import DataError

# Bytes; a smaller file is read at once.
LARGE = 1 << 26


def is_long(path: Path, reading: ReadOptions) -> bool:
    """Return whether a file is read in pieces: a large one of a camera, whose events need not be sorted."""
    return path.suffix.lower() in CAMERA_FORMATS and not reading.sort and path.stat().st_size >= LARGE


class LongFile:
    """A camera's file, whose segments are read one after the other.

    All of it is checked first: nothing of a damaged file is used.

    Args:
        path: The file.
        reading: The reading options.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
    """

    def __init__(self, path: Path, reading: ReadOptions, sensor_size: SensorSize) -> None:
        self.path, self._reading, self._sensor_size = path, reading, sensor_size
        self._damage: DataError | None = None
        try:
            for _ in self._read():
                pass
        except DataError as error:
            self._damage = error
        self._rest, self._held, self._first_us = iter(()), list[Events](), 0
        self._begin()

    def _read(self) -> Iterator[Events]:
        return read_pieces(self.path, self._reading, self._sensor_size)

    def _begin(self) -> None:
        self._rest, self._held, self._first_us = self._read(), [], 0

    def segment(self, start_us: int, end_us: int | None, next_us: int) -> Iterator[Events]:
        """Yield the pieces of a segment, with times from its start; earlier events than `next_us` are forgotten.

        Args:
            start_us: Start of the segment, us; before one that is forgotten, the file is read again.
            end_us: End of the segment, us; None: that of the file.
            next_us: Start of the segment that is read next, us.

        Raises:
            DataError: if anything in the file is damaged.
        """
        if self._damage is not None:
            raise self._damage
        if start_us < self._first_us:
            self._begin()
        held, self._first_us = self._held, max(self._first_us, next_us)
        self._held = [piece for piece in held if piece.t[-1] >= next_us]
        for piece in self._pieces(held, end_us, next_us):
            stop = None if end_us is None else int(np.searchsorted(piece.t, end_us))
            inside = piece.take(slice(int(np.searchsorted(piece.t, start_us)), stop))
            if inside.t.size:
                yield inside._replace(t=inside.t - start_us)

    def _pieces(self, held: Sequence[Events], end_us: int | None, next_us: int) -> Iterator[Events]:
        """Yield what is held, and then the file until the end of a segment, of which some is held for the next."""
        yield from held
        last = held[-1].t[-1] if held else -1
        while end_us is None or last < end_us:
            piece = next(self._rest, None)
            if piece is None:
                return
            if piece.t.size:
                last = piece.t[-1]
                if last >= next_us:
                    self._held.append(piece)
                yield piece
