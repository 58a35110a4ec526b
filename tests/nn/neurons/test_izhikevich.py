"""Izhikevich's neuron: its firing patterns, and Norse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.izhikevich import Izhikevich

from .agreement import BOTH, assert_agrees, noise, preset


def spike_times(neuron: Izhikevich, current: float, steps: int = 1200) -> list[int]:
    y, _ = neuron(torch.full((steps, 1, 1), current))
    return y.flatten().nonzero().flatten().tolist()


def test_a_constant_current_makes_it_spike_regularly_or_in_bursts() -> None:
    regular = torch.tensor(spike_times(Izhikevich(1.0), 14.0)).diff()[2:]
    assert len(regular) >= 5
    assert regular.max() - regular.min() <= 2
    bursts = torch.tensor(spike_times(Izhikevich(1.0, c=-50.0, d=2.0), 15.0)).diff()
    assert bursts.max() > 4 * bursts.min()
    assert not spike_times(Izhikevich(1.0), 0.0)


def test_the_step_is_dt_where_it_is_null() -> None:
    assert Izhikevich(0.5, time_step=None).coefficients().h == 0.5
    assert Izhikevich(0.5).coefficients().h == 0.25


KINDS: dict[str, dict[str, Any]] = {
    "tonic spiking": {"a": 0.02, "b": 0.2, "c": -65.0, "d": 6.0},
    "tonic bursting": {"a": 0.02, "b": 0.2, "c": -50.0, "d": 2.0},
    "resonator": {"a": 0.1, "b": 0.26, "c": -60.0, "d": -1.0},
}


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_norses_izhikevich(dtype: torch.dtype, batch: int, kind: str) -> None:
    norse = pytest.importorskip("norse.torch.functional.izhikevich")
    p = norse.IzhikevichParameters(**KINDS[kind])

    def theirs(x: torch.Tensor) -> Any:
        v = torch.full_like(x[0], -70.0)
        state, outputs = norse.IzhikevichState(v, v * p.b), []
        for x_t in x:
            y, state = norse.izhikevich_feed_forward_step(x_t, state, p)
            outputs.append(y)
        return torch.stack(outputs), tuple(state)

    # Release 1.1.0 ignores its alpha of 100 and computes with 1.
    ours = preset("izhikevich", dtype, surrogate={"type": "superspike", "alpha": 1.0}, **KINDS[kind])
    assert_agrees(ours, theirs, noise(dtype, batch, 25.0, 40.0), min_share=0.02)
