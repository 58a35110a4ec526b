"""The conductance-based neuron: its equilibrium by hand, and Norse's feed-forward equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons.coba_lif import CobaLIF, CobaLIFState

from ...refusals import assert_raises
from .agreement import assert_agrees, noise, preset


def test_the_membrane_goes_to_the_mean_of_the_reversal_potentials() -> None:
    neuron = CobaLIF(1.0, tau_exc=1e9, tau_inh=1e9, v_threshold=50.0, time_step=0.01).double()
    g_exc, g_inh = (torch.full((1, 1), g, dtype=torch.float64) for g in (0.5, 1.0))
    start = CobaLIFState(torch.full((1, 1), -20.0, dtype=torch.float64), g_exc, g_inh)
    _, state = neuron(torch.zeros(2000, 1, 1, dtype=torch.float64), start)
    assert state.v.item() == pytest.approx((0.25 * -20 + 0.5 * 60 + 1.0 * -100) / 1.75, rel=1e-4)


def test_negative_input_opens_the_inhibitory_conductance() -> None:
    _, state = CobaLIF(1.0, tau_exc="2 steps", tau_inh="4 steps")(torch.tensor([[[2.0, -2.0]]]))
    assert state.g_exc.flatten().tolist() == [1.0, 0.0]
    assert state.g_inh.flatten().tolist() == [0.0, 1.5]


def test_a_threshold_below_rest_is_refused() -> None:
    with assert_raises(ConfigError, "lif1.v_threshold", -20, -30):
        NEURONS.build("coba_lif", {"v_threshold": -30.0}, "lif1", dt=1.0)


def superspike(gap: torch.Tensor, method: str, alpha: float) -> torch.Tensor:
    """Return the spikes with the gradient that Norse documents, of alpha = 100."""
    slope = 1.0 / (1.0 + alpha * gap.detach().abs()) ** 2
    return (gap.detach() > 0).to(gap.dtype) + slope * (gap - gap.detach())


# With alpha = 1, with which release 1.1.0 always computes, gradients of 200 steps exceed single precision.
@pytest.mark.peers
@pytest.mark.parametrize(
    ("dtype", "batch", "alpha"),
    [
        pytest.param(torch.float64, 1, 1.0, id="small, as released"),
        pytest.param(torch.float64, 200, 1.0, id="double, as released", marks=pytest.mark.slow),
        pytest.param(torch.float64, 200, 100.0, id="double, as documented", marks=pytest.mark.slow),
        pytest.param(torch.float32, 200, 100.0, id="single, as documented", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("rate", "mean"), [(0.2, 0.05), (100.0, 0.1)], ids=["defaults", "short synapses"])
def test_it_has_the_equations_of_norses_feed_forward_step(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, batch: int, alpha: float, rate: float, mean: float
) -> None:
    norse = pytest.importorskip("norse.torch.functional.coba_lif")
    if alpha == 100.0:
        monkeypatch.setattr(norse, "threshold", superspike)
    # Plain numbers: Norse's tensors in single precision are others in double.
    given = {"tau_syn_exc_inv": rate, "tau_syn_inh_inv": rate, "c_m_inv": 5.0, "g_l": 0.25, "e_rev_I": -100.0}
    p = norse.CobaLIFParameters(**given, e_rev_E=60.0, v_rest=-20.0, v_reset=-70.0, v_thresh=-10.0)

    def theirs(x: torch.Tensor) -> Any:
        zero, outputs = torch.zeros_like(x[0]), []
        state = norse.CobaLIFFeedForwardState(zero - 20.0, zero, zero)
        for x_t in x:
            y, state = norse.coba_lif_feed_forward_step(x_t, state, p)
            outputs.append(y)
        return torch.stack(outputs), tuple(state)

    steps = f"{round(1000 / rate)} steps"
    ours = preset("coba_lif", dtype, tau_exc=steps, tau_inh=steps, surrogate={"type": "superspike", "alpha": alpha})
    # A rounding of a membrane of 60 mV changes the slope of alpha = 100, and each reset multiplies the error by 60.
    tolerance = (2e-5, 2e-2) if dtype == torch.float32 else (1e-11, 1e-9)
    assert_agrees(ours, theirs, noise(dtype, batch, mean, 0.3), min_share=0.0075, tolerance=tolerance)
