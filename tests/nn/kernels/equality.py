"""A kernel against the plain loop: the same spikes and states bit for bit, the same gradients.

    @pytest.mark.parametrize("case", CASES)
    def test_it_equals_the_plain_loop(case):
        check(run, case())

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from cases import EXACT, INTEGRATING, SPIKING, Case, build, pairwise
from torch import Tensor

from snnlab.nn.kernels.reference import unroll
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.neurons.base import rounded
from snnlab.nn.neurons.membrane import Coefficients

Kernel = Callable[[Tensor, Tensor, Tensor | None, Coefficients, Rule, Tensor | None], Run]

# Errors of a gradient, in the largest entry of it.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


class Outcome(NamedTuple):
    """Outputs of a run, and the gradients of a weighted sum of them by the name of the input."""

    run: Run
    gradients: dict[str, Tensor]


def check(run: Kernel, case: Case) -> None:
    """Require that a kernel gives what the plain loop gives, leaves its input alone and keeps its layout."""
    before, layout = case.x.clone(), case.x.flatten(0, 1).is_contiguous(memory_format=_format(case.x))
    expected, found = outcome(plain(case.neuron), case), outcome(run, case)
    for name, one, other in zip(Run._fields, found.run, expected.run, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            assert one.dtype == other.dtype, name
            assert torch.equal(one, other), f"{name} differs in {int((one != other).sum())} of {one.numel()}"
    assert torch.equal(case.x, before), "x was changed"
    if layout:
        assert found.run.y.flatten(0, 1).is_contiguous(memory_format=_format(case.x)), "y lies otherwise than x"
    tolerance = TOLERANCES[case.x.dtype]
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        error = gradient_error(found.gradients[name], gradient)
        assert error <= tolerance, f"the gradient of {name} is off by {error:.1e} of the largest"


def gradient_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest error, in the largest entry; infinite where something is expected to be exactly zero."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if not expected.numel() or torch.equal(found, expected):
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max())


def outcome(run: Kernel, case: Case) -> Outcome:
    """Run a kernel on leaves of its own, and take the gradients of a weighted sum of its outputs."""
    k, rule = rounded(case.neuron.coefficients(), case.x), rule_of(case.neuron)
    numbers = {f"k.{name}": leaf(value) for name, value in k._asdict().items() if isinstance(value, Tensor)}
    states = {name: leaf(value) for name, value in (("v0", case.v), ("i0", case.i)) if value is not None}
    inputs = {"x": leaf(case.x), **states, **numbers}
    asked = {"all": inputs, "x": {"x": inputs["x"]}, "numbers": numbers or states}[case.asks]
    for value in asked.values():
        value.requires_grad_()
    k = k._replace(**{name[2:]: value for name, value in numbers.items()})
    result = run(inputs["x"], inputs["v0"], inputs.get("i0"), k, rule, case.lengths)
    # Where nothing reaches the outputs, as in a batch of none, there may still be no error.
    loss = torch.stack([(part * weights).sum() for part, weights in weighted(result, case.through)]).sum()
    gradients = torch.autograd.grad(loss, list(asked.values()), materialize_grads=True)
    return Outcome(Run(*map(_detached, result)), dict(zip(asked, gradients, strict=True)))


def weighted(run: Run, through: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the outputs through which gradients flow, with weights that are always the same."""
    for name, part in run._asdict().items():
        if name in through and part is not None:
            # Drawn and laid out by themselves: the same whatever the memory of the output is like.
            generator = torch.Generator().manual_seed(len(part.shape))
            yield part, torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)


def leaf(value: Tensor) -> Tensor:
    """Return a copy of a tensor that lies in memory as it does, without its history."""
    copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
    return copy.copy_(value.detach())


def plain(neuron: Any) -> Kernel:
    """Return the plain loop over a neuron's step as a kernel."""

    def run(x: Tensor, v0: Tensor, i0: Tensor | None, k: Coefficients, rule: Rule, lengths: Tensor | None) -> Run:
        start = neuron.initial_state(x[0])._replace(v=v0, **({} if i0 is None else {"i": i0}))
        y, state = unroll(neuron.step, x, start, k, lengths)
        return Run(y, state.v, getattr(state, "i", None))

    return run


def rule_of(neuron: Any) -> Rule:
    """Return what a kernel is told of a neuron besides its numbers."""
    spikes = neuron.spiking
    return Rule(
        reset=neuron.reset if spikes else "none",
        reset_delay=spikes and neuron.reset_delay,
        detach_reset=spikes and neuron.detach_reset,
        strict=spikes and neuron.strict,
        synapse=getattr(neuron, "synapse", "none"),
        surrogate=neuron.surrogate if spikes else None,
    )


def dialects() -> Iterator[Mapping[str, Any]]:
    """Yield all resets with all synapses, where nothing is rounded."""
    axes = ("kind", "reset", "detach", "threshold")
    kinds = [kind for kind in SPIKING["kind"] if kind != "iaf"]
    for options in itertools.product(kinds, *(SPIKING[name] for name in axes[1:])):
        yield EXACT | dict(zip(axes, options, strict=True))


def title(choice: Mapping[str, Any]) -> str:
    """Return a choice in one word."""
    return "-".join(_word(name, value) for name, value in choice.items() if _word(name, value))


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name * value
    if isinstance(value, tuple):
        return value[0] + "_late" * value[1]
    if isinstance(value, torch.dtype):
        return str(value)[6:]
    return f"{name}{value:g}" if isinstance(value, int | float) else value


def _detached(part: Tensor | None) -> Tensor | None:
    return part if part is None else part.detach()


def _format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.dim() != 5 or x.is_contiguous() else torch.channels_last


def _params() -> Iterator[Any]:
    for choice in dialects():
        yield pytest.param(partial(build, choice, exact=True), id="exact-" + title(dict(list(choice.items())[-3:])))
    for axes in (SPIKING, INTEGRATING):
        for choice in pairwise(axes):
            yield pytest.param(partial(build, choice), id=title(choice))


# Every reset with every synapse on exact numbers; then choices in which any two options of two axes meet.
CASES = list(_params())
