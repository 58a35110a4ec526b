"""`model=srnn` reads a state dict of Yin, Corradi and Bohte's ECG network, and answers as their equations do.

Axes: T steps, B recordings, N neurons, K classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.interop.state_dicts import load_state_dict
from snnlab.nn.layer import TemporalLayer, fold_time
from snnlab.session import Session

T, B, N, K = 300, 5, 36, 6
THRESHOLD, RISE = 0.1, 1.8  # b_j0 of the network whose weights they published, and beta of their code


def their_tensors() -> dict[str, Tensor]:
    """Return random weights with the names of their file, as large as theirs."""
    torch.manual_seed(0)
    return {
        "tau_adp_h": torch.full((N,), 7.0),
        "tau_adp_o": torch.rand(K) * 50.0 + 120.0,
        "tau_m_h": torch.rand(N) * 60.0 + 3.0,
        "tau_m_o": torch.rand(K) * 24.0 + 7.0,
        "i2h.weight": torch.randn(N, 4) * 4.0,
        "i2h.bias": torch.randn(N),
        "h2h.weight": torch.randn(N, N),
        "h2h.bias": torch.randn(N),
        "h2o.weight": torch.randn(K, N) * 2.0,
        "h2o.bias": torch.randn(K),
    }


def loop(tensors: dict[str, Tensor], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the equations of their code, from rest, and return hidden spikes `[T, B, N]` and output membranes."""
    w = {name: value.double().numpy() for name, value in tensors.items()}
    alpha, alpha_out, rho = (np.exp(-1.0 / w[name]) for name in ("tau_m_h", "tau_m_o", "tau_adp_o"))
    mem, spike = np.zeros((2, x.shape[1], N))
    mem_out, spike_out, b = np.zeros((3, x.shape[1], K))
    spikes, membranes = [], []
    for step in x:
        drive = step @ w["i2h.weight"].T + w["i2h.bias"] + spike @ w["h2h.weight"].T + w["h2h.bias"]
        mem = mem * alpha + (1.0 - alpha) * drive - THRESHOLD * spike
        spike = (mem - THRESHOLD > 0).astype(float)
        b = rho * b + (1.0 - rho) * spike_out
        threshold = THRESHOLD + RISE * b
        drive = spike @ w["h2o.weight"].T + w["h2o.bias"]
        mem_out = mem_out * alpha_out + (1.0 - alpha_out) * drive - threshold * spike_out
        spike_out = (mem_out - threshold > 0).astype(float)
        spikes.append(spike)
        membranes.append(mem_out)
    assert spike_out.any()
    return np.stack(spikes), np.stack(membranes)


@pytest.mark.parametrize("nested", [False, True])
def test_a_network_in_their_form_has_the_spikes_and_membranes_of_their_equations(nested: bool, tmp_path: Path) -> None:
    tensors, path = their_tensors(), tmp_path / "ecg_srnn.pt"
    torch.save({"model_state_dict": tensors} if nested else tensors, path)
    data = ("data=spike_patterns", "data.sensor_size=[4,1,1]", "data.num_classes=6")
    session = Session.composed("model=srnn", *data, f"model.weights.file={path}")
    weights = session.experiment.foreign_weights
    network = session.built.network.double().eval()
    assert weights is not None
    loaded = load_state_dict(network, path, weights.rename)
    assert loaded.unused == ("tau_adp_h",)
    assert sum(one.numel() for one in network.parameters()) == 1782
    x = (torch.rand(T, B, 1, 1, 4) < 0.1).double()
    y, found = x, {}
    with torch.no_grad():
        for name, layer in network.layers():
            y = layer(y)[0] if isinstance(layer, TemporalLayer) else fold_time(layer, y)
            found[name] = y.numpy()
    spikes, membranes = loop(tensors, x.flatten(2).numpy())
    assert np.array_equal(found["lif1"], spikes)
    assert 0.02 < spikes.mean() < 0.9
    np.testing.assert_allclose(found["readout"], membranes, rtol=1e-6, atol=1e-9)
