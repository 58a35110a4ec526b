"""The bench of kernels runs."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from ..refusals import assert_text_has

BENCH_MODULES = ("kernelbench", "stepbench", "bench_kernels", "bench_step")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the bench's module, imported by its name relative to the script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("kernelbench.bench")
    for name in [name for name in sys.modules if name.partition(".")[0] in BENCH_MODULES]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_case_is_compared_timed_and_written(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def this_code(*_: object) -> Iterator[Path]:
        yield bench.ROOT

    monkeypatch.setattr(bench, "checkout_of", this_code)
    settings = Namespace(against="HEAD", checkout=None, cases=["inplace"], shapes=["32x11x11"])
    settings.steps, settings.batch, settings.pairs, settings.rounds = 2, 1, 1, 2
    settings.out = tmp_path / "new" / "table.md"
    bench.run(settings)
    printed = capsys.readouterr().out
    assert settings.out.read_text() == printed
    *_, head, line, row = printed.splitlines()
    assert "32x11x11 forward" in head
    assert set(line) <= set("| -:")
    _, title, forward, backward, ratio, _ = row.split("|")
    assert_text_has(title.strip(), "atan", "x's memory")
    for cell in (forward, backward):
        least, middle = zip(*(map(float, side.split("/")) for side in cell.split("->")), strict=True)
        assert all(0 < one <= other for one, other in zip(least, middle, strict=True))
    assert all(0.1 < float(text) < 10 for text in ratio.split("/"))
