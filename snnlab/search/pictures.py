"""Pictures of a search: which setting mattered, where good trials lie, the front between two objectives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.record.pictures.style import default_style

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

DPI = 120


def draw(study: Study, names: list[str], folder: Path) -> list[Path]:
    """Draw what the trials are enough for, and return the files.

    Args:
        study: The study.
        names: Of its objectives.
        folder: Where the pictures go.
    """
    import matplotlib.pyplot as plt
    from optuna.exceptions import ExperimentalWarning

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    shared = _varied(done)
    if len(done) < 2 or not shared:
        return []
    backend = plt.get_backend()
    plt.switch_backend("agg")
    try:
        with default_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            folder.mkdir(exist_ok=True)
            return _drawn(study, names, shared, done, folder)
    finally:
        plt.close("all")
        plt.switch_backend(backend)


def importances(study: Study, place: int) -> dict[str, float]:
    """Return which part of an objective's variance each setting explains; empty where the trials do not say.

    Args:
        study: The study.
        place: Of the objective.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    shared = _varied(done)
    if len(done) < 4 or not shared or len({trial.values[place] for trial in done}) < 2:
        return {}
    return get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=0), params=shared, target=lambda trial: trial.values[place]
    )


def _drawn(study: Study, names: list[str], shared: list[str], done: list[FrozenTrial], folder: Path) -> list[Path]:
    from optuna.visualization import matplotlib as pictures

    files = []
    for place, name in enumerate(names):
        target = _target(place)
        stem = name.replace("/", "_")
        drawings = {
            "slice": lambda t=target, n=name: pictures.plot_slice(study, shared, target=t, target_name=n),
            "parallel": lambda t=target, n=name: pictures.plot_parallel_coordinate(
                study, shared, target=t, target_name=n
            ),
        }
        if len(shared) < 2:
            del drawings["parallel"]
        for kind, drawing in drawings.items():
            files.append(_saved(drawing(), folder / f"{kind}_{stem}.png", _TITLES[kind].format(name)))
        if found := importances(study, place):
            files.append(_bars(found, name, folder / f"importance_{stem}.png"))
    if len(names) in (2, 3):
        axes = pictures.plot_pareto_front(study, target_names=names)
        files.append(_saved(axes, folder / "pareto.png", "Pareto front, on validation recordings"))
    return files


_TITLES = {"slice": "{}, trial by trial", "parallel": "{}: the lines are trials"}


def _target(place: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: trial.values[place]


def _saved(axes: Any, path: Path, title: str) -> Path:
    first = np.ravel(np.asarray(axes, dtype=object))[0]
    figure = first.figure
    for one in np.ravel(np.asarray(axes, dtype=object)):
        one.set_title("")
    width = max(6.4, 3.2 * np.size(np.asarray(axes, dtype=object)))
    figure.set_size_inches(width, 4.2)
    figure.suptitle(title)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    return path


def _bars(found: dict[str, float], name: str, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.2 + 0.4 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = list(found)[::-1]
    axes.barh(names, [found[one] for one in names], color="#0072B2")
    axes.set_xlabel(f"part of the variance of {name}")
    axes.set_xlim(0, 1)
    figure.savefig(path, dpi=DPI)
    return path


def _varied(done: list[FrozenTrial]) -> list[str]:
    """Return the settings that all complete trials have, with more than one value."""
    common = set.intersection(*(set(trial.params) for trial in done)) if done else set()
    names = [name for name in (done[0].params if done else ()) if name in common]
    return [name for name in names if len({str(trial.params[name]) for trial in done}) > 1]
