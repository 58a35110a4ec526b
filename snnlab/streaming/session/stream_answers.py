"""The answers of a stream: the run's readout of the outputs of the last steps.

Axes: T steps, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from snnlab.nn.losses import Loss
from snnlab.nn.losses.readout_losses import CrossEntropy
from snnlab.session.opened_run import OpenedRun
from snnlab.streaming.live_loop import WINDOW, Answers, add_outputs
from snnlab.streaming.stream_state import MOST_FLOAT, StateEntry

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
        self.num_steps = num_steps = max(1, round(settings.duration_ms / dt))
        self._loss, self.has_values = run.session.loss, settings.targets in ("value", "series")
        names = run.class_names()
        self.names = list(map(str, range(settings.num_classes))) if names is None else names
        memory = np.zeros((2 * num_steps + _SPARE_STEPS, num_outputs), np.float32)
        windows = np.zeros(1, WINDOW)
        windows["num_steps"], windows["is_mean"] = num_steps, getattr(self._loss, "reduction", None) != "sum"
        self.shared = Answers(windows, memory, np.zeros(num_outputs))
        self._tensor = torch.from_numpy(memory)[:, None]
        self.are_sums = _is_sum(self._loss) and not self.has_values

    @property
    def _end(self) -> int:
        return int(self.shared.windows["end"][0])

    @property
    def window(self) -> np.ndarray:
        """The outputs of the last steps, `[T, K]`."""
        return self.shared.memory[max(0, self._end - self.num_steps) : self._end]

    def add(self, y: np.ndarray) -> None:
        """Add the outputs of steps.

        Shape:
            y: `[T, K]`.
        """
        add_outputs(self.shared.memory, self.shared.total, self.shared.windows, y[-self.num_steps :])

    def add_to_last(self, y: np.ndarray) -> None:
        """Add outputs to those of the last step, `[K]`."""
        self.shared.memory[self._end - 1] += y
        self.shared.total[:] += y

    def clear(self) -> None:
        """Forget all outputs."""
        self.shared.windows["end"], self.shared.total[:] = 0, 0

    def state_entries(self) -> list[StateEntry]:
        """Return what the state of the answers holds: the window, and how many steps of it there are."""
        window = StateEntry("window", "<f4", (self.num_steps, self.shared.total.size), -MOST_FLOAT, MOST_FLOAT)
        return [window, StateEntry("window_steps", "<i8", (), 0, self.num_steps)]

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of `state_entries`."""
        window = np.zeros((self.num_steps, self.shared.total.size), np.float32)
        window[: len(self.window)] = self.window
        return {"window": window, "window_steps": np.array(len(self.window))}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from arrays of `state_entries` that were checked."""
        self.clear()
        self.add(state["window"][: int(state["window_steps"])])

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
        if self.are_sums:
            total, is_mean = self.shared.total, self.shared.windows["is_mean"][0]
            return total / min(self._end, self.num_steps) if is_mean else total
        y = self._tensor[max(0, self._end - self.num_steps) : self._end]
        with torch.inference_mode():
            readout = self._loss.readout(y, torch.tensor([len(y)]))
        return readout.reshape(-1, y.shape[-1])[-1].numpy().astype(np.float64)


def _is_sum(loss: Loss) -> bool:
    """Return whether the readout is a sum or a mean over the steps, which each step can change without the others."""
    return type(loss) is CrossEntropy and loss.reduction in ("mean", "sum", "per_step") and not loss.from_step
