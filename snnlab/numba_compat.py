"""Private parts of numba that snnlab uses; a failing test of `tests/test_compat.py` shows which one changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import types
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

log = logging.getLogger(__name__)


class NoAlias(CompilerBase):
    """numba's compiler with the flag that no two arrays of a function share memory, so that LLVM adds no checks.

    In numba 0.61 to 0.68 `flags.noalias` exists but is no option of `njit`. Without it results are the same, and
    backward loops take up to 2.5 times as long.
    """

    def define_pipelines(self) -> list[Any]:
        """Return numba's own passes."""
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class DiskCache(FunctionCache):
    """numba's cache of a function, with one file of ours in place of numba's two.

    Args:
        function: The function.
        open_file: Returns the file for a path, without its suffix, and numba's stamp of the source file: an object
            with `load(key)`, `save(key, form)`, and `report(error)` for errors of the system, which end nothing.
    """

    def __init__(self, function: Callable[..., Any], open_file: Callable[[Path, Any], Any]) -> None:
        super().__init__(function)
        path = Path(self.cache_path) / self._impl.filename_base
        self._cache_file = open_file(path, self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled form of a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            self._cache_file.report(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled form."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._cache_file.report(error)


def set_disk_cache(loop: Any, open_file: Callable[[Path, Any], Any]) -> bool:
    """Give a function of `njit` a `DiskCache`; return False if there is no folder for it."""
    try:
        loop._cache = DiskCache(loop.py_func, open_file)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return False
    return True


def require_compiler() -> None:
    """Make numba compile in this process and in its children, also where NUMBA_DISABLE_JIT forbids it.

    Loops for SIMD, system calls and memory at an address exist only compiled, and the others round differently in
    Python.
    """
    if config.__dict__["DISABLE_JIT"]:
        config.__dict__["DISABLE_JIT"] = 0
        os.environ["NUMBA_DISABLE_JIT"] = "0"  # numba reads it again when another variable changes
        log.warning("NUMBA_DISABLE_JIT is ignored: snnlab's loops are compiled; backend=reference is in Python")


require_compiler()


@intrinsic
def as_float(context: Any, bits: Any) -> Any:
    """Return the float with the bits of an integer; `view` of a scalar would go through an array."""
    real = types.float32 if bits == types.int32 else types.float64

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), build
