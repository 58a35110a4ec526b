"""Label smoothing, class weights and losses of each step, compared with plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.nn.losses import CrossEntropy, StepCrossEntropy, TemporalEfficientTraining
from snnlab.nn.losses.loss import ClassWeights

from ...refusals import assert_raises
from .conftest import LENGTHS, B, K, LossInputs, T, bound, make_context

WEIGHTS = [0.5, 2.0, 1.0]


@pytest.fixture
def y() -> Tensor:
    return torch.randn(T, B, K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def smoothed(scores: np.ndarray, target: int, part: float) -> np.ndarray:
    """Return the cross-entropy of scores `[..., K]`."""
    q = np.full(K, part / K) + (1 - part) * np.eye(K)[target]
    return -(q * log_softmax(scores)).sum(-1)


@pytest.mark.parametrize("part", [0.0, 0.2])
@pytest.mark.parametrize("readout", ["mean", "softmax_sum", "per_step"])
def test_smoothing_and_weights_follow_the_formula(y: Tensor, inputs: LossInputs, readout: str, part: float) -> None:
    each = []
    for b, (length, target) in enumerate(zip(LENGTHS.tolist(), inputs.targets["class"].tolist(), strict=True)):
        own = y[:length, b].numpy()
        softmax = np.exp(log_softmax(own))
        read = {"mean": own.mean(0), "softmax_sum": softmax.sum(0), "per_step": own}[readout]
        each.append(WEIGHTS[target] * smoothed(read, target, part).mean())
    loss = bound("cross_entropy", readout=readout, label_smoothing=part, class_weight=WEIGHTS)
    assert float(loss(y, inputs.targets["class"], LENGTHS, {})[0]) == pytest.approx(np.mean(each))


@pytest.mark.parametrize(("mix", "level"), [(0.0, 1.0), (0.3, 0.7)])
def test_tet_is_a_mean_of_steps_and_a_distance_from_a_level(
    y: Tensor, inputs: LossInputs, mix: float, level: float
) -> None:
    each = []
    for b, (length, target) in enumerate(zip(LENGTHS.tolist(), inputs.targets["class"].tolist(), strict=True)):
        own = y[:length, b].numpy()
        each.append((1 - mix) * smoothed(own, target, 0).mean() + mix * ((own - level) ** 2).mean())
    loss = TemporalEfficientTraining(mix=mix, level=level)
    assert float(loss(y, inputs.targets["class"], LENGTHS, {})[0]) == pytest.approx(np.mean(each))


@pytest.mark.peers
def test_tet_equals_spikingjelly(y: Tensor, inputs: LossInputs) -> None:
    jelly = pytest.importorskip("spikingjelly.activation_based.functional")
    expected = jelly.temporal_efficient_training_cross_entropy(y, inputs.targets["class"])
    actual = TemporalEfficientTraining()(y, inputs.targets["class"], torch.full((B,), T), {})[0]
    torch.testing.assert_close(actual, expected)


@pytest.mark.peers
def test_rates_and_counts_equal_snntorch(inputs: LossInputs) -> None:
    snntorch = pytest.importorskip("snntorch.functional")
    y, targets, lengths = inputs.y.float(), inputs.targets["class"], torch.full((B,), T)
    for readout, peer in (("sum", snntorch.ce_count_loss()), ("per_step", snntorch.ce_rate_loss())):
        actual = bound("cross_entropy", readout=readout)(y, targets, lengths, {})[0]
        torch.testing.assert_close(actual, peer(y, targets).squeeze())


def test_balanced_classes_have_equal_total_weight() -> None:
    weights = ClassWeights("balanced")
    weights.set_class_counts(torch.tensor([6, 2, 0, 4]))
    assert weights.weights is not None
    assert weights.weights.tolist() == pytest.approx([12 / 18, 2.0, 1.0, 1.0])
    assert not weights.state_dict()
    each = weights(torch.ones(12), torch.tensor([0] * 6 + [1] * 2 + [3] * 4))
    assert each.mean() == pytest.approx(1.0)
    assert each[:6].sum() == pytest.approx(float(each[6:8].sum()))


def test_balanced_weights_need_class_counts(y: Tensor, inputs: LossInputs) -> None:
    with assert_raises(RuntimeError, "balanced", "class counts"):
        CrossEntropy(class_weight="balanced")(y, inputs.targets["class"], LENGTHS, {})


def test_labels_over_time_have_weights_and_smoothing_too(y: Tensor, inputs: LossInputs) -> None:
    labels = inputs.targets["steps"]
    losses = [
        WEIGHTS[int(labels[t, b])] * smoothed(y[t, b].numpy(), int(labels[t, b]), 0.1)
        for t in range(T)
        for b in range(B)
        if labels[t, b] >= 0
    ]
    loss = StepCrossEntropy(label_smoothing=0.1, class_weight=WEIGHTS)
    assert float(loss(y, labels, LENGTHS, {})[0]) == pytest.approx(np.mean(losses))
    torch.testing.assert_close(
        StepCrossEntropy()(y, labels, LENGTHS, {})[0],
        functional.cross_entropy(y.flatten(0, 1), labels.flatten(), ignore_index=-100),
    )


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        ({"label_smoothing": 1.0}, ("label_smoothing",)),
        ({"class_weight": [0.0, 0.0, 0.0]}, ("class_weight", 0)),
        ({"class_weight": [1.0, 2.0]}, ("class_weight", 2, 3)),
    ],
)
def test_invalid_weights_and_fractions_are_rejected(settings: dict, fragments: tuple) -> None:
    with assert_raises(ConfigError, *fragments):
        CrossEntropy(**settings).bind(make_context())
    with assert_raises(ConfigError, "mix"):
        TemporalEfficientTraining(mix=1.0)
