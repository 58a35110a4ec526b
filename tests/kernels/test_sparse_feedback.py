"""Sums over spikes equal the matrix products of a dense feedback.

Axes: T steps, B samples, n neurons.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from equality import gradient_error
from loop_layers import recurrent
from loops import drive, nonzero_state, outcome
from torch import Tensor
from torch.nn import functional as F

from snnlab import threads
from snnlab.kernels import sparse_feedback
from snnlab.kernels.sparse_feedback import FEW, SMALL, SparseFeedback

T, B, N = 13, 5, 70
LENGTHS = torch.tensor([0, 1, T, 6, T])
# Relative error of sums of some hundred numbers.
ERRORS = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make sums over nonzero outputs run always, and list the loops that ran."""
    ran: list[str] = []
    monkeypatch.setattr(sparse_feedback, "SMALL", 0)
    monkeypatch.setattr(sparse_feedback, "FEW", 1.0)
    for name in ("_add_columns", "_add_gradients"):
        loop = getattr(sparse_feedback, name)
        monkeypatch.setattr(
            sparse_feedback, name, lambda *given, loop=loop, name=name: [ran.append(name), loop(*given)]
        )
    return ran


def outputs(rows: int, size: int, density: float, dtype: torch.dtype, graded: bool) -> Tensor:
    """Return outputs of which a share is nonzero: ones, or any numbers."""
    chosen = (torch.rand(rows, size) < density).to(dtype)
    return chosen * torch.randn(rows, size, dtype=dtype) if graded else chosen


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert gradient_error(found, expected) <= ERRORS[expected.dtype]


@pytest.mark.long
@pytest.mark.parametrize(
    ("graded", "density", "size", "dtype"),
    [
        (False, 0.1, 7, torch.float32),
        (True, 0.1, 64, torch.float64),
        (True, 1.0, 70, torch.float32),
        (False, 1.0, 150, torch.float64),
        (False, 0.1, 273, torch.float32),
        (True, 0.0, 70, torch.float64),
    ],
)
def test_the_sums_equal_the_products(
    dtype: torch.dtype, size: int, density: float, graded: bool, always: list[str]
) -> None:
    # Sizes with and without whole vectors, and with more than one word of 64 outputs.
    torch.manual_seed(size)
    weight, s = torch.randn(size, size, dtype=dtype).requires_grad_(), outputs(60, size, density, dtype, graded)
    bias = torch.randn(size, dtype=dtype).requires_grad_() if graded else None
    s, g = s.requires_grad_(), torch.randn(60, size, dtype=dtype)
    expected = F.linear(s, weight, bias)
    s_grad, *grads = torch.autograd.grad(expected, [part for part in (s, weight, bias) if part is not None], g)
    feedback = SparseFeedback(weight, bias)
    assert_close(feedback(s), expected.detach())
    assert_close(feedback.output_gradient(g), s_grad)
    found = feedback.weight_gradients(g, s.detach())
    assert (found[1] is None) == (bias is None)
    for one, other in zip(found, grads, strict=False):
        assert one is not None
        assert_close(one, other)
    assert always == ["_add_columns", "_add_gradients"]


@pytest.mark.parametrize(
    ("kind", "shape", "setting"),
    [("lif", (N,), {}), ("alif", (2, 5, 3), {"bias": True}), ("li", (N,), {"autapses": False})],
)
def test_recurrent_layers_equal_the_plain_loop(
    kind: str, shape: tuple[int, ...], setting: dict[str, Any], always: list[str]
) -> None:
    rec, x = recurrent(kind, shape=shape, recurrent={"type": "dense", **setting}).double(), drive(T, B, *shape).double()
    if len(shape) > 1:
        x = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    state = nonzero_state(rec, x)
    expected, found = (outcome(rec, backend, x, state, LENGTHS) for backend in ("reference", "numba"))
    assert always == ["_add_columns"] * T + ["_add_gradients"]
    for one, other in zip(found, expected, strict=True):
        for name, part in one.items():
            assert gradient_error(part, other[name]) <= 1e-10, name


@pytest.mark.long
def test_the_number_of_threads_changes_nothing(always: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rec, x = recurrent("alif", shape=(N,), recurrent={"bias": True}), drive(T, B, N)
    alone = outcome(rec, "numba", x)
    monkeypatch.setattr(threads, "MIN_VALUES", 0)
    torch.set_num_threads(2)
    for one, other in zip(alone, outcome(rec, "numba", x), strict=True):
        assert all(torch.equal(part, other[name]) for name, part in one.items())


def test_outputs_with_gaps_in_memory_run(always: list[str]) -> None:
    weight, s, g = torch.randn(N, N), outputs(60, 2 * N, 0.1, torch.float32, True)[:, ::2], torch.randn(N, 60).T
    feedback = SparseFeedback(weight, None)
    assert_close(feedback(s), F.linear(s, weight))
    assert_close(feedback.weight_gradients(g, s)[0], g.T @ s)
    assert always == ["_add_columns", "_add_gradients"]


def test_a_backward_pass_within_autocast_runs(always: list[str]) -> None:
    rec, x = recurrent(shape=(N,)), drive(T, B, N).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        rec(x)[0].sum().backward()
    found, x.grad = x.grad, None
    rec(x)[0].sum().backward()
    assert found is not None
    assert x.grad is not None
    assert gradient_error(found, x.grad) <= 0.02  # products in bfloat16
    assert always == (["_add_columns"] * T + ["_add_gradients"]) * 2


def test_an_output_that_is_not_a_number_is_not_lost(always: list[str]) -> None:
    s = torch.zeros(3, N)
    s[1, 65] = torch.nan
    assert SparseFeedback(torch.eye(N), None)(s).isnan().all(1).tolist() == [False, True, False]
    assert always == ["_add_columns"]


@pytest.mark.parametrize(
    ("rows", "density", "loops"),
    [(SMALL // N**2, 0.1, 0), (SMALL // N**2 + 1, 0.1, 2), (SMALL // N**2 + 1, 2 * FEW, 0)],
)
def test_large_products_of_few_spikes_are_sums(
    rows: int, density: float, loops: int, always: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_feedback, "SMALL", SMALL)
    monkeypatch.setattr(sparse_feedback, "FEW", FEW)
    weight, s, g = torch.randn(N, N), outputs(rows, N, density, torch.float32, False), torch.randn(rows, N)
    feedback = SparseFeedback(weight, None)
    y, (weight_grad, _) = feedback(s), feedback.weight_gradients(g, s)
    assert len(always) == loops
    if not loops:
        assert torch.equal(y, F.linear(s, weight))
        assert torch.equal(weight_grad, g.T @ s)
