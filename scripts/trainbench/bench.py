"""Runs each training in its own process, one at a time; writes tables, JSON and figure."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from stepbench.work import BenchError, UsageError
from surroundings import about, load, real_recordings
from trainbench.clock import EPOCHS
from trainbench.report import accuracy_table, draw, speed_table
from trainbench.spikingjelly_training import ALPHA

PACKAGES = ("snnlab-train", "torch", "numpy", "numba", "lightning", "spikingjelly")


class Task(NamedTuple):
    """An experiment and its goal.

    Attributes:
        overrides: The overrides that choose it.
        accuracy: The validation accuracy to reach, 0..1.
        goal_s: The seconds of training in which to reach it.
    """

    overrides: list[str]
    accuracy: float
    goal_s: float


def run(settings: argparse.Namespace) -> None:
    """Train, write and print.

    Raises:
        BenchError: if requested recordings are missing, a training fails, or two are not the same.
    """
    found = about(settings, PACKAGES) | {"experiments": {}}
    if found["versions"]["spikingjelly"] is None:
        say("spikingjelly is left out: not installed (pip install spikingjelly==2.0.0)")
    chosen = tasks(settings.experiments)
    settings.out.mkdir(parents=True, exist_ok=True)
    for name, task in chosen.items():
        overrides = [*task.overrides, "trainer.accelerator=cpu", f"threads={settings.threads}", *settings.overrides]
        found["experiments"][name] = {
            "target": task.accuracy,
            "goal_s": task.goal_s,
            "speed": speed(name, overrides, settings),
            "accuracy": accuracy(name, overrides, settings, found["versions"]["spikingjelly"] is not None),
        }
        found["load_after"] = load()
        (settings.out / "bench_train.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found["experiments"]).savefig(settings.out / "bench_train.png", dpi=120)
    print(speed_table(found["experiments"]))
    print(accuracy_table(found["experiments"]), flush=True)
    say(f"written: {settings.out / 'bench_train.json'}, {settings.out / 'bench_train.png'}")


def tasks(wanted: list[str] | None) -> dict[str, Task]:
    """Return the experiments.

    Raises:
        UsageError: if requested recordings are missing.
    """
    known = {"saccade_digits": Task(["experiment=saccade_digits"], 0.97, 45.0)}
    if folder := real_recordings():
        chosen = ["experiment=nmnist", "data.download=false", f"data.root={folder}"]
        known["nmnist"] = Task(chosen, 0.87, 30.0)
    elif "nmnist" in (wanted or ()):
        raise UsageError("nmnist: there is no NMNIST in ../shared/data, nor in the folder that SNNLAB_DATA names")
    else:
        say("nmnist is left out: SNNLAB_DATA names no folder with NMNIST in it")
    return {name: known[name] for name in wanted or known}


def speed(name: str, overrides: list[str], settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rounds: trainings with a bare epoch after each of their epochs.

    Raises:
        BenchError: if the bare epochs result in another network.
    """
    rounds = []
    for n in range(settings.rounds):
        say(f"{name}: speed, round {n + 1} of {settings.rounds}")
        found = train_snnlab(overrides, settings.seeds[0], "PlainLoopTimer")
        if not all(epoch["same_weights"] for epoch in found["epochs"]):
            raise BenchError(f"{name}: the bare epochs trained another network; no numbers are reported")
        rounds.append(found)
    return rounds


def accuracy(name: str, overrides: list[str], settings: argparse.Namespace, peer: bool) -> list[dict[str, Any]]:
    """Return for each seed the training in snnlab and the one in SpikingJelly, in alternating order."""
    # The surrogate of both: SpikingJelly's has no separate height.
    same = [*overrides, f"neuron.surrogate={{type: atan, alpha: {ALPHA}}}"]
    found = []
    for n, seed in enumerate(settings.seeds):
        methods = {"snnlab": lambda seed=seed: train_snnlab(same, seed, "EpochTimer")}
        if peer:
            methods["spikingjelly"] = lambda seed=seed: train_spikingjelly(same, seed)
        names, done = list(methods), {}
        for method in names if n % 2 == 0 else reversed(names):
            say(f"{name}: accuracy, seed {seed}: {method}")
            done[method] = methods[method]()
        found.append({"seed": seed} | {method: done[method] for method in names})
    return found


def train_snnlab(overrides: list[str], seed: int, timer: str) -> dict[str, Any]:
    """Run `snnlab train` and return its epochs, its record and the seconds from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        added = ["plugins=[trainbench.clock]", f"+callbacks.clock._target_=trainbench.clock.{timer}"]
        command = ["snnlab", "train", *overrides, f"seed={seed}", f"output_dir={folder}", *added]
        wall_s, stdout = run_timed(command)
        run_folder = Path(stdout.splitlines()[-1])
        result = json.loads((run_folder / "result.json").read_text())
        kept = {key: result[key] for key in ("selection", "timing", "metrics", "provenance")}
        return {"wall_s": wall_s, "epochs": json.loads((run_folder / EPOCHS).read_text()), **kept}


def train_spikingjelly(overrides: list[str], seed: int) -> dict[str, Any]:
    """Train in SpikingJelly and return the same."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / EPOCHS
        wall_s, _ = run_timed(["trainbench.spikingjelly_training", str(file), *overrides, f"seed={seed}"])
        return {"wall_s": wall_s, **json.loads(file.read_text())}


def run_timed(command: list[str]) -> tuple[float, str]:
    """Run a module with this folder in its search path; return its seconds and its stdout.

    Raises:
        BenchError: if it fails, with the last lines of its stderr.
    """
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        kind = UsageError if done.returncode == 2 else BenchError
        raise kind(f"{command[0]} failed: {' '.join(done.stderr.strip().splitlines()[-2:])}")
    return time.perf_counter() - started, done.stdout


def say(line: str) -> None:
    """Print progress to stderr."""
    print(line, file=sys.stderr, flush=True)
