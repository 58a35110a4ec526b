"""The rows of `snnlab predict`: classes, values, or stretches of equal labels.

Axes: T steps, B = 1 recordings, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.commands.answering import Heard, Window
from snnlab.data.settings import DataSettings
from snnlab.training.losses import Loss

Row = dict[str, Any]
_ANSWER = ("answer", "name", "probability", "events", "left_out")


class Rows(NamedTuple):
    """How outputs become rows.

    Attributes:
        loss: What the network was trained for, which reads its outputs out.
        settings: The targets, and the steps.
        names: What classes or values are called; None: by their numbers.
    """

    loss: Loss
    settings: DataSettings
    names: Sequence[str] | None

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns; those of values are as in a table of labels."""
        if self.settings.targets == "value":
            return ("file", "start_ms", *map(self._value, range(self.settings.num_classes)), "events", "left_out")
        if self.settings.targets == "steps":
            return ("file", "window_ms", "start_ms", "end_ms", *_ANSWER)
        return ("file", "start_ms", *_ANSWER)

    def of(self, file: str, window: Window, heard: Heard) -> Iterator[Row]:
        """Yield the rows of a window, from all steps until now; of labels over time those of the piece's steps."""
        steps, lengths = len(heard.y), torch.tensor([len(heard.y)])
        readout = self.loss.readout(heard.y, lengths)
        if self.settings.targets == "steps":
            yield from self._stretches(file, window, readout[heard.first :, 0], heard.first)
            return
        if self.settings.targets == "value":
            answer = {self._value(k): value for k, value in enumerate(readout[0].tolist())}
        else:
            answer = self._label(readout.float().softmax(-1))
        # Of a recording that is over before its window is, all events are seen.
        seen = window.events.t.size if heard.last else self._events_before(window, steps)
        start = {"file": file, "start_ms": window.start_us / 1000}
        yield {**start, **answer, "events": seen, "left_out": window.left_out}

    def confidence(self, heard: Heard) -> float:
        """Return how probable the answer of a class is until now."""
        readout = self.loss.readout(heard.y, torch.tensor([len(heard.y)]))
        return float(readout.float().softmax(-1).max())

    def until_ms(self, window: Window, steps: int) -> float:
        """Return when so many steps of a window are over, ms of the recording."""
        data = self.settings
        return round((window.start_us + steps * data.duration_us / data.steps) / 1000, 4)

    def _stretches(self, file: str, window: Window, readout: Tensor, first: int) -> Iterator[Row]:
        """Yield a row for each stretch of steps with the same answer, `readout [T, K]`."""
        odds = readout.float().softmax(-1)
        labels = odds.argmax(-1)
        begins = [0, *(labels.diff().nonzero().flatten() + 1).tolist(), len(labels)]
        for begin, end in pairwise(begins):
            yield {
                "file": file,
                "window_ms": window.start_us / 1000,
                "start_ms": self.until_ms(window, first + begin),
                "end_ms": self.until_ms(window, first + end),
                **self._label(odds[begin:end]),
                "events": self._events_before(window, first + end) - self._events_before(window, first + begin),
                "left_out": window.left_out,
            }

    def _label(self, odds: Tensor) -> Row:
        """Return the label of steps that have the same, `odds [T, K]`, and its mean probability."""
        answer = int(odds[0].argmax())
        name = str(answer) if self.names is None else self.names[answer]
        return {"answer": answer, "name": name, "probability": round(float(odds[:, answer].mean()), 4)}

    def _events_before(self, window: Window, step: int) -> int:
        ends_us = -(-step * self.settings.duration_us // self.settings.steps)
        return int(np.searchsorted(window.events.t, ends_us))

    def _value(self, number: int) -> str:
        return f"value_{number if self.names is None else self.names[number]}"
