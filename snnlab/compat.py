"""What snnlab takes of other libraries that they do not promise to keep; `tests/test_compat.py` says where it changed.

Hydra's private parts stand in `snnlab.config.hydra_limits`, since composing imports no torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from numba import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from torch import Tensor, nn
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad
from torch.nn.modules import module as of_all_modules
from torch.nn.modules.batchnorm import _BatchNorm as BatchNormNd  # noqa: F401  # above those of 1, 2 and 3 dimensions
from torch.nn.modules.conv import (
    _ConvNd as ConvNd,
    _ConvTransposeNd as ConvTransposeNd,  # noqa: F401
)
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_iter as tree_iter

# The versions that all of this was seen in.
SEEN = {"torch": "2.13", "lightning": "2.6"}
# How Lightning's fit loop calls, in itself and in its state, the number of batches that loggers are told.
STEPPED = "_batches_that_stepped"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)
# GNU's, Intel's and LLVM's OpenMP, as they are called in torch's folder; the latter two know GNU's entry points too.
_OPENMP = ("libgomp*", "libiomp5*", "libomp*")
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def bare(layer: nn.Module) -> bool:
    """Return whether a layer has no hook, and there is none for all layers: whether nobody looks at it."""
    return not (any(map(vars(layer).get, _HOOKS)) or any(map(vars(of_all_modules).get, _GLOBAL_HOOKS)))


def convolve(layer: ConvNd, x: Tensor, weight: Tensor) -> Tensor:
    """Return what a convolution makes of x with another weight and no bias, in whichever way it pads, without hooks."""
    return layer._conv_forward(x, weight, None)  # type: ignore[operator]


def graph_is_kept() -> bool:
    """Return whether the graph outlives the backward pass that runs, as with `retain_graph`; it may where none says."""
    keeps = getattr(getattr(torch._C, "_autograd", None), "_get_current_graph_task_keep_graph", None)
    return keeps is None or keeps()


def traced_by_torch() -> bool:
    """Return whether one of torch's tools looks through what runs, at its operations, which must not depend on values.

    They are `torch.compile`, `torch.export`, `torch.func`, forward-mode derivatives, and `torch.jit.trace`.
    """
    if torch.compiler.is_compiling():
        return True
    if in_transform() or forward_ad._current_level >= 0:
        return True
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def in_transform(*tensors: Tensor | None) -> bool:
    """Return whether a transform of `torch.func` is at work, or one of some tensors is a batch of gradients."""
    batched = (functorch.is_legacy_batchedtensor(part) for part in tensors if part is not None)
    return functorch.peek_interpreter_stack() is not None or any(batched)


def batches_that_stepped(trainer: Any) -> int:
    """Return the step under which Lightning tells loggers what comes next."""
    return getattr(trainer.fit_loop.epoch_loop, STEPPED)


def unlaunched(strategy: Any) -> Any:
    """Return a strategy of Lightning's that starts no processes: they are there, as torchrun's environment says.

    Lightning's own launcher refuses notebooks, sets the number of threads, and kills this process without a word.
    """
    strategy._configure_launcher = lambda: None
    return strategy


def run_in_team(body: Callable[[int, int], None], threads: int) -> bool:
    """Call `body(thread, threads)` in each thread of the OpenMP library that torch has loaded; False where it cannot.

    Args:
        body: What is done; it must not raise.
        threads: How many.
    """
    library = openmp()
    if library is None:
        return False
    inner = _BODY(lambda _: body(library.omp_get_thread_num(), library.omp_get_num_threads()))
    library.GOMP_parallel(inner, None, threads, 0)
    return True


@lru_cache(maxsize=1)
def openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded, if it has the entry point that is needed."""
    folder = Path(torch.__file__).parent / "lib"
    for path in (path for name in _OPENMP for path in sorted(folder.glob(name))):
        library = ctypes.CDLL(str(path))  # loaded already, and not a second time
        if hasattr(library, "GOMP_parallel"):
            library.GOMP_parallel.argtypes = (_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            library.GOMP_parallel.restype = None
            return library
    return None


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed; return whether it does: other C libraries have no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # No block of its own for large requests, and no end of the heap given back: -1 is never.
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


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
