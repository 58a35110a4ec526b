"""Compiles the Triton kernels for a GPU, which need not be there, and prints what each makes of its products.

A process of its own, because the tests beside it have Triton interpret the same kernels.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import triton  # pyright: ignore[reportMissingImports]
from snnlab.nn.kernels import triton_adaptive_backward, triton_adaptive_forward
from snnlab.nn.kernels.triton_backward import backward
from snnlab.nn.kernels.triton_forward import forward
from snnlab.nn.kernels.triton_launch import BLOCK, OPTIONS
from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

TARGET = GPUTarget("cuda", 80, 32)

RESETS = [("subtract", False), ("subtract", True), ("value", False), ("value", True), ("none", False)]
OF_SYNAPSE = {"i0", "i", "j", "gi", "di0", "db"}


def dialects() -> Iterator[dict[str, Any]]:
    """Yield all resets with all synapses, and the other flags and the formulas in turn."""
    for synapse in ("none", "jump_first", "decay_first"):
        for at, (reset, delayed) in enumerate(RESETS):
            own = {"own": at % 2 == 0, "strict": at % 2 == 1, "attached": at % 3 == 0, "formula": 1 + at * 2}
            yield {"synapse": synapse, "reset": reset, "delayed": delayed, "spikes": True, **own}
        unused = {"strict": False, "attached": False, "formula": 0}
        yield {"synapse": synapse, "reset": "none", "delayed": False, "spikes": False, "own": True, **unused}


def adaptive_dialects() -> Iterator[dict[str, Any]]:
    """Yield all resets of an adaptive threshold, and the other flags and some formulas in turn."""
    for at, reset in enumerate(("subtract", "adapted", "value", "none")):
        own = {"own": at % 2 == 0, "strict": at % 2 == 1, "attached": at % 3 == 1, "formula": 1 + at * 2}
        yield {"reset": reset, **own}


def assembly(kernel: Any, flags: dict[str, Any], absent: Collection[str], dtype: str, fuse: bool = False) -> str:
    """Return a kernel's assembly, compiled as a launch would."""
    flags = {name: value for name, value in {**flags, "block": BLOCK}.items() if name in kernel.arg_names}
    constants = flags | dict.fromkeys(name for name in absent if name in kernel.arg_names)
    types = {"lengths": "*i64", "num_steps": "i32", "stride": "i32", "n": "i32"}
    signature = {name: "constexpr" if name in constants else types.get(name, f"*{dtype}") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    options = OPTIONS | ({"enable_fp_fusion": True} if fuse else {})
    return triton.compile(source, target=TARGET, options=options).asm["ptx"]


def contracted(text: str) -> int:
    """Return how many products are contracted with a sum."""
    return text.count("fma.")


def main() -> None:
    """Print, as JSON, the contracted products of each dialect's forward, and of one that may contract them."""
    found = {}
    for at, flags in enumerate(dialects()):
        absent = {"given", "given0"} if flags["spikes"] else {"count", "given", "given0"}
        absent |= OF_SYNAPSE if flags["synapse"] == "none" else set()
        absent |= {"lengths"} if at % 2 else set()
        dtype = ("fp32", "fp64")[at % 2]
        assert assembly(backward, flags, absent, dtype)
        found[f"{at}"] = contracted(assembly(forward, flags, absent, dtype))
        if at == 0:
            found["if allowed"] = contracted(assembly(forward, flags, absent, dtype, fuse=True))
    for at, flags in enumerate(adaptive_dialects()):
        absent, dtype = {"given", *({"lengths", "vs", "da"} if at % 2 else ())}, ("fp32", "fp64")[at % 2]
        assert assembly(triton_adaptive_backward.backward, flags, absent, dtype)
        found[f"adaptive {at}"] = contracted(assembly(triton_adaptive_forward.forward, flags, absent, dtype))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
