from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.readouts import REDUCTIONS

from ..refusals import assert_raises

T, B, K = 7, 4, 3
LENGTHS = [7, 1, 4, 6]

# Each reduction, implemented a second time for one sample `[L, K]` without padding.
MEANINGS = {
    "mean": lambda y: y.mean(0),
    "sum": lambda y: y.sum(0),
    "max": lambda y: y.max(0).values,
    "last": lambda y: y[-1],
    "softmax_sum": lambda y: y.softmax(-1).sum(0),
    "first_spike": lambda y: torch.stack([steps_since_first_spike(spikes) for spikes in y.T]),
}


def steps_since_first_spike(spikes: Tensor) -> Tensor:
    steps = spikes.tolist()
    return torch.tensor(float(len(steps) - steps.index(1)) if 1 in steps else 0.0)


@pytest.fixture
def y(name: str) -> Tensor:
    """Return spikes, or negative outputs, which show a zero or an infinity from the padding."""
    chance = torch.rand(T, B, K, generator=torch.Generator().manual_seed(0))
    return (chance < 0.3).float() if name == "first_spike" else -1 - chance


def test_every_reduction_is_tested_here() -> None:
    assert REDUCTIONS.keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("lengths", [LENGTHS, [T] * B, [2] * B])
def test_only_valid_steps_count(y: Tensor, name: str, lengths: list[int]) -> None:
    expected = torch.stack([MEANINGS[name](y[:length, b]) for b, length in enumerate(lengths)])
    torch.testing.assert_close(REDUCTIONS[name][0](y, torch.tensor(lengths)), expected)


@pytest.mark.parametrize("name", MEANINGS)
def test_values_past_the_end_change_neither_value_nor_gradient(y: Tensor, name: str) -> None:
    lengths = torch.tensor(LENGTHS)
    past = torch.arange(T)[:, None] >= lengths
    clean, dirty = y.clone().requires_grad_(), torch.where(past[..., None], 1e9, y).requires_grad_()
    values = [REDUCTIONS[name][0](each, lengths) for each in (clean, dirty)]
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)
    values[1][:, 0].sum().backward()
    assert dirty.grad is not None
    assert not dirty.grad[past].any()
    assert (dirty.grad[..., 0].sum(0) > 0).all()


@pytest.mark.parametrize("name", MEANINGS)
def test_the_running_readout_is_the_readout_of_the_cut_recording(y: Tensor, name: str) -> None:
    running_score = REDUCTIONS[name][1](y)
    assert running_score.shape == (T, B, K)
    for t in range(T):
        expected = REDUCTIONS[name][0](y[: t + 1], torch.full((B,), t + 1))
        torch.testing.assert_close(running_score[t], expected)


def score(*spikes: float) -> tuple[float, list[float]]:
    """Return the first-spike score of one output and its gradient."""
    s = torch.tensor(spikes, dtype=torch.float32)[:, None, None].requires_grad_()
    result = REDUCTIONS["first_spike"][0](s, torch.tensor([len(spikes)]))
    result.sum().backward()
    assert s.grad is not None
    return result.item(), s.grad.flatten().tolist()


def test_first_spike_scores_by_hand() -> None:
    assert score(0, 0, 1, 0, 1)[0] == 3
    assert score(1, 1, 1, 1, 1)[0] == 5
    assert score(0, 0, 0, 0, 1)[0] == 1
    assert score(0, 0, 0, 0, 0)[0] == 0


def test_the_gradient_of_first_spike_is_the_change_by_one_more_spike() -> None:
    assert score(0, 0, 0, 0)[1] == [4, 3, 2, 1]
    assert score(0, 0, 1, 0)[1] == [2, 1, 2, 0]  # a spike before it: how much earlier; its own: the whole score
    assert score(0, 1, 0, 1)[1] == [1, 2, 0, 0]


def test_values_between_0_and_1_are_spike_probabilities() -> None:
    assert score(0.5, 0.5, 0.0)[0] == pytest.approx(0.5 + 0.75 + 0.75)


@pytest.mark.parametrize("values", [[0.0, -0.1], [1.5, 0.0]])
def test_first_spike_rejects_values_that_are_no_spikes(values: list[float]) -> None:
    membrane = torch.tensor(values)[:, None, None]
    for call in (lambda: REDUCTIONS["first_spike"][0](membrane, torch.tensor([2])), lambda: running_score(membrane)):
        with assert_raises(ConfigError, "", "first_spike", f"{min(values):g}", f"{max(values):g}"):
            call()


def running_score(y: Tensor) -> Tensor:
    return REDUCTIONS["first_spike"][1](y)
