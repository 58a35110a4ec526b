"""Outputs and gradients against autograd through an independent loop, in double precision, for all conventions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import LIF, CubaLIF, CubaLIFState, LIFState
from snnlab.nn.surrogate import Atan

T, B, N = 7, 3, 5
A, GAIN, LEAK, THETA, RESET = 0.5, 0.5, 0.25, 1.5, -0.25
WIDTH, HEIGHT = 0.4, 0.8

FIELDS = [
    ["subtract", "value", "none"],
    [False, True],
    [False, True],
    ["inclusive", "strict"],
    [None, "jump_first", "decay_first"],
]
DIALECTS = [case for case in itertools.product(*FIELDS) if case[:2] != ("none", True)]


def oracle(
    x: Tensor, v: Tensor, i: Tensor, reset: str, delay: bool, detach: bool, threshold: str, synapse: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    def fire(u: Tensor) -> Tensor:
        gap = u - THETA
        hard = (gap > 0 if threshold == "strict" else gap >= 0).to(u.dtype)
        slope = HEIGHT / (1 + (gap.detach() / (WIDTH * THETA)) ** 2)
        return hard + slope * (gap - gap.detach())

    spikes, s = [], fire(v)
    for x_t in x:
        if synapse == "jump_first":
            i = A * i + x_t
        elif synapse == "decay_first":
            i = A * i + A * x_t
        else:
            i = x_t
        before = s.detach() if detach else s
        if delay and reset == "value":
            v = v + before * (RESET - v)
        v = A * v + GAIN * i + (1 - A) * LEAK
        if delay and reset == "subtract":
            v = v - THETA * before
        s = fire(v)
        spikes.append(s)
        now = s.detach() if detach else s
        if not delay and reset == "subtract":
            v = v - THETA * now
        elif not delay and reset == "value":
            v = v + now * (RESET - v)
    return torch.stack(spikes), v, i


def dyadic(*shape: int, low: float, high: float) -> Tensor:
    """Return multiples of 1/4: every order of operations is exact on them, and membranes meet the threshold."""
    return (torch.rand(*shape, dtype=torch.float64) * (high - low) * 4).round() / 4 + low


def weighted(results: Sequence[Tensor], weights: list[Tensor]) -> Tensor:
    return torch.stack([(y * w).sum() for y, w in zip(results, weights, strict=True)]).sum()


@pytest.mark.parametrize(("reset", "delay", "detach", "threshold", "synapse"), DIALECTS)
def test_spikes_state_and_gradients_equal_the_oracles(
    reset: Any, delay: bool, detach: bool, threshold: Any, synapse: Any
) -> None:
    torch.manual_seed(0)
    leaves = [dyadic(T, B, N, low=-1, high=6), dyadic(B, N, low=-1, high=2), dyadic(B, N, low=0, high=2)]
    x, v, i = (leaf.clone().requires_grad_() for leaf in leaves)
    others = x2, v2, i2 = [leaf.clone().requires_grad_() for leaf in leaves]
    settings: dict[str, Any] = {
        **{"beta": A, "input_gain": GAIN, "v_leak": LEAK, "v_threshold": THETA, "v_reset": RESET},
        **{"reset": reset, "reset_delay": delay, "detach_reset": detach, "threshold": threshold},
        "surrogate": Atan(WIDTH, HEIGHT),
    }
    if synapse is None:
        s, state = LIF(**settings)(x, LIFState(v))
        results, inputs = [s, state.v], [x, v]
    else:
        s, state = CubaLIF(**settings, alpha=A, synapse=synapse)(x, CubaLIFState(v, i))
        results, inputs = [s, state.v, state.i], [x, v, i]
    expected = oracle(x2, v2, i2, reset, delay, detach, threshold, synapse)[: len(results)]

    assert 5 < s.sum() < s.numel() - 5
    for result, other in zip(results, expected, strict=True):
        torch.testing.assert_close(result, other, rtol=0, atol=1e-12)
    weights = [torch.randn_like(result) for result in results]
    grads = torch.autograd.grad(weighted(results, weights), inputs)
    for grad, other in zip(grads, torch.autograd.grad(weighted(expected, weights), others[: len(inputs)]), strict=True):
        assert grad.any()
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)


def test_the_drive_meets_the_threshold_exactly_so_that_the_two_rules_differ() -> None:
    torch.manual_seed(0)
    x = dyadic(T, B, N, low=-1, high=6)
    settings: dict[str, Any] = {"beta": A, "input_gain": GAIN, "v_leak": LEAK, "v_threshold": THETA}
    inclusive, strict = (LIF(**settings, threshold=rule)(x)[0] for rule in ("inclusive", "strict"))
    assert (inclusive != strict).any()
