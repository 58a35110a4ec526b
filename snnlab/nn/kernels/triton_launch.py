"""How a Triton kernel is started, and how it sees memory.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab.nn.kernels.bells import GIVEN, bell_of
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.rule import Rule

# Neurons of a program, and of a warp of it: four a thread, which float32 loads at once. A small layer still makes
# enough programs to keep the processors busy.
BLOCK, PER_WARP = 256, 128

# A product that is rounded must not be contracted with a sum: that would round once in place of twice.
OPTIONS = {"enable_fp_fusion": False}


def layout_of(x: Tensor) -> Layout:
    """Return the order in which a kernel walks through x: as it lies, and contiguous where it has gaps."""
    return Layout.of(x) or Layout(tuple(range(x.dim() - 2)))


def rows(layout: Layout, **parts: Tensor | None) -> dict[str, Tensor | None]:
    """Return `[..., n]` of each `[T, B, ...]` or `[B, ...]`: a view where it lies in this order, else a copy."""
    return {name: None if part is None else _row(layout, part) for name, part in parts.items()}


def _row(layout: Layout, part: Tensor) -> Tensor:
    front = part.dim() - len(layout.order)
    return layout.sorted(part).contiguous().view(*part.shape[:front], part.shape[front:].numel())


def dialect(rule: Rule) -> dict[str, Any]:
    """Return a canonical neuron's dialect as the kernels take it."""
    return {
        "reset": rule.reset,
        "delayed": rule.reset_delay,
        "strict": rule.strict,
        "synapse": rule.synapse,
        "spikes": rule.spikes,
    }


def formula_of(rule: Rule) -> int:
    """Return the number of the formula of a dialect's surrogate, GIVEN where there is none."""
    return GIVEN if rule.surrogate is None else bell_of(rule.surrogate).formula


def launch(kernel: Any, shape: torch.Size, *, table: Tensor, **given: Any) -> None:
    """Run a kernel on all samples and blocks of neurons.

    Args:
        kernel: A `forward` or `backward`.
        shape: That of x.
        table: The coefficients.
        given: The kernel's other arguments.
    """
    num_steps, batch, n = shape[0], shape[1], shape[2:].numel()
    if batch * n == 0:
        return
    block = min(BLOCK, max(32, 1 << (n - 1).bit_length()))
    with torch.cuda.device_of(table):
        kernel[(batch * -(-n // block),)](
            table=table,
            num_steps=num_steps,
            stride=batch * n,
            n=n,
            own=table.shape[1] > 1,
            block=block,
            num_warps=max(1, block // PER_WARP),
            **OPTIONS,
            **given,
        )
