"""Evaluates the runs of suites from their weights, and compares answers, metrics and table with what they record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from math import isclose
from pathlib import Path

import numpy as np

from snnlab.config.recorded_run import compose_run
from snnlab.console import quiet_lightning
from snnlab.errors import RunFolderError, SnnlabError, one_line
from snnlab.experiments.session.trial import silence_console
from snnlab.experiments.suite_plan import FILE_SETTINGS
from snnlab.experiments.suite_reading import SUITE_PAGE, SuiteRun, read
from snnlab.experiments.suite_statistics import accuracy_over_time
from snnlab.experiments.suite_table import TABLE, table_text
from snnlab.files import read_text
from snnlab.nn.summary import learned_metrics
from snnlab.runs.recorded import RecordedRun
from snnlab.runs.run_folder import METRICS, WEIGHTS
from snnlab.session import Session
from snnlab.session.fit import evaluate_stage, size_metrics
from snnlab.spec.override_texts import key_of
from snnlab.target_kinds import IGNORED, kind_of

# Another processor rounds sums otherwise, and a neuron near its threshold may spike or not. These differences pass: of
# fractions such as answers and accuracies, relative ones of errors, points of accuracies over time, relative of rates.
_FRACTION, _ERROR, _OVER_TIME, _RATE = 0.005, 0.1, 0.05, 0.05
# Losses as near as this differ by rounding alone: the tolerances are smaller by this factor. Equal losses have none.
_NEAR_LOSS, _NEAR_FACTOR, _LAST_DIGITS = 1e-5, 0.1, 1e-6
_FRACTIONS, _ERRORS = ("accuracy", "silent", "activation_sparsity"), ("loss", "mae", "rmse", "r2")
_EXACT = ("recordings", "windows", "labelled_steps", "synops_dense", "synops_dense_per_step", "membrane_updates")


def check_suites(folder: Path, rows: Sequence[str], overrides: Sequence[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield the name of each run and table of one suite or of several, what differs, and what was compared.

    Args:
        rows: METHOD or DATASET/METHOD; none: all.
    """
    suites = [path for path in (folder, *sorted(folder.glob("*/"))) if (path / SUITE_PAGE).is_file()]
    if not suites:
        raise RunFolderError(folder, f"has no suite, there is no {SUITE_PAGE} in it or in its folders")
    named = [(suite, run, f"{run.dataset}/{run.method}") for suite in suites for run in read(suite).runs]
    chosen = [(suite, run, row) for suite, run, row in named if not rows or row in rows or run.method in rows]
    if missing := {*rows} - {name for _, run, row in chosen for name in (run.method, row)}:
        raise RunFolderError(folder, f"has no row {min(missing)}")
    for suite, run, row in chosen:
        differs: list[str] = []
        text = _compare_run(run, overrides, differs)
        yield f"{suite.name}/{row}/{run.seed}", differs, text
    for suite in dict.fromkeys(suite for suite, _, _ in chosen):
        lines = zip_longest(read_text(suite / TABLE).splitlines(), table_text(suite).splitlines(), fillvalue="")
        pairs = [(number, *pair) for number, pair in enumerate(lines, 1) if pair[0] != pair[1]]
        differs = [f"line {number}: {then!r} there, {now!r} of the runs" for number, then, now in pairs]
        yield f"{suite.name}/{TABLE}", differs, "the table of these runs"


def _compare_run(of_suite: SuiteRun, overrides: Sequence[str], differs: list[str]) -> str:
    """Add what differs of a run, and return what was compared."""
    run = of_suite.recorded
    if run is None or not of_suite.tested:
        differs.append(f"is {of_suite.status}: {of_suite.error or 'it was not tested'}")
        return ""
    stored = run.predictions()
    differs += _different_metrics(run, _implied_metrics(run, stored), 0.0)
    trained = (run.folder / WEIGHTS).is_file() or run.checkpoint("best").is_file()
    if not trained and run.selection.get("epochs") != 0:
        return "it has no weights; its answers and metrics agree"
    reads_files = "root" in run.config["data"]
    texts = [text for text in overrides if reads_files or key_of(text) not in FILE_SETTINGS]
    try:
        with quiet_lightning(), silence_console():
            session = Session(compose_run(run.folder, texts, use="data"), run=run.folder if trained else None)
            session.use_threads()
            session.build("loss", "network", "data", "module")
            session.set_computation()
            metrics, arrays = evaluate_stage(session, "test")
    except RunFolderError as error:
        differs.append(one_line(error))
        return ""
    except SnnlabError as error:
        return f"NOT EVALUATED: {one_line(error)}; its answers and metrics agree"
    now = {"split_hash": session.data.split.hash}
    now |= {"data_fingerprint": session.data.store.fingerprint} if reads_files else {}  # simulations round
    differs += [f"{name}: other recordings" for name, value in now.items() if value != run.provenance.get(name)]
    loss, recorded_loss = metrics["test/loss"], run.metrics.get("test/loss", np.nan)
    slack = 0.0 if loss == recorded_loss else _NEAR_FACTOR if isclose(loss, recorded_loss, rel_tol=_NEAR_LOSS) else 1.0
    values = {**metrics, **size_metrics(session.built), **learned_metrics(session.network)}
    differs += [*_different_metrics(run, values, slack), *_different_answers(stored, arrays, slack)]
    return f"{len(arrays['test_target']):,} answers, {'rounded otherwise' if slack else 'equal in every bit'}"


