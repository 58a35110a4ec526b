"""Losses of rates, counts, first spikes and trains, compared with plain NumPy and snnTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn.losses import CountError, CrossEntropy, FirstSpikeError, RateError, VanRossum
from snnlab.nn.losses.spike_targets import spike_traces

from ...refusals import assert_raises
from ...training.work import elements
from .conftest import LENGTHS, SPIKING, B, K, LossInputs, T, bound, make_context

ALL = torch.full((B,), T)


def by_hand(inputs: LossInputs, of: Any) -> float:
    """Return the mean over recordings of `of(spikes [L, K], class)`."""
    pairs = zip(LENGTHS.tolist(), inputs.targets["class"].tolist(), strict=True)
    return float(np.mean([of(inputs.y[:length, b].numpy(), target) for b, (length, target) in enumerate(pairs)]))


def loss_of(loss: Any, inputs: LossInputs) -> float:
    return float(loss(inputs.y, inputs.targets["class"], LENGTHS, {})[0])


def goal(target: int, right: float, wrong: float) -> np.ndarray:
    return np.where(np.arange(K) == target, right, wrong)


def test_rates_and_counts_are_compared_with_target_values(inputs: LossInputs) -> None:
    def rate(s: np.ndarray, target: int) -> float:
        return ((s.mean(0) - goal(target, 0.8, 0.1)) ** 2).mean()

    def count(s: np.ndarray, target: int) -> float:
        return ((s.sum(0) - goal(target, 0.8, 0.1) * len(s)) ** 2).mean() / len(s)

    def fixed(s: np.ndarray, target: int) -> float:
        return ((s.sum(0) - goal(target, 5, 1)) ** 2).mean() / len(s)

    assert loss_of(RateError(correct_rate=0.8, incorrect_rate=0.1), inputs) == pytest.approx(by_hand(inputs, rate))
    assert loss_of(CountError(correct_rate=0.8, incorrect_rate=0.1), inputs) == pytest.approx(by_hand(inputs, count))
    assert loss_of(CountError(correct_count=5, incorrect_count=1), inputs) == pytest.approx(by_hand(inputs, fixed))


@pytest.mark.peers
def test_counts_equal_snntorch_for_whole_target_values(inputs: LossInputs) -> None:
    snntorch = pytest.importorskip("snntorch.functional")
    y, targets = inputs.y.float(), inputs.targets["class"]
    for right, wrong in ((1.0, 0.0), (8 / T + 1e-9, 2 / T + 1e-9)):
        expected = snntorch.mse_count_loss(correct_rate=right, incorrect_rate=wrong)(y, targets)
        torch.testing.assert_close(
            CountError(correct_rate=min(right, 1), incorrect_rate=wrong)(y, targets, ALL, {})[0], expected
        )


@pytest.mark.parametrize(("correct", "incorrect"), [(0.0, None), (4.0, 12.0)])
def test_first_spike_times_are_compared_with_target_values(
    inputs: LossInputs, correct: float, incorrect: float | None
) -> None:
    def of(s: np.ndarray, target: int) -> float:
        time = np.where(s.any(0), s.argmax(0), len(s))
        wrong = len(s) if incorrect is None else min(incorrect / 2, len(s))
        return (((time - goal(target, min(correct / 2, len(s)), wrong)) / len(s)) ** 2).mean()

    assert loss_of(bound("mse_first_spike", correct=correct, incorrect=incorrect), inputs) == pytest.approx(
        by_hand(inputs, of)
    )


@pytest.mark.peers
def test_first_spike_times_equal_snntorch_if_every_output_fires(inputs: LossInputs) -> None:
    snntorch = pytest.importorskip("snntorch.functional")
    y, targets = inputs.y.float(), inputs.targets["class"].clone()
    y[-1] = 1.0
    expected = snntorch.mse_temporal_loss(on_target=1, off_target=6)(y, targets)
    actual = FirstSpikeError(correct=1, incorrect=6)(y, inputs.targets["class"], ALL, {})[0]
    torch.testing.assert_close(actual, expected)


def trace(s: np.ndarray, decay: float) -> np.ndarray:
    f, kept = np.zeros(K), []
    for step in s:
        f = decay * f + step
        kept.append(f)
    return np.stack(kept)


@pytest.mark.parametrize("tau", [1.0, 8.0, 1000.0])
def test_van_rossums_distance_is_that_of_two_traces(inputs: LossInputs, tau: float) -> None:
    loss = bound("van_rossum", tau=tau, correct_rate=200.0, incorrect_rate=50.0)
    assert isinstance(loss, VanRossum)
    trains = [np.diff(np.floor(np.arange(T + 1) * rate * 0.002 + 0.5)) for rate in (200.0, 50.0)]
    decay = np.exp(-2.0 / tau)

    def of(s: np.ndarray, target: int) -> float:
        wanted = np.where(np.arange(K) == target, trains[0][:, None], trains[1][:, None])[: len(s)]
        return ((trace(s, decay) - trace(wanted, decay)) ** 2).mean(-1).sum() * (1 - decay**2) / 2

    assert loss_of(loss, inputs) == pytest.approx(by_hand(inputs, of))


def test_traces_of_any_length_are_those_of_a_loop() -> None:
    s = torch.randn(700, 2, K, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(s)
    (spike_traces(s, 0.003) * weight).sum().backward()
    found = np.stack([trace(s[:, b].detach().numpy(), np.exp(-0.003)) for b in range(2)], 1)
    np.testing.assert_allclose(spike_traces(s, 0.003).detach().numpy(), found, rtol=1e-12, atol=1e-12)
    back = np.stack([trace(weight.flip(0)[:, b].numpy(), np.exp(-0.003)) for b in range(2)], 1)[::-1]
    assert s.grad is not None
    np.testing.assert_allclose(s.grad.numpy(), back, rtol=1e-12, atol=1e-12)


def test_twice_the_steps_are_twice_the_work() -> None:
    def loss(steps: int) -> None:
        distance = VanRossum(tau=10.0, correct_rate=100.0)
        distance.bind(make_context(dt=1.0, steps=steps))
        distance(torch.zeros(steps, 1, K), torch.tensor([0]), torch.tensor([steps]), {})

    assert elements(lambda: loss(4000)) < 2.2 * elements(lambda: loss(2000))


def test_a_target_train_is_regular_and_begins_in_the_middle_of_its_first_interval() -> None:
    loss = VanRossum(tau=5.0, correct_rate=0.25)
    assert loss.regular_train(0.25, torch.zeros(12)).nonzero().flatten().tolist() == [1, 5, 9]
    assert loss.regular_train(1.0, torch.zeros(4)).tolist() == [1] * 4
    assert not loss.regular_train(0.0, torch.zeros(4)).any()


NO_SPIKES = {**SPIKING, "last": {"type": "li", "tau_mem": 10.0}}
VOTES = {**SPIKING, "vote": {"type": "voting", "group_size": 1}}


@pytest.mark.parametrize(
    ("loss", "fragments"),
    [
        (CountError(), ("", "mse_count", "loss=mse_rate")),
        (FirstSpikeError(), ("", "mse_first_spike", "loss=cross_entropy")),
        (VanRossum(tau=5.0, correct_rate=40.0), ("", "van_rossum", "loss=cross_entropy")),
        (CrossEntropy("first_spike"), ("readout", "first_spike")),
    ],
)
def test_spike_losses_reject_a_membrane(loss: Any, fragments: tuple) -> None:
    for layers in (
        NO_SPIKES,
        {**NO_SPIKES, "vote": VOTES["vote"]},
        {"all": {"type": "sequential", "layers": NO_SPIKES}},
    ):
        last = "model.layers.all.layers.last" if "all" in layers else "model.layers.last"
        with assert_raises(ConfigError, *fragments, last):
            loss.bind(make_context(layers))
    loss.bind(make_context(SPIKING))
    loss.bind(make_context(VOTES))


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: RateError(correct_rate=0.5, incorrect_rate=0.5), ("correct_rate", "incorrect_rate", 0.5)),
        (lambda: CountError(correct_rate=1.5), ("correct_rate", 0, 1, 1.5)),
        (lambda: CountError(correct_count=5), ("correct_count", "incorrect_count")),
        (lambda: CountError(correct_count=50, incorrect_count=1), ("correct_count", 50, 9)),
        (lambda: FirstSpikeError(correct=3.0, incorrect=3.0), ("correct", 3)),
        (lambda: FirstSpikeError(correct=18.0, incorrect=2.0), ("correct", 18)),
        (lambda: VanRossum(tau=5.0, correct_rate=600.0), ("correct_rate", 500, 600)),
    ],
)
def test_impossible_or_equal_target_values_are_rejected(make: Any, fragments: tuple) -> None:
    with assert_raises(ConfigError, *fragments):
        make().bind(make_context())


@pytest.mark.parametrize(("loss", "place"), [(FirstSpikeError(), ""), (CrossEntropy("first_spike"), "readout")])
def test_first_spikes_need_several_steps(loss: Any, place: str) -> None:
    with assert_raises(ConfigError, place, 1, "data.num_bins"):
        loss.bind(make_context(steps=1))
