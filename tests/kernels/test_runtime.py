"""Rendered loops on disk: only the rendered text is executed; no cache in folders that other users can write."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from snnlab import compiled
from snnlab.kernels import runtime
from snnlab.kernels.runtime import CompiledLoop

from ..refusals import assert_text_has

TEXT = '''"""A test's."""
import numpy as np


def forward(x, first, last):
    real = x.dtype.type
    for n in range(first, last):
        x[n] = x[n] * real(2.0){more}
'''


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    runtime._private_folder.cache_clear()
    compiled.warn_not_cached.cache_clear()
    compiled._say_damaged.cache_clear()
    return tmp_path / "cache" / "kernels"


def loop(more: str = "") -> CompiledLoop:
    return CompiledLoop(TEXT.format(more=more), "test_forward", "forward", ["x"])


def doubled(made: CompiledLoop) -> list[float]:
    x = np.arange(3, dtype=np.float32)
    made.prepare([x])(x, 0, 3)
    return x.tolist()


def test_it_is_compiled_and_cached_in_a_private_folder(cache: Path) -> None:
    assert doubled(loop()) == [0, 2, 4]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert len(list(cache.glob("test_forward_*.py"))) == 1
    assert list(cache.rglob("*.nbc"))
    again = loop()
    assert doubled(again) == [0, 2, 4]
    assert again.compiled.stats.cache_hits


def test_a_planted_file_is_replaced_and_never_run(cache: Path) -> None:
    made = loop()
    (path,) = cache.glob("test_forward_*.py")
    path.write_text("raise SystemExit('planted')\n")
    assert doubled(loop()) == [0, 2, 4]
    assert path.read_text() == made.text


def test_a_link_in_the_place_of_a_file_is_replaced(cache: Path, tmp_path: Path) -> None:
    made = loop()
    (path,) = cache.glob("test_forward_*.py")
    other = tmp_path / "other.py"
    other.write_text(made.text)
    path.unlink()
    path.symlink_to(other)
    assert doubled(loop()) == [0, 2, 4]
    assert not path.is_symlink()


def assert_not_cached(caplog: pytest.LogCaptureFixture, cache: Path) -> None:
    with caplog.at_level(logging.WARNING):
        assert doubled(loop()) == [0, 2, 4]
        assert doubled(loop(" + real(1.0)")) == [1, 3, 5]
    assert len(caplog.records) == 1
    assert not cache.is_dir() or not list(cache.rglob("*.nbc"))


def test_a_folder_that_is_a_link_caches_nothing(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    assert_not_cached(caplog, cache)


def test_a_folder_of_another_user_caches_nothing(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert_not_cached(caplog, cache)


def test_a_read_only_folder_caches_nothing(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert_not_cached(caplog, cache)


def test_a_full_disk_caches_nothing(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtime, "write_text", full)
    assert_not_cached(caplog, cache)


def test_a_disk_that_is_full_while_a_loop_is_written_does_no_harm(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled, "write_atomically", full)
    with caplog.at_level(logging.WARNING):
        assert doubled(loop()) == [0, 2, 4]
    assert_text_has(caplog.text, "space")


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2  # in a compiled form: machine code
    return content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-100], lambda content: b"", lambda content: bytes(len(content)), flipped],
    ids=["cut", "emptied", "zeroed", "flipped"],
)
def test_damaged_files_are_compiled_again(
    cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    assert doubled(loop()) == [0, 2, 4]
    for path in (path for path in cache.rglob("*") if path.is_file() and path.stat().st_size):
        path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.INFO):
        again, healed = loop(), loop()
        assert doubled(again) == [0, 2, 4]
        assert doubled(healed) == [0, 2, 4]
    assert not again.compiled.stats.cache_hits
    assert healed.compiled.stats.cache_hits
    assert len(caplog.records) == 1


def test_another_numba_has_another_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop()
    runtime._environment.cache_clear()
    monkeypatch.setattr(numba, "__version__", "99.0")
    loop()
    runtime._environment.cache_clear()
    assert len(list(cache.glob("test_forward_*.py"))) == 2


def test_of_several_threads_each_gets_the_loop() -> None:
    made, found = loop(), []
    threads = [threading.Thread(target=lambda: found.append(doubled(made))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0, 2, 4]] * 4
    assert len(made.compiled.signatures) == 1


SCRIPT = """
import sys, numpy as np
from snnlab.kernels.runtime import CompiledLoop
made = CompiledLoop(sys.argv[1], "test_forward", "forward", ["x"])
x = np.arange(3, dtype=np.float32)
made.prepare([x])(x, 0, 3)
assert x.tolist() == [0, 2, 4]
print(sum(made.compiled.stats.cache_misses.values()))
"""


def in_processes(count: int, **env: str) -> list[int]:
    root = str(Path(__file__).parents[2])
    made = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, TEXT.format(more="")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root, **env},
        )
        for _ in range(count)
    ]
    return [int(process.communicate()[0]) for process in made]


@pytest.mark.slow
def test_of_cold_processes_one_compiles() -> None:
    assert sorted(in_processes(4)) == [0, 0, 0, 1]


@pytest.mark.slow
def test_a_processor_without_wide_vectors_has_a_loop_of_its_own() -> None:
    assert in_processes(1) == [1]
    assert in_processes(1, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="") == [1]


def test_a_traceback_shows_the_loop() -> None:
    with pytest.raises(AttributeError) as error:
        loop().plain(None, 0, 1)
    assert "real = x.dtype.type" in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_is_that_of_numpy(dtype: Any) -> None:
    text = TEXT.replace("import numpy as np", "from snnlab.kernels.runtime import exp_").replace(
        "x[n] * real(2.0){more}", "exp_(x[n])"
    )
    made = CompiledLoop(text, "test_exp", "forward", ["x"])
    x = np.linspace(-80, 80, 5001).astype(dtype)
    y = x.copy()
    made.prepare([y])(y, 0, y.size)
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6 if dtype == np.float32 else 1e-14)
    y = np.array([np.nan, 0.0], dtype)
    made.prepare([y])(y, 0, 2)
    assert np.isnan(y[0])
    assert y[1] == 1.0
