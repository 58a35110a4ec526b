"""The published suites of docs/results."""

from __future__ import annotations

import shutil
from pathlib import Path

from snnlab.experiments.suite_reading import unpack_runs

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def unpacked(name: str, to: Path) -> Path:
    """Return a copy of a published suite with its runs."""
    suite = shutil.copytree(RESULTS / name, to / name, ignore=shutil.ignore_patterns("runs"))
    unpack_runs(suite)
    return suite
