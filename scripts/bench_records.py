"""Measures the time of records: checkpoints, a resumed start, opening a run, PyTorch's deterministic algorithms.

    python scripts/bench_records.py                       the default experiment, three epochs
    python scripts/bench_records.py experiment=nmnist data.root=FOLDER

Overrides are those of `snnlab train`. A run repeats exactly on a CPU without these algorithms too. Everything
runs in one process, after a warm-up run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from snnlab import load, train
from snnlab.session.training import resume
from snnlab.training.snapshots import BestCheckpoint, Snapshots

# Trained in turns, _ROUNDS times each.
_DETERMINISTIC = ("+trainer.deterministic=false", "+trainer.deterministic=true")
_ROUNDS = 3


def main(arguments: list[str] | None = None) -> None:
    """Run the four measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for snnlab train")
    overrides = [*parser.parse_args(arguments).overrides, "trainer.enable_progress_bar=false"]
    if not any(text.startswith("trainer.max_epochs") for text in overrides):
        overrides.append("trainer.max_epochs=3")
    with tempfile.TemporaryDirectory() as folder:
        overrides.append(f"output_dir={folder}")
        train(*overrides, "+trainer.limit_train_batches=2")
        with timed(Snapshots, "save") as saving, timed(BestCheckpoint, "on_train_epoch_end") as choosing:
            fresh = train(*overrides)
        cost, fit = sum(saving) + sum(choosing), float(fresh.timing["fit_s"])
        print(f"checkpoints: {len(saving)}, and the best epochs: {1000 * cost:.0f} ms of {fit:.1f} s, {cost / fit:.2%}")
        (fresh.folder / "result.json").unlink()
        start = time.perf_counter()
        again = resume(fresh.folder, [f"trainer.max_epochs={fresh.selection['epochs'] + 1}"], None, start)
        first = [float(result.timing["first_step_s"]) for result in (fresh, again)]
        print(f"first step: fresh {first[0]:.2f} s, resumed {first[1]:.2f} s")
        print(f"opening the run: {1000 * opening(fresh.folder):.0f} ms")
        times = [[train(*overrides, text).timing["fit_s"] for text in _DETERMINISTIC] for _ in range(_ROUNDS)]
        usual, deterministic = (median(column) for column in zip(*times, strict=True))
        print(
            f"trainer.deterministic=true: {deterministic:.1f} s of training, {deterministic / usual:.3f} of {usual:.1f}"
        )


def opening(folder: Path) -> float:
    """Return the seconds to load a run's network with its weights."""
    start = time.perf_counter()
    assert load(folder).network is not None
    return time.perf_counter() - start


@contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Collect the seconds of each call of a method."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    setattr(owner, name, call)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)


if __name__ == "__main__":
    main()
