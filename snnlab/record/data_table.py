"""A dataset as tables on the console."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from snnlab.console import say
from snnlab.data.inspection import PARTS, Group, Inspection, Label, Range, Value
from snnlab.data.settings import DataSettings
from snnlab.record.tables import Table

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
    print(head)
    for table in _tables(found):
        table.print()
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


def _tables(found: Inspection) -> Iterator[Table]:
    """Yield a table of the parts, and one of the classes, or values, or labels over time."""
    yield _groups("part", found.parts, with_parts=False)
    if found.classes:
        yield _groups("class", found.classes, with_parts=True)
    if found.values:
        head = ("value", *(head for part in (*PARTS, "all") for head in (part, "")))
        yield Table(head, list(map(_value, found.values)))
    if found.labels:
        head = ("label", *(f"{part} (ms)" for part in (*PARTS, "all")), "share", "recordings")
        total = sum(label.ms[-1] for label in found.labels)
        yield Table(head, [_label(label, total) for label in found.labels])


def _value(value: Value) -> list[str]:
    """Return its mean, least and most in each part."""
    cells = [value.name]
    for part in value.parts:
        cells += ["", ""] if part is None else [f"{part.mean:.3g}", f"{part.least:.3g} to {part.most:.3g}"]
    return cells


def _label(label: Label, total: float) -> list[str]:
    """Return how long it is in each part, and in how many recordings."""
    share = f"{label.ms[-1] / total:.1%}" if total else ""
    return [label.name, *(f"{ms:,.0f}" for ms in label.ms), share, f"{label.recordings:,}"]


def _groups(kind: str, groups: list[Group], *, with_parts: bool) -> Table:
    """Return a line for each part or class."""
    on = ["ON"] if any(group.on is not None for group in groups) else []
    head = [kind, "train / val / test" if with_parts else "recordings", "events", "", "until (ms)", "", "per ms", *on]
    rows = [
        [
            group.name,
            " / ".join(f"{part:,}" for part in group.parts) if with_parts else f"{group.recordings:,}",
            *(*_range(group.events), *_range(group.last_ms), "" if group.rate is None else f"{group.rate:.1f}"),
            *("" if group.on is None else f"{group.on:.1%}" for _ in on),
        ]
        for group in groups
    ]
    return Table(head, rows)


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


def _range(values: Range | None) -> tuple[str, str]:
    return ("", "") if values is None else (f"{values.mean:,.0f}", f"{values.least:,.0f} to {values.most:,.0f}")
