"""Times the methods in turns, compares their results, and writes the tables."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streambench.inside import inside
from streambench.methods import BY_NAME, Engine, Method, Onnx, has_network
from streambench.work import Columns, Recording, Work, every_cell, on_grid, works

from snnlab.streaming.latency import LatencyHistogram

# The methods with all rounds; the others are far slower.
FAST = ("engine", "onnx")


def run(settings: argparse.Namespace) -> None:
    """Measure each network, print the tables and write the figures."""
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": machine(), "command": " ".join(sys.argv)}
    for work in works(settings):
        say(work.name)
        names = [name for name in settings.methods if has_network(work.network, name)]
        figures: dict[str, Any] = {
            "steps": [timed(work, recording, work.dt, names, settings) for recording in work.recordings]
        }
        figures["ten times the rate"] = [
            timed(work, recording, 10 * work.dt, names[:2], settings) for recording in work.recordings[:4]
        ]
        figures["every cell"] = worst(work, names[:2])
        figures["inside"] = [inside_step(work, recording, settings.rounds) for recording in work.recordings]
        figures["grid"] = equality(work, names, settings.slow_steps)
        if settings.hour:
            figures["hour"] = hour(work)
        found[work.name] = figures
        print(tables(work, figures), flush=True)
    found["start"] = start(settings)
    print(f"start: {found['start']}")
    (settings.out / "bench_stream.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """Return the processor's name and the load."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return f"{name}, load {Path('/proc/loadavg').read_text()[:14] if text else ''}"


def pass_us(method: Method, steps: Sequence[Columns]) -> np.ndarray:
    """Return the time of each step of a recording, us."""
    method.reset()
    found = np.zeros(len(steps))
    for n, columns in enumerate(steps):
        method.take(columns)
        begun = time.perf_counter_ns()
        method.step()
        found[n] = time.perf_counter_ns() - begun
    return found / 1e3


def percentiles(samples: np.ndarray) -> dict[str, float]:
    """Return percentiles of the minimum of each step, and of all samples.

    Shape:
        samples: `[rounds, T]`.
    """
    best = samples.min(0)
    found = {f"min p{percent}": float(np.percentile(best, percent)) for percent in (50, 99)}
    return found | {f"all p{percent:g}": float(np.percentile(samples, percent)) for percent in (50, 99, 99.9)}


def timed(work: Work, recording: Recording, dt: float, names: Sequence[str], settings: Any) -> dict[str, Any]:
    """Return the percentiles of the methods on a recording, in turns."""
    steps = recording.steps(dt)
    own = Engine(work)
    methods: dict[str, Method] = {"engine": own} | {name: BY_NAME[name](work) for name in names if name != "engine"}
    for method in methods.values():
        pass_us(method, steps[:20])
    samples: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for number in range(settings.rounds):
        for name, method in methods.items():
            if name in FAST:
                samples[name].append(pass_us(method, steps))
            elif number == 0:
                samples[name].append(pass_us(method, steps[: settings.slow_steps]))
    found: dict[str, Any] = {name: percentiles(np.array(taken)) for name, taken in samples.items()}
    engine = own.stream
    layers = engine.stats()["layers"].values()
    found["events a step"] = engine.num_events / engine.num_steps
    found["operations a step"] = sum(layer["operations"] for layer in layers) / engine.num_steps
    return {"recording": recording.name, "num_steps": len(steps), "dt": dt, **found}


def inside_step(work: Work, recording: Recording, rounds: int) -> dict[str, Any]:
    """Return the percentiles of the engine and of C within the step."""
    found = inside(work, recording, rounds)
    times = {name: percentiles(found.pop(name)) for name in ("engine", "c")}
    return {"recording": recording.name, **times, **found}


def worst(work: Work, names: Sequence[str]) -> dict[str, Any]:
    """Return the times of 200 steps with an event in every cell."""
    columns = every_cell(work.in_shape)
    found = {}
    for name in names:
        us = pass_us(BY_NAME[name](work), [columns] * 200)[10:]
        found[name] = {"p50": float(np.median(us)), "min": float(us.min()), "max": float(us.max())}
    return found


