"""Loops compiled by numba, with a cache on disk where a folder can be written."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import llvmlite
import numba
import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.serialize import dumps
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from snnlab.files import write_atomically
from snnlab.numba_compat import set_disk_cache

log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function so that numba compiles it, once for an installation where possible.

    Where neither the package nor the user's cache can be written, as in many containers, there is no disk cache. numba
    then compiles at each start, and a warning says so.

    Args:
        options: Options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        loop = njit(**options)(function)
        # numba checks the function's own file for changes, and not those of the loops that it calls: after an upgrade
        # it would run old versions of these from its cache.
        keep_on_disk(loop, loops_checksum(Path(function.__code__.co_filename).parent))
        return loop

    return decorate


def keep_on_disk(loop: Any, stamp: str = "") -> None:
    """Give a function of `njit` a cache on disk; a warning says so if there is no folder for it.

    Args:
        loop: The function.
        stamp: What its compiled forms depend on besides its source file and the versions of numba and LLVM.
    """

    def open_file(path: Path, source_stamp: Any) -> LoopFile:
        return LoopFile(Path(f"{path}.nbc"), (numba.__version__, llvmlite.__version__, source_stamp, stamp))

    if not set_disk_cache(loop, open_file):
        warn_not_cached("no folder can be written; set the environment variable NUMBA_CACHE_DIR to one")


class LoopFile:
    """The compiled forms of one function on disk: a checksum of the rest, the stamp, and pickles by key.

    numba reads files of its own unseen: one that a power cut or a disk has damaged ends the process, or runs other
    machine code. Here one file, which is written whole and compared before it is read, has all forms of a function.

    Args:
        path: The file.
        stamp: What the forms depend on besides their keys: versions, source files.
    """

    def __init__(self, path: Path, stamp: Any) -> None:
        self.path, self._stamp = path, hashlib.sha256(repr(stamp).encode()).digest()

    def load(self, key: Any) -> Any:
        """Return the form with this key, or None: numba then compiles it."""
        try:
            data = self._read().get(key)
            return None if data is None else pickle.loads(data)
        except (AttributeError, ImportError):  # a class of an older version that was renamed or moved
            return None

    def save(self, key: Any, form: Any) -> None:
        """Add a form, or replace the one with this key."""
        try:
            forms = self._read()
        except (AttributeError, ImportError):
            forms = {}
        content = self._stamp + dumps({**forms, key: dumps(form)})
        write_atomically(self.path, lambda file: file.write(hashlib.sha256(content).digest() + content))

    def _read(self) -> dict[Any, bytes]:
        try:
            found = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        digest, content = found[:_DIGEST_BYTES], memoryview(found)[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            _say_damaged(self.path.parent)
            return {}
        stamp, forms = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return pickle.loads(forms) if stamp == self._stamp else {}

    def report(self, error: OSError) -> None:
        """Warn that a file cannot be read or written, such as on a full disk."""
        warn_not_cached(error.strerror or str(error))


@cache  # one line, not one for each loop
def _say_damaged(folder: Path) -> None:
    log.info("compiled loops in %s were damaged, and are compiled again", folder)


@cache
def warn_not_cached(reason: str) -> None:
    """Warn, once for a reason, that compiled loops are not on disk."""
    log.warning("compiled loops are not cached and are compiled at each start: %s", reason)


@cache
def loops_checksum(folder: Path) -> str:
    """Return a checksum of all files that use numba: in this file's folder, in `kernels`, and in another one."""
    own = Path(__file__).parent
    files = sorted({file for parent in (own, own / "kernels", folder) for file in parent.glob("*.py")})
    texts = [text for file in files if b"numba" in (text := file.read_bytes())]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _borrow(context: Any, array: Any) -> Any:
    """Build an array of the same memory that counts no references."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = context.make_array(signature.args[0])(context, builder, arguments[0])
        # An array without an owner counts no references.
        same.meminfo = same.meminfo.type(None)
        same.parent = same.parent.type(None)
        return same._getvalue()

    return array(array), build


borrow = cast(Callable[[np.ndarray], np.ndarray], intrinsic(_borrow))
"""Return, within a compiled loop, an array of the same memory that counts no references.

numba counts references for each slice of an array, atomically: in a loop over slices of some hundred numbers this took
a third of the time, and more with several threads on one array. The owner must hold the memory as long as the borrowed
array is in use: an array that is created within the loop must be used once more after the last access.
"""


def _keep_apart(context: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for attribute in ("noinline", "optsize"):
            builder.function.attributes.add(attribute)
        return context.get_dummy_value()

    return types.void(), build


keep_apart = cast(Callable[[], None], intrinsic(_keep_apart))
"""Keep a compiled function that calls this first out of its callers, which have fewer registers for it.

numba optimizes the functions of functions again and again: code from its cache took a third longer than fresh code,
until "optsize" forbade to unroll and to copy loops. Not for a function with `forceinline`, nor one that such calls.
"""


def places_of(*arrays: np.ndarray) -> np.ndarray:
    """Return the addresses of arrays and the numbers of their items, for `array_at`; their owner must keep them.

    Each argument of a compiled loop takes some 50 ns: this is one for all.
    """
    return np.array([number for array in arrays for number in (array.ctypes.data, array.size)], np.int64)


def _pointer(context: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), build


_as_pointer = cast(Callable[[int], Any], intrinsic(_pointer))


@njit(nogil=True, forceinline=True)
def array_at(places: np.ndarray, number: int, dtype: Any) -> Any:
    """Return, within a compiled loop, the array of `places_of` with this number."""
    return carray(_as_pointer(places[2 * number]), (places[2 * number + 1],), dtype)


@njit(nogil=True, forceinline=True)
def places_at(address: int, count: int) -> Any:
    """Return, within a compiled loop, the array of `places_of` of `count` arrays that is at an address."""
    return carray(_as_pointer(address), (2 * count,), np.int64)
