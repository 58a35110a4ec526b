"""Reads .wav files, of any rate and number of channels.

Axes: N samples.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import wavfile

from snnlab.errors import DataError, one_line
from snnlab.files import open_regular

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


def read_wav(path: Path) -> Sound:
    """Return the sound of a .wav file; several channels become their mean.

    Raises:
        DataError: if it is damaged, cut, empty, or of another format.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Chunk")  # of other tools, which is skipped
            warnings.filterwarnings("error", "Reached EOF")
            rate, stored = wavfile.read(file)
    except Exception as error:  # of any type, for a damaged file
        raise DataError(path, f"cannot be read ({one_line(error)})", _AGAIN) from error
    samples = stored.astype(np.float64)
    if stored.dtype == np.uint8:
        samples = (samples - 128) / 128
    elif stored.dtype.kind == "i":
        samples /= -float(np.iinfo(stored.dtype).min)
    samples = samples.mean(1) if samples.ndim > 1 else samples
    if not samples.size or rate < _LEAST_RATE or not np.isfinite(samples).all():
        raise DataError(path, "holds no sound: no samples, numbers that are not finite, or too few a second", _AGAIN)
    return Sound(samples, rate)
