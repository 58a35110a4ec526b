from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snnlab.training.metrics import LayerSpikes, StageMetrics

# Two batches of 2 and 1 samples for a layer of 2 x 2 neurons; 3 + 5 + 4 = 12 valid steps.
BATCHES = [
    (torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]), torch.tensor([3, 5])),
    (torch.tensor([[[4.0, 0.0], [2.0, 0.0]]]), torch.tensor([4])),
]


def _filled(dt: float | None) -> LayerSpikes:
    spikes = LayerSpikes((2, 2), dt)
    for counts, lengths in BATCHES:
        spikes.update(counts, lengths)
    return spikes


def test_a_layers_statistics_are_those_counted_by_hand() -> None:
    values = {name: float(value) for name, value in _filled(dt=4.0).compute().items()}
    assert values == {
        "spikes_per_step": pytest.approx(12 / (12 * 4)),
        "rate_hz": pytest.approx(12 / (12 * 4) / 0.004),
        "silent": 0.5,
        "spikes_per_sample": pytest.approx(12 / 3),
    }


def test_counting_keeps_no_graph() -> None:
    spikes = LayerSpikes((2, 2), 1.0)
    spikes.update(BATCHES[0][0].clone().requires_grad_(), BATCHES[0][1])
    assert not spikes.per_neuron.requires_grad


def _stage() -> StageMetrics:
    return StageMetrics(3, {"lif1": (2, 2), "block.lif": (1,)}, dt=4.0)


def _update(stage: StageMetrics, batch: int, loss: float) -> None:
    counts, lengths = BATCHES[batch]
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1]])[: lengths.numel()]
    targets = torch.tensor([1, 2])[: lengths.numel()]
    everything: dict[str, Tensor] = {"block.lif": torch.full((lengths.numel(), 1), 6.0), "lif1": counts}
    stage.update(torch.tensor(loss, requires_grad=True), scores, targets, everything, lengths)


def test_a_stage_is_the_mean_over_samples_and_names_each_layer() -> None:
    stage = _stage()
    _update(stage, 0, loss=1.0)
    _update(stage, 1, loss=4.0)
    values = {name: float(value) for name, value in stage.collect().items()}
    assert values == {
        "loss": pytest.approx((2 * 1.0 + 1 * 4.0) / 3),
        "accuracy": pytest.approx(2 / 3),
        "spikes_per_step/lif1": pytest.approx(0.25),
        "silent/lif1": 0.5,
        "rate_hz/lif1": pytest.approx(62.5),
        "spikes_per_step/block.lif": pytest.approx(18 / 12),
        "silent/block.lif": 0.0,
        "rate_hz/block.lif": pytest.approx(375.0),
        "spikes_per_sample": pytest.approx((12 + 18) / 3),
    }


def test_collecting_starts_anew() -> None:
    used, fresh = _stage(), _stage()
    _update(used, 0, loss=1.0)
    used.collect()
    for stage in (used, fresh):
        _update(stage, 1, loss=4.0)
    assert used.collect() == fresh.collect()


def test_a_network_without_spikes_has_a_loss_and_an_accuracy() -> None:
    stage = StageMetrics(3, {}, dt=4.0)
    stage.update(torch.tensor(1.0), torch.eye(3), torch.arange(3), {}, torch.tensor([2, 2, 2]))
    assert stage.collect() == {"loss": torch.tensor(1.0), "accuracy": torch.tensor(1.0)}


def test_a_loss_that_is_not_a_number_is_not_left_out_of_the_mean() -> None:
    stage = _stage()
    _update(stage, 0, loss=math.nan)
    _update(stage, 1, loss=4.0)
    assert math.isnan(stage.collect()["loss"])
    _update(stage, 1, loss=4.0)
    assert stage.collect()["loss"] == 4.0


def test_the_state_within_an_epoch_is_in_the_checkpoint() -> None:
    whole, half, resumed = _stage(), _stage(), _stage()
    for stage in (whole, half):
        _update(stage, 0, loss=1.0)
    resumed.load_state_dict(half.state_dict())
    for stage in (whole, resumed):
        _update(stage, 1, loss=4.0)
    assert resumed.collect() == whole.collect()


def test_running_values_equal_collected_ones_and_reset_nothing() -> None:
    stage = _stage()
    _update(stage, 0, loss=1.0)
    _update(stage, 1, loss=4.0)
    running_values = stage.running_values()
    collected = stage.collect()
    assert running_values == {
        name: pytest.approx(float(collected[name])) for name in ("loss", "accuracy", "spikes_per_sample")
    }
    assert running_values["loss"] == 2.0


def test_a_neuron_is_silent_only_if_it_never_fired() -> None:
    spikes = LayerSpikes((3,), 1.0)
    for fired in ([1.0, 0.0, 0.0], [0.0, 2.0, 0.0]):
        spikes.update(torch.tensor([fired]), torch.tensor([5]))
    assert float(spikes.compute()["silent"]) == pytest.approx(1 / 3)
