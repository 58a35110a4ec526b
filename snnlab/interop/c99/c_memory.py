"""The state and the constants of a network in C, and the places of values in them."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from snnlab.interop.c99.c_text import Lines
from snnlab.interop.c99.expressions import c_floats
from snnlab.nn.network_form import Shape


class Array(NamedTuple):
    """An array of the state, of 32-bit numbers.

    Attributes:
        name: Its name in the struct.
        size: Number of its elements.
        is_float: Whether these are floats, not bits.
    """

    name: str
    size: int
    is_float: bool = True


class CValue(NamedTuple):
    """A value in memory, of the last `slots` steps: `[H][W][C]` floats, and a bit a pixel."""

    name: str
    shape: Shape
    slots: int = 1

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.shape[1] * self.shape[2]

    @property
    def size(self) -> int:
        """Number of floats."""
        return prod(self.shape)

    @property
    def words(self) -> int:
        """Number of words of bits."""
        return (self.pixels + 31) // 32

    def at(self, delay: int = 0) -> str:
        """Return the text of its numbers, of a step ago."""
        return f"s->{self.name}" if self.slots == 1 else f"s->{self.name} + {self._slot(delay)} * {self.size}"

    def marks(self, delay: int = 0) -> str:
        """Return the text of its bits."""
        bits = f"s->{self.name}_marks"
        return bits if self.slots == 1 else f"{bits} + {self._slot(delay)} * {self.words}"

    def _slot(self, delay: int) -> str:
        return f"(s->steps + {self.slots - delay}u) % {self.slots}u"


class StoredWeights(NamedTuple):
    """Constants of a linear map; a weight is a constant times the factor.

    Attributes:
        name: Their name.
        kind: Their type in C.
        factor: A power of two.
    """

    name: str
    kind: str
    factor: float


class CMemory:
    """The arrays of the state, and constants.

    Attributes:
        arrays: Arrays of the struct.
        constants: Lines that declare the constants.
        weight_bytes: Bytes of the constants.
    """

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.constants: Lines = []
        self.weight_bytes = 0

    def keep(self, place: CValue, *, marked: bool = True) -> None:
        """Add a value to the state."""
        self.arrays.append(Array(place.name, place.slots * place.size))
        if marked:
            self.arrays.append(Array(f"{place.name}_marks", place.slots * place.words, is_float=False))

    def floats(self, name: str, values: np.ndarray) -> str:
        """Add constants; return their name."""
        values = np.ascontiguousarray(values, np.float32)
        self.weight_bytes += values.nbytes
        self.constants.append(f"static const float {name}[{values.size}] = {{\n{c_floats(values)}}};")
        return name

    def weights(self, name: str, values: np.ndarray) -> StoredWeights:
        """Add weights of a linear map: whole numbers in 8 or 16 bits where these hold them times a power of two.

        Multiplying with a power of two rounds nothing, so that the products have the same bits.
        """
        factor, most = _common_power(values), float(np.abs(values).max(initial=0.0))
        for bits in (8, 16):
            if factor is not None and most / factor < 2 ** (bits - 1):
                texts = [str(int(value)) for value in (values / factor).reshape(-1)]
                self._add(f"int{bits}_t", name, texts, bits // 8)
                return StoredWeights(name, f"int{bits}_t", factor)
        return StoredWeights(self.floats(name, values), "float", 1.0)

    def places(self, name: str, values: np.ndarray) -> str:
        """Add constants that are whole numbers; return their name."""
        size = 2 if values.max(initial=0) < 2**15 else 4
        self._add(f"int{8 * size}_t", name, [str(value) for value in values.reshape(-1).astype(np.int64)], size)
        return name

    def _add(self, kind: str, name: str, texts: list[str], size: int) -> None:
        rows = ",\n".join(", ".join(texts[n : n + 16]) for n in range(0, len(texts), 16))
        self.constants.append(f"static const {kind} {name}[{len(texts)}] = {{\n{rows}}};")
        self.weight_bytes += size * len(texts)


def _common_power(values: np.ndarray) -> float | None:
    """Return the largest power of two of which whole numbers are multiples; None if some are not whole."""
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        return None
    common = int(np.bitwise_or.reduce(np.abs(whole).reshape(-1), initial=0))
    return float(common & -common or 1)
