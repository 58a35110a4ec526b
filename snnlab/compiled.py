"""Loops compiled by numba, with a cache on disk where a folder can be written."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray

log = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function so that numba compiles it, once for an installation where possible.

    Where neither the package nor the user's cache can be written, as in many containers, numba has no disk cache. It
    then compiles at each start, and a warning says so.

    Args:
        options: Options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            loop = njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _warn_no_cache()
            return njit(**options)(function)
        # numba checks the function's own file for changes, and not those of the loops that it calls: after an upgrade
        # it would run old versions of these from its cache.
        index: Any = loop._cache._cache_file  # pyright: ignore[reportAttributeAccessIssue]
        index._source_stamp = index._source_stamp, _checksum(Path(function.__code__.co_filename).parent)
        index._load_index = partial(_load_index, index._load_index)
        return loop

    return decorate


def _load_index(load: Callable[[], Any]) -> Any:
    """Return numba's index of a cache; none if it has a class of an older version that was renamed or moved."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


@cache
def _checksum(folder: Path) -> str:
    """Return a checksum of all files that use numba: in this file's folder, in `kernels`, and in another one."""
    own = Path(__file__).parent
    files = sorted({file for parent in (own, own / "kernels", folder) for file in parent.glob("*.py")})
    texts = [text for file in files if b"numba" in (text := file.read_bytes())]
    return hashlib.sha256(b"".join(texts)).hexdigest()


@cache  # one warning, not one for each function
def _warn_no_cache() -> None:
    log.warning(
        "no writable folder for compiled loops: they are compiled at each start, which takes some 20 s;"
        " set the environment variable NUMBA_CACHE_DIR to a writable folder"
    )


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
