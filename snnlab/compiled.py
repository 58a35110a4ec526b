"""Loops compiled by numba, and kept for the next start where there is a folder to keep them in."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numba import njit
from numba.extending import intrinsic

log = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function that numba shall compile, once for an installation if it can.

    Where neither the package nor the user's cache can be written to, as in many a container, numba refuses to keep
    anything; it then compiles anew at each start, and a warning says so.

    Args:
        options: Options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            made = njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _say()
            return njit(**options)(function)
        # numba looks for changes in the function's own file only, and not in those of the loops that it calls: after
        # an upgrade it would go on with what it has kept of the old ones.
        index: Any = made._cache._cache_file  # pyright: ignore[reportAttributeAccessIssue]
        index._source_stamp = index._source_stamp, _sources(Path(function.__code__.co_filename).parent)
        return made

    return decorate


@cache
def _sources(folder: Path) -> str:
    """Return a checksum of all files that numba has to do with, beside this one and in a folder."""
    files = sorted({file for place in (Path(__file__).parent, folder) for file in place.glob("*.py")})
    texts = [text for file in files if b"numba" in (text := file.read_bytes())]
    return hashlib.sha256(b"".join(texts)).hexdigest()


@cache  # once, and not for each function
def _say() -> None:
    log.warning(
        "compiled loops have no folder that can be written to and are compiled at each start, which takes some 20 s;"
        " set the environment variable NUMBA_CACHE_DIR to one"
    )


def _lend(context: Any, array: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = context.make_array(signature.args[0])(context, builder, arguments[0])
        # Without an owner there is nothing to count.
        same.meminfo = same.meminfo.type(None)
        same.parent = same.parent.type(None)
        return same._getvalue()

    return array(array), build


lent = cast(Callable[[np.ndarray], np.ndarray], intrinsic(_lend))
"""Return, within a compiled loop, an array of the same memory that counts no references.

numba counts them for each part that is taken of an array, atomically: where a loop takes parts of some hundred numbers,
a third of its time went there, and more if other threads take parts of the same array. Who has the memory must have it
for as long as what is lent is in use, and what is made within the loop be used after it.
"""
