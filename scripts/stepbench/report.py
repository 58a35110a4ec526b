"""The versions, the table, the figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import surroundings
import torch
from matplotlib.figure import Figure
from stepbench.methods import METHODS
from stepbench.peers import import_quietly

PACKAGES = ("snnlab-train", "torch", "numpy", "numba", "jax", "triton")
HALF = "_bf16"  # suffix of a method's name: the same method in bfloat16
COLOURS = {"snnlab": "tab:blue", "libraries": "tab:orange", "no neurons": "0.6"}


def about(settings: argparse.Namespace) -> dict[str, Any]:
    """Return date, machine, versions and settings of the measurement."""
    wanted = {*PACKAGES, *(method.requires.partition("==")[0] for method in METHODS.values() if method.requires)}
    found = surroundings.about(settings, sorted(wanted), settings.device)
    functional = (
        import_quietly("spikingjelly.activation_based.functional") if found["versions"]["spikingjelly"] else None
    )
    if functional is not None and hasattr(functional, "neuron_implementation"):
        found["spikingjelly_runs"] = functional.neuron_implementation("lif", torch.device(settings.device))
    return found


def table(case: dict[str, Any]) -> str:
    """Return a case in Markdown, the fastest method first."""
    lines = [
        f"\n{case['title']}\n",
        "| method | variant | ms a step | x ReLU network | x fastest library | peak memory, MB | in bf16, ms |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in by_time(case):
        if name.endswith(HALF):
            continue
        half = number(case["methods"].get(name + HALF, {}).get("median_ms"), 1)
        ratios = " | ".join(number(found[key], 2) for key in ("to_relu", "to_fastest_library"))
        memory = number(found["peak_mb"], 0)
        lines.append(f"| {name} | {found['variant']} | {found['median_ms']:.1f} | {ratios} | {memory} | {half} |")
    return "\n".join(lines)


def draw(cases: list[dict[str, Any]], path: Path) -> None:
    """Draw a row of bars for each case: the step's time, and the memory."""
    figure = Figure(figsize=(11, len(cases) * (0.32 * len(cases[0]["methods"]) + 1.1)), layout="constrained")
    for (times, memories), case in zip(figure.subplots(len(cases), 2, squeeze=False), cases, strict=True):
        methods = by_time(case)
        names, colours = [name for name, _ in methods], [COLOURS[family(name)] for name, _ in methods]
        ms = [found["median_ms"] for _, found in methods]
        bar = times.barh(names, ms, color=colours)
        times.bar_label(bar, [f" {t:.4g} ms" + times_word(found) for t, (_, found) in zip(ms, methods, strict=True)])
        times.set(
            title=case["title"], xlabel="a training step, ms (x: to the fastest library)", xlim=(0, 1.5 * max(ms))
        )
        mb = [found["peak_mb"] or 0.0 for _, found in methods]
        memories.bar_label(memories.barh(names, mb, color=colours), fmt=" %.0f")
        memories.set(title="peak memory", xlabel="MB more than before the first step")
        memories.set_xlim(0, 1.2 * max(*mb, 1.0))
        for axes in (times, memories):
            axes.invert_yaxis()
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def by_time(case: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a case's methods, the fastest first."""
    return sorted(case["methods"].items(), key=lambda method: method[1]["median_ms"])


def family(name: str) -> str:
    """Return the group of a method, which has a colour."""
    if METHODS[name].backend is not None:
        return "snnlab"
    return "no neurons" if METHODS[name].neuron is None else "libraries"


def times_word(found: dict[str, Any]) -> str:
    """Return the ratio to the fastest library, if there is one."""
    return "" if found["to_fastest_library"] is None else f", {found['to_fastest_library']:.2f} x"


def number(value: float | None, digits: int) -> str:
    """Return a number as text, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"
