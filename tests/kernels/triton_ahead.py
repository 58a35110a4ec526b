"""Compiles rendered Triton kernels for a GPU, without needing one, and prints the fused products of each.

A separate process, because the tests run Triton's interpreter.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

from snnlab.kernels import function
from snnlab.kernels.emit import LoopVariant
from snnlab.kernels.gpu import BLOCK, OPTIONS
from snnlab.nn import NEURONS
from snnlab.nn.neurons.base import cast_coefficients

TARGET = GPUTarget("cuda", 90, 32)

NEURONS_OF: list[tuple[str, dict[str, Any]]] = [
    ("lif", {}),
    ("lif", {"reset": "value", "reset_delay": True, "detach_reset": False, "learn": {"tau_mem": "neuron"}}),
    ("cuba_lif", {"synapse": "decay_first", "input_gain": 1.0, "learn": ["tau_syn", "v_threshold"]}),
    ("li", {"learn": ["tau_mem"]}),
    ("alif", {"adapted_reset": True, "detach_reset": False}),
    ("adlif", {"learn": ["a", "b"]}),
    ("lsnn", {}),
    ("iaf", {"spikes": "several", "floor": -1.0}),
    ("snntorch_alpha", {"reset": "subtract"}),
]


def assembly(kernel: Any, dtype: str, *, lengths: bool, fuse: bool = False) -> str:
    """Return a kernel's assembly, compiled as a launch would."""
    constants: dict[str, Any] = {"block": BLOCK} | ({} if lengths else {"lengths": None})
    types = {"lengths": "*i64", "begin": "i32", "end": "i32", "skip": "i32", "step_stride": "i32", "neurons": "i32"}
    doubles = {name: "*fp64" for name in kernel.arg_names if name.startswith("d_")}
    types = {**types, **doubles}
    signature = {name: "constexpr" if name in constants else types.get(name, f"*{dtype}") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    options = OPTIONS | ({"enable_fp_fusion": True} if fuse else {})
    return triton.compile(source, target=TARGET, options=options).asm["ptx"]


def main() -> None:
    """Print, as JSON, the contracted products of each neuron's forward, and of one that may contract them."""
    found = {}
    for at, (kind, settings) in enumerate(NEURONS_OF):
        neuron = NEURONS.build(kind, dict(settings), "n", in_shape=(4,), dt=1.0)
        x = torch.zeros(1, 1, 4, requires_grad=True)
        k, state = cast_coefficients(neuron.coefficients(), x), neuron.initial_state(x[0])
        kernel = function.kernel_for(neuron.step, x, state, k)
        assert isinstance(kernel, function.Kernel)
        numbers = kernel.traced.numbers(k).items()
        own = frozenset(name for name, value in numbers if isinstance(value, torch.Tensor) and value.numel() > 1)
        dtype, lengths = ("fp32", "fp64")[at % 2], at % 3 == 0
        forward, _ = kernel.traced.kernel("forward", LoopVariant(own, counts=bool(at % 2)))
        backward, _ = kernel.traced.kernel("backward", LoopVariant(own, counts=bool(at % 2)))
        assert assembly(backward, dtype, lengths=lengths)
        # IEEE's division in double precision is made of such products.
        found[f"{kind} {at}"] = (
            0 if settings.get("spikes") == "several" else assembly(forward, dtype, lengths=lengths).count("fma.")
        )
        if at == 0:
            found["if allowed"] = assembly(forward, dtype, lengths=lengths, fuse=True).count("fma.")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
