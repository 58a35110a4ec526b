"""One LIF neuron on ten platforms, as the NIR paper's authors recorded it: their spikes are met at each one's lag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.interop.nir_files import read_graph
from snnlab.interop.nir_import import read_network
from snnlab.interop.nir_options import NIRReadOptions

pytest.importorskip("nir")

DT = 0.1  # ms
# Steps by which a platform writes its spikes later, and the reading that meets them.
EULER = {"discretization": "euler"}
LAGS: dict[str, tuple[int, dict[str, Any]]] = {
    "exact": (0, EULER),
    "norse": (0, EULER),
    "snntorch": (0, EULER),
    "nengo": (0, EULER),
    "spinnaker2": (0, EULER),
    "lava_cpu_float": (1, EULER),
    "lava_cpu_fixed": (1, EULER),
    "lava_loihi_fixed": (1, EULER),
    "spyx": (1, EULER),
    "sinabs": (0, {"discretization": "exact"}),
}


@pytest.fixture
def folder(real_data: Path) -> Path:
    found = real_data / "foreign" / "nir-paper" / "01_lif"
    if not found.is_dir():
        pytest.skip(f"no traces of the NIR paper: {found} is missing")
    return found


def trace(folder: Path, platform: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return input, voltage and spikes, `[T]` each."""
    columns = np.loadtxt(folder / f"lif_{platform}.csv", delimiter=",").T
    return columns[0], columns[1], columns[2]


def run_ours(folder: Path, x: np.ndarray, gain: float | None = None, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes and membranes of the neuron of `lif_norse.nir`."""
    read = read_network(read_graph(folder / "lif_norse.nir"), "lif_norse.nir", NIRReadOptions(dt=DT, **options))
    if gain is not None:
        read.layers["lif1"]["input_gain"] = gain
    network, state, spikes, v = read.build().network, None, [], []
    for x_t in torch.as_tensor(x, dtype=torch.float32).reshape(-1, 1, 1, 1):
        y, state = network(x_t, state)
        spikes.append(y.item())
        v.append(state["lif1"].v.item())
    return np.array(spikes), np.array(v)


@pytest.mark.long
@pytest.mark.parametrize("platform", [pytest.param(p, marks=[pytest.mark.slow] * (k > 0)) for k, p in enumerate(LAGS)])
def test_all_spikes_of_a_platform_are_met_at_its_lag(folder: Path, platform: str) -> None:
    lag, options = LAGS[platform]
    x, _, theirs = trace(folder, "exact")[0], *trace(folder, platform)[1:]
    # Sinabs' trace has the gain dt / tau, which is not that of a current during the step, 1 - exp(-dt / tau).
    spikes, _ = run_ours(folder, x, 0.04 if platform == "sinabs" else None, **options)
    assert theirs.sum() == 4
    assert np.array_equal(np.flatnonzero(spikes) + lag, np.flatnonzero(theirs))


def test_every_membrane_of_norse_is_met(folder: Path) -> None:
    x, theirs, _ = trace(folder, "norse")
    _, v = run_ours(folder, x, discretization="euler", reset="zero")
    assert np.abs(v - theirs).max() < 1e-7


@pytest.mark.parametrize("platform", ["lava_cpu_fixed", "lava_loihi_fixed"])
def test_the_fixed_point_trace_of_lava_is_met_by_an_integer_rule(folder: Path, platform: str) -> None:
    x, theirs, spikes = trace(folder, platform)
    v, ours, fired = 0, [], []
    for before in [0.0, *x[:-1]]:
        v = ((v * (4096 - 163)) >> 12) + 640 * int(before)
        fired.append(v > 1600)
        v = 0 if fired[-1] else v
        ours.append(v)
    differ = np.flatnonzero(np.array(ours) != theirs)
    assert np.array_equal(np.array(fired, float), spikes)
    # The chip's probe gives other values at four of its spikes.
    assert len(differ) == (0 if platform == "lava_cpu_fixed" else 4)
