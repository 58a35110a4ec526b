"""TensorBoard's curves, in which each number stands once a step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger

from snnlab.record.steps_csv import Once


class TensorBoard(TensorBoardLogger):
    """Lightning's logger for TensorBoard, without numbers that come again at a step, as `epoch` does with others."""

    @cached_property
    def _once(self) -> Once:
        return Once()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write what is new at this step."""
        super().log_metrics(self._once.new(metrics, step), step)
