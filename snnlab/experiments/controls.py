"""The verdicts of controls: labels matter, test labels select nothing, and what spike timing contributes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from scipy.special import bdtr

from snnlab.errors import RunFolderError, join_names
from snnlab.experiments.suite_plan import RunSpec
from snnlab.experiments.suite_state import SuiteState
from snnlab.experiments.verdicts import read_test
from snnlab.runs.recorded import RecordedRun, read_run_if_usable
from snnlab.runs.statistics import compare_methods, independent_recordings
from snnlab.seeds import Stream, generator

ControlVerdict = tuple[bool | None, str]
# Probability that a network without learning is beyond a bound; probability above which a deviation counts as luck.
_TAIL, _LUCK = 0.005, 0.05
_RENAMED = 10_000


def judge_controls(suite_state: SuiteState, trained: Collection[RunSpec]) -> list[dict[str, Any]]:
    """Return the verdict of each control of a suite: {name, dataset, method, passed, said}.

    `passed` is None if a control only gives numbers, or there is no verdict.

    Args:
        suite_state: The suite's state, with the verdicts of earlier commands.
        trained: Runs of this command; the verdicts of other runs are kept.
    """
    kept = {
        (one["name"], one["dataset"], one["method"]): one for one in suite_state.controls if one["passed"] is not None
    }
    found = [one for one in suite_state.controls if one["name"] == "duplicates"]
    for spec in (spec for spec in suite_state.states if spec.control is not None):
        verdict = kept.get((spec.control, spec.dataset, spec.method))
        if verdict is None or spec in trained or spec.reference in trained:
            verdict = {
                "name": spec.control,
                "dataset": spec.dataset,
                "method": spec.method,
                **_judge(suite_state, spec),
            }
        found.append(verdict)
    return found


def _judge(suite_state: SuiteState, spec: RunSpec) -> dict[str, Any]:
    passed, text = None, f"not trained: {suite_state.states[spec].error or 'not yet'}"
    result, reference = (_read_completed(suite_state, one) for one in (spec, spec.reference))
    if result is not None and reference is None:
        text = "its reference run without the control is not trained"
    elif (
        result is not None
        and reference is not None
        and not all("test/accuracy" in one.metrics for one in (result, reference))
    ):
        text = "not tested: there are no test recordings"
    elif result is not None and reference is not None:
        try:
            passed, text = _JUDGES[spec.control or ""](result, reference)
        except RunFolderError as error:  # a file of one of the runs was removed or damaged
            text = f"not judged: {error}"
    return {"passed": passed, "said": text}


def _read_completed(suite_state: SuiteState, spec: RunSpec) -> RecordedRun | None:
    state = suite_state.states.get(spec)
    completed = state is not None and state.status == "completed"
    return read_run_if_usable(suite_state.folder / spec.folder) if completed else None


def _judge_shuffled_labels(run: RecordedRun, reference: RecordedRun) -> ControlVerdict:
    """Return whether a network that was trained on shuffled labels is at chance on the test recordings.

    Accuracy far below chance is as suspicious as far above. A network that separates classes, and assigns their names
    by the few labels that are more frequent, is sometimes outside of the bounds by luck: that is no verdict.
    """
    test, targets = read_test(run), run.predictions()["test_target"]
    if targets.ndim != 1:
        raise RunFolderError(run.folder, "its recordings have no class", "only classification can be judged")
    accuracy, frequencies = float(test.right.mean()), np.bincount(targets)[np.unique(targets)] / len(targets)
    # Dependent rows (windows of a recording, recordings of a person) count less than independent ones.
    number = max(1, int(independent_recordings(test.right, test.clusters)))
    low, high = frequencies.min(), frequencies.max()
    counts = np.arange(number + 1)
    bounds = [
        int(np.searchsorted(bdtr(counts, number, p), tail)) / number for tail, p in ((_TAIL, low), (1 - _TAIL, high))
    ]
    chance = f"{high:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
    text = (
        f"{accuracy:.1%} with labels shuffled; chance is {chance}, and within {bounds[0]:.1%} to {bounds[1]:.1%}"
        " 99 times of 100"
    )
    if bounds[0] <= accuracy <= bounds[1]:
        return True, text
    luck = renaming_p_value(targets, run.predictions()["test_readout"])
    text += f"; with its classes renamed at random it would be as far from chance in {luck:.0%} of cases"
    return (None, f"cannot be decided from one run: {text}") if luck > _LUCK else (False, text)


def renaming_p_value(targets: np.ndarray, readout: np.ndarray) -> float:
    """Return the probability of at least this accuracy if the classes were renamed at random.

    If the accuracy is below the mean over renamings: of at most this accuracy.

    Args:
        targets: The classes.
        readout: The network's outputs; the largest one is its prediction.

    Shape:
        targets: `[N]`; readout: `[N, K]`.
    """
    classes = readout.shape[1]
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (targets, readout.argmax(1)), 1)
    renamings = generator(0, Stream.TEST).permuted(np.tile(np.arange(classes), (_RENAMED, 1)), axis=1)
    right, own = table[np.arange(classes), renamings].sum(1), np.trace(table)
    return float((right >= own if own >= right.mean() else right <= own).mean())


def _permuted_test_labels(run: RecordedRun, reference: RecordedRun) -> ControlVerdict:
    """Return whether epoch, weights and validation stay the same with permuted test labels."""
    from snnlab.runs.provenance import weights_hash

    differs = []
    epoch = run.selection["epoch"]
    if epoch != reference.selection["epoch"]:
        differs.append("the chosen epoch")
    validation = [{k: v for k, v in one.metrics.items() if "val/" in k} for one in (run, reference)]
    if validation[0] != validation[1]:
        differs.append("validation metrics")
    if weights_hash(run.checkpoint("best")) != weights_hash(reference.checkpoint("best")):
        differs.append("the chosen weights")
    accuracy = f"test accuracy {run.metrics['test/accuracy']:.1%} against {reference.metrics['test/accuracy']:.1%}"
    if differs:
        return False, f"with test labels permuted, {join_names(differs)} differ; {accuracy}"
    which = "none" if epoch is None else str(epoch + 1)
    return True, f"with test labels permuted, epoch {which}, its weights and validation are the same; {accuracy}"


def _compare_with_ablation(run: RecordedRun, reference: RecordedRun) -> ControlVerdict:
    """Return the difference of a network without some information in its input and one with all; never a verdict."""
    without, whole = (read_test(one) for one in (run, reference))
    if not np.array_equal(without.recordings, whole.recordings):
        raise RunFolderError("", "the two were tested on different recordings")
    found = compare_methods(whole.right[None], without.right[None], whole.clusters)
    text = f"{without.right.mean():.1%} without the removed information, {whole.right.mean():.1%} with it"
    between = (
        found.no_verdict_reason
        or f"95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f} for these two networks"
    )
    return None, f"{text}: {100 * found.effect:+.1f} points, {between}"


_JUDGES: Mapping[str, Callable[[RecordedRun, RecordedRun], ControlVerdict]] = {
    "shuffled_labels": _judge_shuffled_labels,
    "permuted_test_labels": _permuted_test_labels,
    "shuffled_time": _compare_with_ablation,
    "counts_only": _compare_with_ablation,
}
