"""The exponential neuron: its growth by hand, and Norse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from snnlab.nn.neurons.lif_ex import LIFEx, LIFExState

from .agreement import BOTH, assert_agrees, noise, preset


def test_the_membrane_grows_exponentially_near_its_threshold() -> None:
    neuron = LIFEx(1.0, beta=0.9, alpha=0.5, delta_t=0.25).double()
    start = LIFExState(torch.tensor([[0.0, 0.8]], dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64))
    y, state = neuron(torch.zeros(1, 1, 2, dtype=torch.float64), start)
    assert not y.any()
    expected = [0.9 * v + 0.1 * 0.25 * math.exp((v - 1.0) / 0.25) for v in (0.0, 0.8)]
    assert state.v[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.peers
@BOTH
def test_it_is_norses_lif_ex(dtype: torch.dtype, batch: int) -> None:
    norse = pytest.importorskip("norse.torch.functional.lif_ex")
    p = norse.LIFExParameters(*(p.to(dtype) if isinstance(p, torch.Tensor) else p for p in norse.LIFExParameters()))

    def theirs(x: torch.Tensor) -> Any:
        zero, outputs = torch.zeros_like(x[0]), []
        state = norse.LIFExFeedForwardState(zero, zero)
        for x_t in x:
            y, state = norse.lif_ex_feed_forward_step(x_t, state, p)
            outputs.append(y)
        return torch.stack(outputs), (state.v, state.i / 0.8)  # Norse stores i after its decay

    # Release 1.1.0 ignores its alpha of 100 and computes with 1.
    ours = preset("norse_lif_ex", dtype, surrogate={"type": "superspike", "alpha": 1.0})
    assert_agrees(ours, theirs, noise(dtype, batch, 0.2, 0.8))
