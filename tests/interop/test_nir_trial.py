"""A damaged file never holds up or ends the process that reads it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnlab.interop import nir_trial
from snnlab.interop.nir_tree import NIRError
from snnlab.interop.nir_trial import require_readable

from ..refusals import assert_raises


def graph_file(path: Path) -> Path:
    """Write a file with texts, as those of a graph."""
    with h5py.File(path, "w") as file:
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array([("input", "lif"), ("lif", "output")], dtype=h5py.string_dtype())
    return path


def test_a_sound_file_is_readable(tmp_path: Path) -> None:
    require_readable(graph_file(tmp_path / "a.nir"))


@pytest.mark.long
def test_a_file_that_hdf5_reads_for_ever_is_refused(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "a.nir")
    content = bytearray(path.read_bytes())
    header = content.index(b"GCOL") + 16
    content[header + 8] += 64  # the first text's size: behind its new end there are zeros, texts without a size
    path.write_bytes(bytes(content))
    with assert_raises(NIRError, str(path), "1 s"):
        require_readable(path, seconds=1)


def test_texts_that_take_more_memory_than_the_file_shows_are_refused(tmp_path: Path) -> None:
    path, number = tmp_path / "a.nir", 500
    with h5py.File(path, "w") as file:
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array([b"x" * 10**6] + [b"y"] * number, dtype=h5py.string_dtype())
        at = file["node/edges"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[at + 16 : at + 16 * (number + 1)] = bytes(content[at : at + 16]) * number  # all are the first one
    path.write_bytes(bytes(content))
    with assert_raises(NIRError, str(path), "memory"):
        require_readable(path)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_of_the_library_is_refused(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = graph_file(tmp_path / "a.nir")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nkill -{int(number)} $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(nir_trial.sys, "executable", str(script))
    with assert_raises(NIRError, str(path), number.name):
        require_readable(path)


def test_an_error_of_the_trial_itself_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snnlab").mkdir()
    (tmp_path / "snnlab" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(RuntimeError, match="nir_trial"):
        require_readable(graph_file(tmp_path / "a.nir"))
