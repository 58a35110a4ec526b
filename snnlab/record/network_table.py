"""A network's summary as tables on the console."""

from __future__ import annotations

from rich import box
from rich.table import Table

from snnlab.console import table_console
from snnlab.nn.clock import Warned
from snnlab.nn.footprint import Footprint
from snnlab.nn.summary import LayerRow, NeuronRow, Summary, shape_text


def print_summary(head: str, summary: Summary, steps: int, memory: str, about_learned: str | None = None) -> None:
    """Print a network to stdout.

    Args:
        head: What the experiment is called, and what its input is.
        summary: The network.
        steps: Steps of a recording.
        memory: What a training step takes.
        about_learned: Whose the constants are that neurons learn; None where there are none, or all have just begun.
    """
    console = table_console()
    print(head)
    console.print(layer_table(summary))
    print(f"  {operations_text(summary, steps)}")
    print(f"  {memory}")
    if summary.neurons:
        console.print(neuron_table(summary.neurons))
    if about_learned is not None:
        print(f"  {about_learned}")
    if summary.warnings:
        print("  What depends on dt, and changes with the number of bins:")
    for warned in summary.warnings:
        print(f"    {warning_text(warned)}")


def layer_table(summary: Summary) -> Table:
    """Return the layers with their shapes and costs, those within a block indented below it."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer")
    table.add_column("type")
    for column in ("output a step", "parameters", "dense operations a step"):
        table.add_column(column, justify="right")
    table.add_row("input", "", shape_text(summary.in_shape), "", "", style="dim")
    for row in summary.layers:
        name, kind = row.name.rpartition(".")[2], f"{row.kind}, {row.connection}" if row.connection else row.kind
        table.add_row("  " * row.depth + name, kind, shape_text(row.shape), *_costs(row))
    table.add_section()
    more = "+ ?" if any(row.operations is None for row in summary.layers) else ""
    table.add_row("total", "", "", f"{summary.parameters:,}", f"{summary.operations:,}{more}")
    return table


def neuron_table(neurons: list[NeuronRow]) -> Table:
    """Return the neurons' constants, one a line, with the rest of each dialect beside its first."""
    words = list(dict.fromkeys(word for row in neurons for word in row.words))
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("neuron", "constant"):
        table.add_column(column)
    spread = any(constant.spread for row in neurons for constant in row.constants)
    for column in ("ms", *(["least to most"] if spread else []), "steps", "factor a step"):
        table.add_column(column, justify="right", no_wrap=column == "least to most")
    for word in words:
        table.add_column(word)
    for row in neurons:
        told = [row.words.get(word, "") for word in words]
        for number, constant in enumerate(row.constants):
            ms = "" if constant.ms is None else f"{constant.ms:.4g}"
            ends = "" if constant.spread is None else "{:.4g} to {:.4g}".format(*constant.spread)
            figures = (
                constant.name,
                ms,
                *([ends] if spread else []),
                f"{constant.steps:.4g}",
                f"{constant.factor:.4f}",
            )
            table.add_row("" if number else row.name, *figures, *([] if number else told))
        if not row.constants:
            table.add_row(row.name, *[""] * (5 if spread else 4), *told)
    return table


def warning_text(warned: Warned) -> str:
    """Return a warning as a line."""
    return f"{', '.join(warned.layers)}: {warned.remark.text}; cure: {warned.remark.cure}"


def operations_text(summary: Summary, steps: int) -> str:
    """Return what the dense operations are, and how many a recording has."""
    return (
        f"Dense operations: multiply-accumulates of inputs with weights, zeros included;"
        f" {short_count(summary.operations * steps)} a recording of {steps} steps."
    )


def footprint_text(found: Footprint, batch: int, steps: int, unknown: str | None = None) -> str:
    """Return what a training step takes, in two lines.

    Args:
        found: Its bytes.
        batch: Recordings at once.
        steps: Steps of a recording.
        unknown: The optimizer, if what it holds is not known and not counted.
    """
    optimizer = "and optimizer" if unknown is None else f"(what {unknown} keeps is not known)"
    return (
        f"Training step on a CPU, batch of {batch}, {steps} steps: about {_mb(found.peak)} of tensors at its peak;"
        " gaps between them can add two thirds.\n"
        f"    kept for the backward pass {_mb(found.kept)}, frames {_mb(found.frames)}, weights {optimizer}"
        f" {_mb(found.learning)}, what comes and goes {_mb(found.passing)}"
    )


def short_count(number: int) -> str:
    """Return `612`, `54.7 million`."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _costs(row: LayerRow) -> tuple[str, str]:
    """Return parameters and operations; none for a block, so that each number stands in its column once."""
    if row.family == "block":
        return "", ""
    return _count(row.parameters), "?" if row.operations is None else _count(row.operations)


def _mb(size: float) -> str:
    mb = size / 1e6
    return f"{mb:,.0f} MB" if mb >= 10 else f"{mb:.1g} MB" if mb < 0.1 else f"{mb:.1f} MB"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
