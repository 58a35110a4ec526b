"""`snnlab.load`: opens a recorded run from Python.

Modules that need Lightning or matplotlib are imported at the first use.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.errors import ConfigError
from snnlab.runs.recorded import read_run
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.opened_run import OpenedRun
from snnlab.session.prediction import RunPredictor
from snnlab.spec.field import type_problem
from snnlab.spec.override_texts import is_override
from snnlab.zoo import run_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load(
    run: str | Path, checkpoint: CheckpointName = "best", plugins: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Run:
    """Open a run of `snnlab train`: its network with the chosen epoch's weights, its configuration, its results.

    Args:
        run: The run's folder, or `zoo:NAME` for a network that comes with snnlab.
        checkpoint: The weights: those of the chosen epoch, `best`, or of the `last` epoch.
        plugins: The plugins that the run needs. They are code: for a run from someone else, or one that was moved or
            edited, only plugins in this list are imported.
        overrides: Changes of the configuration, such as `["data.root=/elsewhere"]`; required for the folder of the
            recordings of a run from someone else.
    """
    _check_arguments(checkpoint=checkpoint, plugins=plugins, overrides=overrides)
    folder = run_path(run)
    return Run(folder, read_run(folder), checkpoint, tuple(plugins), tuple(overrides))


def _check_arguments(**arguments: Any) -> None:
    """Raise a ConfigError for a text in place of a list, or another text than a checkpoint's name."""
    annotations = inspect.get_annotations(load, eval_str=True)
    for name, value in arguments.items():
        if problem := type_problem(value, annotations[name]):
            moved = isinstance(value, str) and is_override(value)
            hint = f'settings are a list, as in overrides=["{value}"]' if moved else ""
            raise ConfigError(f"load: {name}", problem, hint)


def _import_with_lightning():
    from snnlab.session import evaluation, reports

    return evaluation, reports


class Run(OpenedRun):
    """A recorded run: its results, its network, its data, and predictions on new recordings."""

    def frames(
        self, events: Any, *, time_unit: str | None = None, time_origin: str | None = None, columns: Any = None
    ) -> Tensor:
        """Return the frames of recordings, as the network sees them: the first window of each.

        Args:
            events: A file, an array `[N, 4]` or with fields t, x, y, p, a mapping of columns,
                `snnlab.data.events.Events`, or a list of these.
            time_unit: s, ms, us or ns; None: that of the run's dataset.
            time_origin: Time 0: `first`, the first event, or `zero`, that of the file; None: that of the run's dataset.
            columns: Names of the columns of an array without names, such as `["x", "y", "t", "p"]`.

        Shape:
            returns `[T, B, ...]`.

        Raises:
            DataError: if they are not recordings of the run's sensor.
        """
        return RunPredictor(self, {"time_unit": time_unit, "time_origin": time_origin, "columns": columns}).frames(
            events
        )

    def predict(
        self, events: Any, *, time_unit: str | None = None, time_origin: str | None = None, columns: Any = None
    ) -> list[dict[str, Any]]:
        """Return the network's answers to recordings, a row per window, as `snnlab predict` does.

        The arguments are those of `frames`.

        Raises:
            DataError: if they are not recordings of the run's sensor.
        """
        return RunPredictor(self, {"time_unit": time_unit, "time_origin": time_origin, "columns": columns}).predict(
            events
        )

    def evaluate(self, part: str = "test", *overrides: str, out: str | Path | None = None) -> dict[str, Any]:
        """Evaluate the network again, as `snnlab evaluate` does, and return the results.

        Args:
            part: `train`, `val` or `test`.
            overrides: Changes of the configuration, such as `"data.num_bins=64"`.
            out: The output folder; None: a new one in the run's folder.

        Returns:
            `metrics`, `confusion`, ... as in the folder's `result.json`, and the `folder`.
        """
        evaluation, _ = _import_with_lightning()
        typed = [*self.all_overrides, *overrides]
        experiment = compose_run(self.folder, typed, None, "data")
        values, folder = evaluation.evaluate(self.folder, experiment, part, self.checkpoint, out, typed)
        return {**values, "folder": folder}

    def figure(self, name: str, part: str = "test", recording: int | None = None) -> Figure:
        """Draw a plot: `confusion`, `loss`, `rate_hz`, `events` or `raster/lif1` of one recording, ...

        `figure.savefig("confusion.pdf")` writes it; `figures` lists the names.

        Args:
            name: The name of the plot.
            part: The recordings: `train`, `val` or `test`.
            recording: Its number, for a plot of one recording, as in `predictions` (`test_recording`), in the report
                and in `snnlab evaluate --mistakes`; None: the first of the part.
        """
        _, reports = _import_with_lightning()
        return reports.figure(self, name, part, recording)

    @property
    def figures(self) -> list[str]:
        """Names of the plots."""
        _, reports = _import_with_lightning()
        return reports.figure_names(self)
