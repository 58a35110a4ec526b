"""Physical time: neurons marked dt_invariant respond equally to events in other bins; others have a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.errors import ConfigError
from snnlab.nn import NEURONS, Neuron

from ...refusals import assert_raises

WINDOW_MS, NUM_NEURONS, FINEST = 300.0, 1000, 300
BINS = (30, 60, 100, 150, 300)
# Spread between the rates of all BINS that a neuron marked dt_invariant may have, relative to their mean.
TOLERANCE = 0.15

FILES = {path.stem: path for path in sorted((config_folder() / "neuron").glob("*.yaml"))}


def settings_of(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def build(name: str, dt: float, **changes: Any) -> Neuron:
    settings = {**(settings_of(FILES[name]) if name in FILES else {"type": name}), **changes}
    return NEURONS.build(settings.pop("type"), settings, name, dt=dt, in_shape=(NUM_NEURONS,), num_steps=8)


def events(rate_per_ms: float) -> Tensor:
    """Return Poisson counts in the finest bins, `[300, 1, N]`; others are sums of them: the same events."""
    generator = torch.Generator().manual_seed(0)
    per_bin = torch.full((FINEST, 1, NUM_NEURONS), rate_per_ms * WINDOW_MS / FINEST)
    return torch.poisson(per_bin, generator)


def in_bins(counts: Tensor, num_bins: int) -> Tensor:
    return counts.unflatten(0, (num_bins, FINEST // num_bins)).sum(1)


def rate_hz(name: str, num_bins: int, counts: Tensor, weight: float) -> float:
    """Return spikes of a neuron in a second; of an integrator the membrane's mean over time."""
    neuron = build(name, WINDOW_MS / num_bins)
    with torch.no_grad():
        y, _ = neuron(weight * in_bins(counts, num_bins))
    return y.mean().item() if not neuron.spiking else y.sum().item() / NUM_NEURONS / WINDOW_MS * 1000


def tuned_weight(name: str, counts: Tensor) -> float:
    """Return a weight of the events at which the neuron fires at about 60 Hz in 60 bins."""
    low, high = 0.0, 20.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if rate_hz(name, 60, counts, middle) < 60.0 else (low, middle)
    return high


NAMES = sorted({*FILES, *NEURONS})
INVARIANT = [name for name in NAMES if build(name, 1.0).dt_invariant]
SPIKING = [name for name in INVARIANT if build(name, 1.0).spiking]
DEPENDENT = [name for name in NAMES if name not in INVARIANT]


def test_the_familys_defaults_are_invariant() -> None:
    assert {"lif", "cuba_lif", "li", "cuba_li", "iaf"} <= set(INVARIANT)


@pytest.mark.long
@pytest.mark.compiled
@pytest.mark.parametrize("rate_per_ms", [0.3, 1.0])
@pytest.mark.parametrize("name", SPIKING)
def test_the_rate_for_the_same_events_hardly_depends_on_the_bins(name: str, rate_per_ms: float) -> None:
    counts = events(rate_per_ms)
    weight = tuned_weight(name, counts)
    rates = [rate_hz(name, num_bins, counts, weight) for num_bins in BINS]
    mean = sum(rates) / len(rates)
    assert mean > 20.0
    assert (max(rates) - min(rates)) / mean < TOLERANCE, dict(zip(BINS, rates, strict=True))


@pytest.mark.compiled
@pytest.mark.parametrize("name", [name for name in INVARIANT if name not in SPIKING])
def test_an_integrators_mean_for_the_same_events_hardly_depends_on_the_bins(name: str) -> None:
    counts = events(rate_per_ms=1.0)
    means = [rate_hz(name, num_bins, counts, 1.0) for num_bins in BINS]
    assert (max(means) - min(means)) / means[0] < TOLERANCE


@pytest.mark.parametrize("name", DEPENDENT)
def test_a_neuron_that_depends_on_dt_has_a_warning(name: str) -> None:
    neuron = build(name, 1.0)
    info = neuron.info()
    not_in_ms = [constant for constant in neuron.constants() if constant.unit != "ms"]
    assert not_in_ms or info.warnings or info.drive_power not in (0, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"tau_mem": "10 steps"},
        {"beta": 0.9, "tau_mem": None},
        {"input_gain": "1-a"},
        {"reset": "none"},
        {"reset_delay": True},
        {"recurrent": True},
    ],
    ids=str,
)
def test_settings_that_depend_on_dt_are_not_dt_invariant(settings: dict[str, Any]) -> None:
    assert not build("lif", 1.0, **settings).dt_invariant


def test_euler_refuses_a_step_as_long_as_the_time_constant() -> None:
    with assert_raises(ConfigError, "lif.tau_mem", "20.0"):
        build("lif", 20.0, decay="euler")
    assert build("lif", 19.0, decay="euler")
