"""Sound in .wav files of all formats, and damaged ones."""

from __future__ import annotations

import random
import wave
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.wav_files import read_wav
from snnlab.errors import DataError

from ..fixtures.sounds import CODES, wav
from ..refusals import assert_raises


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "one.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_every_kind_of_number_is_read_to_its_precision(kind: str, extensible: bool, tmp_path: Path) -> None:
    samples = np.sin(np.arange(101) / 7) * 0.9
    sound = read_wav(_written(tmp_path, wav(samples, 11025, kind, extensible)))
    assert sound.rate == 11025
    steps = {"f4": 2.0**24, "f8": 2.0**52}.get(kind, 2.0 ** (CODES[kind][1] - 1))
    assert np.abs(sound.samples - samples).max() < 2 / steps


def test_a_file_that_pythons_own_writer_made_is_read(tmp_path: Path) -> None:
    path, stored = tmp_path / "one.wav", np.array([0, 1, -1, 32767, -32768], "<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 5, "NONE", ""))
        file.writeframes(stored.tobytes())
    assert read_wav(path).samples.tolist() == (stored / 32768).tolist()


def test_the_channels_of_a_stereo_file_become_their_mean(tmp_path: Path) -> None:
    left, right = np.linspace(-0.5, 0.5, 50), np.linspace(0.25, 0.75, 50)
    sound = read_wav(_written(tmp_path, wav(np.stack([left, right], 1), kind="f8")))
    assert sound.samples.tolist() == pytest.approx(((left + right) / 2).tolist())


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = wav(np.sin(np.arange(200)))
    for size in random.Random(0).sample(range(len(whole)), 40):
        with pytest.raises(DataError, match=r"one\.wav"):
            read_wav(_written(tmp_path, whole[:size]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ID3\4" * 40,
        wav(np.empty(0)),
        wav(np.array([0.0, np.nan]), kind="f4"),
        wav(np.zeros(4))[:-4],
        wav(np.zeros(4)).replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\7\0"),  # mu-law
        wav(np.zeros(4)).replace(b"\x40\x1f\0\0", b"\0\0\0\0"),
        wav(np.zeros(4), kind="i3").replace(b"\x0c\0\0\0", b"\x0b\0\0\0"),
    ],
    ids=["empty", "other", "no samples", "not finite", "cut", "code", "rate", "part of a sample"],
)
def test_a_file_that_is_no_sound_is_named(content: bytes, tmp_path: Path) -> None:
    with assert_raises(DataError, "one.wav"):
        read_wav(_written(tmp_path, content))
