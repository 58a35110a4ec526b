from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.training.losses import LOSSES, CrossEntropy

T, B, K = 7, 4, 3
TARGETS = torch.tensor([2, 0, 1, 1])
LENGTHS = [[7, 7, 7, 7], [7, 1, 4, 6]]
OVER_TIME = ["mean", "sum", "last", "max", "first_spike", "per_step"]


@pytest.fixture
def y(over_time: str) -> Tensor:
    values = torch.randn(T, B, K, generator=torch.Generator().manual_seed(0)) * 2
    return (values > 1).float() if over_time == "first_spike" else values


def _plainly(over_time: str, y: Tensor, target: Tensor) -> Tensor:
    """Return the loss of one sample `[L, K]` without padding."""
    if over_time == "per_step":
        return torch.stack([functional.cross_entropy(step, target) for step in y]).mean()
    since = (y.cumsum(0) > 0).float().sum(0)
    readout = {"mean": y.mean(0), "sum": y.sum(0), "last": y[-1], "max": y.amax(0), "first_spike": since}[over_time]
    return functional.cross_entropy(readout, target)


@pytest.mark.parametrize("over_time", OVER_TIME)
@pytest.mark.parametrize("lengths", LENGTHS, ids=["equal", "unequal"])
def test_it_is_torchs_cross_entropy_of_each_samples_own_steps(y: Tensor, over_time: str, lengths: list[int]) -> None:
    loss, parts = LOSSES.build("cross_entropy", {"over_time": over_time}, "loss")(y, TARGETS, torch.tensor(lengths), {})
    expected = torch.stack([_plainly(over_time, y[:n, b], TARGETS[b]) for b, n in enumerate(lengths)]).mean()
    torch.testing.assert_close(loss, expected)
    assert parts == {"cross_entropy": loss}


@pytest.mark.parametrize("over_time", OVER_TIME)
def test_what_stands_past_the_end_does_not_train(y: Tensor, over_time: str) -> None:
    lengths = torch.tensor(LENGTHS[1])
    past = torch.arange(T)[:, None] >= lengths
    y = torch.where(past[..., None], 1e4, y).requires_grad_()
    CrossEntropy(over_time)(y, TARGETS, lengths, {})[0].backward()  # type: ignore[arg-type]
    assert y.grad is not None
    assert not y.grad[past].any()
    assert (y.grad.abs().sum((0, 2)) > 0).all()


@pytest.mark.parametrize("over_time", OVER_TIME)
def test_the_answer_at_a_step_is_that_of_the_recording_cut_there(y: Tensor, over_time: str) -> None:
    loss = CrossEntropy(over_time)  # type: ignore[arg-type]
    answers = loss.answers(y)
    assert answers.shape == (T, B)
    for t in range(T):
        cut = loss.readout(y[: t + 1], torch.full((B,), t + 1))
        assert answers[t].tolist() == cut.argmax(-1).tolist()
    assert len({tuple(row) for row in answers.tolist()}) > 1  # the answers do change on the way


def test_the_default_is_the_mean() -> None:
    assert CrossEntropy().over_time == "mean"


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^loss\.over_time: expected one of mean, sum, last, max, first_spike, per_step"
    ):
        LOSSES.build("cross_entropy", {"over_time": "median"}, "loss")
    with pytest.raises(
        ValueError, match="over_time is one of mean, sum, last, max, first_spike, per_step, got 'median'"
    ):
        CrossEntropy("median")  # type: ignore[arg-type]


def test_a_membrane_is_refused_where_first_spikes_are_read() -> None:
    loss, membrane = CrossEntropy("first_spike"), torch.full((T, B, K), -0.5)
    with pytest.raises(ConfigError, match=r"^loss\.over_time: first_spike reads spikes, 0 or 1, got values from -0\.5"):
        loss(membrane, TARGETS, torch.tensor(LENGTHS[0]), {})
    with pytest.raises(ConfigError, match=r"^loss\.over_time: first_spike reads spikes"):
        loss.answers(membrane)


def test_the_class_that_spikes_first_is_the_answer() -> None:
    spikes = torch.zeros(T, 1, K)
    spikes[3, 0, 0] = spikes[1, 0, 2] = 1
    spikes[4:, 0, 0] = 1  # more spikes, but later
    loss = CrossEntropy("first_spike")
    assert loss.readout(spikes, torch.tensor([T])).tolist() == [[T - 3, 0, T - 1]]
    assert loss.answers(spikes).flatten().tolist()[1:] == [2] * (T - 1)
