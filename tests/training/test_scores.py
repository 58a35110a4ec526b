"""Accuracy and errors over batches are those of all samples at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score

from snnlab.target_kinds import IGNORED
from snnlab.training.metrics import StageMetrics, ValueErrors

SIZES = [5, 1, 4]


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_errors_of_values_are_exact_over_batches_of_any_size(shift: float) -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(sum(SIZES), 2, generator=rng) * torch.tensor([1.0, 5.0]) + shift
    answers = targets + torch.randn(sum(SIZES), 2, generator=rng)
    metric = ValueErrors(["x", "speed"])
    for answer, target in zip(answers.split(SIZES), targets.split(SIZES), strict=True):
        metric.update(answer, target)
    found = {name: float(value) for name, value in metric.compute().items()}
    a, t = answers.double().numpy(), targets.double().numpy()
    alone = {
        f"{name}/{value}": pytest.approx(figure)
        for d, value in enumerate(("x", "speed"))
        for name, figure in (
            ("mae", np.abs(a - t)[:, d].mean()),
            ("rmse", np.sqrt(((a - t)[:, d] ** 2).mean())),
            ("r2", r2_score(t[:, d], a[:, d])),
        )
    }
    assert found == alone | {
        "mae": pytest.approx(mean_absolute_error(t, a)),
        "rmse": pytest.approx(np.sqrt(((a - t) ** 2).mean())),
        "r2": pytest.approx(r2_score(t, a)),
    }


def test_the_mean_explains_nothing_and_what_does_not_vary_is_left_out() -> None:
    targets = torch.tensor([[1.0, 0.1], [2.0, 0.1], [6.0, 0.1]])
    for answers, r2 in ((targets.mean(0).expand(3, 2), 0.0), (targets, 1.0), (targets[:1], 0.0)):
        metric = ValueErrors(["x", "speed"])
        metric.update(answers, targets[: len(answers)])
        assert float(metric.compute()["r2"]) == pytest.approx(r2)


def test_loss_and_accuracy_of_steps_are_over_all_labelled_steps() -> None:
    stage = StageMetrics(3, {}, 1.0, "steps")
    labels = torch.randint(3, (6, 6), generator=torch.Generator().manual_seed(1))
    labels[2:, 3:] = labels[:, 5] = IGNORED
    scores = torch.nn.functional.one_hot((labels.clamp(min=0) + (torch.arange(6) % 2)) % 3, 3).float()
    for size, loss in ((slice(0, 5), 1.0), (slice(5, 6), 9.0)):
        stage.update(torch.tensor(loss), scores[:, size], labels[:, size], {}, torch.full((len(labels[0, size]),), 6))
    values = stage.collect()
    right = ((labels != IGNORED) & (torch.arange(6) % 2 == 0)).sum() / (labels != IGNORED).sum()
    assert values == {"loss": torch.tensor(1.0), "accuracy": right}  # the second batch has no labelled step


def test_of_values_at_each_step_each_step_counts_and_losses_weigh_recordings() -> None:
    stage, rng = StageMetrics(2, {}, None, "series"), np.random.default_rng(0)
    scores, targets = (torch.from_numpy(rng.standard_normal((6, 5, 2))) for _ in range(2))
    for size, loss in ((slice(0, 4), 1.0), (slice(4, 5), 6.0)):
        steps = torch.full((len(scores[0, size]),), 6)
        stage.update(torch.tensor(loss), scores[:, size], targets[:, size], {}, steps)
    values, flat = stage.collect(), (scores.reshape(-1, 2).numpy(), targets.reshape(-1, 2).numpy())
    assert float(values["loss"]) == 2.0
    assert float(values["mae"]) == pytest.approx(mean_absolute_error(flat[1], flat[0]))
    assert float(values["r2"]) == pytest.approx(r2_score(flat[1], flat[0]))


def test_a_stage_of_values_has_errors_in_place_of_an_accuracy_and_begins_anew() -> None:
    stage = StageMetrics(1, {}, None, "value")
    for _ in range(2):
        stage.update(
            torch.tensor(4.0), torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [5.0]]), {}, torch.tensor([6, 6])
        )
        assert stage.running_values() == {"loss": 4.0, "mae": 2.0, "rmse": 2.0, "r2": -3.0}
        assert {name: float(value) for name, value in stage.collect().items()} == {
            "loss": 4.0, "mae": 2.0, "rmse": 2.0, "r2": -3.0,
        }  # fmt: skip
