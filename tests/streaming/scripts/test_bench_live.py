"""The bench of `snnlab stream` behind a FIFO: which write ends a step."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    return importlib.import_module("bench_live")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a recording of 4 ms: two events in the first, one in the third, one in the fourth."""
    np.save(tmp_path / "one.npy", np.array([[1, 2, 0, 7], [3, 4, 1, 7], [5, 6, 0, 9], [7, 8, 1, 10]]))
    return tmp_path / "one.npy"


def test_a_step_ends_with_the_first_write_of_a_later_event(bench: ModuleType, recording: Path) -> None:
    loop = bench.looped([recording], 1000, 500)
    written = np.arange(1, 17) * 1e-3
    samples = bench.Samples(loop, written, argparse.Namespace(chunk_us=500, dt=1.0))
    samples.add(0, 0.010)  # events in the writes 0 and 1; the next event is in write 4
    assert samples.after_end.max_us == pytest.approx(5000)
    assert samples.event_to_line.count == 2
    assert samples.event_to_line.max_us == pytest.approx(9000)
    samples.add(3, 0.020)  # the next event is in the loop's next turn, write 8
    assert samples.after_end.max_us == pytest.approx(11000)
