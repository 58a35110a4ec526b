"""Which kernel runs a neuron: chosen by name, or from the device and the precision, never from timing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from snnlab.nn.kernels.rule import Run

Backend = Literal["auto", "reference", "eager", "numba", "triton"]
Kernel = Callable[..., Run]

# Compiled loops that take neurons through some steps, and the file of those that a training compiles last.
CellKind = Literal["canonical", "adaptive"]
_LOOPS: dict[CellKind, str] = {"canonical": "numba_backward", "adaptive": "numba_adaptive_backward"}

# The version of all kernels together: raised with what changes the last digits of an output or a gradient. A training
# is the same bit for bit within one version. What recorded none, as before there were versions, was of the first.
KERNELS, FIRST_KERNELS = 1, 1

# The precisions in which a kernel's spikes are those of the plain loop, bit for bit.
EXACT = (torch.float32, torch.float64)


def resolve(backend: Backend, device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the backend that runs: itself, or for `auto` the fastest that this device and precision have.

    Raises:
        ValueError: if the one that is named cannot run there.
    """
    if backend == "auto":
        if dtype not in EXACT:
            return "reference"
        if device.type == "cpu":
            return "numba"
        return "triton" if device.type == "cuda" and _has_triton() else "eager"
    if backend == "numba" and device.type != "cpu":
        raise ValueError(f"backend: numba runs on the CPU, and this is on {device}; set backend: auto or eager")
    if backend == "triton" and device.type != "cuda":
        raise ValueError(f"backend: triton runs on NVIDIA's GPUs, and this is on {device}; set backend: auto or eager")
    if backend == "triton" and not _has_triton():
        raise ValueError("backend: triton needs Triton: pip install triton; or set backend: auto or eager")
    if backend != "reference" and dtype not in EXACT:
        raise ValueError(f"backend: {backend} runs in float32 and float64, not in {dtype}; set backend: auto")
    return backend


def kernels_of(backend: Backend) -> int | None:
    """Return the version of the kernels that a backend runs; None for the plain loop, which has no versions."""
    return None if backend == "reference" else KERNELS


def kernel_for(backend: Backend, x: Tensor) -> Kernel | None:
    """Return the kernel that runs an input, or None for the plain loop."""
    chosen = _chosen(backend, x)
    if chosen == "numba":
        # Here, because numba takes a second to import, which only who runs a network should wait for.
        from snnlab.nn.kernels.numba_cpu import run

        return run
    if chosen == "triton":
        from snnlab.nn.kernels.triton_cuda import run

        return run
    if chosen == "eager":
        from snnlab.nn.kernels.eager import run

        return run
    return None


def compiles_first(backend: Backend, kinds: Iterable[CellKind | None]) -> bool:
    """Return whether loops have not been compiled for this installation yet, which takes some 20 s.

    Args:
        backend: What runs the neurons.
        kinds: Which compiled loops each of them has.
    """
    room = Path(__file__).parent
    if backend != "numba" or not os.access(room, os.W_OK):  # numba compiles into another folder then
        return False
    python = f"py{sys.version_info[0]}{sys.version_info[1]}"
    files = {_LOOPS[kind] for kind in kinds if kind is not None}
    return not all(any(room.glob(f"__pycache__/{file}.*.{python}.nbi")) for file in files)


def adaptive_kernel(backend: Backend, x: Tensor) -> Callable[..., Any] | None:
    """Return what runs an input of the neuron with an adaptive threshold, or None for the plain loop."""
    chosen = _chosen(backend, x)
    if chosen == "numba":
        # Here for the same reason as in `kernel_for`.
        from snnlab.nn.kernels.numba_alif import run

        return run
    if chosen == "triton":
        from snnlab.nn.kernels.triton_alif import run

        return run
    return None


def recurrent_kernel(backend: Backend, x: Tensor) -> Callable[..., Any] | None:
    """Return what runs an input of recurrent neurons that have a `CellKind`, or None for the plain loop."""
    chosen = _chosen(backend, x)
    if chosen == "numba":
        from snnlab.nn.kernels.numba_recurrent import run

        return run
    if chosen == "triton":
        from snnlab.nn.kernels.triton_recurrent import run

        return run
    return None


def _chosen(backend: Backend, x: Tensor) -> Backend:
    if backend == "auto" and torch.compiler.is_compiling():
        return "reference"  # the compiler sees through the plain loop, and not through a kernel
    return resolve(backend, x.device, x.dtype)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def fusing_kernel(backend: Backend, x: Tensor) -> Kernel | None:
    """Return the kernel that runs an input, if it is one that pools and works in its input's memory."""
    run = kernel_for(backend, x)
    return run if x.device.type == "cpu" and backend in ("auto", "numba") else None
