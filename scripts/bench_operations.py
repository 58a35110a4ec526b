"""Measures the share of counting operations in a test: python scripts/bench_operations.py RUN [OVERRIDE ...].

The network of a run is evaluated on its test recordings, as by `snnlab evaluate`. Seconds are summed around the
counting within one test, so that a changing speed of the machine does not change their share.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snnlab.config.recorded_run import compose_run
from snnlab.nn.operations import OperationCounter
from snnlab.session.evaluation import evaluate

TIMES = 3


def timed(work: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function that adds its seconds to `spent`."""

    def run(*arguments: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return work(*arguments, **kwargs)
        finally:
            spent[-1] += time.perf_counter() - start

    return run


def main(run: Path, overrides: list[str]) -> None:
    import lightning as L

    counting, testing = [0.0], [0.0]
    for name in ("__call__", "begin", "totals"):
        setattr(OperationCounter, name, timed(getattr(OperationCounter, name), counting))
    L.Trainer.test = timed(L.Trainer.test, testing)
    for _ in range(TIMES):
        counting.append(0.0)
        testing.append(0.0)
        with tempfile.TemporaryDirectory() as folder:
            evaluate(run, compose_run(run, overrides, None), "test", "best", Path(folder), overrides)
        rest = testing[-1] - counting[-1]
        print(f"counting: {counting[-1]:.2f} s of a test of {testing[-1]:.2f} s, {counting[-1] / rest:.1%} of the rest")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
