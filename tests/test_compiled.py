"""Compiled loops run wherever the package lies."""

from __future__ import annotations

import pytest
from numba.core import caching

from snnlab import compiled as of_numba
from snnlab.compiled import compiled


def twice(x: int) -> int:
    """Return 2 x."""
    return 2 * x


def test_loops_that_nothing_can_be_kept_of_are_compiled_all_the_same_and_it_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as in a container whose folders are read-only
    of_numba._say.cache_clear()
    assert compiled(nogil=True)(twice)(3) == 6
    assert compiled(nogil=True)(twice)(4) == 8
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1


def test_any_other_obstacle_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(caching.CacheImpl, "__init__", fail)
    with pytest.raises(RuntimeError, match="something else"):
        compiled()(twice)
