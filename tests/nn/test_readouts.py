from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnlab.nn.readouts import REDUCTIONS

T, B, K = 7, 4, 3
LENGTHS = [7, 1, 4, 6]

# What each reduction means, said a second time for one sample `[L, K]` without padding.
MEANINGS = {
    "mean": lambda y: y.mean(0),
    "sum": lambda y: y.sum(0),
    "max": lambda y: y.max(0).values,
    "last": lambda y: y[-1],
}


@pytest.fixture
def y() -> Tensor:
    """Outputs that are all negative, so that a zero or an infinity from the padding would show."""
    return -1 - torch.rand(T, B, K, generator=torch.Generator().manual_seed(0))


def test_every_reduction_has_a_meaning_here() -> None:
    assert REDUCTIONS.keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("lengths", [LENGTHS, [T] * B, [2] * B])
def test_only_valid_steps_count(y: Tensor, name: str, lengths: list[int]) -> None:
    expected = torch.stack([MEANINGS[name](y[:length, b]) for b, length in enumerate(lengths)])
    torch.testing.assert_close(REDUCTIONS[name][0](y, torch.tensor(lengths)), expected)


@pytest.mark.parametrize("name", MEANINGS)
def test_what_stands_past_the_end_changes_neither_value_nor_gradient(y: Tensor, name: str) -> None:
    lengths = torch.tensor(LENGTHS)
    past = torch.arange(T)[:, None] >= lengths
    clean, dirty = y.clone().requires_grad_(), torch.where(past[..., None], 1e9, y).requires_grad_()
    values = [REDUCTIONS[name][0](each, lengths) for each in (clean, dirty)]
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)
    values[1].sum().backward()
    assert dirty.grad is not None
    assert not dirty.grad[past].any()
    assert (dirty.grad.sum((0, 2)) > 0).all()


@pytest.mark.parametrize("name", MEANINGS)
def test_the_running_value_is_the_reduction_of_the_recording_cut_there(y: Tensor, name: str) -> None:
    so_far = REDUCTIONS[name][1](y)
    assert so_far.shape == (T, B, K)
    for t in range(T):
        expected = REDUCTIONS[name][0](y[: t + 1], torch.full((B,), t + 1))
        torch.testing.assert_close(so_far[t], expected)