def _implied_metrics(run: RecordedRun, stored: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the metrics that the recorded answers and `metrics.csv` imply."""
    rows = run.epoch_rows() if run.has(METRICS) else []
    chosen = [("", rows[run.selection["epoch"]]), ("last/", rows[-1])] if rows else []
    values = [(f"{when}{name}", text) for when, row in chosen for name, text in row.items() if name.startswith("val/")]
    implied = {name: float(text) for name, text in values if text}
    target, answer = stored["test_target"], _answers(stored)
    if target.dtype.kind in "iu":
        return {**implied, "test/accuracy": (answer == target)[target != IGNORED].mean()}
    if target.ndim == 2:
        return {**implied, "test/mae": np.abs(answer - target).mean()}
    return {**implied, "test/rmse": np.sqrt(answer.mean(dtype=np.float64))}


def _answers(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return classes, values, or each recording's mean squared error of values over time."""
    if "test_answer" in arrays:
        return arrays["test_answer"]
    target, readout, kind = arrays["test_target"], arrays["test_readout"], kind_of(arrays["test_target"])
    if kind == "series":
        return np.square(readout - target, dtype=np.float64).mean((1, 2))
    return readout if kind == "value" else readout.argmax(-1)


def _different_answers(stored: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], slack: float) -> list[str]:
    then, now, of_classes = _answers(stored), _answers(arrays), arrays["test_target"].dtype.kind in "iu"
    labels = ("test_recording", "test_target") if of_classes else ("test_recording",)
    if then.shape != now.shape or not all(np.array_equal(stored[name], arrays[name]) for name in labels):
        return ["other recordings or labels"]
    before, after = stored.get("accuracy_over_time"), accuracy_over_time(arrays)
    if before is not None and after is not None and np.abs(before - after).max() > _OVER_TIME * (slack or _NEAR_FACTOR):
        return [f"accuracy over time: {100 * np.abs(before - after).max():.3g} points"]
    if of_classes:
        wrong = (then != now).mean() > (max(_FRACTION * slack, 1 / len(then)) if slack else 0)
        return [f"answers: {(then != now).sum():,} of {then.size:,} are others"] if wrong else []
    apart, size = np.abs(then - now).mean(), np.abs(then).mean()
    return [f"answers: {apart:.4g} apart, of {size:.4g}"] if apart > (_ERROR * slack or _LAST_DIGITS) * size else []


def _different_metrics(run: RecordedRun, now: Mapping[str, float], slack: float) -> list[str]:
    """Return the recorded metrics that are others now; one that is not recorded is newer than the run."""
    pairs = [(name, run.metrics[name], now[name]) for name in now if name in run.metrics]
    return [f"{name}: {old} recorded, {new} now" for name, old, new in pairs if not _close(name, old, new, slack)]


def _close(name: str, then: float, now: float, slack: float) -> bool:
    kind = next((part for part in name.split("/") if part in (*_FRACTIONS, *_ERRORS, *_EXACT)), "")
    if not slack or kind in _EXACT:
        return isclose(then, now, rel_tol=_LAST_DIGITS, abs_tol=1e-12)
    if kind in _FRACTIONS:
        return abs(then - now) <= _FRACTION * slack * (2 if kind == "silent" else 1)
    both = (1 - then, 1 - now) if kind == "r2" else (then, now)  # 1 - R2 is a squared error
    return isclose(*both, rel_tol=(_ERROR if kind in _ERRORS else _RATE) * slack, abs_tol=1e-9)
