"""A run's figures as texts, the same on the console and in a page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def metric_text(name: str, value: object) -> str:
    """Return a figure: an accuracy in percent, anything else with four digits; nothing where there is none.

    Args:
        name: What it is, such as `val/accuracy`.
    """
    if not isinstance(value, int | float):
        return ""
    if name.rpartition("/")[2] == "accuracy":
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean_sd_text(name: str, values: Sequence[float]) -> str:
    """Return the mean of several runs' figures, with the standard deviation where there are several."""
    if not values:
        return ""
    spread = f" ± {_sd_text(name, stdev(values))}" if len(values) > 1 else ""
    return f"{metric_text(name, fmean(values))}{spread}"


def _sd_text(name: str, value: float) -> str:
    plain = name.rpartition("/")[2] != "accuracy" and value < 1000
    return f"{value:.2g}" if plain and value < 100 else f"{value:.0f}" if plain else metric_text(name, value)
