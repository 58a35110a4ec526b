"""Numbers and values in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnlab.record.statistics import wilson

# Below so many validation recordings the search says how uncertain its figures are.
FEW = 500


def describe(values: Mapping[str, Any]) -> str:
    """Return what was proposed."""
    return "  ".join(f"{name}={figure(value)}" for name, value in values.items())


def figure(value: Any) -> str:
    """Return a value, a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def span(seconds: float) -> str:
    """Return a time: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def uncertainty(size: int, accuracy: float = 0.9) -> str | None:
    """Return a warning for a small validation set, else None.

    Args:
        size: Number of recordings.
        accuracy: For which the uncertainty is said.
    """
    if size >= FEW:
        return None
    low, high = wilson(round(accuracy * size), max(size, 1))
    return (
        f"validation is {size} recordings: an accuracy of {accuracy:.0%} on them may be {low:.0%} to {high:.0%} on"
        " others (95 % interval), and the best of many trials is lucky by more; data.val_fraction makes it larger"
    )


def shown(path: Path) -> str:
    """Return a path as seen from the working folder, where it lies in that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
