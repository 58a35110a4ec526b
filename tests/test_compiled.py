"""Compiled loops run wherever the package is installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import caching, config

from snnlab import compiled as of_numba
from snnlab.compiled import compiled

from .refusals import assert_raises


def twice(x: int) -> int:
    """Return 2 x."""
    return 2 * x


def test_loops_without_a_cache_are_compiled_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as in a container whose folders are read-only
    of_numba._warn_no_cache.cache_clear()
    assert compiled(nogil=True)(twice)(3) == 6
    assert compiled(nogil=True)(twice)(4) == 8
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1


def test_any_other_obstacle_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(caching.CacheImpl, "__init__", fail)
    with assert_raises(RuntimeError, "something"):
        compiled()(twice)


def test_loops_are_recompiled_when_one_that_they_call_from_another_file_has_changed(tmp_path: Path) -> None:
    helper, loop = tmp_path / "helper.py", tmp_path / "loop.py"
    loop.write_text(
        "from helper import step\nfrom snnlab.compiled import compiled\n"
        "@compiled()\ndef run(x):\n    return step(x)\n"
        "print(run(1), sum(run.stats.cache_hits.values()))\n"
    )

    def said(step: str) -> str:
        helper.write_text(f"from numba import njit\n@njit\ndef step(x):\n    return {step}\n")
        return subprocess.run([sys.executable, str(loop)], capture_output=True, text=True, check=True).stdout

    assert [said("x + 1"), said("x + 1"), said("x + 3")] == ["2 0\n", "2 1\n", "4 0\n"]


def test_a_cache_of_a_version_whose_classes_had_other_names_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "renamed_classes.py"
    for name, value in (("Old", 3), ("New", 4)):
        path.write_text(
            "from typing import NamedTuple\nfrom snnlab.compiled import compiled\n\n\n"
            f"class {name}(NamedTuple):\n    x: int\n\n\n"
            "@compiled(nogil=True)\ndef twice(pair):\n    return 2 * pair.x\n"
        )
        monkeypatch.delitem(sys.modules, "renamed_classes", raising=False)
        importlib.invalidate_caches()
        module = importlib.import_module("renamed_classes")
        assert module.twice(getattr(module, name)(value)) == 2 * value
