"""The adaptive exponential neuron: its adaptation by hand, and Norse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.adex import AdEx, AdExState

from .agreement import BOTH, assert_agrees, noise, preset


def test_membrane_and_spikes_drive_the_adaptation_of_the_next_step() -> None:
    neuron = AdEx(1.0, beta=0.5, alpha=0.0, rho=0.75, a=2.0, b=3.0, v_leak=0.1, input_gain=1.0).double()
    start = AdExState(*(torch.tensor([[value]], dtype=torch.float64) for value in (0.5, 0.0, 4.0)))
    y, state = neuron(torch.full((1, 1, 1), 9.0, dtype=torch.float64), start)
    assert y.item() == 1
    assert state.v.item() == 0
    assert state.w.item() == pytest.approx(0.75 * 4.0 + 0.25 * 2.0 * 0.4 + 3.0)


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("changes", [{}, {"tau_adapt": "20 steps", "b": 0.3}], ids=["defaults", "strong adaptation"])
def test_it_is_norses_lif_adex(dtype: torch.dtype, batch: int, changes: dict[str, Any]) -> None:
    norse = pytest.importorskip("norse.torch.functional.lif_adex")
    p = norse.LIFAdExParameters(*(p.to(dtype) if isinstance(p, torch.Tensor) else p for p in norse.LIFAdExParameters()))
    # Exact values: Norse's 0.02, in single precision, is another number in double.
    p = p._replace(adaptation_spike=changes.get("b", 0.02))
    p = p._replace(tau_ada_inv=50.0) if changes else p

    def theirs(x: torch.Tensor) -> Any:
        zero, outputs = torch.zeros_like(x[0]), []
        state = norse.LIFAdExFeedForwardState(zero, zero, zero)
        for x_t in x:
            y, state = norse.lif_adex_feed_forward_step(x_t, state, p)
            outputs.append(y)
        return torch.stack(outputs), (state.v, state.i / 0.8, state.a)  # Norse stores i after its decay

    # Release 1.1.0 ignores its alpha of 100 and computes with 1.
    ours = preset("norse_adex", dtype, surrogate={"type": "superspike", "alpha": 1.0}, **changes)
    assert_agrees(ours, theirs, noise(dtype, batch, 0.3, 1.0))
