"""Private parts of other libraries that snnlab uses; a failing test of `tests/test_compat.py` shows which one changed.

Those of numba are in `snnlab.numba_compat`, because packing imports no torch. Of Hydra none are used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm as BatchNormNd  # noqa: F401  # base class of 1, 2 and 3 dimensions
from torch.nn.modules.conv import (
    _ConvNd as ConvNd,
    _ConvTransposeNd as ConvTransposeNd,
)
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_iter as tree_iter

# The versions that these parts were checked with.
TESTED_VERSIONS = {"torch": "2.13", "lightning": "2.6", "numba": "0.68", "onnxruntime": "1.32"}
# Attribute and state key of Lightning's fit loop: the number of optimizer steps that loggers get.
STEP_COUNT_KEY = "_batches_that_stepped"
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)
# File names of GNU's, Intel's and LLVM's OpenMP in torch's folder; the latter two have GNU's entry points too.
_OPENMP = ("libgomp*", "libiomp5*", "libomp*")
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def has_no_hooks(layer: nn.Module) -> bool:
    """Return whether neither a hook of this layer nor a global module hook is registered."""
    return not (any(map(vars(layer).get, _HOOKS)) or any(map(vars(torch_module).get, _GLOBAL_HOOKS)))


def convolve(layer: ConvNd, x: Tensor, weight: Tensor) -> Tensor:
    """Apply a convolution, also a transposed one, to x with another weight and no bias, without hooks."""
    if isinstance(layer, ConvTransposeNd):
        sizes = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return _TRANSPOSED[len(layer.kernel_size)](x, weight, None, *sizes)  # type: ignore[arg-type]
    return layer._conv_forward(x, weight, None)  # type: ignore[operator]


def graph_is_kept() -> bool:
    """Return whether the current backward pass keeps the graph (`retain_graph`); True where torch does not say."""
    keep_graph = getattr(getattr(torch._C, "_autograd", None), "_get_current_graph_task_keep_graph", None)
    return keep_graph is None or keep_graph()


def traced_by_torch() -> bool:
    """Return whether a tool of torch traces the running code: the operations must not depend on values then.

    The tools are `torch.compile`, `torch.export`, `torch.func`, forward-mode derivatives and `torch.jit.trace`.
    """
    if torch.compiler.is_compiling():
        return True
    if in_transform() or forward_ad._current_level >= 0:
        return True
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def in_transform(*tensors: Tensor | None) -> bool:
    """Return whether a transform of `torch.func` is active, or one of the tensors is a batch of gradients."""
    batched = (functorch.is_legacy_batchedtensor(tensor) for tensor in tensors if tensor is not None)
    return functorch.peek_interpreter_stack() is not None or any(batched)


def batches_that_stepped(trainer: Any) -> int:
    """Return the step number that Lightning passes to loggers next."""
    return getattr(trainer.fit_loop.epoch_loop, STEP_COUNT_KEY)


def run_in_openmp(body: Callable[[int, int], None], threads: int) -> bool:
    """Call `body(thread, threads)` in each thread of the OpenMP library of torch; False if there is no such library.

    Args:
        body: The function; it must not raise.
        threads: Number of threads.
    """
    library = openmp()
    if library is None:
        return False
    inner = _BODY(lambda _: body(library.omp_get_thread_num(), library.omp_get_num_threads()))
    library.GOMP_parallel(inner, None, threads, 0)
    return True


@lru_cache(maxsize=1)
def openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded, or None if it lacks the entry point `GOMP_parallel`."""
    folder = Path(torch.__file__).parent / "lib"
    for path in (path for name in _OPENMP for path in sorted(folder.glob(name))):
        library = ctypes.CDLL(str(path))  # torch has loaded it: this returns the same library
        if hasattr(library, "GOMP_parallel"):
            library.GOMP_parallel.argtypes = (_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            library.GOMP_parallel.restype = None
            return library
    return None


def keep_freed_memory() -> bool:
    """Set glibc's allocator to keep freed memory; return whether it does: other C libraries have no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # No separate mapping for large blocks, and no trimming of the heap: -1 means never.
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
