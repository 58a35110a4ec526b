"""All that is logged during a training as one CSV: a line for each number."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from snnlab.files import write_text

_NEVER = -1


class Once:
    """Knows at which step each number was logged last."""

    def __init__(self) -> None:
        self._at: dict[str, int | None] = {}

    def new(self, metrics: Mapping[str, float], step: int | None) -> dict[str, float]:
        """Return those that were not logged at this step, and remember them."""
        found = {name: value for name, value in metrics.items() if self._at.get(name, _NEVER) != step}
        self._at.update(dict.fromkeys(found, step))
        return found


COLUMNS = ("step", "name", "value")


class StepsCSV(Logger):
    """Writes `steps.csv` with the columns step, name, value: what TensorBoard shows as curves.

    Args:
        purge_step: Of a run that is resumed, from which step on what it had logged is forgotten; None keeps all.
    """

    def __init__(self, save_dir: str, purge_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(save_dir) / "steps.csv"
        self._purge_step = purge_step
        self._begun, self._once = False, Once()

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "steps"

    @property
    def version(self) -> str:
        """A run's folder has one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: they are in the run's config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line for each number that is new at this step."""
        if not self._begun:
            self._begin()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                ("" if step is None else step, name, float(value))
                for name, value in self._once.new(metrics, step).items()
            )

    def _begin(self) -> None:
        """Write the heading, and what stays of the lines that are there."""
        self._begun = True
        lines: list[str] = []
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
        kept = [line for line in lines if self._purge_step is None or self._before(line, self._purge_step)]
        write_text(self.path, "\n".join([",".join(COLUMNS), *kept, ""]))

    @staticmethod
    def _before(line: str, step: int) -> bool:
        at, _, rest = line.partition(",")
        return at.isdigit() and int(at) < step and rest.count(",") == 1  # a kill may have cut the last line short
