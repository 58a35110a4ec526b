"""The refractory neuron: its rest by hand, and Norse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.lif_refrac import LIFRefrac

from .agreement import BOTH, assert_agrees, noise, preset


def test_it_rests_after_a_spike_and_keeps_its_membrane() -> None:
    neuron = LIFRefrac(1.0, beta=0.5, alpha=0.0, input_gain=1.0, rest_steps=2)
    x, state = torch.tensor([2.0, 5.0, 5.0, 0.5, 5.0]).reshape(5, 1, 1), None
    rows = []
    for x_t in x.split(1):
        y, state = neuron(x_t, state)
        rows.append((y.item(), state.v.item(), state.rho.item()))
    assert rows == [(1, 0, 2), (0, 0, 1), (0, 0, 0), (0, 0.5, 0), (1, 0, 2)]


WAYS: dict[str, tuple[dict[str, Any], float]] = {"defaults": ({}, 5.0), "rest of 1": ({"rest_steps": 1}, 1.0)}


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_it_is_norses_lif_refrac(dtype: torch.dtype, batch: int, way: str) -> None:
    norse = pytest.importorskip("norse.torch")
    changes, rest = WAYS[way]
    lif = norse.LIFParameters(*(p.to(dtype) if isinstance(p, torch.Tensor) else p for p in norse.LIFParameters()))
    cell = norse.LIFRefracCell(norse.LIFRefracParameters(lif=lif, rho_reset=torch.tensor(rest, dtype=dtype)))

    def theirs(x: torch.Tensor) -> Any:
        state, outputs = None, []
        zero = torch.zeros_like(x[0])
        state = norse.LIFRefracFeedForwardState(norse.LIFFeedForwardState(v=zero, i=zero), rho=zero)
        for x_t in x:
            y, state = cell(x_t, state)
            outputs.append(y)
        return torch.stack(outputs), (state.lif.v, state.lif.i / 0.8, state.rho)  # Norse stores i after its decay

    # Release 1.1.0 ignores its alpha of 100 and computes with 1.
    ours = preset("norse_lif_refrac", dtype, surrogate={"type": "superspike", "alpha": 1.0}, **changes)
    assert_agrees(ours, theirs, noise(dtype, batch, 0.3, 1.0))
