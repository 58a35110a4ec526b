"""Triton kernels for NVIDIA's GPUs, rendered from a step: a program runs all steps of a block of a sample's neurons.

The state of the neurons is in registers. Arguments have the names of those of the loops for CPUs.

Axes: T steps, B samples, n neurons in the order of memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from snnlab.kernels.emit import (
    Lines,
    LoopSource,
    LoopVariant,
    Syntax,
    Writer,
    block,
    identifiers,
    input_index,
    number_grads,
    source,
)
from snnlab.kernels.trace import StepGraph

TRITON = Syntax(
    where="tl.where({0}, {1}, {2})",
    abs="tl.abs({0})",
    exp="tl.exp({0})",
    sqrt="sqrt_({0})",
    trunc="tl.where({0} < zero, tl.ceil({0}), tl.floor({0}))",
    floor="tl.floor({0})",
    div="div_({0}, {1})",
    const="tl.full([block], {0}, real)",
    read="tl.load({0} + {1}, mask=mask, other=0.0)",
    write="tl.store({0} + {1}, {2}, mask=mask)",
    state="{0}_n",
    value="zero + {0}",
)

# Neurons of a program, and of a warp: four per thread, which is one load in float32. A small layer still has enough
# programs to occupy the processors.
BLOCK, PER_WARP = 256, 128
# A product and a sum must not be fused: that would round once instead of twice.
OPTIONS = {"enable_fp_fusion": False}


def forward(step: StepGraph, options: LoopVariant, title: str) -> LoopSource:
    """Return the forward kernel, which writes the values to save."""
    writer = Writer(step, options, TRITON)
    states, counts = [f"s_{name}" for name in step.after], ["counts"] * options.counts
    body = writer.forward(_load_text("x", input_index(step, options)), _store_text("y", "o + n", "y_n"))
    lines = [
        *(f"{state}_n = {_load_text(state, 's + n')}" for state in states),
        *(f"{name}_n = zero" for name in counts),
        "o = s + begin * step_stride",
        *block("for _ in range(begin, last):", body, "o += step_stride"),
        *(_store_text(state, "s + n", f"{state}_n") for state in states),
        *(_add_to(name) for name in counts),
        *block("for _ in range(last, end):", _store_text("y", "o + n", "zero"), "o += step_stride"),
    ]
    return _kernel_source(title, "forward", "y", writer, lines)


def backward(step: StepGraph, options: LoopVariant, title: str) -> LoopSource:
    """Return the backward kernel; gradients of numbers are summed for each sample and neuron."""
    writer = Writer(step, options, TRITON)
    states, counts = [f"g_{name}" for name in step.before], ["gn"] * options.counts
    body = writer.backward(_load_text("gy", "o - skip + n"), [_store_text("dx", "o + n", "new_x")], "{0}_before")
    before: Lines = []
    for name in step.recomputed:
        before += [f"{name}_before = {name}_first", *block("if t > 0:", writer.recompute_state(name))]
    lines = [
        *(f"{name}_n = {_load_text(name, 's + n')}" for name in (*states, *counts)),
        *(f"{name}_first = {_load_text(f's_{name}', 's + n')}" for name in step.recomputed),
        *(f"{name}_n = zero" for name in number_grads(step)),
        "o = s + last.to(tl.int64) * step_stride",
        *block("for _ in range(last, end):", _store_text("dx", "o + n", "zero"), "o += step_stride"),
        "o = s + last.to(tl.int64) * step_stride",
        *block("for back in range(begin, last):", "o -= step_stride", "t = last - 1 - (back - begin)", before, body),
        *(_store_text(state, "s + n", f"{state}_n") for state in states),
        *(_add_to(name) for name in number_grads(step)),
    ]
    return _kernel_source(title, "backward", "dx", writer, lines)


def _load_text(name: str, at: str) -> str:
    return TRITON.read.format(name, at)


def _store_text(name: str, at: str, value: str) -> str:
    return TRITON.write.format(name, at, value)


def _add_to(name: str) -> str:
    return _store_text(name, "s + n", f"{_load_text(name, 's + n')} + {name}_n")


def _kernel_source(title: str, name: str, real: str, writer: Writer, lines: Lines) -> LoopSource:
    used, per_neuron = identifiers(lines), writer.options.per_neuron
    numbers = [name for name in writer.step.numbers if name in used]
    loads = [f"{name} = {_load_text(name, 'n') if name in per_neuron else f'tl.load({name})'}" for name in numbers]
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import triton",
        "import triton.language as tl",
        *_HELPERS,
        "",
        "",
        '@triton.jit(do_not_specialize=["begin", "end", "skip"])',
        *block(
            f"def {name}(ARGUMENTS, begin, end, skip, step_stride, neurons, block: tl.constexpr):",
            f"real: tl.constexpr = {real}.dtype.element_ty",
            "blocks = (neurons + block - 1) // block",
            "program = tl.program_id(0)",
            "s = (program // blocks).to(tl.int64) * neurons",
            "n = (program % blocks) * block + tl.arange(0, block)",
            "mask = n < neurons",
            "zero = tl.full([block], 0.0, real)",
            "last = end",
            block(
                "if lengths is not None:",
                "last = tl.minimum(tl.maximum(tl.load(lengths + program // blocks), begin), end).to(tl.int32)",
            ),
            loads,
            writer.constants(),
            lines,
        ),
    ]
    return source(writer.step, text, ["lengths"])


# IEEE division and square root: Triton's own are not IEEE in float32.
_HELPERS = """

@triton.jit
def div_(a, b):
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def sqrt_(a):
    return tl.sqrt_rn(a) if a.dtype == tl.float32 else tl.sqrt(a)""".splitlines()


class KernelLaunch:
    """A kernel with its arguments; a call runs some steps."""

    def __init__(
        self, kernel: Any, names: list[str], shape: torch.Size, args: dict[str, Any], numbers: list[str], like: Tensor
    ) -> None:
        floats = {name: float(args[name]) for name in numbers if name in names and isinstance(args[name], float)}
        row = _constants(tuple(floats.values()), like.dtype, like.device)
        packed = {name: row[at : at + 1] for at, name in enumerate(floats)}
        self.kernel, self.like = kernel, like
        self.args = {name: packed.get(name, args[name]) for name in names}
        (_, batch), self.neurons = shape[:2], shape[2:].numel()
        self.batch, self.block = batch, min(BLOCK, max(32, 1 << (self.neurons - 1).bit_length()))

    def __call__(self, begin: int, end: int, skip: int = 0) -> None:
        if not self.batch * self.neurons:
            return
        with torch.cuda.device_of(self.like):
            self.kernel[(self.batch * -(-self.neurons // self.block),)](
                **self.args,
                begin=begin,
                end=end,
                skip=skip * self.batch * self.neurons,
                step_stride=self.batch * self.neurons,
                neurons=self.neurons,
                block=self.block,
                num_warps=max(1, self.block // PER_WARP),
                **OPTIONS,
            )


@lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Cached, because each copy to the device synchronizes; no inference tensor, so that a training can use it too.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
