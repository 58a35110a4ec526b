from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.nn.losses import LOSSES, CrossEntropy, SquaredError, StepCrossEntropy, check_supported_targets
from snnlab.target_kinds import IGNORED

from ...refusals import assert_raises

T, B, K = 7, 4, 3
TARGETS = torch.tensor([2, 0, 1, 1])
LENGTHS = [[7, 7, 7, 7], [7, 1, 4, 6]]
READOUTS = ["mean", "sum", "last", "max", "softmax_sum", "first_spike", "per_step"]


@pytest.fixture
def y(readout: str) -> Tensor:
    values = torch.randn(T, B, K, generator=torch.Generator().manual_seed(0)) * 2
    return (values > 1).float() if readout == "first_spike" else values


def _plainly(readout: str, y: Tensor, target: Tensor) -> Tensor:
    """Return the loss of one sample `[L, K]` without padding."""
    if readout == "per_step":
        return torch.stack([functional.cross_entropy(step, target) for step in y]).mean()
    since = (y.cumsum(0) > 0).float().sum(0)
    values = {"mean": y.mean(0), "sum": y.sum(0), "last": y[-1], "max": y.amax(0), "first_spike": since}
    values["softmax_sum"] = y.softmax(-1).sum(0)
    return functional.cross_entropy(values[readout], target)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=["equal", "unequal"])
def test_it_is_the_cross_entropy_of_torch_over_the_valid_steps(y: Tensor, readout: str, lengths: list[int]) -> None:
    loss, parts = LOSSES.build("cross_entropy", {"readout": readout}, "loss")(y, TARGETS, torch.tensor(lengths), {})
    expected = torch.stack([_plainly(readout, y[:n, b], TARGETS[b]) for b, n in enumerate(lengths)]).mean()
    torch.testing.assert_close(loss, expected)
    assert parts == {"cross_entropy": loss}


@pytest.mark.parametrize("readout", READOUTS)
def test_from_step_leaves_out_the_steps_before_it(y: Tensor, readout: str) -> None:
    loss, whole, lengths = CrossEntropy(readout, from_step=3), CrossEntropy(readout), torch.tensor([7, 5, 7, 6])  # type: ignore[arg-type]
    same = [one(part, TARGETS, own, {})[0] for one, part, own in ((loss, y, lengths), (whole, y[3:], lengths - 3))]
    assert torch.equal(*same)
    assert torch.equal(loss.readout(y, lengths), whole.readout(y[3:], lengths - 3))
    assert torch.equal(loss.running(y)[3:], whole.running(y[3:]))
    assert not loss.running(y)[:3].any()
    assert loss(y, TARGETS, torch.tensor([7, 1, 3, 7]), {})[0].isfinite()


def test_an_unknown_reduction_is_refused() -> None:
    with assert_raises(ConfigError, "loss.readout", "softmax_sum", "first_spike", "per_step"):
        LOSSES.build("cross_entropy", {"readout": "median"}, "loss")
    with assert_raises(ConfigError, "readout", "softmax_sum", "first_spike", "per_step", "median"):
        CrossEntropy("median")  # type: ignore[arg-type]


def test_first_spike_rejects_a_membrane() -> None:
    loss, membrane = CrossEntropy("first_spike"), torch.full((T, B, K), -0.5)
    with assert_raises(ConfigError, "loss.readout", "first_spike", 0, 1, -0.5):
        loss(membrane, TARGETS, torch.tensor(LENGTHS[0]), {})
    with assert_raises(ConfigError, "loss.readout", "first_spike"):
        loss.answers(membrane)


def test_the_class_that_spikes_first_is_the_answer() -> None:
    spikes = torch.zeros(T, 1, K)
    spikes[3, 0, 0] = spikes[1, 0, 2] = 1
    spikes[4:, 0, 0] = 1  # more spikes, but later
    loss = CrossEntropy("first_spike")
    assert loss.readout(spikes, torch.tensor([T])).tolist() == [[T - 3, 0, T - 1]]
    assert loss.answers(spikes).flatten().tolist()[1:] == [2] * (T - 1)


VALUES = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 1.0], [3.0, 1.0, -2.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max", "per_step"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=["equal", "unequal"])
def test_squared_errors_are_those_of_the_valid_steps(y: Tensor, readout: Any, lengths: list[int]) -> None:
    loss = SquaredError(readout)
    each = []
    for b, length in enumerate(lengths):
        own = y[:length, b]
        read = {"mean": own.mean(0), "sum": own.sum(0), "last": own[-1], "max": own.amax(0), "per_step": own}[readout]
        each.append((read - VALUES[b]).square().mean())
    expected, weight = torch.stack(each), torch.tensor([0.0, 1.0, 0.5, 2.0])
    value, parts = loss(y, VALUES, torch.tensor(lengths), {})
    torch.testing.assert_close(value, expected.mean())
    assert parts == {"mse": value}
    torch.testing.assert_close(loss(y, VALUES, torch.tensor(lengths), {}, weight)[0], (expected * weight).mean())


def _labels() -> Tensor:
    labels = torch.randint(K, (T, B), generator=torch.Generator().manual_seed(3))
    labels[:4, 1] = labels[5:, 2] = labels[:, 3] = IGNORED
    return labels


def test_the_loss_of_labels_over_time_is_the_mean_over_labelled_steps() -> None:
    values, labels, loss = torch.randn(T, B, K, requires_grad=True), _labels(), StepCrossEntropy()
    each = [
        functional.cross_entropy(values[t, b], labels[t, b]) for b in range(B) for t in range(T) if labels[t, b] >= 0
    ]
    value, parts = loss(values, labels, torch.full((B,), T), {})
    torch.testing.assert_close(value, torch.stack(each).mean())
    assert parts == {"cross_entropy_steps": value}
    value.backward()
    assert values.grad is not None
    assert ((values.grad != 0).all(-1) == (labels >= 0)).all()
    only = torch.tensor([0.0, 1.0, 0.0, 0.0])
    own = torch.stack([functional.cross_entropy(values[t, 1], labels[t, 1]) for t in range(4, T)])
    torch.testing.assert_close(loss(values, labels, torch.full((B,), T), {}, only)[0], own.sum() / len(each))


def test_the_loss_is_0_without_labelled_steps() -> None:
    value, _ = StepCrossEntropy()(torch.randn(T, B, K), torch.full((T, B), IGNORED), torch.full((B,), T), {})
    assert value == 0


@pytest.mark.parametrize(
    ("name", "targets", "fragments"),
    [
        ("cross_entropy", "value", ("loss", "cross_entropy", "data.targets=value", "loss=mse")),
        ("cross_entropy", "steps", ("loss", "data.targets=steps", "loss=cross_entropy_steps")),
        ("mse", "class", ("loss", "mse", "data.targets=class", "loss=cross_entropy")),
        ("cross_entropy_steps", "value", ("loss", "data.targets=value", "loss=mse")),
    ],
)
def test_a_loss_for_other_targets_names_the_right_one(name: str, targets: Any, fragments: tuple) -> None:
    loss = LOSSES.build(name, {}, "loss")
    with assert_raises(ConfigError, *fragments) as caught:
        check_supported_targets(loss, name, targets)
    assert "\n" not in str(caught.value)
    check_supported_targets(loss, name, loss.supported_targets[0])
