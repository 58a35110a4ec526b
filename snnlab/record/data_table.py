"""A dataset as tables on the console."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from snnlab.console import say, table_console
from snnlab.data.inspection import PARTS, Group, Inspection, Label, Range, Value
from snnlab.data.settings import DataSettings

# Recordings without events that are named.
FEW = 5


def print_inspection(head: str, found: Inspection, settings: DataSettings, names: Sequence[str]) -> None:
    """Print what a dataset holds to stdout.

    Args:
        head: What it is called, and its sensor.
        found: What was counted.
        settings: Window and bins.
        names: What the recordings without events are called.
    """
    console = table_console()
    print(head)
    console.print(groups_table("part", found.parts, with_parts=False))
    for table in target_tables(found):
        console.print(table)
    if found.groups:
        print(f"  {_over_parts(found.groups, 'groups')}")
    if found.windows:
        print(f"  {_over_parts(found.windows, 'windows')}, one every {settings.stride_ms:g} ms")
    print(f"  {binning_text(found, settings)}")
    if found.empty:
        shown = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
        say(f"  {len(found.empty):,} recordings have no events: {shown}")
    for warning in found.warnings:
        say(f"  warning: {warning}")


def _over_parts(numbers: Sequence[int], what: str) -> str:
    """Return `6 groups: 4 / 1 / 1 (train / val / test)`."""
    *parts, total = numbers
    return f"{total:,} {what}: {' / '.join(f'{part:,}' for part in parts)} (train / val / test)"


def target_tables(found: Inspection) -> Iterator[Table]:
    """Yield a table of the classes, or values, or labels over time."""
    if found.classes:
        yield groups_table("class", found.classes, with_parts=True)
    if found.values:
        yield values_table(found.values)
    if found.labels:
        yield labels_table(found.labels)


def values_table(values: list[Value]) -> Table:
    """Return a line for each value: its mean, least and most in each part."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("value", *(head for part in (*PARTS, "all") for head in (part, ""))):
        table.add_column(column, justify="left" if column == "value" else "right")
    for value in values:
        cells = (("", "") if part is None else (f"{part.mean:.3g}", _span(part)) for part in value.parts)
        table.add_row(value.name, *(cell for pair in cells for cell in pair))
    return table


def labels_table(labels: list[Label]) -> Table:
    """Return a line for each label: how long it is in each part, and in how many recordings."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("label", *(f"{part} (ms)" for part in (*PARTS, "all")), "share", "recordings"):
        table.add_column(column, justify="left" if column == "label" else "right")
    total = sum(label.ms[-1] for label in labels)
    for label in labels:
        share = f"{label.ms[-1] / total:.1%}" if total else ""
        table.add_row(label.name, *(f"{ms:,.0f}" for ms in label.ms), share, f"{label.recordings:,}")
    return table


def _span(values: Range) -> str:
    return f"{values.least:.3g} to {values.most:.3g}"


def groups_table(kind: str, groups: list[Group], *, with_parts: bool) -> Table:
    """Return a line for each part or class."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(kind)
    with_on = any(group.on is not None for group in groups)
    columns = ["train / val / test" if with_parts else "recordings", "events", "", "until (ms)", "", "per ms"]
    for column in [*columns, *(["ON"] if with_on else [])]:
        table.add_column(column, justify="right")
    for group in groups:
        table.add_row(*_cells(group, with_parts), *(["" if group.on is None else f"{group.on:.1%}"] if with_on else []))
    return table


def binning_text(found: Inspection, settings: DataSettings) -> str:
    """Return what the frames hold, in words."""
    binning = found.binning
    left = (
        f"{binning.outside:,} of {binning.events:,} events come later and are left out"
        if binning.outside
        else "no event later"
        if settings.stride_us is None
        else f"a window every {settings.stride_ms:g} ms"
    )
    if binning.dropped:
        left += f", {binning.dropped:.2%} of those in the window are in no frame{_why_dropped(settings)}"
    return (
        f"{settings.steps_text}, {left}; of their cells {binning.filled:.2%} hold events,"
        f" {binning.many:.0%} of those more than one, at most {binning.most:,} ({binning.sampled} recordings looked at)"
    )


def _why_dropped(settings: DataSettings) -> str:
    """Return why events of the window may be in no frame."""
    width, height = settings.size[:2] if settings.crop is None else settings.crop[2:]
    columns, rows = width % settings.downsample, height % settings.downsample if height > 1 else 0
    why = []
    if settings.crop is not None:
        why.append("outside data.crop")
    if columns or rows:
        edges = [f"{n} {what}" for n, what in ((columns, "columns"), (rows, "rows")) if n]
        why.append(f"in the last {' and '.join(edges)}, which fill no cell of data.downsample={settings.downsample}")
    if settings.events_per_bin is not None:
        why.append(f"after {settings.steps} steps of data.events_per_bin={settings.events_per_bin:,}")
    return f" ({', or '.join(why)})" if why else ""


def _cells(group: Group, with_parts: bool) -> list[str]:
    number = " / ".join(f"{part:,}" for part in group.parts) if with_parts else f"{group.recordings:,}"
    return [
        group.name,
        number,
        *_range(group.events),
        *_range(group.last_ms),
        "" if group.rate is None else f"{group.rate:.1f}",
    ]


def _range(values: Range | None) -> tuple[str, str]:
    if values is None:
        return "", ""
    return f"{values.mean:,.0f}", f"{values.least:,.0f} to {values.most:,.0f}"
