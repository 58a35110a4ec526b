"""The rendered loops against the plain loop.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from cases import LEARNED, KernelCase, build
from equality import CASES, Run, assert_kernel_equals_loop, through, with_compiled
from loop_layers import alif
from loops import SURROGATES, drive, outcome
from torch import Tensor

from snnlab import threads
from snnlab.errors import SnnlabError
from snnlab.kernels import function
from snnlab.nn.neurons.base import cast_coefficients

from ..marks import mostly_long
from ..refusals import assert_raises

run = partial(function.run, backend="numba")

JUMP = {**LEARNED, "kind": "jump", "reset": ("subtract", False), "detach": True, "learn": "none"}


@pytest.mark.parametrize("case", with_compiled(mostly_long(CASES, 27, 100), 3, 6))
def test_it_equals_the_plain_loop(case: Callable[[], KernelCase]) -> None:
    assert_kernel_equals_loop(run, case())


@pytest.mark.parametrize("part", ["y", "v", "i", "n"])
def test_its_outputs_may_be_changed_in_place(part: str) -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        case = build(JUMP)
        x = case.x.requires_grad_()
        change(getattr(_run(case), part)).pow(2).sum().backward()
        assert x.grad is not None
        return x.grad

    assert gradient(torch.Tensor.clone).any()
    assert torch.equal(gradient(lambda y: y.mul_(2.0)), gradient(lambda y: y.mul(2.0)))


@pytest.mark.parametrize("lengths", [[4, 5, 6], [[4], [5], [6], [7]], [4.0, 5.0, 6.0, 7.5]], ids=str)
def test_lengths_that_are_not_those_of_the_samples_are_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match=r"lengths.*\(4,\)"):
        _run(build(JUMP)._replace(lengths=torch.tensor(lengths)))


def test_lengths_may_be_changed_before_the_backward_pass() -> None:
    def gradient(later: int) -> Tensor:
        case, lengths = build(JUMP), torch.tensor([1, 2, 3, 2])
        x = case.x.requires_grad_()
        done = _run(case._replace(lengths=lengths))
        lengths.fill_(later)
        done.y.sum().backward()
        assert x.grad is not None
        return x.grad

    assert gradient(1).any()
    assert torch.equal(gradient(1), gradient(4))


@pytest.mark.parametrize("part", ["v", "i"])
def test_a_state_of_another_precision_or_shape_is_refused(part: str) -> None:
    case = build(JUMP)
    for state in (getattr(case, part).float(), getattr(case, part)[:1]):
        with pytest.raises(ValueError, match=rf"state {part}\b.*torch\.float64"):
            _run(case._replace(**{part: state}))


class V(NamedTuple):
    v: Tensor


def _decay(x: Tensor, state: V, k: tuple[Tensor, float]) -> tuple[Tensor, V]:
    v = k[0] * state.v + k[1] * x
    return v, V(v)


def test_coefficients_of_another_shape_than_a_samples_are_refused() -> None:
    x, rest = torch.ones(5, 4, 2, 3), V(torch.zeros(4, 2, 3))
    backends: tuple[function.Backend, ...] = ("numba", "reference")
    for backend, learned in itertools.product(backends, (False, True)):
        for shape in ((4, 2, 3), (1, 2, 3), (1, 1, 3), (4, 1, 1), (4,), (2,), (3, 2), (2, 0)):
            with pytest.raises(ValueError, match=rf"coefficient \w+ .*\(2, 3\).*{re.escape(str(shape))}"):
                function.run(_decay, x, rest, (torch.ones(shape, requires_grad=learned), 0.5), backend=backend)
        for shape in ((), (1,), (3,), (2, 1), (1, 3), (2, 3), (1, 1)):
            k = torch.full(shape, 0.5, requires_grad=learned), 0.5
            assert function.run(_decay, x, rest, k, backend=backend).y.shape == x.shape


def test_without_gradients_the_outputs_are_the_same() -> None:
    neuron, x = alif("adapted"), drive(17, 4, 7)
    with_graph = outcome(neuron, "numba", x).outputs
    with torch.no_grad():
        y, (v, w) = neuron(x)
    for part, name in ((y, "y"), (v, "state.v"), (w, "state.w")):
        assert not part.requires_grad
        assert torch.equal(part, with_graph[name])


@pytest.mark.long
@pytest.mark.compiled
def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MIN_VALUES", 0)
    neuron, x = alif("adapted", (1500,), "neuron", detach_reset=False), drive(17, 3, 1500)
    alone = outcome(neuron, "numba", x)
    torch.set_num_threads(2)
    shared = outcome(neuron, "numba", x)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(part, other[name]) for name, part in one.items())


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_second_backward_pass_gives_the_same_and_a_second_derivative_is_refused(surrogate: str) -> None:
    neuron = alif("value", per="neuron", detach_reset=False, surrogate=SURROGATES[surrogate])
    x = drive(17, 4, 7).requires_grad_()
    loss = neuron(x)[0].square().sum()
    inputs = [x, *neuron.parameters()]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs, retain_graph=True), strict=True):
        assert one.any()
        assert torch.equal(one, other)
    with assert_raises(SnnlabError, "", "derivatives"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_changes_of_saved_tensors_are_detected() -> None:
    x = drive(17, 4, 7).requires_grad_() * 1.0
    loss = alif("adapted", per="neuron", input_gain="1-a")(x)[0].sum()
    with torch.no_grad():
        x.mul_(2.0)
    with assert_raises(RuntimeError, "operation"):
        loss.backward()


def _run(case: KernelCase) -> Run:
    return through(run, case, cast_coefficients(case.neuron.coefficients(), case.x))
