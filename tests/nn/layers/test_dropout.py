from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS
from snnlab.nn.layers.dropout import Dropout, DropoutState

from ...refusals import assert_raises

T, B, N = 6, 2, 500


@pytest.mark.parametrize("mask", ["shared", "per_step"])
def test_values_are_dropped_or_scaled_up(mask: Any) -> None:
    y, _ = Dropout(0.25, mask=mask)(torch.full((T, B, N), 3.0))
    assert set(y.unique().tolist()) == {0.0, 4.0}
    assert (y == 0).float().mean() == pytest.approx(0.25, abs=0.06)


def test_a_shared_mask_is_the_same_at_all_steps_and_another_for_each_sample_and_call() -> None:
    dropout = Dropout(0.5)
    y, state = dropout(torch.ones(T, B, N))
    assert (y == y[0]).all()
    assert (y[0, 0] != y[0, 1]).any()
    assert isinstance(state, DropoutState)
    assert state.keep.shape == (B, N)
    assert (dropout(torch.ones(T, B, N))[0] != y).any()


def test_pieces_with_the_state_have_the_mask_of_the_whole() -> None:
    dropout, x = Dropout(0.5), torch.randn(T, B, N)
    torch.manual_seed(1)
    whole, _ = dropout(x)
    torch.manual_seed(1)
    chunks, state = [], None
    for x_t in x.split(1):
        y, state = dropout(x_t, state)
        chunks.append(y)
    assert torch.equal(torch.cat(chunks), whole)


def test_a_mask_per_step_is_new_at_each_and_leaves_no_state() -> None:
    y, state = Dropout(0.5, mask="per_step")(torch.ones(T, B, N))
    assert state is None
    assert all((y[t] != y[0]).any() for t in range(1, T))


@pytest.mark.parametrize("mask", ["shared", "per_step"])
def test_evaluation_drops_nothing(mask: Any) -> None:
    dropout, x = Dropout(0.9, mask=mask).eval(), torch.randn(T, B, N)
    y, state = dropout(x)
    assert torch.equal(y, x)
    assert state is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", ["shared", "per_step"])
def test_steps_past_the_end_are_zero(training: bool, mask: Any) -> None:
    y, _ = Dropout(0.5, mask=mask).train(training)(torch.ones(T, B, N), lengths=torch.tensor([T, 2]))
    assert (y[2:, 1] == 0).all()
    assert (y[:, 0] != 0).any(-1).all()


def test_the_gradient_is_the_mask() -> None:
    x = torch.randn(T, B, N, requires_grad=True)
    y, state = Dropout(0.2)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (state.keep * 1.25).expand(T, B, N))


def test_half_precision_is_scaled_without_bias() -> None:
    y, _ = Dropout(0.1)(torch.ones(T, B, N, dtype=torch.bfloat16) * 9)
    assert y.dtype == torch.bfloat16
    assert y.max() == 10


def test_channels_last_memory_is_kept() -> None:
    x = torch.randn(T * B, 3, 4, 5).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    y, state = Dropout()(x)
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert state.keep.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"p": 1.5}, ("layers.a.p", 0, 1, 1.5)),
        ({"p": -0.1}, ("layers.a.p", 0, 1, -0.1)),
        ({"p": float("nan")}, ("layers.a.p", 0, 1)),
        ({"mask": "same"}, ("layers.a.mask", "per_step", "same")),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        LAYERS.build("dropout", settings, "layers.a", in_shape=(3,), dt=1.0)
