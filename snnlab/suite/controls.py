"""What controls show: that labels matter, that test labels choose nothing, and what timing is worth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.suite.book import Book, result_of
from snnlab.suite.plan import Cell

Verdict = tuple[bool | None, str]
# So often a network that learned nothing is below the bound.
_OFTEN = 0.99


def judged(book: Book, trained: Collection[Cell]) -> list[dict[str, Any]]:
    """Return what each control of a suite came to: {name, dataset, arm, passed, said}; passed is None for numbers.

    Args:
        book: The states of all trainings, and what earlier commands have judged.
        trained: What this command has trained; other verdicts stand.
    """
    stands = {(one["name"], one["dataset"], one["arm"]): one for one in book.controls if one["passed"] is not None}
    found = [one for one in book.controls if one["name"] == "duplicates"]
    for cell in (cell for cell in book.states if cell.control is not None):
        verdict = stands.get((cell.control, cell.dataset, cell.arm))
        if verdict is None or cell in trained or cell.twin in trained:
            verdict = {"name": cell.control, "dataset": cell.dataset, "arm": cell.arm, **_judged(book, cell)}
        found.append(verdict)
    return found


def _judged(book: Book, cell: Cell) -> dict[str, Any]:
    passed, said = None, f"not trained: {book.states[cell].error or 'not yet'}"
    mine, twin = (_result(book, one) for one in (cell, cell.twin))
    if mine is not None and twin is None:
        said = "its twin without the control is not trained"
    elif mine is not None and twin is not None:
        passed, said = _WAYS[cell.control or ""](mine, twin, book.folder / cell.folder, book.folder / cell.twin.folder)
    return {"passed": passed, "said": said}


def _result(book: Book, cell: Cell) -> dict[str, Any] | None:
    state = book.states.get(cell)
    return result_of(book.folder / cell.folder) if state is not None and state.status == "completed" else None


def _shuffled_labels(mine: Mapping[str, Any], twin: Mapping[str, Any], folder: Path, other: Path) -> Verdict:
    """Return whether a network that was trained on shuffled labels is at chance on the test recordings."""
    from scipy.stats import binom

    accuracy, targets = mine["metrics"]["test/accuracy"], _targets(folder)
    number = len(targets)
    chance = np.bincount(targets).max() / number
    bound = float(binom.ppf(_OFTEN, number, chance)) / number
    words = (
        f"{accuracy:.1%} with labels shuffled; chance is at most {chance:.1%}, and below {bound:.1%} 99 times of 100"
    )
    return round(accuracy * number) <= round(bound * number), words


def _permuted_test_labels(mine: Mapping[str, Any], twin: Mapping[str, Any], folder: Path, other: Path) -> Verdict:
    """Return whether epoch, weights and validation are the same with test labels permuted."""
    differs = []
    if mine["selection"]["epoch"] != twin["selection"]["epoch"]:
        differs.append("the chosen epoch")
    figures = [{k: v for k, v in one["metrics"].items() if "val/" in k} for one in (mine, twin)]
    if figures[0] != figures[1]:
        differs.append("validation figures")
    if _weights(folder) != _weights(other):
        differs.append("the chosen weights")
    accuracy = f"test accuracy {mine['metrics']['test/accuracy']:.1%} against {twin['metrics']['test/accuracy']:.1%}"
    if differs:
        return False, f"with test labels permuted, {' and '.join(differs)} differ; {accuracy}"
    epoch = mine["selection"]["epoch"]
    which = "none" if epoch is None else str(epoch + 1)
    return True, f"with test labels permuted, epoch {which}, its weights and validation are the same; {accuracy}"


def _less(mine: Mapping[str, Any], twin: Mapping[str, Any], folder: Path, other: Path) -> Verdict:
    accuracy, whole = (one["metrics"]["test/accuracy"] for one in (mine, twin))
    return (
        None,
        f"{accuracy:.1%} without what is taken away, {whole:.1%} with it: {100 * (whole - accuracy):+.1f} points",
    )


_WAYS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], Path, Path], Verdict]] = {
    "shuffled_labels": _shuffled_labels,
    "permuted_test_labels": _permuted_test_labels,
    "shuffled_time": _less,
    "counts_only": _less,
}


def _targets(folder: Path) -> np.ndarray:
    with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
        return arrays["test_target"]


def _weights(folder: Path) -> str:
    """Return a checksum of the chosen weights."""
    from snnlab.training.checkpoints import read_checkpoint

    digest = hashlib.sha256()
    for name, tensor in sorted(read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"].items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
