"""A network's vitals as a table."""

from __future__ import annotations

from rich.table import Table

from snnlab.diagnosis.vitals import Layer, Vitals

NONE = "−"


def vitals_table(vitals: Vitals) -> Table:
    """Return a row a layer of neurons, behind the frames themselves."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("layer", no_wrap=True)
    unit = "ms" if vitals.dt is not None else "step"
    rate = ["Hz"] if vitals.dt is not None else []
    heads = ["input a step", "reaches", "spikes", *rate, "silent", "on", "over", f"first {unit}"]
    for head in (*heads, "gradient", "its weights'", "passes"):
        table.add_column(head, justify="right", no_wrap=True)
    frames = f"{vitals.input_mean:.2g} ± {vitals.input_std:.2g}"
    blank = [""] * (4 + len(rate))
    table.add_row("(frames)", frames, "", *blank, _time(vitals.input_first, vitals.dt), "", "", "", style="dim")
    for layer in vitals.layers:
        table.add_row(layer.name, *_cells(layer, vitals))
    return table


def legend() -> str:
    """Return what the columns are, in words."""
    return (
        "  reaches: largest membrane, in thresholds. spikes: a neuron and recording. on: neurons that spike at each\n"
        "  step. over: steps with a membrane of two thresholds or more. gradient: its norm at the output. passes: the\n"
        "  surrogate's mean, as a part of its peak."
    )


def _cells(layer: Layer, vitals: Vitals) -> list[str]:
    of = layer.spiking
    drive = f"{layer.drive_mean:.2g} ± {layer.drive_std:.2g}"
    tail = [_time(layer.first, vitals.dt), f"{layer.gradient:.1e}", f"{layer.weight_gradient:.1e}"]
    if of is None or layer.per_step is None:
        return [drive, *[NONE] * (6 if vitals.dt is not None else 5), *tail, NONE]
    rate = [] if vitals.dt is None else [f"{layer.per_step * 1000 / vitals.dt:.3g}"]
    spikes = f"{layer.per_step * vitals.length:.2g}"
    return [
        drive,
        f"{of.reach:.2f}",
        spikes,
        *rate,
        f"{of.silent:.0%}",
        f"{of.saturated:.0%}",
        f"{of.over:.0%}",
        *tail,
        f"{of.passes:.2g}",
    ]


def _time(step: int | None, dt: float | None) -> str:
    return "never" if step is None else f"{step if dt is None else step * dt:g}"
