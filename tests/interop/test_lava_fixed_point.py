"""`loihi2` has the traces of one neuron on Lava's fixed-point simulation and on the Loihi chip, from the NIR paper.

`test_traces.py` has the rule in integers.

Axes: T steps, B samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from snnlab.nn import NEURONS

# Lava writes tau = 2.5 ms at dt = 0.1 ms as a decay of int(4096 / 25) = 163 of 4096, and weight and threshold in 64ths:
# an input of 1 is 10 = 640 / 64, the threshold is 25 = 1600 / 64.
DECAY, SCALE = 163, 4096
WEIGHT, THRESHOLD = 10, 25


class Trace(NamedTuple):
    """Input, membrane and spikes of each step, whole numbers `[T]`."""

    x: np.ndarray
    v: np.ndarray
    s: np.ndarray


def trace(real_data: Path, platform: str) -> Trace:
    path = real_data / "foreign" / "nir-paper" / "01_lif" / f"lif_{platform}.csv"
    if not path.is_file():
        pytest.skip(f"no traces of other platforms: {path} is missing")
    columns = np.loadtxt(path, delimiter=",").T
    found = columns.astype(np.int64)
    assert np.array_equal(found, columns)
    assert found.shape == (3, 1000)
    return Trace(*found)


def loihi2(x: np.ndarray) -> Trace:
    """Return the trace of `loihi2` without a synapse, for the same input one step later."""
    settings = {"beta": 1 - DECAY / SCALE, "alpha": 0.0, "v_threshold": float(THRESHOLD), "scale": 1}
    neuron = NEURONS.build("loihi2", settings, "neuron", dt=0.1, in_shape=(1,))
    state, membranes, spikes = None, [], []
    for before in [0, *x[:-1].tolist()]:
        s, state = neuron(torch.full((1, 1, 1), float(WEIGHT * before)), state)
        membranes.append(state.v.item())
        spikes.append(s.item())
    return Trace(x, np.array(membranes), np.array(spikes))


def test_all_voltages_and_spikes_are_those_of_lavas_fixed_point_simulation(real_data: Path) -> None:
    given = trace(real_data, "lava_cpu_fixed")
    found = loihi2(given.x)
    assert given.s.sum() == 4
    assert np.array_equal(found.v, given.v)
    assert np.array_equal(found.s, given.s)


def test_all_spikes_are_those_of_the_loihi_chip(real_data: Path) -> None:
    """Its probe shows other voltages only at the spikes."""
    given = trace(real_data, "lava_loihi_fixed")
    found = loihi2(given.x)
    assert np.array_equal(found.s, given.s)
    assert np.array_equal(np.flatnonzero(found.v != given.v), np.flatnonzero(given.s))
