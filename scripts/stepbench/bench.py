"""Compares the methods' results, times the methods in turn, and writes the report."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from statistics import median
from typing import Any

import torch
from stepbench.checks import check
from stepbench.methods import METHODS, choose_methods
from stepbench.report import about, draw, table
from stepbench.work import UsageError, Workload
from stepbench.worker import Worker

TURN = 3  # measured steps
DEFAULTS = {"conv": (30, 32), "dense": (500, 16)}  # T, B


def run(settings: argparse.Namespace) -> None:
    """Check, measure, write and print.

    Raises:
        BenchError: if the settings cannot be used, a method is not snnlab's network, or one of the processes ends.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU")
    names, skipped = choose_methods(settings.methods, settings.device)
    for name, why in skipped.items():
        say(f"{name} is left out: {why}")
    all_works, equality, cases = works(settings), [], []
    for work in {(work.kind, work.pool, work.spikes): work for work in all_works}.values():
        for name in names:
            say(f"equality: {work.title}: {name}")
            found = check(name, work, settings.device)
            equality += [{"kind": work.kind, "pool": work.pool} | line for line in found]
    settings.out.mkdir(parents=True, exist_ok=True)
    for work in all_works:
        cases.append({"work": work._asdict(), "title": work.title, "methods": measure(work, names, settings)})
        done = about(settings) | {"left_out": skipped, "equality": equality, "cases": cases}
        (settings.out / "bench_step.json").write_text(json.dumps(done, indent=1) + "\n")
        draw(cases, settings.out / "bench_step.png")
        print(table(cases[-1]), flush=True)
    say(f"written: {settings.out / 'bench_step.json'}, {settings.out / 'bench_step.png'}")


def works(settings: argparse.Namespace) -> list[Workload]:
    """Return all networks and sizes to measure."""
    found = []
    for kind in settings.kind:
        steps, batch = DEFAULTS[kind]
        pools, spikes = (all_ if kind == "conv" else all_[:1] for all_ in (settings.pool, settings.spikes))
        sizes = settings.steps or [steps], settings.batch or [batch]
        for pool, how_often, T, B in itertools.product(pools, spikes, *sizes):
            found.append(Workload(kind, T, B, pool, settings.inputs, settings.neurons, how_often))
    return found


def measure(work: Workload, names: list[str], settings: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return each method's seconds, medians, ratios and memory; one runs at a time, in an order that rotates."""
    workers, tried = {}, {}
    for name in names:
        workers[name], tried[name] = fastest_variant(name, work, settings.device)
    seconds: dict[str, list[list[float]]] = {name: [] for name in names}
    peaks: dict[str, float | None] = {}
    for n in range(settings.rounds):
        say(f"{work.title}: round {n + 1} of {settings.rounds}")
        first = n % len(names)
        for name in names[first:] + names[:first]:
            turn, peaks[name] = workers[name].run(TURN)
            seconds[name].append(turn)
    for worker in workers.values():
        worker.close()
    ms = {name: 1e3 * median(itertools.chain(*turns)) for name, turns in seconds.items()}
    library = min((ms[name] for name in names if METHODS[name].requires), default=None)
    return {
        name: {
            "variant": str(workers[name].variant),
            "median_ms": ms[name],
            "to_relu": ms[name] / ms["relu"] if "relu" in ms else None,
            "to_fastest_library": ms[name] / library if library else None,
            "peak_mb": peaks[name],
            "seconds": seconds[name],
            "tried": tried[name],
        }
        for name in names
    }


def fastest_variant(name: str, work: Workload, device: str) -> tuple[Worker, dict[str, list[float]]]:
    """Return the process of a method's fastest variant, and the seconds of all tried variants."""
    workers = [Worker(name, variant, work, device) for variant in METHODS[name].variants(work)]
    seconds: list[list[float]] = [[] for _ in workers]
    for _ in range(2):  # turns; in the first, other processes may still be starting
        for worker, found in zip(workers, seconds, strict=True):
            found += worker.run(TURN)[0]
    best = min(zip(workers, seconds, strict=True), key=lambda tried: min(tried[1]))[0]
    for worker, found in zip(workers, seconds, strict=True):
        say(f"{work.title}: {name} ({worker.variant}): {1e3 * min(found):.1f} ms")
        if worker is not best:
            worker.close()
    return best, {str(worker.variant): found for worker, found in zip(workers, seconds, strict=True)}


def say(line: str) -> None:
    """Print progress to stderr."""
    print(line, file=sys.stderr, flush=True)
