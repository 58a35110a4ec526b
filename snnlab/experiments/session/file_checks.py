"""`snnlab validate` on the files of searches and suites."""

from __future__ import annotations

from pathlib import Path

from snnlab.errors import SnnlabError
from snnlab.experiments import suite_settings, sweep_settings
from snnlab.experiments.session.experiment_files import read_suite, read_sweep
from snnlab.experiments.session.trial import check_method
from snnlab.experiments.space import overrides
from snnlab.experiments.suite_plan import SuitePlan
from snnlab.session.session import compose_and_check


def check_sweep(name: str, typed: list[str], folder: Path | None) -> None:
    """Refuse a sweep's file that is wrong, or proposes wrong values.

    Args:
        typed: Overrides of every trial.
        folder: A folder of the user's files.
    """
    _, space = sweep_settings.parse_settings(read_sweep(name, folder))
    for values in space.probes():
        compose_and_check([*typed, *overrides(values)], folder)


def check_suite(name: str, typed: list[str], folder: Path | None) -> None:
    """Refuse a suite's file that is wrong, or has a wrong method on a dataset.

    Args:
        typed: Overrides of every training.
        folder: A folder of the user's files.
    """
    user_dir = None if folder is None else str(folder)
    plan = SuitePlan(Path(name), name, suite_settings.parse_settings(read_suite(name, folder)), typed, user_dir, "", "")
    for dataset, method in dict.fromkeys((spec.dataset, spec.method) for spec in plan.run_specs()):
        try:
            check_method(plan, dataset, method)
        except SnnlabError as error:
            raise error.with_fields(place=f"{method} on {dataset}: {error.place}") from error
