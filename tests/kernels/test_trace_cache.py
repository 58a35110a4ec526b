"""A user-defined step: traced at its first use, again when a value that it reads changes, else in the plain loop."""

from __future__ import annotations

import logging
import random
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snnlab.errors import ConfigError
from snnlab.kernels import function, trace, trace_cache, trace_check
from snnlab.nn.neurons.base import Neuron

from ..refusals import assert_raises


class State(NamedTuple):
    v: Tensor


class Mine(Neuron):
    """A user-defined neuron."""

    gain = 2.0
    offset = 0.1

    def coefficients(self) -> float:
        return 0.8

    def initial_state(self, x: Tensor) -> State:
        return State(torch.zeros_like(x))

    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        v = coefficients * state.v + self.gain * x + self.offset
        return v, State(v)


X = torch.linspace(-1, 1, 24).view(4, 2, 3)


def both(neuron: Any) -> tuple[Tensor, Tensor]:
    """Return the outputs of the rendered and of the plain loop."""
    found = []
    for backend in ("numba", "reference"):
        neuron.backend = backend
        found.append(neuron(X)[0])
    return found[0], found[1]


def test_another_value_of_a_number_needs_no_other_loop() -> None:
    one, other = Mine(), Mine()
    other.gain = 7.0
    kernels = []
    for neuron in (one, other):
        state = neuron.initial_state(X[0])
        kernel = function.kernel_for(neuron.step, X, state, neuron.coefficients(), backend="numba")
        assert isinstance(kernel, function.Kernel)
        kernels.append(kernel.traced.loop("forward", function.LoopVariant()))
    assert kernels[0] is kernels[1]


class Writes(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        self.seen = coefficients
        return super().step(x, state, coefficients)


class Appends(Mine):
    def __init__(self) -> None:
        super().__init__()
        self.seen = [0.0]

    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        self.seen.append(1.0)
        return super().step(x, state, coefficients)


class Draws(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        return x * random.random(), state


class Branches(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        v = x if bool((state.v > 0).any()) else 2.0 * x
        return v, State(v)


class HasTensor(Mine):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([1.0, 2.0, 3.0]))

    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        v = self.get_buffer("weight") * x
        return v, State(v)


class Rounds(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        v = coefficients * state.v + x.exp()
        return v, State(v)


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 0.3


class OwnGradient(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        s: Any = OwnFunction.apply(coefficients * state.v + x)
        return s, State(coefficients * state.v + x - s)


REFUSED = [Writes, Appends, Draws, Branches, HasTensor, Rounds, OwnGradient]


@pytest.mark.parametrize("kind", REFUSED)
def test_an_untraceable_step_runs_in_the_plain_loop_with_one_warning_and_refuses_a_backend(
    kind: type[Mine], caplog: pytest.LogCaptureFixture
) -> None:
    neuron: Any = kind()
    y = X
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            random.seed(0)
            y = neuron(X.clone().requires_grad_())[0]
    assert len(caplog.records) == 1
    assert kind.__name__ in caplog.text
    neuron.backend = "reference"
    random.seed(0)
    assert torch.equal(y, neuron(X)[0])
    neuron.backend = "numba"
    with assert_raises(ConfigError, "backend", kind.__name__):
        neuron(X.clone().requires_grad_())


def test_an_approximate_neuron_is_fused_although_it_rounds_differently() -> None:
    class Near(Rounds):
        approximate = True

    one, other = both(Near())
    torch.testing.assert_close(one, other)


class Magnitude(Mine):
    def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
        v = coefficients * state.v.abs() + x
        return v, State(v)


def test_a_wrong_trace_is_found_at_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_check, "CHECK_TRACES", False)
    monkeypatch.setattr(trace.Symbol, "abs", trace.Symbol.clone)
    neuron: Any = Magnitude()
    neuron.backend = "numba"
    with assert_raises(ConfigError, "backend", "output"):
        neuron(X)


def test_every_run_is_compared_with_the_plain_loop_where_traces_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Checked(Magnitude):
        pass

    neuron: Any = Checked()
    wrong = X.clone().requires_grad_()
    for mode in ("off", "on"):
        monkeypatch.setattr(trace_check, "CHECK_TRACES", mode == "on")
        neuron(wrong)
    # A kernel that is right on small values and wrong on larger ones.
    run_kernel = function.run_kernel

    def wrong_if_large(kernel: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = run_kernel(kernel, x, *args, **kwargs)
        return output._replace(y=output.y.clamp(max=50.0))

    monkeypatch.setattr(function, "run_kernel", wrong_if_large)
    neuron(wrong)
    with assert_raises(RuntimeError, "Checked", "output"):
        neuron(wrong * 1000.0)


def test_a_call_that_overflows_does_not_end_fusing() -> None:
    class Squares(Mine):
        k = 0.5

        def step(self, x: Tensor, state: State, coefficients: float) -> tuple[Tensor, State]:
            v = coefficients * state.v * coefficients + x * x
            return v, State(v)

        def coefficients(self) -> float:
            return self.k

    neuron: Any = Squares()
    neuron.backend = "numba"
    for neuron.k in (1e300, 0.5):
        for x in (X, X.double(), X.double().requires_grad_()):
            neuron(x)


def test_many_values_in_turn_keep_few_traces() -> None:
    neuron = Mine()
    for value in range(200):
        neuron.gain = 2.0 + value
        neuron(X)
    assert max(map(len, trace_cache._cache.values())) < 100


def test_a_step_may_be_used_first_within_a_checkpoint() -> None:
    class First(Mine):
        pass

    neuron: Any = First()
    neuron.backend = "numba"
    x = X.clone().requires_grad_()
    checkpoint(lambda x: neuron(x)[0], x, use_reentrant=False).sum().backward()  # type: ignore[union-attr]
    expected = X.clone().requires_grad_()
    neuron.backend = "reference"
    neuron(expected)[0].sum().backward()
    torch.testing.assert_close(x.grad, expected.grad)
