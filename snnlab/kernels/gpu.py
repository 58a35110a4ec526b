"""Triton kernels for NVIDIA's GPUs, rendered from a step: a program is a block of a sample's neurons through all steps.

The state of the neurons is in registers. Names of arguments are those of the loops for CPUs.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from snnlab.kernels.cpu import Form, Source, in_memory, used
from snnlab.kernels.emit import Lines, Words, Writer, block
from snnlab.kernels.trace import Node, Step

TRITON = Words(
    where="tl.where({0}, {1}, {2})",
    abs="tl.abs({0})",
    exp="tl.exp({0})",
    sqrt="sqrt_({0})",
    trunc="tl.where({0} < zero, tl.ceil({0}), tl.floor({0}))",
    floor="tl.floor({0})",
    div="div_({0}, {1})",
    const="tl.full([block], {0}, real)",
)

# Neurons of a program, and of a warp of it: four a thread, which float32 loads at once. A small layer still makes
# enough programs to keep the processors busy.
BLOCK, PER_WARP = 256, 128
# A product that is rounded must not be contracted with a sum: that would round once in place of twice.
OPTIONS = {"enable_fp_fusion": False}

_RANGE = ["lengths", "begin", "end", "skip", "stride", "neurons", "block: tl.constexpr"]


def forward(step: Step, form: Form, title: str) -> Source:
    """Return the kernel forward, which keeps what `step.keep` says."""
    names = _numbers(step) | {step.x: "x_n"} | {node: f"{name}_n" for name, node in step.before.items()}
    writer = Writer(names, TRITON, {})
    places = {"x" if form.inplace and at == 0 else f"keep{at}": node for at, node in enumerate(step.keep)}
    kept = {place: node for place, node in places.items() if node not in in_memory(step, form)}
    texts = writer.write([step.y, *step.after.values(), *kept.values()])
    shift = "" if form.inplace or step.x in step.keep else " - skip * stride"
    values = ["y_n", *(f"new_{name}" for name in step.after), *(f"{place}_kept" for place in kept)]
    body = [f"x_n = tl.load(x + o{shift}, mask=mask, other=0.0)", *writer.lines]
    body += [f"{value} = zero + {text}" for value, text in zip(values, texts, strict=True)]
    body += [_store(place, "o", f"{place}_kept") for place in kept]
    body += [_store("y", "o", "y_n"), *(["count += y_n"] if form.counts else [])]
    body += [f"{name}_n = new_{name}" for name in step.after]
    states = [f"s_{name}" for name in step.after]
    numbers = used(step.numbers, body)
    arguments = ["x", "y", *(place for place in kept if place != "x"), *states, *(["counts"] * form.counts), *numbers]
    lines = [
        *_loads(numbers, form, writer.constants),
        *(f"{name}_n = {_load(f's_{name}', 's')}" for name in step.after),
        *(["count = zero"] if form.counts else []),
        "o = s + begin * stride",
        *block("for _ in range(begin, last):", body, "o += stride"),
        *(_store(f"s_{name}", "s", f"{name}_n") for name in step.after),
        *([_store("counts", "s", f"{_load('counts', 's')} + count")] if form.counts else []),
        *block("for _ in range(last, end):", _store("y", "o", "zero"), "o += stride"),
    ]
    return _source(title, "forward", "y", arguments, lines)


def backward(step: Step, form: Form, title: str) -> Source:
    """Return the kernel back; gradients of numbers are summed for each sample and neuron."""
    kept = [f"keep{at}" for at in range(len(step.keep))]
    numbers, constants = _numbers(step), dict[str, str]()
    at = {node: f"{place}_n" for place, node in zip(kept, step.keep, strict=True)}
    arriving = {node: f"g_{name}_n" for name, node in step.arriving.items()}
    arrived = ["tl.load(gy + o - skip * stride, mask=mask, other=0.0)"] * form.gy + ["gn_n"] * form.counts
    body = [f"{place}_n = {_load(place, 'o')}" for place in kept]
    body += [f"g_y_n = {' + '.join(arrived) or 'zero'}"]
    for name in step.carried:
        before = {node: f"{place}_b" for place, node in zip(kept, step.keep, strict=True)}
        writer = Writer(before | numbers, TRITON, constants)
        (text,) = writer.write([step.after[name]])
        reads = [f"{place}_b = {_load(place, 'o - stride')}" for place in kept]
        body += [f"{name}_b = {name}_first", *block("if t > 0:", reads, writer.lines, f"{name}_b = zero + {text}")]
    known = at | numbers | arriving | {step.before[name]: f"{name}_b" for name in step.carried}
    writer = Writer(known, TRITON, constants)
    texts = dict(zip(step.to, writer.write(step.to.values()), strict=True))
    sums = [name for name in texts if name.startswith("d_")]
    body += [*writer.lines, *(f"sum_{name} += {texts[name]}" for name in sums)]
    body += [f"new_{name} = zero + {texts.get(f'g_{name}', 'zero')}" for name in step.before]
    body += [_store("dx", "o", f"zero + {texts.get('x', 'zero')}")]
    body += [f"g_{name}_n = new_{name}" for name in step.before]
    given = used(step.numbers, body)
    states = [f"g_{name}" for name in step.before]
    starts = [f"s_{name}" for name in step.carried]
    arguments = ["dx", *["gy"] * form.gy, *["gn"] * form.counts, *kept, *states, *starts, *sums, *given]
    lines = [
        *_loads(given, form, constants),
        *(f"{state}_n = {_load(state, 's')}" for state in states),
        *(f"{name}_first = {_load(f's_{name}', 's')}" for name in step.carried),
        *(f"sum_{name} = zero" for name in sums),
        *[f"gn_n = {_load('gn', 's')}"] * form.counts,
        "o = s + last.to(tl.int64) * stride",
        *block("for _ in range(last, end):", _store("dx", "o", "zero"), "o += stride"),
        "o = s + last.to(tl.int64) * stride",
        *block("for back in range(begin, last):", "o -= stride", "t = last - 1 - (back - begin)", body),
        *(_store(state, "s", f"{state}_n") for state in states),
        *(_store(name, "s", f"{_load(name, 's')} + sum_{name}") for name in sums),
    ]
    return _source(title, "backward", "dx", arguments, lines)


def _load(place: str, at: str) -> str:
    return f"tl.load({place} + {at}, mask=mask, other=0.0)"


def _store(place: str, at: str, value: str) -> str:
    return f"tl.store({place} + {at}, {value}, mask=mask)"


def _numbers(step: Step) -> dict[Node, str]:
    return {node: name for name, node in step.numbers.items()}


def _loads(numbers: list[str], form: Form, constants: dict[str, str]) -> Lines:
    loads = [f"{name} = {_load(name, 'n') if name in form.own else f'tl.load({name})'}" for name in numbers]
    return [*loads, *(f"{name} = {text}" for text, name in constants.items())]


def _source(title: str, name: str, real: str, arguments: list[str], lines: Lines) -> Source:
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import triton",
        "import triton.language as tl",
        *_HELPERS,
        "",
        "",
        '@triton.jit(do_not_specialize=["begin", "end", "skip"])',
        *block(
            f"def {name}({', '.join([*arguments, *_RANGE])}):",
            f"real: tl.constexpr = {real}.dtype.element_ty",
            "pieces = (neurons + block - 1) // block",
            "program = tl.program_id(0)",
            "sample = (program // pieces).to(tl.int64)",
            "n = (program % pieces) * block + tl.arange(0, block)",
            "mask = n < neurons",
            "s = sample * neurons + n",
            "zero = tl.full([block], 0.0, real)",
            "last = end",
            block(
                "if lengths is not None:",
                "last = tl.minimum(tl.maximum(tl.load(lengths + sample), begin), end).to(tl.int32)",
            ),
            lines,
        ),
    ]
    return Source("\n".join([*text, ""]), [*arguments, "lengths"])


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
                skip=skip,
                stride=self.batch * self.neurons,
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
