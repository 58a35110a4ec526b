"""The confidence of a network at each step."""

from __future__ import annotations

import pytest
import torch

from snnlab.nn.losses import CrossEntropy, Readout
from snnlab.runs.predictions import confidences

from ..training.work import elements

T, B, K = 6, 3, 4


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max"])
def test_it_is_the_probability_of_the_answer_to_a_cut_recording(readout: Readout) -> None:
    loss, y = CrossEntropy(readout), torch.randn(T, B, K, generator=torch.Generator().manual_seed(0))
    sure = confidences(loss, y, torch.full((B,), T))
    assert sure.shape == (T, B)
    for t in range(T):
        scores = loss.readout(y[: t + 1], torch.full((B,), t + 1))
        torch.testing.assert_close(sure[t], scores.softmax(-1).amax(-1))


def test_the_work_is_linear_in_the_number_of_steps() -> None:
    work = [
        elements(lambda steps=steps: confidences(CrossEntropy(), torch.rand(steps, B, K), torch.full((B,), steps)))
        for steps in (100, 200)
    ]
    assert work[1] < 2.2 * work[0]


def test_after_the_last_valid_step_it_is_constant() -> None:
    y = torch.randn(T, B, K, generator=torch.Generator().manual_seed(0))
    sure = confidences(CrossEntropy("last"), y, torch.tensor([2, 6, 4]))
    assert (sure[1:, 0] == sure[1, 0]).all()
    assert (sure[3:, 2] == sure[3, 2]).all()
    assert sure[:, 1].unique().numel() == T
