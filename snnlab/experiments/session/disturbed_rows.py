"""Measures the networks of a suite under disturbances, writes the answers into its records, and checks them.

Axes: S seeds, L levels, R repetitions, N recordings.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from snnlab.config.compose import compose_experiment
from snnlab.config.merging import merge_overrides
from snnlab.config.recorded_run import compose_run
from snnlab.experiments.row_record import RowRecord
from snnlab.experiments.session.trial import silence_console
from snnlab.experiments.suite_plan import RunSpec, SuitePlan
from snnlab.experiments.suite_reading import GIVEN, MEASURED, SuiteRun, recorded_curves
from snnlab.experiments.suite_settings import PLACE, Robustness
from snnlab.experiments.suite_state import SuiteState
from snnlab.files import read_text, write_npz
from snnlab.runs.provenance import ComparedItem
from snnlab.runs.robustness import ANSWERS, RECORD, RobustnessCurve
from snnlab.session.disturbed import RobustnessRequest, measure_robustness, measured_curves
from snnlab.session.session import Session

_log = logging.getLogger(__name__)

# The part of the answers that may differ on another processor, where sums are rounded differently.
_TOLERANCE = 0.01


def robustness_request(settings: Robustness) -> RobustnessRequest:
    """Return a suite's disturbances as `snnlab robust` takes them."""
    request = RobustnessRequest(settings.levels, settings.repetitions, settings.recordings, settings.seed, named=False)
    request.check(f"{PLACE}.robustness.levels")
    return request


def measure_rows(plan: SuitePlan, specs: Sequence[RunSpec], state: SuiteState) -> int:
    """Measure the networks of completed runs that were not measured with these settings, and return their number."""
    assert plan.suite.robustness is not None
    request = robustness_request(plan.suite.robustness)
    done = [spec for spec in specs if spec.control is None and state.states[spec].status == "completed"]
    todo = [spec for spec in done if not _is_measured(plan.folder / spec.folder / MEASURED, request)]
    for number, spec in enumerate(todo, 1):
        folder = plan.folder / spec.folder
        with silence_console():
            if plan.suite.methods[spec.method].role == GIVEN:  # such a run has no checkpoint: nothing was trained
                run = None
                task = plan.task(spec, {}, 1, partial(merge_overrides, config_dir=plan.config_dir))
                experiment = compose_experiment(task.overrides, plan.config_dir)[0]
            else:
                run, experiment = folder, compose_run(folder, (), plan.config_dir, "data")
            measured = measure_robustness(run, experiment, "test", "best", folder / MEASURED, request)
        areas = ", ".join(f"{curve.name} {100 * curve.area:.1f}" for curve in measured.curves)
        _log.info("%s  under disturbances (%%): %s  | %d of %d", spec, areas, number, len(todo))
    return len(todo)


def _is_measured(folder: Path, request: RobustnessRequest) -> bool:
    with suppress(OSError, ValueError):
        return json.loads(read_text(folder / RECORD)).get("request") == json.loads(json.dumps(request._asdict()))
    return False


def write_disturbed_answers(folder: Path, runs: Sequence[SuiteRun]) -> None:
    """Write the right answers under disturbances into the record of a row.

    Seeds of an earlier record are kept, if they were measured at the same levels.
    """
    found: dict[int, Sequence[RobustnessCurve]] = {one.seed: one.curves for one in runs if one.curves}
    if not found:
        return
    first = next(iter(found.values()))
    levels = [(curve.name, curve.levels, curve.right.shape) for curve in first]
    for seed in RowRecord.read(folder).seeds:
        earlier = recorded_curves(folder / ANSWERS, seed)
        if [(curve.name, curve.levels, curve.right.shape) for curve in earlier] == levels:
            found.setdefault(seed, earlier)
    seeds = sorted(found)
    arrays = {
        f"{curve.name}/{what}": np.stack([found[seed][place].arrays()[what] for seed in seeds])
        for place, curve in enumerate(first)
        for what in curve.arrays()
    }
    write_npz(folder / ANSWERS, {"seed": np.array(seeds), "cluster": first[0].clusters, **arrays})


def check_disturbed_answers(
    spec: RunSpec, settings: Robustness, folder: Path, session: Session
) -> Iterator[ComparedItem]:
    """Measure the strongest level of each disturbance once again, and compare the answers with those of the record.

    Args:
        folder: The row's folder.
        session: That of the recorded network.
    """
    recorded = {curve.name: curve for curve in recorded_curves(folder / ANSWERS, spec.seed)}
    what = f"{spec}: under disturbances"
    if not recorded:
        yield ComparedItem(what, False, f"no answers in {ANSWERS}")
        return
    whole = robustness_request(settings)
    strongest = {name: [curve.levels[-1]] for name, curve in recorded.items()}
    with silence_console():
        curves = measured_curves(session, "test", whole._replace(levels=strongest, repetitions=1))[1]
    differs = []
    for curve in curves:
        then, now, planned = recorded[curve.name].right[-1, 0], curve.right[0, 0], (whole.levels or {}).get(curve.name)
        if planned is not None and tuple(map(float, planned)) != recorded[curve.name].levels:
            differs.append(f"{curve.name} has other levels")
        elif then.shape != now.shape:
            differs.append(f"{curve.name} has other recordings")
        elif (part := float(np.abs(then.astype(float) - now).mean())) > _TOLERANCE:
            differs.append(f"{curve.name} in {part:.1%} of the recordings")
    text = f"differs: {', '.join(differs)}" if differs else f"{len(curves)} disturbances, the strongest level of each"
    yield ComparedItem(what, not differs, text)
