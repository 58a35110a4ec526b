"""Reads .wav files: whole numbers of 8 to 32 bits or floating point, of any rate and number of channels.

Axes: N samples, C channels.
"""

from __future__ import annotations

import os
import struct
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.errors import DataError
from snnlab.files import open_regular

_WHOLE, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_READ = {(_WHOLE, 8): "u1", (_WHOLE, 16): "<i2", (_WHOLE, 24): "u1", (_WHOLE, 32): "<i4"}
_READ |= {(_FLOAT, 32): "<f4", (_FLOAT, 64): "<f8"}
_MOST_FORMAT = 1024
# Samples a second: fewer are no sound, and a second of them would become any amount of memory.
_LEAST_RATE = 1000
_AGAIN = "fetch or record it again"


class Sound(NamedTuple):
    """One channel of sound.

    Attributes:
        samples: Amplitude, 1 at full scale, float64 `[N]`.
        rate: Samples per second, Hz.
    """

    samples: np.ndarray
    rate: int


class _Form(NamedTuple):
    """How samples are stored: kind of number, channels, samples per second, bits."""

    kind: int
    channels: int
    rate: int
    bits: int


def read_wav(path: Path) -> Sound:
    """Return the sound of a .wav file; several channels become their mean.

    Raises:
        DataError: if it is damaged, cut, empty, or of another format.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            what = "is empty" if not size else "is no .wav file: it does not begin with RIFF and WAVE"
            raise DataError(path, what, _AGAIN)
        form: _Form | None = None
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            left = size - file.tell()
            if length > left:
                raise DataError(
                    path, f"was cut: {length:,} bytes are announced at byte {file.tell():,}, {left:,} follow"
                )
            if name == b"fmt ":
                form = _read_form(path, file.read(min(length, _MOST_FORMAT)))
                file.seek(max(length - _MOST_FORMAT, 0), os.SEEK_CUR)
            elif name == b"data":
                if form is None:
                    raise DataError(path, "is damaged: its samples come before their format", _AGAIN)
                return Sound(_samples(path, file, length, form), form.rate)
            else:
                file.seek(length, os.SEEK_CUR)
            file.seek(length % 2, os.SEEK_CUR)
    raise DataError(path, "holds no samples", _AGAIN)


def _read_form(path: Path, content: bytes) -> _Form:
    if len(content) < 16:
        raise DataError(path, f"is damaged: the format of its samples has {len(content)} bytes", _AGAIN)
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == _EXTENSIBLE and len(content) >= 26:
        kind = struct.unpack("<H", content[24:26])[0]
    if (kind, bits) not in _READ:
        hint = "save it as PCM of 16 bits"
        raise DataError(path, f"its samples are of format {kind} with {bits} bits, which is not read", hint)
    if not channels or rate < _LEAST_RATE or block != channels * bits // 8:
        problem = f"is damaged: {channels} channels, {rate} samples a second, {block} bytes each"
        raise DataError(path, problem, _AGAIN)
    return _Form(kind, channels, rate, bits)


def _samples(path: Path, file: BufferedReader, length: int, form: _Form) -> np.ndarray:
    """Return the mean of the channels, float64 `[N]`."""
    if not length:
        raise DataError(path, "holds no samples", _AGAIN)
    block = form.channels * form.bits // 8
    if length % block:
        raise DataError(path, f"was cut: {length:,} bytes are no whole number of samples of {block} bytes", _AGAIN)
    stored = np.frombuffer(file.read(length), _READ[form.kind, form.bits])
    if form.bits == 24:
        low, middle, high = stored.reshape(-1, 3).astype(np.int32).T
        stored = (low << 8 | middle << 16 | high << 24) >> 8
    samples = stored.reshape(-1, form.channels).astype(np.float64)
    if form.kind == _WHOLE:
        samples = (samples - 128.0 if form.bits == 8 else samples) / 2.0 ** (form.bits - 1)
    mean = samples.mean(1)
    if (wrong := np.flatnonzero(~np.isfinite(mean))).size:
        raise DataError(path, f"sample {int(wrong[0]):,} is no finite number", _AGAIN)
    return mean
