"""A kernel against the plain loop: the same spikes and states bit for bit, the same gradients.

    @pytest.mark.parametrize("case", CASES)
    def test_it_equals_the_plain_loop(case):
        assert_kernel_equals_loop(partial(function.run, backend="numba"), case())

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from cases import EXACT, INTEGRATING, LEARNED, SPIKING, KernelCase, build, pairwise
from torch import Tensor

from snnlab.kernels import function
from snnlab.nn.neurons.base import cast_coefficients

# The signature of `function.run`.
Kernel = Callable[..., function.KernelOutput]

plain = partial(function.run, backend="reference")

# Largest error of a gradient, relative to its largest entry.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


class Run(NamedTuple):
    """Output, state and counts."""

    y: Tensor
    v: Tensor
    i: Tensor | None
    n: Tensor | None


class Outcome(NamedTuple):
    """Outputs of a run, and the gradients of a weighted sum of them by the name of the input."""

    run: Run
    gradients: dict[str, Tensor]


def assert_kernel_equals_loop(run: Kernel, case: KernelCase) -> None:
    """Assert that a kernel equals the plain loop, does not change its input, and keeps the memory layout."""
    expected, found = outcome(plain, case), outcome(run, case)
    for name, one, other in zip(Run._fields, found.run, expected.run, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            assert one.dtype == other.dtype, name
            assert torch.equal(one, other), f"{name} differs in {int((one != other).sum())} of {one.numel()}"
    if _channels_last(case.x.flatten(0, 1)):
        for name, part in (("y", found.run.y.flatten(0, 1)), ("v", found.run.v), ("i", found.run.i)):
            assert part is None or _channels_last(part), f"{name} has another memory layout than x"
    tolerance = TOLERANCES[case.x.dtype]
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        error = gradient_error(found.gradients[name], gradient)
        assert error <= tolerance, f"the gradient of {name} is off by {error:.1e} of the largest"


def gradient_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the largest entry; infinite if the expected gradient is exactly zero."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if not expected.numel() or torch.equal(found, expected):
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max())


def outcome(run: Kernel, case: KernelCase) -> Outcome:
    """Run a kernel on new leaves, and return outputs and the gradients of a weighted sum of them."""
    k = cast_coefficients(case.neuron.coefficients(), case.x)
    numbers = {f"k.{name}": leaf(value) for name, value in k._asdict().items() if isinstance(value, Tensor)}
    states = {name: leaf(value) for name, value in (("v0", case.v), ("i0", case.i)) if value is not None}
    inputs = {"x": leaf(case.x), **states, **numbers}
    leaves = {"all": inputs, "x": {"x": inputs["x"]}, "numbers": numbers or states}[case.asks]
    for value in leaves.values():
        value.requires_grad_()
    k = k._replace(**{name[2:]: value for name, value in numbers.items()})
    result = through(run, case._replace(x=inputs["x"], v=inputs["v0"], i=inputs.get("i0")), k, "n" in case.through)
    # An input that reaches no output, as a threshold without a reset does not reach v, has the gradient zero.
    parts = [(part * weights).sum() for part, weights in weighted(result, case.through)]
    loss = torch.stack([*parts, *(value.sum() * 0.0 for value in leaves.values())]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    assert torch.equal(inputs["x"], case.x), "x was changed"
    return Outcome(result, dict(zip(leaves, gradients, strict=True)))


def through(run: Kernel, case: KernelCase, k: Any, count: bool = True) -> Run:
    """Run a case with these coefficients."""
    parts = {"v": case.v} | ({} if case.i is None else {"i": case.i})
    state = case.neuron.initial_state(case.x[0])._replace(**parts)
    done = run(case.neuron.step, case.x, state, k, case.lengths, count=count and case.neuron.spiking)
    return Run(done.y, done.state.v, getattr(done.state, "i", None), done.counts)


def weighted(run: Run, through: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the outputs through which gradients flow, with weights that are always the same."""
    for name, part in run._asdict().items():
        if name in through and part is not None:
            # Independent of the memory layout of the output.
            generator = torch.Generator().manual_seed(len(part.shape))
            yield part, torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)


def leaf(value: Tensor) -> Tensor:
    """Return a copy of a tensor with its memory layout, without its history."""
    copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
    return copy.copy_(value.detach())


def dialects(numbers: Mapping[str, Any], **axes: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all resets with all synapses, and the options of further axes, on these numbers."""
    axes = {"kind": ["lif", "jump", "decay"], "reset": SPIKING["reset"], "detach": SPIKING["detach"], **axes}
    for options in itertools.product(*axes.values()):
        yield {**numbers, **dict(zip(axes, options, strict=True))}


def title(choice: Mapping[str, Any], axes: Iterable[str]) -> str:
    """Return a choice as an id."""
    return "-".join(filter(None, (_word(name, choice[name]) for name in axes)))


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name * value
    if isinstance(value, tuple):
        return value[0] + "_late" * value[1]
    if isinstance(value, torch.dtype):
        return str(value)[6:]
    return f"{name}{value:g}" if isinstance(value, int | float) else value


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def with_compiled(cases: Sequence[Any], usual: int, long: int) -> list[Any]:
    """Return all cases, and again compiled: some of them, more marked long, the rest slow."""
    steps = -(-len(cases) // usual), -(-len(cases) // long)
    compiled = []
    for at, case in enumerate(cases):
        when = [] if at % steps[0] == 0 else [pytest.mark.slow if at % steps[1] else pytest.mark.long]
        compiled.append(pytest.param(*case.values, marks=[pytest.mark.compiled, *when], id=f"{case.id}-compiled"))
    return [*cases, *compiled]


def _params() -> Iterator[Any]:
    for choice in dialects(EXACT, threshold=SPIKING["threshold"]):
        yield pytest.param(partial(build, choice, exact=True), id="exact-" + title(choice, tuple(choice)[-4:]))
    for choice in dialects(LEARNED):
        yield pytest.param(partial(build, choice), id="learned-" + title(choice, tuple(choice)[-3:]))
    for axes in (SPIKING, INTEGRATING):
        for choice in pairwise(axes):
            yield pytest.param(partial(build, choice), id=title(choice, choice))


# Every reset with every synapse, on exact numbers and with all that can be learned.
# Then choices in which any two options of two axes meet.
CASES = list(_params())
