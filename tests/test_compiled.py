"""Compiled loops run wherever the package is installed."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numba.core import caching, config

from snnlab import compiled as of_numba
from snnlab.compiled import LoopFile, compiled

from .refusals import assert_raises, assert_text_has


def twice(x: int) -> int:
    """Return 2 x."""
    return 2 * x


def test_loops_without_a_cache_are_compiled_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as in a container whose folders are read-only
    of_numba.warn_not_cached.cache_clear()
    assert compiled(nogil=True)(twice)(3) == 6
    assert compiled(nogil=True)(twice)(4) == 8
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1


def test_any_other_obstacle_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(caching.CacheImpl, "__init__", fail)
    with assert_raises(RuntimeError, "something"):
        compiled()(twice)


@pytest.mark.long
def test_loops_are_recompiled_when_one_that_they_call_from_another_file_has_changed(tmp_path: Path) -> None:
    helper, loop = tmp_path / "helper.py", tmp_path / "loop.py"
    loop.write_text(
        "from helper import step\nfrom snnlab.compiled import compiled\n"
        "@compiled()\ndef run(x):\n    return step(x)\n"
        "print(run(1), sum(run.stats.cache_hits.values()))\n"
    )

    def said(step: str) -> str:
        # -B: Python would take its own bytecode of a file that changed within a second and kept its size.
        helper.write_text(f"from numba import njit\n@njit\ndef step(x):\n    return {step}\n")
        return subprocess.run([sys.executable, "-B", str(loop)], capture_output=True, text=True, check=True).stdout

    assert [said("x + 1"), said("x + 1"), said("x + 3")] == ["2 0\n", "2 1\n", "4 0\n"]


@pytest.mark.parametrize("damage", [lambda content: content[:99], lambda content: b""], ids=["cut", "emptied"])
def test_a_damaged_cache_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    for hits in (0, 1, 0, 1):
        loop: Any = compiled()(twice)
        assert loop(3) == 6
        assert sum(loop.stats.cache_hits.values()) == hits
        if hits:
            for path in (path for path in (tmp_path / "cache").rglob("*") if path.is_file()):
                path.write_bytes(damage(path.read_bytes()))


@pytest.mark.long
@pytest.mark.parametrize("value", ["1", "0"])
def test_loops_are_compiled_though_numbas_switch_forbids_it(value: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from snnlab.event_lists import _count\nprint(type(_count).__name__)"],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": value},
    )
    assert said.stdout == "CPUDispatcher\n", said.stderr
    assert ("NUMBA_DISABLE_JIT" in said.stderr) == (value == "1")


def test_a_cache_of_a_version_whose_classes_had_other_names_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # both versions have one size and one second
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


KEY, OTHER = ("float32", 1), ("float64", 1)


@pytest.fixture(autouse=True)
def _not_said_yet() -> None:
    of_numba._say_damaged.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> LoopFile:
    made = LoopFile(tmp_path / "loop.nbc", "stamp")
    made.save(KEY, b"code")
    return made


def test_a_file_with_another_stamp_is_not_loaded_and_is_replaced(
    file: LoopFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    later = LoopFile(file.path, "another")
    assert later.load(KEY) is None
    later.save(OTHER, b"more")
    assert [later.load(KEY), later.load(OTHER)] == [None, b"more"]
    assert not caplog.records


def test_no_cut_and_no_flipped_byte_is_loaded(file: LoopFile, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    whole = file.path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    damaged += [whole + b"0", whole + whole, bytes(len(whole))]
    for content in damaged:
        file.path.write_bytes(content)
        assert file.load(KEY) is None
    (line,) = caplog.records
    assert_text_has(line.getMessage(), file.path.parent)
    file.save(KEY, b"again")
    assert file.load(KEY) == b"again"


def test_a_write_that_is_interrupted_leaves_the_file_as_it_was(file: LoopFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        file.save(OTHER, b"more")
    assert [file.load(key) for key in (KEY, OTHER)] == [b"code", None]
    assert list(file.path.parent.iterdir()) == [file.path]


def test_forms_are_found_by_their_keys(file: LoopFile) -> None:
    file.save(OTHER, b"more")
    assert [file.load(key) for key in (KEY, OTHER, "none")] == [b"code", b"more", None]
    file.save(KEY, b"new")
    assert [file.load(KEY), file.load(OTHER)] == [b"new", b"more"]
    assert list(file.path.parent.iterdir()) == [file.path]
