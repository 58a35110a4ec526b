"""The synapse with short-term plasticity: its limits by hand, and Norse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.tsodyks_markram import TsodyksMarkram

from .agreement import BOTH, FEATURES, assert_agrees, preset


def efficacies(**settings: Any) -> list[float]:
    """Return the efficacy of each of six spikes, 20 steps apart."""
    x = torch.zeros(120, 1, 1)
    x[::20] = 1.0
    y, _ = TsodyksMarkram(1.0, **settings)(x)
    assert not y[x == 0].any()
    return y[x == 1].tolist()


def test_it_depresses_with_a_slow_recovery_and_facilitates_with_a_low_utilization() -> None:
    falling = efficacies(tau_facilitation=5.0, tau_recovery=800.0, utilization=0.5)
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(0.5)
    rising = efficacies(tau_facilitation=800.0, tau_recovery=5.0, utilization=0.05)
    assert rising == sorted(rising)


def test_an_input_above_one_is_one_spike_and_below_zero_none() -> None:
    synapse = TsodyksMarkram(1.0)
    assert torch.equal(synapse(torch.tensor([[[3.0, -2.0]]]))[0], synapse(torch.tensor([[[1.0, 0.0]]]))[0])


@pytest.mark.peers
@BOTH
def test_it_is_norses_synapse(dtype: torch.dtype, batch: int) -> None:
    norse = pytest.importorskip("norse.torch.functional.tsodyks_makram")
    p = norse.TsodyksMakramParameters()
    torch.manual_seed(0)
    x = (torch.rand(200, batch, FEATURES) < 0.1).to(dtype).requires_grad_()

    def theirs(x: torch.Tensor) -> Any:
        state, outputs = norse.TsodyksMakramState(torch.zeros_like(x[0]), torch.ones_like(x[0])), []
        for x_t in x:
            y, state = norse.stp_step(x_t, state, p)
            outputs.append(y)
        return torch.stack(outputs), tuple(state)

    assert_agrees(preset("tsodyks_markram", dtype), theirs, x, spiking=False)
