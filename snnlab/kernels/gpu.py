"""Triton kernels for NVIDIA's GPUs, rendered from a step: a program is a block of a sample's neurons through all steps.

The state of the neurons is in registers. Names of arguments are those of the loops for CPUs.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from snnlab.kernels.emit import Form, Lines, Source, Words, Writer, block, input_at, source, sums, words_of
from snnlab.kernels.trace import Step

TRITON = Words(
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

# Neurons of a program, and of a warp of it: four a thread, which float32 loads at once. A small layer still makes
# enough programs to keep the processors busy.
BLOCK, PER_WARP = 256, 128
# A product that is rounded must not be contracted with a sum: that would round once in place of twice.
OPTIONS = {"enable_fp_fusion": False}


def forward(step: Step, form: Form, title: str) -> Source:
    """Return the kernel forward, which keeps what `step.keep` says."""
    writer = Writer(step, form, TRITON)
    states, counts = [f"s_{name}" for name in step.after], ["counts"] * form.counts
    body = writer.forward(_read("x", input_at(step, form)), _write("y", "o + n", "y_n"))
    lines = [
        *(f"{state}_n = {_read(state, 's + n')}" for state in states),
        *(f"{name}_n = zero" for name in counts),
        "o = s + begin * row_stride",
        *block("for _ in range(begin, last):", body, "o += row_stride"),
        *(_write(state, "s + n", f"{state}_n") for state in states),
        *(_added(name) for name in counts),
        *block("for _ in range(last, end):", _write("y", "o + n", "zero"), "o += row_stride"),
    ]
    return _source(title, "forward", "y", writer, lines)


def backward(step: Step, form: Form, title: str) -> Source:
    """Return the kernel back; gradients of numbers are summed for each sample and neuron."""
    writer = Writer(step, form, TRITON)
    states, counts = [f"g_{name}" for name in step.before], ["gn"] * form.counts
    body = writer.backward(_read("gy", "o - skip + n"), [_write("dx", "o + n", "new_x")], "{0}_before")
    before: Lines = []
    for name in step.carried:
        before += [f"{name}_before = {name}_first", *block("if t > 0:", writer.before(name))]
    lines = [
        *(f"{name}_n = {_read(name, 's + n')}" for name in (*states, *counts)),
        *(f"{name}_first = {_read(f's_{name}', 's + n')}" for name in step.carried),
        *(f"{name}_n = zero" for name in sums(step)),
        "o = s + last.to(tl.int64) * row_stride",
        *block("for _ in range(last, end):", _write("dx", "o + n", "zero"), "o += row_stride"),
        "o = s + last.to(tl.int64) * row_stride",
        *block("for back in range(begin, last):", "o -= row_stride", "t = last - 1 - (back - begin)", before, body),
        *(_write(state, "s + n", f"{state}_n") for state in states),
        *(_added(name) for name in sums(step)),
    ]
    return _source(title, "backward", "dx", writer, lines)


def _read(name: str, at: str) -> str:
    return TRITON.read.format(name, at)


def _write(name: str, at: str, value: str) -> str:
    return TRITON.write.format(name, at, value)


def _added(name: str) -> str:
    return _write(name, "s + n", f"{_read(name, 's + n')} + {name}_n")


def _source(title: str, name: str, real: str, writer: Writer, lines: Lines) -> Source:
    used, own = words_of(lines), writer.form.own
    numbers = [name for name in writer.step.numbers if name in used]
    loads = [f"{name} = {_read(name, 'n') if name in own else f'tl.load({name})'}" for name in numbers]
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import triton",
        "import triton.language as tl",
        *_HELPERS,
        "",
        "",
        '@triton.jit(do_not_specialize=["begin", "end", "skip"])',
        *block(
            f"def {name}(ARGUMENTS, begin, end, skip, row_stride, neurons, block: tl.constexpr):",
            f"real: tl.constexpr = {real}.dtype.element_ty",
            "pieces = (neurons + block - 1) // block",
            "program = tl.program_id(0)",
            "s = (program // pieces).to(tl.int64) * neurons",
            "n = (program % pieces) * block + tl.arange(0, block)",
            "mask = n < neurons",
            "zero = tl.full([block], 0.0, real)",
            "last = end",
            block(
                "if lengths is not None:",
                "last = tl.minimum(tl.maximum(tl.load(lengths + program // pieces), begin), end).to(tl.int32)",
            ),
            loads,
            writer.constants(),
            lines,
        ),
    ]
    return source(writer.step, text, ["lengths"])


# IEEE's division and root, which are not Triton's own for float32.
_HELPERS = """

@triton.jit
def div_(a, b):
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def sqrt_(a):
    return tl.sqrt_rn(a) if a.dtype == tl.float32 else tl.sqrt(a)""".splitlines()


class Launch:
    """A kernel with what it is given, ready to run any steps."""

    def __init__(
        self, kernel: Any, names: list[str], shape: torch.Size, given: dict[str, Any], numbers: list[str], like: Tensor
    ) -> None:
        floats = {name: float(given[name]) for name in numbers if name in names and isinstance(given[name], float)}
        row = _constants(tuple(floats.values()), like.dtype, like.device)
        packed = {name: row[at : at + 1] for at, name in enumerate(floats)}
        self.kernel, self.like = kernel, like
        self.given = {name: packed.get(name, given[name]) for name in names}
        (_, batch), self.neurons = shape[:2], shape[2:].numel()
        self.batch, self.block = batch, min(BLOCK, max(32, 1 << (self.neurons - 1).bit_length()))

    def __call__(self, begin: int, end: int, skip: int = 0) -> None:
        if not self.batch * self.neurons:
            return
        with torch.cuda.device_of(self.like):
            self.kernel[(self.batch * -(-self.neurons // self.block),)](
                **self.given,
                begin=begin,
                end=end,
                skip=skip * self.batch * self.neurons,
                row_stride=self.batch * self.neurons,
                neurons=self.neurons,
                block=self.block,
                num_warps=max(1, self.block // PER_WARP),
                **OPTIONS,
            )


@lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, because a copy to the device at each call would wait for it; usable in training although first met without.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
