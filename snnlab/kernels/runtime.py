"""Rendered modules, compiled and cached on disk; and the functions that rendered loops call.

A module is executed from its rendered text, never from a file. The file next to the cache exists because numba looks
for it, and for readers.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from filelock import FileLock, Timeout
from numba import njit, types as numba_types
from numba.extending import overload
from platformdirs import user_cache_path

from snnlab.compiled import keep_on_disk, warn_not_cached
from snnlab.files import write_text
from snnlab.numba_compat import NoAlias, as_float

OPTIONS = {"nogil": True, "error_model": "numpy", "pipeline_class": NoAlias}
# Seconds that a process waits for another process that compiles the same loop.
_LOCK_TIMEOUT_S = 120.0

_compiling = threading.RLock()


class CompiledLoop:
    """A rendered loop: `loop(*arguments, first, last)` runs the tasks from `first` to before `last`.

    Args:
        text: Source of the module.
        title: Name of the module, an identifier.
        name: Name of the function in it.
        arguments: Names of its arguments before `first` and `last`.
    """

    def __init__(self, text: str, title: str, name: str, arguments: Sequence[str]) -> None:
        self.text, self.arguments = text, tuple(arguments)
        self.module, self.folder = _load_or_write(text, title)
        function = getattr(self.module, name)
        self.plain: Callable[..., None] = function
        self.compiled: Any = njit(**OPTIONS)(function)  # type: ignore[call-overload]
        if self.folder is not None:
            keep_on_disk(self.compiled)
        self._known: set[str] = set()

    def prepare(self, arguments: Sequence[Any]) -> Callable[..., None]:
        """Return the loop compiled for arguments of these types; of several processes, one compiles it.

        Args:
            arguments: The arguments of a call, in their order.
        """
        kind = next(part.dtype.char for part in arguments if isinstance(part, np.ndarray) and part.dtype.kind == "f")
        if kind not in self._known:
            with _compiling:
                signature = tuple(numba.typeof(part) for part in (*arguments, 0, 0))
                self._compile(signature)
                self._known.add(kind)
        return self.compiled

    def compile_to_address(self, signature: tuple[Any, ...]) -> int:
        """Return the address of the loop compiled for a signature, by which other compiled loops call it."""
        with _compiling:
            self._compile(signature)
        found = self.compiled.overloads[signature]
        return found.library.get_pointer_to_function(found.fndesc.llvm_cfunc_wrapper_name)

    def _compile(self, signature: tuple[Any, ...]) -> None:
        if self.folder is None:
            self.compiled.compile(signature)
            return
        lock = FileLock(self.folder / f"{self.module.__name__.rpartition('.')[2]}.lock", timeout=_LOCK_TIMEOUT_S)
        try:
            with lock:
                self.compiled.compile(signature)
        except (OSError, Timeout) as error:  # a full disk, or a process that was stopped while it had the lock
            warn_not_cached(str(error))
            self.compiled.compile(signature)


def _load_or_write(text: str, title: str) -> tuple[ModuleType, Path | None]:
    """Return the module of a text, and the folder of its compiled form, or None."""
    name, folder = _module_name(text, title), cache_folder()
    if folder is not None and not _write_source(folder / f"{name}.py", text):
        folder = None
    return load_module(text, title, folder), folder


def load_module(text: str, title: str, folder: Path | None) -> ModuleType:
    """Return the module of a text; the text is executed, and no file in the folder."""
    name = _module_name(text, title)
    file_name = f"<snnlab {name}>" if folder is None else str(folder / f"{name}.py")
    module = ModuleType(f"snnlab.rendered.{name}")
    module.__file__ = file_name
    sys.modules[module.__name__] = module  # numba's cache needs the module there
    linecache.cache[file_name] = (len(text), None, text.splitlines(keepends=True), file_name)
    exec(compile(text, file_name, "exec"), module.__dict__)
    return module


def _module_name(text: str, title: str) -> str:
    return f"{title}_{hashlib.sha256((_environment() + text).encode()).hexdigest()[:24]}"


def _write_source(path: Path, text: str) -> bool:
    """Write a text to a file unless the file has it; return whether the file has it now."""
    try:
        if path.is_symlink() or not path.exists() or path.read_bytes() != text.encode():
            write_text(path, text)
    except OSError as error:
        warn_not_cached(str(error))
        return False
    return True


@cache
def _environment() -> str:
    """Return the versions, options and files on which a compiled loop depends besides its text."""
    here = Path(__file__).parent
    files = [here / "runtime.py", here / "events.py", here / "vectors.py", here.parent / "numba_compat.py"]
    texts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return f"{numba.__version__} {llvmlite.__version__} {sorted(map(str, OPTIONS.items()))} noalias {texts}"


def cache_folder() -> Path | None:
    """Return the user's private folder for rendered loops; None, with one warning, if there can be none.

    It is in the user's cache, or in SNNLAB_CACHE. No other user may write to it, because numba executes its cache.
    """
    base = os.environ.get("SNNLAB_CACHE")
    return _private_folder(Path(base) if base else user_cache_path("snnlab"), os.getpid())


@cache
def _private_folder(base: Path, process: int) -> Path | None:
    folder = base.absolute() / "kernels"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = _ownership_problem(folder)
        if problem is None and stat.S_IMODE(folder.stat().st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        problem = str(error)
    if problem is None and not os.access(folder, os.W_OK):
        problem = f"{folder} cannot be written to"
    if problem is not None:
        warn_not_cached(problem)
        return None
    return folder


def _ownership_problem(folder: Path) -> str | None:
    """Return why a folder is not private to the user, or None."""
    for path in (folder, folder.parent):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return f"{path} is a link"
        if found.st_uid != os.getuid():
            return f"{path} belongs to another user"
    for path in folder.parent.parents:
        found = path.lstat()
        if found.st_uid not in (0, os.getuid()):
            return f"{path} belongs to another user"
    return None


# -- Functions that rendered loops call -------------------------------------------------------------------------------


def exp_(x: Any) -> Any:
    """Return e^x as 2^k, set by its bits, times a series of e^f with |f| <= ln(2) / 2, which can be vectorized."""
    return np.exp(x)


@overload(exp_, jit_options={"nogil": True, "error_model": "numpy", "forceinline": True})
def _exp(x: Any) -> Any:
    single = x == numba_types.float32
    real, whole = (np.float32, np.int32) if single else (np.float64, np.int64)
    # The largest x with a finite result is 88.37 or 709.78; below the lowest x the result is nearly zero.
    low, high, bias, bits = (-88.0296, 88.37, 127, 23) if single else (-708.39, 709.78, 1023, 52)
    # ln(2) as a sum of two numbers: a whole number times the first is exact.
    upper, lower = (0.693359375, -2.12194440e-4) if single else (0.693145751953125, 1.4286068203094172e-06)
    c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = (real(1 / n) for n in range(2, 14))
    low, high, per, half, one = real(low), real(high), real(1.4426950408889634), real(0.5), real(1.0)
    upper, lower = real(upper), real(lower)

    def impl(x: Any) -> Any:
        z = min(max(x, low), high)
        k = np.floor(z * per + half)
        f = (z - k * upper) - k * lower
        p = one + f * c6
        if not single:
            p = one + f * c9 * (one + f * c10 * (one + f * c11 * (one + f * c12 * (one + f * c13))))
            p = one + f * c6 * (one + f * c7 * (one + f * c8 * p))
        p = one + f * (one + f * c2 * (one + f * c3 * (one + f * c4 * (one + f * c5 * p))))
        power = p * as_float(whole((whole(k) + bias) << bits))  # pyright: ignore[reportCallIssue]
        return power if x == x else x  # NaN stays NaN

    return impl


@njit(nogil=True, error_model="numpy", forceinline=True)
def pool(
    y: np.ndarray, y_start: int, s: np.ndarray, size: int, channels: int, width: int, windows: int, largest: bool
) -> None:
    """Pool `size` rows of spikes, a compile-time constant: first along columns, then along rows."""
    square = y.dtype.type(size * size)
    for line in range(np.uintp(1), size):
        for n in range(width):
            other = s[line * width + n]
            s[n] = max(s[n], other) if largest else s[n] + other
    for w in range(windows):
        at, left = y_start + w * channels, w * size * channels
        for n in range(channels):
            total = s[left + n]
            for k in range(np.uintp(1), size):
                other = s[left + k * channels + n]
                total = max(total, other) if largest else total + other
            y[at + n] = total if largest else total / square


@njit(nogil=True, error_model="numpy", forceinline=True)
def average_pool_backward(
    row: np.ndarray, gy: np.ndarray, gy_start: int, size: int, channels: int, width: int, windows: int
) -> None:
    """Write the gradient of each neuron in one row of windows; neurons outside of windows get zero."""
    square = row.dtype.type(size * size)
    for w in range(windows):
        at = gy_start + w * channels
        for k in range(size):
            to = (w * size + k) * channels
            for n in range(channels):
                row[to + n] = gy[at + n] / square
    for n in range(windows * size * channels, width):
        row[n] = 0


@njit(forceinline=True, **OPTIONS)
def max_pool_backward(
    row: np.ndarray,
    s: np.ndarray,
    left: np.ndarray,
    gy: np.ndarray,
    gy_start: int,
    size: int,
    channels: int,
    width: int,
    windows: int,
) -> None:
    """Write the gradient of the maximum of each window: to its first spike, or else to its first neuron.

    `left` is the gradient of each channel that no spike has taken yet, so that all loops are over adjacent neurons.
    """
    for w in range(windows):
        at, first = gy_start + w * channels, w * size * channels
        for n in range(channels):
            left[n] = gy[at + n]
        for k in range(size * size):
            cell = k // size * width + first + k % size * channels
            for n in range(channels):
                taken = s[cell + n] * left[n]
                row[cell + n] = taken
                left[n] = left[n] - taken
        for n in range(channels):
            row[first + n] += left[n]
    for line in range(size):
        for n in range(windows * size * channels, width):
            row[line * width + n] = 0
