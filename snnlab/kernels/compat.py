"""Private parts of numba that the loops need, each with the version that it was seen in; a test for each."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic


class NoAlias(CompilerBase):
    """numba's compiler, told that no two arrays of a function share memory, so that LLVM need not look.

    Seen in numba 0.61 to 0.68: `flags.noalias` is an option of its own that `njit` does not take. Without it results
    stay right and backward loops take up to 2.5 times as long.
    """

    def define_pipelines(self) -> list[Any]:
        """Return numba's own passes."""
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


@intrinsic
def as_float(context: Any, bits: Any) -> Any:
    """Return the float whose bits an integer has; `view` of a scalar would go through an array."""
    real = types.float32 if bits == types.int32 else types.float64

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), build
