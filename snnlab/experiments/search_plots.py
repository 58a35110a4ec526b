"""Plots of a search: importance of the settings, scores over each setting, the Pareto front of the objectives.

`optuna.visualization.matplotlib` does not replace them: it draws with pyplot and changes the user's style
(`plt.style.use("ggplot")`), its labels do not show which axes are logarithmic, and its Pareto front has at most three
objectives and no trial numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snnlab.runs.plots.style import BLUE, DPI, GREY, VERMILION, default_style, log_axis

if TYPE_CHECKING or find_spec("optuna") is not None:  # `study.require_optuna` raises if it is missing
    from optuna import Study, importance
    from optuna.trial import FrozenTrial
_COLUMNS = 3
# Positive values that differ by more than this factor have a logarithmic axis.
_LOG_AXIS_RATIO = 20


def draw(study: Study, names: Sequence[str], folder: Path) -> list[Path]:
    """Draw the plots that the trials are enough for, and return the files.

    Args:
        names: Names of the objectives.
        folder: Folder for the plots.
    """
    files = []
    for stem, figure in figures(study, names).items():
        folder.mkdir(exist_ok=True)
        files.append(folder / f"{stem}.png")
        with default_style():
            figure.savefig(files[-1], dpi=DPI)
    return files


def figures(study: Study, names: Sequence[str]) -> dict[str, Figure]:
    """Return the figures that the trials are enough for, by name.

    Args:
        names: Names of the objectives.
    """
    done, settings = varied_settings(study)
    if len(done) < 2 or not settings:
        return {}
    found = {}
    with default_style():
        for objective, name in enumerate(names):
            stem = name.replace("/", "_")
            found[f"slice_{stem}"] = _slice_plot(done, settings, objective, name)
            if parts := importances(study, objective):
                found[f"importance_{stem}"] = _importance_plot(parts, name)
        if len(names) > 1:
            found["pareto"] = _pareto_plot(study, done, names)
    return found


def importances(study: Study, objective: int) -> dict[str, float]:
    """Return the fraction of an objective's variance that each setting explains; empty if the trials are not enough.

    Args:
        objective: Index of the objective.

    Source: Hutter, Hoos, Leyton-Brown: An efficient approach for assessing hyperparameter importance, 2014 (fANOVA).
    """
    done, settings = varied_settings(study)
    if len(done) < 4 or not settings or len({trial.values[objective] for trial in done}) < 2:
        return {}
    evaluator = importance.FanovaImportanceEvaluator(seed=0)
    return importance.get_param_importances(
        study, evaluator=evaluator, params=settings, target=lambda trial: trial.values[objective]
    )


def varied_settings(study: Study) -> tuple[list[FrozenTrial], list[str]]:
    """Return the complete trials, and the settings that all of them have and that take several values."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    names = [name for name in (done[0].params if done else ()) if all(name in trial.params for trial in done)]
    return done, [name for name in names if len({str(trial.params[name]) for trial in done}) > 1]


def _slice_plot(done: Sequence[FrozenTrial], settings: Sequence[str], objective: int, name: str) -> Figure:
    """Draw an objective over each setting; later trials are darker."""
    columns = min(_COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    figure = _figure(1.2 + 2.6 * columns, 2.9 * rows)
    y = [trial.values[objective] for trial in done]
    for number, setting in enumerate(settings):
        axes = figure.add_subplot(rows, columns, number + 1)
        scale = _Scale(done, setting)
        axes.scatter(
            scale.numbers, y, c=np.arange(len(done)), cmap="Blues", vmin=-len(done), s=22, edgecolors=BLUE, lw=0.5
        )
        scale.set_ticks(axes)
        axes.set_xlabel(f"{setting} (log)" if scale.log else setting)
        if number % columns == 0:
            axes.set_ylabel(name)
    figure.suptitle(f"{name} of {len(done)} trials, on validation recordings; later ones are darker", fontsize=10)
    return figure


def _importance_plot(found: dict[str, float], name: str) -> Figure:
    figure = _figure(6.0, 1.2 + 0.35 * len(found))
    axes = figure.add_subplot()
    names = list(found)[::-1]
    axes.barh(names, [found[one] for one in names], color=BLUE)
    axes.set_xlabel(f"fraction of the variance of {name} that it explains")
    axes.set_xlim(0, 1)
    return figure


def _pareto_plot(study: Study, done: Sequence[FrozenTrial], names: Sequence[str]) -> Figure:
    """Draw the first objective over each of the others; the Pareto front of all of them in colour."""
    figure = _figure(0.8 + 4.2 * (len(names) - 1), 3.6)
    front = {trial.number for trial in study.best_trials}
    for other in range(1, len(names)):
        axes = figure.add_subplot(1, len(names) - 1, other)
        rest = [trial.values for trial in done if trial.number not in front]
        best = sorted(((t.values, t.number) for t in done if t.number in front), key=lambda one: one[0][other])
        if rest:
            axes.scatter([v[other] for v in rest], [v[0] for v in rest], color=GREY, s=18, label="trials")
        x, y = [v[other] for v, _ in best], [v[0] for v, _ in best]
        axes.plot(x, y, "-o" if len(names) == 2 else "o", color=VERMILION, ms=5, lw=1, label="Pareto front")
        for values, number in best:
            at = (values[other], values[0])
            axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", fontsize=7)
        found = [trial.values[other] for trial in done]
        if min(found) > 0 and max(found) > _LOG_AXIS_RATIO * min(found):
            log_axis(axes, found)
        axes.set_xlabel(f"{names[other]} ({study.directions[other].name.lower()})")
        axes.set_ylabel(f"{names[0]} ({study.directions[0].name.lower()})")
        axes.legend(fontsize=8)
    figure.suptitle("on validation recordings; numbers are trials", fontsize=10)
    return figure


class _Scale:
    """One setting's values as numbers: the values themselves, or the indices of the choices."""

    def __init__(self, done: Sequence[FrozenTrial], setting: str) -> None:
        values = [trial.params[setting] for trial in done]
        distribution: Any = done[0].distributions[setting]
        choices = getattr(distribution, "choices", None)
        self.log = bool(getattr(distribution, "log", False))
        self.choices_text = None if choices is None else [str(choice) for choice in choices]
        numbers = values if self.choices_text is None else [self.choices_text.index(str(value)) for value in values]
        self.numbers = np.array(numbers, float)

    def set_ticks(self, axes: Axes) -> None:
        if self.choices_text is not None:
            axes.set_xticks(range(len(self.choices_text)), self.choices_text)
        elif self.log:
            log_axis(axes, self.numbers.tolist())


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
