"""The one line of a progress bar: what stands in it, made to fit the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table

_NARROWEST, _WIDEST = 8, 40


class Part(NamedTuple):
    """A part of the line as it is where there is room, and where there is not; the lowest rank goes first."""

    long: str
    short: str
    rank: int


class Line:
    """A label, a bar as wide as the terminal leaves it, and parts.

    Args:
        label: What is being done.
        done: How much of it.
        total: How much there is; infinite where nobody knows.
        parts: What stands behind the bar, in order.
    """

    def __init__(self, label: str, done: float, total: float, parts: Sequence[Part]) -> None:
        self.label, self.done, self.total, self.parts = label, done, total, parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the line."""
        room = options.max_width - len(self.label) - _NARROWEST - 3
        texts = fitting(self.parts, room)
        bar_width = min(room - _length(texts) + _NARROWEST, _WIDEST)
        row = Table.grid(padding=(0, 1))
        known = math.isfinite(self.total)
        bar = ProgressBar(total=self.total if known else 1.0, completed=self.done if known else 0.0, width=bar_width)
        row.add_row(self.label, bar, "  ".join(texts))
        for column in row.columns:
            column.no_wrap = True
        yield row


def fitting(parts: Sequence[Part], room: int) -> list[str]:
    """Return the long texts if they fit into so many characters, else the short ones, as many as fit."""
    texts = [part.long for part in parts]
    if _length(texts) <= room:
        return texts
    kept = list(parts)
    while kept and _length([part.short for part in kept]) > room:
        kept.remove(min(kept, key=lambda part: part.rank))
    return [part.short for part in kept]


def training_parts(values: Mapping[str, float], speed: float, epoch_left: float, run_left: float) -> list[Part]:
    """Return what is said of a training.

    Args:
        values: Means of the epoch so far: loss, accuracy or mae, spikes_per_sample, as far as there are.
        speed: Samples a second.
        epoch_left: Seconds to the end of the epoch, its validation included.
        run_left: Seconds to the end of the last epoch; infinite where nobody knows.
    """
    parts = []
    if "loss" in values:
        parts.append(Part(f"loss {values['loss']:.3f}", f"loss {values['loss']:.3f}", 3))
    if "accuracy" in values:
        parts.append(Part(f"accuracy {values['accuracy']:.1%}", f"{values['accuracy']:.1%}", 2))
    if "mae" in values:
        parts.append(Part(f"mean error {values['mae']:.3g}", f"error {values['mae']:.3g}", 2))
    if "spikes_per_sample" in values:
        spikes = values["spikes_per_sample"]
        parts.append(Part(f"{spikes:,.0f} spikes a sample", f"{_brief(spikes)} spikes", 0))
    parts.append(Part(f"{speed:,.0f} samples/s", f"{_brief(speed)}/s", 1))
    epoch, run = _clock(epoch_left), _clock(run_left)
    parts.append(Part(f"{epoch} left, run {run}", f"{epoch}/{run} left", 4))
    return parts


def _length(texts: Sequence[str]) -> int:
    return len("  ".join(texts))


def _brief(number: float) -> str:
    return f"{number:.0f}" if number < 1000 else f"{number / 1000:.1f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
