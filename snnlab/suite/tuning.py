"""An arm's own search, on validation recordings, with the same budget as all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snnlab.errors import ConfigError
from snnlab.search.executor import Executor
from snnlab.search.plan import Plan as SearchPlan
from snnlab.search.plan import check_common
from snnlab.search.settings import checked
from snnlab.search.task import AROUND
from snnlab.settings import key_of
from snnlab.suite.clock import Clock
from snnlab.suite.plan import Plan
from snnlab.suite.settings import PLACE, TUNE_SEED

if TYPE_CHECKING:
    from snnlab.search.study import SharedStudy


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
    try:
        check_common(common, space)
    except ConfigError as error:
        raise error.moved(place=f"{PLACE}.tune of {arm} on {dataset}: {error.place}") from error
    folder = plan.folder / "tune" / dataset / arm
    return SearchPlan(folder, f"{arm}_{dataset}", sweep, space, common, plan.config_dir, TUNE_SEED, plan.place)


def tune(
    plan: Plan,
    dataset: str,
    arm: str,
    executor: Executor,
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
    from snnlab.search.study import SharedStudy, require_optuna
    from snnlab.search.winner import find_winner

    require_optuna()
    search = search_plan(plan, dataset, arm, merged)
    search.write()
    me = Lock(search.folder)
    try:
        own = [text for text in search.common if key_of(text) not in (*AROUND, "threads")]
        identity = {"overrides": own, "seed": search.seed}
        study = SharedStudy(search.folder, search.sweep, search.space, me, identity)
        before = _outcomes(study)
        driver = Driver(search, study, executor, time.perf_counter())
        driver.run()
        clock.tuned(sum(one["wall_s"] for number, one in _outcomes(study).items() if number not in before))
        if executor.ending:
            return None
        driver.require_enough()
        winner = find_winner(search, study, executor)
        if winner is None:
            if executor.ending:
                return None
            raise ConfigError("tune", f"no trial of {arm} on {dataset} was completed")
        report.write_trials(search, study)
        report.write_summary(search, study, winner, {})
    finally:
        me.leave()
    best, sizes = winner.finalists[0].values, [one["val_size"] for one in _outcomes(study).values()]
    return {"trials": study.count().finished, "val_size": max(sizes), "values": best}


def _outcomes(study: SharedStudy) -> dict[int, Any]:
    """Return what has come of the trials that have ended, by their numbers."""
    from snnlab.search.study import OUTCOME

    return {trial.number: trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs}
