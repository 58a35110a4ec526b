from __future__ import annotations

import numpy as np
import pytest

from snnlab.session.tuner import analyze_losses, round_rate

RATES = np.geomspace(1e-6, 1, 61)


def valley(steepest: float, lowest: float) -> np.ndarray:
    """Return losses that fall along a sigmoid around one rate, and rise above another rate."""
    x = np.log10(RATES)
    return 3 - 2 / (1 + np.exp(-4 * (x - np.log10(steepest)))) + np.where(lowest < RATES, 3 * (x - np.log10(lowest)), 0)


def test_the_proposal_is_where_the_loss_falls_fastest_despite_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATES.size)
    found = analyze_losses(RATES.tolist(), (valley(1e-3, 3e-2) + noise).tolist())
    assert found.best == pytest.approx(1e-3, rel=1.0)
    assert 5e-3 < found.lowest < 1e-1


def test_non_finite_losses_are_dropped() -> None:
    losses = valley(1e-3, 3e-2)
    losses[-5:] = np.nan
    found = analyze_losses(RATES.tolist(), losses.tolist())
    assert len(found.rates) == len(found.smooth) == RATES.size - 5
    assert found.best == pytest.approx(1e-3, rel=0.5)


def test_a_loss_that_never_falls_proposes_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, RATES.size)
    assert analyze_losses(RATES.tolist(), (2.3 + noise).tolist()).best is None
    assert analyze_losses(RATES.tolist(), (2.3 + 10 * RATES).tolist()).best is None


@pytest.mark.parametrize(("rate", "shown"), [(0.01149, 0.011), (0.0283, 0.03), (9.7e-5, 1e-4), (2.0, 2.0)])
def test_rates_are_rounded(rate: float, shown: float) -> None:
    assert round_rate(rate) == pytest.approx(shown)
