"""Compares two processes of one thread each with one process of two threads, on the same recordings per step.

    python scripts/bench_ddp.py
    python scripts/bench_ddp.py --rounds 5 --processes 4 model=sew_resnet data.batch_size=64

`snnlab train` is run in both ways in turn, `--rounds` times each, on the CPU; the result is the samples a second of
the whole training, without its start. The ratio is that of the medians: above 1, the processes are faster. It prints
the numbers, and writes bench_ddp.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench_step import positive
from surroundings import about

FIXED = ("trainer.accelerator=cpu", "trainer.max_epochs=3", "plots=null", "logger=null", "test=false")
PACKAGES = ("torch", "lightning", "numpy", "numba")
BATCH = "data.batch_size="


def parser() -> argparse.ArgumentParser:
    text, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_ddp.py", description=text, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("--rounds", type=positive, default=3, help="trainings of each way (default 3)")
    add("--processes", type=positive, default=2, help="processes of one thread, and threads of one process (default 2)")
    add("--out", type=Path, default=Path("outputs/bench_ddp"), metavar="FOLDER", help="(default outputs/bench_ddp)")
    add("overrides", nargs="*", help="overrides of all trainings; data.batch_size is that of a step")
    return made


def configurations(processes: int, overrides: list[str]) -> dict[str, list[str]]:
    """Return the overrides of both ways; a step has the same recordings in both.

    Args:
        processes: Processes of one thread each.
        overrides: Further ones; `data.batch_size` is that of a step.
    """
    sizes = [int(text.removeprefix(BATCH)) for text in overrides if text.startswith(BATCH)]
    batch = sizes[-1] if sizes else 32
    others = [*FIXED, *(text for text in overrides if not text.startswith(BATCH))]
    many = ["trainer=ddp", f"trainer.devices={processes}", "threads=1", f"{BATCH}{batch // processes}"]
    return {
        f"1 process of {processes} threads": [f"threads={processes}", f"{BATCH}{batch}", *others],
        f"{processes} processes of 1 thread": [*many, *others],
    }


def measure_training(overrides: list[str]) -> float:
    """Return the samples a second of one training."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snnlab", "train", *overrides, f"output_dir={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench_ddp: {' '.join(overrides)}:\n{done.stderr}")
        page = json.loads((Path(done.stdout.splitlines()[-1]) / "result.json").read_text(encoding="utf-8"))
    return float(page["timing"]["samples_per_s"])


def summary(speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Return the medians of both ways, and the second over the first."""
    medians = {way: median(values) for way, values in speeds.items()}
    one, many = medians.values()
    return {"samples_per_s": speeds, "medians": medians, "ratio": many / one}


def main() -> None:
    settings = parser().parse_intermixed_args()
    speeds: dict[str, list[float]] = {}
    for _ in range(settings.rounds):
        for way, overrides in configurations(settings.processes, settings.overrides).items():
            speeds.setdefault(way, []).append(measure_training(overrides))
            print(f"{way:24} {speeds[way][-1]:8.1f} samples/s", flush=True)
    found = summary(speeds)
    settings.out.mkdir(parents=True, exist_ok=True)
    page = {"about": about(settings, PACKAGES), **found}
    (settings.out / "bench_ddp.json").write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")
    print(f"the processes are {found['ratio']:.2f} times as fast, by the medians")


if __name__ == "__main__":
    main()
