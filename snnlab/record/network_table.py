"""A network's summary as tables on the console."""

from __future__ import annotations

from snnlab.nn.dt_checks import Warned
from snnlab.nn.footprint import Footprint
from snnlab.nn.summary import NeuronRow, Summary, shape_text
from snnlab.record.neuron_text import cure_text, neuron_words, warning_text
from snnlab.record.tables import Table


def print_summary(head: str, summary: Summary, steps: int, memory: str, about_learned: str | None = None) -> None:
    """Print a network to stdout.

    Args:
        head: What the experiment is called, and what its input is.
        steps: Steps of a recording.
        memory: What a training step takes.
        about_learned: Whose the constants are that neurons learn; None where there are none, or all have just begun.
    """
    print(head)
    layer_table(summary).print()
    print(
        f"  Dense operations: multiply-accumulates of inputs with weights, zeros included;"
        f" {_short(summary.operations * steps)} a recording of {steps} steps.\n  {memory}"
    )
    _neuron_table(summary.neurons).print()
    if about_learned is not None:
        print(f"  {about_learned}")
    if summary.warnings:
        print("  What depends on dt, and changes with the number of bins:")
    for warned in summary.warnings:
        print(f"    {warned_text(warned)}")


def layer_table(summary: Summary) -> Table:
    """Return the layers with their shapes and costs, those within a block indented below it."""
    rows = [("input", "", shape_text(summary.in_shape), "", "")]
    for row in summary.layers:
        # None for a block, so that each number stands in its column once.
        size, operations = (0, 0) if row.family == "block" else (row.parameters, row.operations)
        kind = f"{row.kind}, {row.connection}" if row.connection else row.kind
        counts = "?" if operations is None else f"{operations:,}" if operations else ""
        name = "  " * row.depth + row.name.rpartition(".")[2]
        rows.append((name, kind, shape_text(row.shape), f"{size:,}" if size else "", counts))
    more = "+ ?" if any(row.operations is None for row in summary.layers) else ""
    rows.append(("total", "", "", f"{summary.parameters:,}", f"{summary.operations:,}{more}"))
    head = ("layer", "type", "output a step", "parameters", "dense operations a step")
    return Table(head, rows, words=(0, 1), faint=(0,), sum=True)


def warned_text(warned: Warned) -> str:
    """Return a warning as a line."""
    return f"{', '.join(warned.layers)}: {warning_text(warned.warning)}; cure: {cure_text(warned.warning)}"


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


def _neuron_table(neurons: list[NeuronRow]) -> Table:
    told = {row.name: neuron_words(row.info) for row in neurons}
    words = list(dict.fromkeys(word for said in told.values() for word in said))
    ends = ["least to most"] if any(constant.spread for row in neurons for constant in row.constants) else []
    rows = []
    for row in neurons:
        said = [told[row.name].get(word, "") for word in words]
        for number, constant in enumerate(row.constants):
            ms = "" if constant.ms is None else f"{constant.ms:.4g}"
            spread = "" if constant.spread is None else "{:.4g} to {:.4g}".format(*constant.spread)
            figures = [constant.name, ms, *(spread for _ in ends), f"{constant.steps:.4g}", f"{constant.factor:.4f}"]
            rows.append(["" if number else row.name, *figures, *([""] * len(words) if number else said)])
        if not row.constants:
            rows.append([row.name, *[""] * (4 + len(ends)), *said])
    head = ["neuron", "constant", "ms", *ends, "steps", "factor a step", *words]
    return Table(head, rows, words=[0, 1, *range(len(head) - len(words), len(head))])


def _short(number: int) -> str:
    """Return `612`, `54.7 million`."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _mb(size: float) -> str:
    mb = size / 1e6
    return f"{mb:,.0f} MB" if mb >= 10 else f"{mb:.1g} MB" if mb < 0.1 else f"{mb:.1f} MB"