def hour(work: Work) -> dict[str, Any]:
    """Run an hour of the recording with most events in a loop; return CPU time and memory."""
    recording = max(work.recordings, key=lambda one: one.events[0].size / (one.ms[-1] + 1))
    steps = recording.steps(work.dt)
    stream = Engine(work).stream
    laps = round(3_600_000 / work.dt / len(steps))
    times, memory = LatencyHistogram(), []
    cpu = time.process_time()
    for lap in range(laps):
        for columns in steps:
            begun = time.perf_counter_ns()
            stream.step(*columns)
            times.add((time.perf_counter_ns() - begun) / 1e3)
        if lap in (laps // 100, laps // 10, laps - 1):
            memory.append(resident_mb())
    found = {f"p{percent:g}_us": times.percentile(percent) for percent in (50, 90, 99, 99.9)}
    return {
        "recording": recording.name,
        "steps": stream.num_steps,
        "events": stream.num_events,
        "cpu_s": time.process_time() - cpu,
        **found,
        "max_us": times.max_us,
        "resident_mb": memory,
        "spikes": stream.num_spikes,
    }


def resident_mb() -> float:
    """Return the resident memory, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def equality(work: Work, names: Sequence[str], most: int) -> dict[str, Any]:
    """Return the differences from the engine with weights on a grid of 8 bits, after every step and in all layers."""
    on_grid(work.network)
    makers: dict[str, Callable[[Work], Method]] = {**BY_NAME, "onnx": lambda given: Onnx(given, with_spikes=True)}
    found: dict[str, Any] = {}
    for recording in work.recordings:
        methods = {name: makers[name](work) for name in names}
        counts = {name: {"membranes": 0, "spikes": 0, "outputs": 0} for name in names if name != "engine"}
        total = compared = 0
        for columns in recording.steps(work.dt)[:most]:
            outputs = {}
            for name, method in methods.items():
                method.take(columns)
                outputs[name] = method.step().reshape(-1).copy()
            own = methods["engine"]
            membranes, spikes = own.membranes(), own.spikes()
            total += sum(spikes.values())
            compared += sum(v.size for v in membranes.values())
            for name, differences in counts.items():
                others = methods[name].membranes()
                differences["membranes"] += sum(
                    int((membranes[layer].ravel() != others[layer].ravel()).sum()) for layer in membranes
                )
                given = methods[name].spikes()
                differences["spikes"] += sum(abs(spikes[layer] - count) for layer, count in given.items())
                differences["outputs"] += int((outputs[name] != outputs["engine"]).sum())
        found[recording.name] = {"spikes": total, "membranes": compared, "differences": counts}
    return found


_START = """
import time
begun, cpu = time.perf_counter(), time.process_time()
import numpy as np
from snnlab.nn.network import build_network
from snnlab.streaming.event_stream import EventStream
imported = time.process_time() - cpu
layers = {"conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3}, "lif": {"type": "lif"}}
network = build_network(layers, in_shape=(2, 32, 32), dt=1.0).network.eval()
cpu = time.process_time()
EventStream(network).step([1], [1], [1])
print(imported, time.process_time() - cpu)
"""


def start(settings: Any) -> dict[str, float]:
    """Return the CPU time of imports, and from a network to the first answer, in a new process with a warm cache, s."""
    found = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True)
        found.append([float(word) for word in done.stdout.split()])
    imports, first = np.array(found).min(0)
    return {"imports_cpu_s": float(imports), "network_to_answer_cpu_s": float(first)}


def tables(work: Work, figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [f"### {work.name}, steps of {work.dt:g} ms", "", *_step_table(figures["steps"]), ""]
    lines += ["ten times the rate", "", *_step_table(figures["ten times the rate"]), ""]
    cells = figures["every cell"]
    lines.append(
        "- every cell, every step: " + ", ".join(f"{n} {f['p50']:.0f} us, max {f['max']:.0f}" for n, f in cells.items())
    )
    lines += [_inside_line(one, steps) for one, steps in zip(figures["inside"], figures["steps"], strict=True)]
    for name, one in figures["grid"].items():
        differ = ", ".join(f"{other} {sum(counts.values())}" for other, counts in one["differences"].items())
        lines.append(
            f"- 8-bit grid, {name}: of {one['spikes']:,} spikes, {one['membranes']:,} membranes differ: {differ}"
        )
    if "hour" in figures:
        lines.append(_hour_line(figures["hour"]))
    return "\n".join([*lines, ""])


def _inside_line(one: dict[str, Any], steps: dict[str, Any]) -> str:
    engine, c = one["engine"], one["c"]
    times = ", ".join(f"{n} {f['min p50']:.2f} / {f['min p99']:.2f}" for n, f in (("engine", engine), ("C", c)))
    ratios = "; ".join(f"{c[key] / engine[key]:.2f}" for key in ("min p50", "all p50"))
    line = f"- inside the step, {one['recording']}: {times} us, C : engine, min; all {ratios}"
    if "onnx" in steps:
        line += f", onnx : C {steps['onnx']['min p50'] / c['min p50']:.1f}"
    return f"{line}; {one['differ']:,} of {one['size']:,} outputs differ"


def _hour_line(one: dict[str, Any]) -> str:
    times = ", ".join(f"{name} {one[f'{name}_us']:.1f}" for name in ("p50", "p90", "p99", "p99.9", "max"))
    memory = ", ".join(f"{megabytes:.0f}" for megabytes in one["resident_mb"])
    return (
        f"- an hour of {one['recording']}: {one['steps']:,} steps, {one['events']:,} events, {one['cpu_s']:.1f} CPU s;"
        f" us a step: {times}; MB at 1 %, 10 % and the end: {memory}"
    )


def _step_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    methods = [name for name in BY_NAME if name in rows[0]]
    names = [f"{name}, min p50 / p99; all p50 / p99" for name in methods]
    head = ["recording", "events a step", "operations a step", *names, "onnx : engine, min; all"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["recording"], f"{row['events a step']:.1f}", f"{row['operations a step']:,.0f}"]
        for name in methods:
            one = row[name]
            cells.append(f"{one['min p50']:.1f} / {one['min p99']:.1f}; {one['all p50']:.1f} / {one['all p99']:.1f}")
        if "onnx" in row and "engine" in row:
            ratios = [row["onnx"][key] / row["engine"][key] for key in ("min p50", "all p50")]
            cells.append("; ".join(f"{ratio:.1f}" for ratio in ratios))
        lines.append("| " + " | ".join(cells) + " |")
    return lines
