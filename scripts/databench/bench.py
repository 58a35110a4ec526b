"""Compares the frames of all methods, times the methods in turn, and writes table, JSON and figure."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from databench.loading import describe, measure_loading
from databench.methods import METHODS, OURS, RIVAL, BatchPass, Workload, work
from matplotlib.figure import Figure
from stepbench.work import BenchError, UsageError
from surroundings import about, load, real_recordings

from snnlab.memory import keep_heap

PACKAGES = ("snnlab-train", "torch", "numpy", "numba", "tonic")


def run(settings: argparse.Namespace, goal: int) -> None:
    """Compare, measure, write and print.

    Raises:
        BenchError: if requested recordings are missing, or a method's frames differ.
    """
    torch.set_num_threads(1)
    keep_heap()  # as training does
    found = about(settings, PACKAGES) | {"goal": goal, "data": {}}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, overrides in datasets(settings.data).items():
            workload = work(overrides, settings.recordings, settings.batch)
            turns = {method: METHODS[method].prepare(workload, folder) for method in METHODS}
            check(turns)
            found["data"][name] = {
                "recordings": sum(map(len, workload.batches)),
                "events_a_recording": workload.events,
                "methods": measure(name, workload, turns, settings.rounds),
                "figures": measure_loading(workload, overrides, folder),
            }
            print(table(name, found["data"][name], goal), flush=True)
    found["load_after"] = load()
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "bench_data.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, goal).savefig(settings.out / "bench_data.png", dpi=120)
    say(f"written: {settings.out / 'bench_data.json'}, {settings.out / 'bench_data.png'}")


def datasets(wanted: list[str] | None) -> dict[str, list[str]]:
    """Return the overrides that choose each dataset."""
    found = {"saccade_digits": ["data=saccade_digits"]}
    if folder := real_recordings():
        found["nmnist"] = ["data=nmnist", "data.download=false", f"data.root={folder}"]
    elif "nmnist" in (wanted or ()):
        raise UsageError(
            "--data nmnist: there is no NMNIST in ../shared/data, nor in the folder that SNNLAB_DATA names"
        )
    else:
        say("nmnist is left out: SNNLAB_DATA names no folder with NMNIST in it")
    return {name: found[name] for name in wanted or found}


def check(turns: dict[str, BatchPass]) -> None:
    """Compare the frames of all methods.

    Raises:
        BenchError: if they differ.
    """
    for name, turn in turns.items():
        for x, y in zip(turns[OURS](), turn(), strict=True):
            if not torch.equal(x, y):
                raise BenchError(f"{name}: its frames are not those of {OURS}; nothing was timed")


def measure(name: str, work: Workload, turns: dict[str, BatchPass], rounds: int) -> dict[str, Any]:
    """Return each method's seconds and recordings a second; the order rotates."""
    names, recordings = list(turns), sum(map(len, work.batches))
    seconds: dict[str, list[float]] = {method: [] for method in names}
    for n in range(rounds):
        say(f"{name}: round {n + 1} of {rounds}")
        first = n % len(names)
        for method in names[first:] + names[:first]:
            # CPU time of this process, which excludes other processes.
            started = time.process_time()
            deque(turns[method](), maxlen=0)
            seconds[method].append(time.process_time() - started)
    rates = {method: recordings / median(found) for method, found in seconds.items()}
    return {
        method: {
            "does": METHODS[method].description,
            "per_s": rates[method],
            "best_per_s": recordings / min(seconds[method]),
            "to_tonic": rates[method] / rates[RIVAL],
            "seconds": seconds[method],
        }
        for method in names
    }


def table(name: str, found: dict[str, Any], goal: int) -> str:
    """Return a dataset's results in Markdown, the fastest method first."""
    lines = [
        f"\n{name}, {found['events_a_recording']:,.0f} events a recording\n",
        "| method | timed work | recordings a second per core | fastest turn | x tonic |",
        "|---|---|---:|---:|---:|",
    ]
    for method, of in sorted(found["methods"].items(), key=lambda item: -item[1]["per_s"]):
        speeds = f"{of['per_s']:,.0f} | {of['best_per_s']:,.0f} | {of['to_tonic']:.1f}"
        lines.append(f"| {method} | {of['does']} | {speeds} |")
    reached = found["methods"][OURS]["per_s"]
    verdict = "reached" if reached >= goal else "missed"
    lines += [f"\ngoal {goal:,} for {OURS}: {verdict}\n", *(f"- {text}" for text in describe(found["figures"]))]
    return "\n".join(lines)


def draw(found: dict[str, Any], goal: int) -> Figure:
    """Draw a row of bars for each dataset."""
    figure = Figure(figsize=(8, 0.5 + 2.6 * len(found["data"])), layout="constrained")
    for axes, (name, of) in zip(
        figure.subplots(len(found["data"]), squeeze=False)[:, 0], found["data"].items(), strict=True
    ):
        rates = {method: each["per_s"] for method, each in of["methods"].items()}
        colours = ["tab:blue" if method.startswith(OURS) else "tab:orange" for method in rates]
        axes.bar_label(axes.barh(list(rates), list(rates.values()), color=colours), fmt=" {:,.0f}")
        axes.axvline(goal, color="0.4", linestyle=":")
        axes.set(title=name, xlabel=f"recordings a second per core (dotted: goal {goal:,})")
        axes.set_xlim(0, 1.2 * max(*rates.values(), goal))
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def say(line: str) -> None:
    """Print progress to stderr."""
    print(line, file=sys.stderr, flush=True)
