"""An arm's own search, on validation recordings, with the same budget as all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snnlab.errors import ConfigError
from snnlab.search.crew import Crew
from snnlab.search.plan import Plan as SearchPlan
from snnlab.search.plan import check_common
from snnlab.search.settings import checked
from snnlab.suite.clock import Clock
from snnlab.suite.plan import Plan
from snnlab.suite.settings import TUNE_SEED


def search_plan(plan: Plan, dataset: str, arm: str, merged: Callable[[Sequence[str]], list[str]]) -> SearchPlan:
    """Return the search of an arm on a dataset.

    Raises:
        ConfigError: if its settings are wrong.
    """
    suite = plan.suite
    node: Mapping[str, Any] = suite.tuning(arm) or {}
    where = {"engine": suite.engine, "workers": suite.workers, "submitit": suite.submitit}
    sweep, space = checked({"finalists": 0, **node, **where, "test_seeds": 0})
    common = plan.tuning_overrides(dataset, arm, merged)
    check_common(common, space)
    folder = plan.folder / "tune" / dataset / arm
    return SearchPlan(folder, f"{arm}_{dataset}", sweep, space, common, plan.config_dir, TUNE_SEED, plan.place)


def tune(
    plan: Plan,
    dataset: str,
    arm: str,
    crew: Crew,
    merged: Callable[[Sequence[str]], list[str]],
    clock: Clock,
) -> dict[str, Any] | None:
    """Search for an arm's values, or go on with that; a search that is complete is read.

    Returns:
        {trials, val_size, values}; None if it was stopped.

    Raises:
        ConfigError: if the search has no winner.
    """
    from snnlab.search import report
    from snnlab.search.driver import Driver
    from snnlab.search.locks import Driver as Lock
    from snnlab.search.study import OUTCOME, SharedStudy, require_optuna
    from snnlab.search.winner import find_winner

    require_optuna()
    search = search_plan(plan, dataset, arm, merged)
    search.write()
    me = Lock(search.folder)
    try:
        study = SharedStudy(
            search.folder, search.sweep, search.space, me, {"overrides": list(search.common), "seed": search.seed}
        )
        earlier = study.count().finished
        driver = Driver(search, study, crew, time.perf_counter())
        driver.run()
        if crew.ending:
            return None
        driver.require_enough()
        winner = find_winner(search, study, crew)
        if winner is None:
            if crew.ending:
                return None
            raise ConfigError(f"tune: no trial of {arm} on {dataset} was completed")
        report.write_trials(search, study)
        report.write_summary(search, study, winner, {})
        outcomes = [trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs]
    finally:
        me.leave()
    clock.tuned(sum(one["wall_s"] for one in outcomes[earlier:]))
    best = winner.finalists[0].values
    return {"trials": study.count().finished, "val_size": max(one["val_size"] for one in outcomes), "values": best}
