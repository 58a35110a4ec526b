"""Tests of every registered loss and regularizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnlab.data.events.frames import Batch, Mix
from snnlab.nn.losses import LOSSES, REGULARIZERS, Loss, LossTerm
from snnlab.nn.losses.regularizers import MembraneBandCost
from snnlab.spec.docstrings import first_sentence
from snnlab.spec.signatures import fields_of
from snnlab.training.task import batch_loss

from .conftest import LENGTHS, SETTINGS, B, LossInputs, T, bound

ALL = list(LOSSES)
OF_CLASSES = [name for name in ALL if "class" in LOSSES.get(name, "").supported_targets]  # type: ignore[attr-defined]
OVER_TIME = ("cross_entropy_steps", "mse_series")
BAND = MembraneBandCost(**SETTINGS["membrane_band"])
PAST = torch.arange(T)[:, None] >= LENGTHS


def value(part: LossTerm, inputs: LossInputs, y: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    targets = inputs.targets[part.supported_targets[0]]
    return part(inputs.y if y is None else y, targets, inputs.lengths, all_counts(inputs), weight)[0]


def all_counts(inputs: LossInputs) -> dict[str, Tensor]:
    """Return the counts of layers, also those other than spikes."""
    return inputs.counts | {f"{name}.{BAND.key}": 0.3 * n for name, n in inputs.counts.items()}


@pytest.mark.parametrize("name", ALL)
def test_values_past_the_end_change_neither_loss_nor_gradient(name: str, inputs: LossInputs) -> None:
    part = bound(name)
    clean, dirty = inputs.y.clone().requires_grad_(), torch.where(PAST[..., None], 77.0, inputs.y).requires_grad_()
    values = [value(part, inputs, y) for y in (clean, dirty)]
    assert torch.equal(*values)
    if isinstance(part, Loss):
        for each in values:
            each.backward()
        assert clean.grad is not None
        assert dirty.grad is not None
        assert torch.equal(clean.grad, dirty.grad)
        assert not dirty.grad[PAST].any()
        readouts = [part.readout(y, LENGTHS) for y in (clean, dirty)]
        if part.supported_targets not in (("steps",), ("series",)):
            assert torch.equal(*readouts)


READOUTS = {"cross_entropy": ("per_step", "softmax_sum", "max", "last"), "mse": ("per_step",)}


@pytest.mark.parametrize("name", [name for name in ALL if name not in REGULARIZERS])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_nan_past_the_end_changes_neither_loss_nor_gradient(name: str, garbage: float, inputs: LossInputs) -> None:
    for settings in ({}, *({"readout": way} for way in READOUTS.get(name, ()))):
        part = bound(name, **settings)
        y = torch.where(PAST[..., None], garbage, inputs.y).requires_grad_()
        loss = value(part, inputs, y)
        assert loss.isfinite()
        loss.backward()
        assert y.grad is not None
        assert y.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in ALL if name not in (*OVER_TIME, "weights")])
def test_the_loss_of_a_batch_is_the_mean_over_its_recordings(name: str, inputs: LossInputs) -> None:
    part = bound(name)
    each, weight = [], torch.tensor([0.0, 1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    for b, length in enumerate(LENGTHS.tolist()):
        counts = {key: n[b : b + 1] for key, n in all_counts(inputs).items()}
        targets = inputs.targets[part.supported_targets[0]][b : b + 1]
        each.append(part(inputs.y[:length, b : b + 1], targets, LENGTHS[b : b + 1], counts)[0])
    torch.testing.assert_close(value(part, inputs), torch.stack(each).mean())
    torch.testing.assert_close(value(part, inputs, weight=weight), (torch.stack(each) * weight).mean())


@pytest.mark.parametrize("name", OF_CLASSES)
def test_mixed_recordings_have_a_weighted_sum_of_both_losses(name: str, inputs: LossInputs) -> None:
    part, own, others = bound(name), inputs.targets["class"], torch.tensor([0, 1, 1, 2, 0])
    share = torch.full((B,), 0.3, dtype=torch.float64)
    batch = Batch(inputs.y, LENGTHS, own, torch.arange(B), Mix(others, share))
    mixed, parts = batch_loss(part, inputs.y, batch, all_counts(inputs))  # type: ignore[arg-type]
    values = [part(inputs.y, targets, LENGTHS, all_counts(inputs))[0] for targets in (own, others)]
    torch.testing.assert_close(mixed, 0.7 * values[0] + 0.3 * values[1], check_dtype=False)
    assert list(parts.values()) == [mixed]


@pytest.mark.parametrize("name", [name for name in ALL if name not in REGULARIZERS])
def test_gradients_are_those_of_the_formula(name: str, inputs: LossInputs) -> None:
    part = bound(name)
    # Between 0 and 1, where products of spikes are smooth.
    y = (0.1 + 0.6 * torch.rand(inputs.y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)) * (
        ~PAST[..., None]
    )
    assert torch.autograd.gradcheck(lambda y: value(part, inputs, y), y.requires_grad_())


@pytest.mark.parametrize("name", [name for name in ALL if name not in REGULARIZERS])
def test_the_last_answer_is_that_of_the_readout(name: str, inputs: LossInputs) -> None:
    loss = bound(name)
    assert isinstance(loss, Loss)
    readout, answers = loss.readout(inputs.y, torch.full((B,), T)), loss.answers(inputs.y)
    last = readout if loss.supported_targets in (("value",), ("series",)) else readout.argmax(-1)
    assert torch.equal(answers[-1], last[-1] if name in OVER_TIME else last)


@pytest.mark.parametrize("name", [name for name in ALL if name not in (*REGULARIZERS, *OVER_TIME)])
def test_the_running_readout_is_the_readout_of_the_steps_so_far(name: str, inputs: LossInputs) -> None:
    for settings in ({}, *({"readout": way} for way in READOUTS.get(name, ()))):
        loss = bound(name, **settings)
        assert isinstance(loss, Loss)
        each = Loss.running(loss, inputs.y)
        torch.testing.assert_close(loss.running(inputs.y), each, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_every_setting_is_explained(name: str) -> None:
    factory = LOSSES.get(name, "loss")
    assert first_sentence(factory)
    assert all(field.help for field in fields_of(factory).values())
