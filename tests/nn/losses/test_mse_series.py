"""The squared error of values at each step, against torch's, and its scored steps."""

from __future__ import annotations

import torch

from snnlab.errors import ConfigError

from ...refusals import assert_raises
from .conftest import B, K, LossInputs, T, bound, built_loss


def test_it_is_the_mean_of_each_samples_mean_squared_error(inputs: LossInputs) -> None:
    loss, targets = bound("mse_series"), inputs.targets["series"]
    whole = torch.full((B,), T)
    expected = torch.nn.functional.mse_loss(inputs.y, targets)
    torch.testing.assert_close(loss(inputs.y, targets, whole, {})[0], expected)
    ends = [((inputs.y - targets)[:n, b] ** 2).mean() for b, n in enumerate(inputs.lengths.tolist())]
    torch.testing.assert_close(loss(inputs.y, targets, inputs.lengths, {})[0], torch.stack(ends).mean())
    weight = torch.tensor([0.0, 1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    weighted = (torch.stack(ends) * weight).mean()
    torch.testing.assert_close(loss(inputs.y, targets, inputs.lengths, {}, weight)[0], weighted)


def test_only_the_steps_from_score_from_on_are_read_out(inputs: LossInputs) -> None:
    loss = built_loss(type="mse_series", score_from=4, regularizers={"spikes": {"type": "spikes"}})
    readout, targets = loss.readout(inputs.y, inputs.lengths), loss.readout_targets(inputs.targets["series"])
    assert readout.shape == targets.shape == (T - 4, B, K)
    assert torch.equal(readout[0], inputs.y[4])
    assert torch.equal(targets[0], inputs.targets["series"][4])
    with assert_raises(ConfigError, "score_from", T):
        bound("mse_series", score_from=T)
