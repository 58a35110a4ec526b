"""Measures the overhead of a search, and the gain of two trainings at a time over one with two threads.

python scripts/bench_sweep.py [--trials 6] [--engines here joblib submitit ray] [--epochs 2]

The trials are those of `sweep=pareto` on saccade_digits with a small network. Overhead is the time from submitting a
trial to receiving its result, minus that of its training; the first trial of each worker, which includes the imports,
is shown separately. All results are medians; run it on an idle machine. An engine whose package is missing is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from snnlab.config.grids import LauncherSettings
from snnlab.errors import ConfigError
from snnlab.experiments.executor import FinishedTask, executor
from snnlab.experiments.session.trial import train_task
from snnlab.experiments.workers import RunTask, available_cpus

NET = ("model=mlp_lif", "model.layers.fc1.out_features=32", "data.num_bins=8", "logger=none", "plots=null")
QUIET = ("monitors=null", "test=false", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=6)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--rounds", type=int, default=2, help="of the throughput")
    options.add_argument("--engines", nargs="+", default=["here", "joblib", "submitit", "ray"])
    given = options.parse_args()
    print(
        f"{available_cpus()} CPUs, load {os.getloadavg()[0]:.1f}; {given.trials} trials of {given.epochs} epochs each"
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        common = [*NET, *QUIET, f"trainer.max_epochs={given.epochs}", f"data.store_dir={folder / 'store'}"]
        outcome = train_task(task(folder / "first", [*common, "threads=1"]))  # packs the recordings, compiles
        if outcome["status"] != "completed":
            raise SystemExit(outcome["error"])
        print("\noverhead of a trial, s          median   most   first of each worker")
        for word in given.engines:
            print_overhead(word, folder / word, common, given.trials)
        print_throughput(folder / "throughput", common, given.trials, given.rounds)


def task(folder: Path, overrides: Sequence[str]) -> RunTask:
    return RunTask(str(folder), list(overrides), None, str(Path.cwd()))


def launch_of(word: str, workers: int) -> LauncherSettings:
    local = {"cluster": "local"} if word == "submitit" else None
    return LauncherSettings("basic" if word == "here" else word, workers, local)  # type: ignore[arg-type]


def print_overhead(word: str, folder: Path, common: Sequence[str], trials: int) -> None:
    """Print the overhead of the trials; two run at a time, of one thread each."""
    try:
        ended, _ = run_trials(launch_of(word, 2), folder, [*common, "threads=1"], trials)
    except ConfigError as error:
        print(f"{word:30} skipped: {error}")
        return
    workers = 1 if word == "here" else 2
    # In the order of submission; the first of each worker starts at once.
    seconds = [one.overhead_s for one in sorted(ended, key=lambda one: one.key)]
    first, later = seconds[:workers], seconds[workers:]
    print(f"{word:30} {statistics.median(later):7.2f} {max(later):6.2f}   {', '.join(f'{s:.1f}' for s in first)}")


def print_throughput(folder: Path, common: Sequence[str], trials: int, rounds: int) -> None:
    """Print trials a minute: two at a time with a thread each, and one after the other with two threads."""
    number = max(2, trials - trials % 2)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for k in range(rounds):
        for workers in (2, 1) if k % 2 else (1, 2):  # alternating order, so that the machine's state favours neither
            place = folder / f"{k}_{workers}"
            ended, seconds = run_trials(
                launch_of("joblib", workers), place, [*common, f"threads={3 - workers}"], number
            )
            fits = [one.outcome["fit_s"] for one in ended]
            rates[workers].append(60 * number / seconds)
            print(
                f"  {workers} at a time, {3 - workers} threads: {seconds:.1f} s, a fit {statistics.median(fits):.2f} s"
            )
    one, two = (statistics.median(rates[workers]) for workers in (1, 2))
    print(f"\ntwo one-thread trials at a time: {two:.1f} a minute; one two-thread trial after the other: {one:.1f}")
    print(f"gain {two / one:.2f} (goal 1.1)")


def run_trials(
    launch: LauncherSettings, folder: Path, overrides: Sequence[str], number: int
) -> tuple[list[FinishedTask], float]:
    """Train; return the results, and the seconds without the first trial of each worker.

    Raises:
        ConfigError: if the engine's package is missing.
        RuntimeError: if a trial fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ended: list[FinishedTask] = []
    rates = [f"optimizer.lr={0.001 * (k + 1)}" for k in range(number + launch.slots)]
    tasks = {k: task(folder / str(k), [*overrides, rate]) for k, rate in enumerate(rates)}
    with executor(launch, folder, train_task) as workers:
        workers.run_all({k: tasks.pop(k) for k in range(launch.slots)}, ended.append)  # the imports
        started = time.perf_counter()
        workers.run_all(tasks, ended.append)
        seconds = time.perf_counter() - started
    if failed := [one.outcome["error"] for one in ended if one.outcome["status"] != "completed"]:
        raise RuntimeError(json.dumps(failed))
    return ended, seconds


if __name__ == "__main__":
    main()
