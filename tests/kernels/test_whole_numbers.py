"""Operations on whole numbers equal Python's own integers in single precision, and are traced with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.kernels.neuron_form import run_step, trace_form
from snnlab.kernels.trace_cache import TracedStep
from snnlab.kernels.whole_numbers import floored, saturated, scaled, truncated, wrapped

LIMIT = 2**24


def whole_numbers(low: int, high: int, seed: int = 0) -> list[int]:
    """Return both ends, numbers near 0, and others at random."""
    drawn = np.random.default_rng(seed).integers(low, high, 2000).tolist()
    return [low, low + 1, high - 1, high, -1, 0, 1, *drawn]


def floats(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).float()


@pytest.mark.parametrize("bits", [1, 4, 8, 12])
def test_a_scaled_number_is_the_product_of_integers_shifted_towards_zero(bits: int) -> None:
    x = whole_numbers(-LIMIT, LIMIT)
    for factor in (0, 1, 2**bits // 3, 2**bits - 1, 2**bits):
        expected = [abs(each) * factor // 2**bits * (1 if each >= 0 else -1) for each in x]
        assert scaled(floats(x), float(factor), bits).tolist() == expected


@pytest.mark.parametrize("bits", [4, 16, 24])
def test_a_wrapped_number_is_what_remains_of_its_bits(bits: int) -> None:
    x = [*whole_numbers(-LIMIT, LIMIT), *(64 * each for each in whole_numbers(-(2**20), 2**20))]
    half = 2 ** (bits - 1)
    assert wrapped(floats(x), bits).tolist() == [(each + half) % (2 * half) - half for each in x]
    other = wrapped(floats(x), bits, without_least=True)
    assert other.tolist() == [(each + half - 1) % (2 * half) - half + 1 for each in x]


@pytest.mark.parametrize("bits", [4, 16, 24])
def test_a_saturated_number_stays_at_the_ends_of_its_bits(bits: int) -> None:
    x = whole_numbers(-LIMIT, LIMIT)
    most = 2 ** (bits - 1)
    assert saturated(floats(x), bits).tolist() == [min(max(each, -most), most - 1) for each in x]
    other = saturated(floats(x), bits, without_least=True)
    assert other.tolist() == [min(max(each, 1 - most), most - 1) for each in x]


def test_gradients_go_straight_through_but_where_a_number_saturates() -> None:
    x = torch.tensor([-300.0, -5.0, 7.0, 300.0], requires_grad=True)
    factor = torch.tensor(3000.0, requires_grad=True)
    scaled(x, factor, 12).sum().backward()
    assert x.grad is not None
    assert factor.grad is not None
    assert torch.allclose(x.grad, torch.full((4,), 3000 / 4096))
    assert factor.grad.item() == pytest.approx(2.0 / 4096)
    for operation, expected in (
        (lambda y: truncated(y / 2.0), [0.5] * 4),
        (lambda y: floored(y / 2.0), [0.5] * 4),
        (lambda y: wrapped(y, 8), [1.0] * 4),
        (lambda y: saturated(y, 8), [0.0, 1.0, 1.0, 0.0]),
    ):
        (gradient,) = torch.autograd.grad(operation(x).sum(), x)
        assert gradient.tolist() == expected


class State(NamedTuple):
    v: Tensor


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "scaled": lambda v, k: scaled(v, k, 12),
    "wrapped": lambda v, k: wrapped(v, 6),
    "saturated": lambda v, k: saturated(v, 5),
    "floored": lambda v, k: floored(v * k / 4096.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_form_runs_them_as_torch_does(name: str) -> None:
    def step(x: Any, state: State, k: Any) -> tuple[Any, State]:
        v = OPERATIONS[name](state.v, k) + x
        return v, State(v)

    k = torch.tensor(3100.0)
    x = floats(np.random.default_rng(1).integers(-60, 60, (20, 3)).tolist())
    state = State(torch.zeros(3))
    found = trace_form(step, state, k)
    assert isinstance(found, TracedStep)
    values = {"v": state.v.numpy()}
    numbers = {key: np.asarray(value, np.float32) for key, value in found.numbers(k).items()}
    for x_t in x:
        y, values = run_step(found.step, x_t.numpy(), values, numbers)
        expected, state = step(x_t, state, k)
        assert y.tolist() == expected.tolist()
