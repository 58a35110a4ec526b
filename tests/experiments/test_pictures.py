"""The axes of a search's plots."""

from __future__ import annotations

import numpy as np

from snnlab.experiments import search_plots
from snnlab.experiments.study import quiet_optuna
from snnlab.runs.plots.style import render


def test_a_logarithmic_axis_says_so_and_has_round_numbers() -> None:
    import optuna

    with quiet_optuna():
        study = optuna.create_study()
        for rate, size in zip(np.geomspace(0.00017, 0.08, 6), range(6), strict=True):
            values = {"optimizer.lr": float(rate), "size": size}
            kinds = {
                "optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 0.1, log=True),
                "size": optuna.distributions.IntDistribution(0, 8),
            }
            study.add_trial(optuna.trial.create_trial(params=values, distributions=kinds, values=[float(rate)]))
        figures = search_plots.figures(study, ["val/loss"])
    for figure in figures.values():
        render(figure)
    rate, size = figures["slice_val_loss"].axes
    low, high = rate.get_xlim()
    numbers = [tick.get_text() for tick in rate.get_xticklabels() if low <= tick.get_position()[0] <= high]
    assert rate.get_xlabel() == "optimizer.lr (log)"
    assert size.get_xlabel() == "size"
    assert {float(number) for number in numbers} <= {0.0001, 0.001, 0.01, 0.1}
    assert len(numbers) >= 2
