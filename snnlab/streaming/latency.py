"""Times of many answers in constant memory."""

from __future__ import annotations

from math import ceil, log

import numpy as np

# Each bin of the histogram ends 1% above the one before it, from 0.1 us to some 20 minutes.
_RATIO, _FIRST_US, _NUM_BINS = 1.01, 0.1, 2340


class LatencyHistogram:
    """Counts times in bins that are 1% wide, so that percentiles of any number of times are right within 1%."""

    def __init__(self) -> None:
        self._counts = np.zeros(_NUM_BINS, np.int64)
        self.max_us = 0.0

    @property
    def count(self) -> int:
        """Number of times."""
        return int(self._counts.sum())

    def add(self, us: float, count: int = 1) -> None:
        """Count a time, us, once or several times."""
        place = ceil(log(max(us, _FIRST_US) / _FIRST_US) / log(_RATIO))
        self._counts[min(place, _NUM_BINS - 1)] += count
        self.max_us = max(self.max_us, us)

    def percentile(self, percent: float) -> float:
        """Return the time, us, that a share of the times do not exceed; 0 without times."""
        if not self.count:
            return 0.0
        rank = max(1, ceil(self.count * percent / 100))
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(_FIRST_US * _RATIO**place, self.max_us)

    def text(self) -> str:
        """Return the median, the tail and the maximum, as text."""
        tail = ", ".join(f"p{percent:g} {_text(self.percentile(percent))}" for percent in (50, 99, 99.9))
        return f"{tail}, max {_text(self.max_us)} of {self.count:,} answers"


def _text(us: float) -> str:
    return f"{us:.0f} us" if us < 1e4 else f"{us / 1e3:,.1f} ms"
