"""The answers of a stream: the run's readout of the outputs of the last steps.

Axes: T steps, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from snnlab.session.opened_run import OpenedRun

# Steps between two moves of the window to the front of its memory, at least.
_SPARE_STEPS = 1024


class StreamAnswers:
    """Keeps the outputs of a window of `data.duration_ms`, and reads them out as the run's loss does.

    Args:
        run: The run.
        dt: Length of a step, ms.
        num_outputs: Number of outputs.

    Attributes:
        names: Names of the classes, or numbers.
        has_values: Whether the outputs are values rather than classes.
    """

    def __init__(self, run: OpenedRun, dt: float, num_outputs: int) -> None:
        settings = run.session.settings
        self.num_steps = max(1, round(settings.duration_ms / dt))
        self._loss, self.has_values = run.session.loss, settings.targets in ("value", "series")
        names = run.class_names()
        self.names = list(map(str, range(settings.num_classes))) if names is None else names
        self._memory, self._end = np.zeros((2 * self.num_steps + _SPARE_STEPS, num_outputs), np.float32), 0

    @property
    def window(self) -> np.ndarray:
        """The outputs of the last steps, `[T, K]`."""
        return self._memory[max(0, self._end - self.num_steps) : self._end]

    def add(self, y: np.ndarray) -> None:
        """Add the outputs of steps.

        Shape:
            y: `[T, K]`.
        """
        y = y[-self.num_steps :]
        if self._end + len(y) > len(self._memory):
            window = self.window.copy()
            self._end = len(window)
            self._memory[: self._end] = window
        self._memory[self._end : self._end + len(y)] = y
        self._end += len(y)

    def clear(self) -> None:
        """Forget all outputs."""
        self._end = 0

    def answer(self) -> dict[str, Any]:
        """Return the class and its probability, or the values."""
        scores = self._readout()
        if self.has_values:
            return {f"value_{name}": value for name, value in zip(self.names, scores.tolist(), strict=False)}
        answer = int(scores.argmax())
        probability = 1 / float(np.exp(scores - scores[answer]).sum())
        return {"answer": answer, "name": self.names[answer], "probability": round(probability, 4)}

    def outputs(self) -> np.ndarray:
        """Return the probabilities of all classes, or the values, `[K]`."""
        scores = self._readout()
        if self.has_values:
            return scores
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()

    def _readout(self) -> np.ndarray:
        """Return the loss' readout of the window, `[K]`."""
        y = torch.from_numpy(self.window)[:, None]
        with torch.inference_mode():
            readout = self._loss.readout(y, torch.tensor([len(y)]))
        return readout.reshape(-1, y.shape[-1])[-1].numpy().astype(np.float64)
