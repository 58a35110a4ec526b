"""A clock for the parts of a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise

import torch


class Stopwatch:
    """Books the time since the last mark under a name, so that the parts always add up to the whole.

    On a GPU the marks are events on its stream: what the CPU does while the GPU is busy costs nothing there, and
    nothing waits until `milliseconds` is asked for.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self._marks: list[tuple[str | None, float | torch.cuda.Event]] = []

    def start(self) -> None:
        """Go on from now: what lies between the last mark and this belongs to no part."""
        self.mark(None)

    def mark(self, name: str | None) -> None:
        """Book the time since the last mark under `name`."""
        self._marks.append((name, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """Return the time of each part, in all."""
        if self.cuda:
            torch.cuda.synchronize()
        times: dict[str, float] = defaultdict(float)
        for (_, before), (name, after) in pairwise(self._marks):
            if name is not None:
                times[name] += _elapsed_ms(before, after)
        return dict(times)

    def _now(self) -> float | torch.cuda.Event:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _elapsed_ms(before: float | torch.cuda.Event, after: float | torch.cuda.Event) -> float:
    if isinstance(before, float) and isinstance(after, float):
        return 1000 * (after - before)
    assert isinstance(before, torch.cuda.Event)
    assert isinstance(after, torch.cuda.Event)
    return before.elapsed_time(after)
