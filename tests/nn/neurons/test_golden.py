"""Traces computed by the libraries, reproduced with snnlab's settings.

Norse 1.1.0, snnTorch 1.0.0 and SpikingJelly 2.0.0 ran on the same drive in other units; Sinabs 2.0.3 on the last one's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import LI, LIF, CubaLIF

DRIVE = torch.tensor([1.0, 5.0, 5.0, 0.0, 5.0, 5.0, 5.0, 0.0], dtype=torch.float64)
NORSE, SNNTORCH, SPIKINGJELLY = DRIVE, DRIVE / 5, DRIVE * 0.4

NORSE_LIF: dict[str, Any] = {"dt": 1.0, "tau_mem": 10.0, "decay": "euler", "input_gain": "1-a", "threshold": "strict"}
NORSE_CUBA: dict[str, Any] = {**NORSE_LIF, "tau_syn": 5.0}
LEAKY: dict[str, Any] = {"beta": 0.9, "reset_delay": True, "threshold": "strict"}
LIF_NODE: dict[str, Any] = {"tau_mem": "2 steps", "decay": "euler"}


def trace(neuron: Any, drive: Tensor) -> tuple[list[float], dict[str, list[float]]]:
    """Return the output and the state's fields after each step."""
    outputs, fields, state = [], {}, None
    for x in drive:
        y, state = neuron(x.reshape(1, 1, 1), state)
        outputs.append(y.item())
        for name, value in state._asdict().items():
            fields.setdefault(name, []).append(value.item())
    return outputs, fields


def assert_near(given: list[float], golden: list[float]) -> None:
    # The golden values were computed in single precision and printed with six digits.
    assert given == pytest.approx(golden, abs=2e-6)


@pytest.mark.parametrize(
    ("neuron", "drive", "spikes", "membrane"),
    [
        pytest.param(
            LIF(**NORSE_LIF, reset="value"),
            NORSE,
            [0, 0, 1, 0, 0, 0, 1, 0],
            [0.1, 0.59, 0.0, 0.0, 0.5, 0.95, 0.0, 0.0],
            id="norse LIFBox",
        ),
        pytest.param(
            LIF(**LEAKY),
            SNNTORCH,
            [0, 1, 1, 0, 0, 1, 1, 0],
            [0.2, 1.18, 1.062, -0.0442, 0.96022, 1.864198, 1.677778, 0.51],
            id="snntorch Leaky",
        ),
        pytest.param(
            LIF(**LEAKY, reset="value"),
            SNNTORCH,
            [0, 1, 0, 0, 1, 0, 1, 0],
            [0.2, 1.18, 1.0, 0.9, 1.81, 1.0, 1.9, 0.0],
            id="snntorch Leaky zero",
        ),
        pytest.param(
            LIF(beta=0.9, threshold="strict"),
            SNNTORCH,
            [0, 1, 1, 0, 1, 1, 1, 0],
            [0.2, 0.18, 0.162, 0.1458, 0.13122, 0.118098, 0.106288, 0.095659],
            id="snntorch Leaky without delay",
        ),
        # By hand: .2; .18 + 1 spikes, 0; 1 does not (strict); .9; .81 + 1 spikes, 0; 1 does not; .9 + 1 spikes, 0; 0.
        pytest.param(
            LIF(beta=0.9, threshold="strict", reset="value"),
            SNNTORCH,
            [0, 1, 0, 0, 1, 0, 1, 0],
            [0.2, 0.0, 1.0, 0.9, 0.0, 1.0, 0.0, 0.0],
            id="snntorch Leaky zero without delay",
        ),
        pytest.param(
            LIF(**LIF_NODE, input_gain="1-a", reset="value"),
            SPIKINGJELLY,
            [0, 1, 1, 0, 1, 1, 1, 0],
            [0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            id="spikingjelly LIFNode",
        ),
        pytest.param(
            LIF(**LIF_NODE, reset="value"),
            SPIKINGJELLY,
            [0, 1, 1, 0, 1, 1, 1, 0],
            [0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            id="spikingjelly LIFNode without decay_input",
        ),
        pytest.param(
            LIF(**LIF_NODE, input_gain="1-a"),
            SPIKINGJELLY,
            [0, 1, 1, 0, 1, 1, 1, 0],
            [0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.001562],
            id="spikingjelly LIFNode soft",
        ),
        pytest.param(
            LIF(tau_mem="10 steps", input_gain="1-a"),
            SPIKINGJELLY,
            [0] * 8,
            [0.038065, 0.224768, 0.393703, 0.356238, 0.512662, 0.654201, 0.782271, 0.707828],
            id="sinabs LIF",
        ),
    ],
)
def test_lif_matches_each_library(neuron: LIF, drive: Tensor, spikes: list[int], membrane: list[float]) -> None:
    outputs, fields = trace(neuron, drive)
    assert outputs == spikes
    assert_near(fields["v"], membrane)


def test_cuba_lif_matches_norses_lifcell() -> None:
    outputs, fields = trace(CubaLIF(**NORSE_CUBA, reset="value"), NORSE)
    assert outputs == [0, 0, 1, 0, 1, 1, 1, 1]
    assert_near(fields["v"], [0.1, 0.67, 0.0, 0.7712, 0.0, 0.0, 0.0, 0.0])
    # Norse stores the current after its decay, snnlab before.
    decayed = [i * (1 - 1 / 5) for i in fields["i"]]
    assert_near(decayed, [0.8, 4.64, 7.712, 6.1696, 8.93568, 11.148544, 12.918836, 10.335069])


def test_cuba_lif_without_reset_matches_norses_licell() -> None:
    _, fields = trace(CubaLIF(**NORSE_CUBA, reset="none"), NORSE)
    assert_near(fields["v"], [0.1, 0.67, 1.567, 2.1815, 3.08031, 4.165847, 5.364117, 6.119589])


def test_cuba_lif_matches_snntorchs_synaptic() -> None:
    outputs, fields = trace(CubaLIF(**LEAKY, alpha=0.8, input_gain=1.0), SNNTORCH)
    assert outputs == [0, 1, 1, 1, 1, 1, 1, 1]
    assert_near(fields["i"], [0.2, 1.16, 1.928, 1.5424, 2.23392, 2.787136, 3.229709, 2.583767])
    assert_near(fields["v"], [0.2, 1.34, 2.134, 2.463, 3.45062, 4.892694, 6.633133, 7.553587])


def test_li_matches_norses_libox() -> None:
    outputs, fields = trace(LI(1.0, tau_mem=10.0, decay="euler", input_gain="1-a"), NORSE)
    assert_near(outputs, [0.1, 0.59, 1.031, 0.9279, 1.33511, 1.701599, 2.031439, 1.828295])
    assert fields["v"] == outputs
