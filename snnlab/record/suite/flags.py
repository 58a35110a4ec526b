"""What makes a row of a table less than it seems."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from snnlab.errors import listing
from snnlab.record.suite.reading import Cell

UNTUNED = "untuned"
_LIMITS = {"limit_train_batches": "trained", "limit_val_batches": "validated"}


def flags(
    cells: Sequence[Cell],
    peers: Sequence[Cell],
    *,
    tuned: bool,
    match: Mapping[str, Any] | None,
    by: str | None,
    twice: Sequence[int],
) -> list[str]:
    """Return what is to be said of an arm's runs.

    Args:
        cells: Its runs, one a seed.
        peers: All runs of the dataset that were tested.
        tuned: Whether arms were to be tuned.
        match: {value, off, beyond} of what arms were to be equal in.
        by: What that is.
        twice: Seeds of which there are several runs.
    """
    tested = [cell for cell in cells if cell.tested]
    said = [*_missing(cells), *(f"seed {seed} was trained several times: the last one counts" for seed in twice)]
    if controls := list(dict.fromkeys(name for cell in tested if (name := cell.control) is not None)):
        said.append(f"control {listing(controls)}: no result")
    if any((cell.part("provenance").get("git") or {}).get("dirty") for cell in tested):
        said.append("dirty tree")
    if tested and any(cell.part("provenance").get("git") is None for cell in tested):
        said.append("no commit")
    said += _other_versions(tested, peers)
    if tested and (usual := _usual(peers)) is not None and any(hash_of_test(cell) != usual for cell in tested):
        said.append("other test recordings")
    said += _in_part(tested)
    if tuned and tested and not all(cell.tuned for cell in tested):
        said.append(UNTUNED)
    if match is not None and match.get("beyond"):
        said.append(f"off its budget: {match['off']:.2f} x the first arm's {(by or 'value').replace('_', ' ')}")
    return said


def hash_of_test(cell: Cell) -> str:
    """Return what tells the test recordings of one run from those of another: which data, and which of them."""
    provenance = cell.part("provenance")
    # Without the list, the hash of the whole split: it may differ where the test recordings do not, and never the
    # other way round.
    which = _listed(cell.folder / "split.json") or provenance.get("split_hash")
    return hashlib.sha256(f"{provenance.get('data_fingerprint')} {which}".encode()).hexdigest()


def versions(cell: Cell) -> tuple[tuple[str, str], ...]:
    """Return the versions of all packages, Python and the commit."""
    provenance = cell.part("provenance")
    git = provenance.get("git") or {}
    found = {"commit": git.get("commit"), "python": provenance.get("python"), **(provenance.get("packages") or {})}
    return tuple((name, str(version)) for name, version in found.items())


def _missing(cells: Sequence[Cell]) -> list[str]:
    said = []
    failed = [cell for cell in cells if cell.status == "failed"]
    if failed:
        said.append(f"{len(failed)} of {len(cells)} failed")
    missing: dict[str, list[str]] = {}
    for cell in cells:
        if not cell.tested and cell.status != "failed":
            missing.setdefault(_why(cell), []).append(str(cell.seed))
    return said + [f"seed{'s' if len(of) > 1 else ''} {listing(of)} {why}" for why, of in missing.items()]


def _why(cell: Cell) -> str:
    if cell.status == "completed":
        return "not tested"
    return cell.status + (f" ({cell.error})" if cell.error else "")


def _listed(path: Path) -> str | None:
    """Return a hash of the test recordings that a split lists, or None where there is no list."""
    try:
        return _hash_of_list(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _hash_of_list(path: Path, changed: int) -> str:
    """Read a file that has thousands of numbers once, for as long as nobody changes it."""
    page = json.loads(path.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(page["test"]).encode()).hexdigest()


def _other_versions(tested: Sequence[Cell], peers: Sequence[Cell]) -> list[str]:
    """Return what is of another version than in most runs of the dataset."""
    of_all, own = ([dict(versions(cell)) for cell in cells] for cells in (peers, tested))
    usual = {name: _most([found.get(name) for found in of_all]) for found in own for name in found}
    if other := [name for name, value in usual.items() if any(found.get(name) != value for found in own)]:
        return [f"mixed versions: {listing(other)}"]
    return []


def _usual(peers: Sequence[Cell]) -> str | None:
    return _most([hash_of_test(cell) for cell in peers])


def _most(values: Sequence[Any]) -> Any:
    counts: Counter[Hashable] = Counter(values)
    return counts.most_common(1)[0][0] if counts else None


def _in_part(tested: Sequence[Cell]) -> list[str]:
    """Return whether the trainer's limits made a training, a choice or a test of a part of the recordings."""
    said = _test_in_part(tested)
    for key, what in _LIMITS.items():
        values = [cell.config.get(f"trainer.{key}") for cell in tested]
        # 1 is one batch, and 1.0 all of them.
        if found := [value for value in values if value is not None and not (isinstance(value, float) and value == 1)]:
            said.append(f"{what} on a part: {key}={found[0]}")
    return said


def _test_in_part(tested: Sequence[Cell]) -> list[str]:
    for cell in tested:
        size, of = cell.metrics.get("test/recordings"), cell.part("selection").get("test_size")
        if size is not None and of and size < of:
            return [f"tested on {size:,.0f} of {of:,} recordings"]
    return []
