"""Networks, neurons, settings and datasets as tables on the console."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from snnlab.console import say
from snnlab.data.data_settings import DataSettings
from snnlab.data.inspection import PARTS, Inspection, LabelStats, RangeStats, RecordingStats, ValueStats
from snnlab.errors import join_names
from snnlab.nn.dt_checks import LayerWarning
from snnlab.nn.memory_estimate import MemoryEstimate
from snnlab.nn.neuron_equations import RenderedEquations, equations_of_kind, is_neuron
from snnlab.nn.neurons.info import AfterSpike, Cause, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import number_text
from snnlab.nn.parameter_counts import ParameterCounts
from snnlab.nn.summary import NeuronSummary, Summary, shape_text
from snnlab.runs.tables import Table
from snnlab.spec.docstrings import first_sentence
from snnlab.spec.signatures import fields_of

# By the power of the number of steps.
_DRIVE_TEXTS = {-1: "half the drive", 1: "twice the drive", 2: "four times the drive"}
_ONE_DT = "so that its parameters fit only one dt"
_CAUSE_TEXTS: dict[Cause, str] = {
    "late_feedback": "its feedback arrives one step later, whatever the length of a step",
    "norm_over_time": f"normalizes its input by statistics over all steps, {_ONE_DT}",
    "norm_of_a_step": f"normalizes each step by itself, {_ONE_DT}",
    "bias": "a bias acts once a step: twice the bins, {drive}",
    "gain": "an input_gain of {about} does not suit {arrives}: twice the bins, {drive}",
    "constant_in_steps": "{about} is given as {number:.4g} steps: twice the bins, half the time constant",
    "constant_as_factor": "{about} is given as a factor, {number:.4g} a step: twice the bins, half the time constant",
    "too_short_for_euler": "{about} is {number:.3g} steps, where decay: euler needs 2 or more",
    "shorter_than_a_step": "{about} is {number:.3g} steps long, so that what happens within a step is lost",
    "no_reset": "spikes at each step above its threshold: twice the bins, twice the spikes",
    "reset_to_a_value": "the part above the threshold is lost at a spike, more of it with longer steps",
    "late_reset": "the reset comes one step later, whatever the length of a step",
    "jump_for_a_whole_step": "a jump lasts for its whole step, whatever the length of a step",
    "jump_decays_first": "jumps decay before they act, more with longer steps",
    "late_current": "its membrane gets a current one step later, whatever the length of a step",
    "potential_adds_up": "w adds the membrane at each step: twice the bins, twice its effect",
    "jump_shrinks_with_rho": "a spike moves w by (1 - rho) q b: twice the bins, half the jump",
    "jump_drives_each_step": "a jump drives the membrane at each step while it lasts: twice the bins, twice the drive",
}
_SYNAPSE_TEXTS = {"jump_first": "jump first", "decay_first": "decay first", "next_step": "a step later"}


def warning_text(warning: DtWarning) -> str:
    """Return the text of a warning: the dependence on dt."""
    level = f"the level of {warning.source}, which comes once a step"
    arrives = level if warning.source else "impulses (spikes or events)"
    fields = {**warning._asdict(), "drive": _DRIVE_TEXTS.get(warning.power, ""), "arrives": arrives}
    return _CAUSE_TEXTS[warning.cause].format(**fields)


def fix_text(warning: DtWarning) -> str:
    """Return the fix of a warning as settings, or its advice."""
    return " with ".join(f"{name}: {_value_text(value)}" for name, value in warning.fix) or warning.advice


def neuron_properties(info: NeuronInfo) -> dict[str, str]:
    """Return the properties of a neuron (gain, threshold, reset, ...) as texts, by name."""
    return dict(_neuron_properties(info))


def _neuron_properties(info: NeuronInfo) -> Iterator[tuple[str, str]]:
    if info.gain is not None:
        value = f"{info.gain.value:.4g}"
        yield "gain", f"{info.gain.setting} = {value}" if isinstance(info.gain.setting, str) else value
    if info.learned:
        yield "learns", ", ".join(f"{name} per {per}" for name, per in info.learned.items())
    if info.firing is not None:
        yield "threshold", _threshold_text(info.firing)
    if info.reset is not None:
        each = " a spike" if info.firing is not None and info.firing.several else ""
        yield "reset", _reset_text(info.reset) + each
    if info.lowest is not None:
        yield "bound", f"v ≥ {info.lowest:g}"
    if info.adaptation is not None:
        a, variable, b = info.adaptation
        yield "adaptation", f"w, by {number_text(a)} {variable} + {number_text(b)} s"
    if info.synapse is not None:
        yield "synapse", _SYNAPSE_TEXTS[info.synapse]
    if info.bits is not None:
        yield "integers", f"{info.bits} bits"
    if info.feedback is not None:
        size = "x".join(map(str, info.feedback.window))
        kind = f"{size} convolution" if size else "dense"
        yield "feedback", kind + ("" if info.feedback.autapses else ", no autapses")


def _threshold_text(firing: Firing) -> str:
    threshold = number_text(firing.threshold)
    if firing.several:
        return f"trunc({firing.variable} / {threshold})"
    rise = "" if firing.rise is None else f", + {number_text(firing.rise)} a spike"
    last = "" if firing.rising is None else f" (the last {firing.rising})"
    return f"{firing.variable} {'>' if firing.strict else '≥'} {threshold}{rise}{last}"


def _reset_text(reset: AfterSpike) -> str:
    what = "the adapted threshold" if reset.adapted else number_text(reset.value)
    of = "" if reset.of == "v" else f" of {reset.of}"
    text = {"subtract": f"subtract {what}{of}", "value": f"to {what}", "none": "none"}[reset.kind]
    rest = f", then {reset.rest_steps:g} steps of rest" if reset.rest_steps else ""
    return text + rest + (", a step later" if reset.delayed else "")


def _value_text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.4g}"


def print_summary(
    head: str,
    summary: Summary,
    counts: ParameterCounts,
    steps: int,
    memory: str,
    about_learned: str | None = None,
) -> None:
    """Print a network to stdout.

    Args:
        head: The name of the experiment and its input.
        counts: The parameters of the network by kind.
        steps: Steps of a recording.
        memory: The memory of a training step, as text.
        about_learned: The source of the learned constants, as text; None without learned constants, or before training.
    """
    print(head)
    layer_table(summary).print()
    if len(kinds := {kind: n for kind, n in counts._asdict().items() if n}) > 1:
        print(f"  Parameters: {join_names(f'{n:,} {kind}' for kind, n in kinds.items())}.")
    print(
        f"  Dense operations: multiply-accumulates of inputs with weights, zeros included;"
        f" {_large_number(summary.operations * steps)} a recording of {steps} steps.\n  {memory}"
    )
    _neuron_table(summary.neurons).print()
    if about_learned is not None:
        print(f"  {about_learned}")
    if summary.warnings:
        print("  These layers depend on dt, and change with the number of bins:")
    for warned in summary.warnings:
        print(f"    {dt_warning_line(warned)}")


def layer_table(summary: Summary) -> Table:
    """Return the layers with their shapes and costs, those within a block indented below it."""
    rows = [("input", "", shape_text(summary.in_shape), "", "")]
    for row in summary.layers:
        # No numbers for a block, so that each number is in its column only once.
        size, operations = (0, 0) if row.family == "block" else (row.parameters, row.operations)
        kind = f"{row.kind}, {row.connection}" if row.connection else row.kind
        counts = "?" if operations is None else f"{operations:,}" if operations else ""
        name = "  " * row.depth + row.name.rpartition(".")[2]
        rows.append((name, kind, shape_text(row.shape), f"{size:,}" if size else "", counts))
    more = "+ ?" if any(row.operations is None for row in summary.layers) else ""
    rows.append(("total", "", "", f"{summary.parameters:,}", f"{summary.operations:,}{more}"))
    head = ("layer", "type", "output a step", "parameters", "dense operations a step")
    return Table(head, rows, text_columns=(0, 1), faint=(0,), sum=True)


def dt_warning_line(warned: LayerWarning) -> str:
    """Return a warning and its fix as a line."""
    return f"{', '.join(warned.layers)}: {warning_text(warned.warning)}; fix: {fix_text(warned.warning)}"


def memory_text(found: MemoryEstimate, batch: int, steps: int, unknown: str | None = None) -> str:
    """Return the memory of a training step in two lines.

    Args:
        found: The memory in bytes.
        batch: Batch size.
        steps: Steps of a recording.
        unknown: The optimizer, if the size of its state is unknown and not counted.
    """
    optimizer = "and optimizer" if unknown is None else f"(the state of {unknown} is not counted)"
    return (
        f"Training step on a CPU, batch of {batch}, {steps} steps: about {_mb_text(found.peak)} of tensors at its peak;"
        " fragmentation can add two thirds.\n"
        f"    kept for the backward pass {_mb_text(found.saved)}, frames {_mb_text(found.frames)}, weights {optimizer}"
        f" {_mb_text(found.weights_and_optimizer)}, temporary {_mb_text(found.temporary)}"
    )


def _neuron_table(neurons: list[NeuronSummary]) -> Table:
    properties = {row.name: neuron_properties(row.info) for row in neurons}
    properties_shown = list(dict.fromkeys(word for values in properties.values() for word in values))
    range_head = ["least to most"] if any(constant.min_max for row in neurons for constant in row.constants) else []
    rows = []
    for row in neurons:
        values = [properties[row.name].get(word, "") for word in properties_shown]
        for number, constant in enumerate(row.constants):
            ms = "" if constant.ms is None else f"{constant.ms:.4g}"
            spread = "" if constant.min_max is None else "{:.4g} to {:.4g}".format(*constant.min_max)
            cells = [
                constant.name,
                ms,
                *(spread for _ in range_head),
                f"{constant.steps:.4g}",
                f"{constant.factor:.4f}",
            ]
            rows.append(["" if number else row.name, *cells, *([""] * len(properties_shown) if number else values)])
        if not row.constants:
            rows.append([row.name, *[""] * (4 + len(range_head)), *values])
    head = ["neuron", "constant", "ms", *range_head, "steps", "factor a step", *properties_shown]
    return Table(head, rows, text_columns=[0, 1, *range(len(head) - len(properties_shown), len(head))])


def _large_number(number: int) -> str:
    """Return `612`, `54.7 million`."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _mb_text(size: float) -> str:
    mb = size / 1e6
    return f"{mb:,.0f} MB" if mb >= 10 else f"{mb:.1g} MB" if mb < 0.1 else f"{mb:.1f} MB"


def print_settings(
    name: str, factory: Callable[..., Any], supplied: Sequence[str], shared: Callable[..., Any] | None = None
) -> None:
    """Print the settings of a registered class or function to stdout.

    Args:
        name: Its name in YAML.
        factory: The registered class or function.
        supplied: Its arguments that snnlab passes itself.
        shared: A function whose arguments are settings of all classes in that registry, or None.
    """
    print(f"{name}: {first_sentence(factory)}")
    for line in equation_lines(factory):
        print(f"    {line}")
    settings = fields_of(factory, supplied)
    if shared is not None:  # an argument that both have is explained by the class
        own = {name: field.help for name, field in settings.items()}
        settings |= {
            name: replace(field, help=own.get(name) or field.help) for name, field in fields_of(shared).items()
        }
    rows = [
        [one.name, one.kind, one.unit, "required" if one.required else as_yaml(one.default), one.help]
        for one in settings.values()
    ]
    Table(("setting", "type", "unit", "default", "meaning"), rows, text_columns=range(5)).print()
    if not rows:
        print("It takes no settings.")


def equation_lines(factory: Callable[..., Any]) -> list[str]:
    """Return the equations of a registered neuron, rendered or else those that its class states; of others nothing."""
    if not is_neuron(factory):
        return []
    found = equations_of_kind(factory)
    return found.text() if isinstance(found, RenderedEquations) else [*inspect.unwrap(factory).equations]


def as_yaml(value: Any) -> str:
    """Return a default value as in YAML."""
    if value is None:
        return "null"
    if value == ():
        return "[]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_yaml(each)}" for key, each in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


# Number of recordings without events that are listed.
MAX_LISTED = 5


def print_inspection(head: str, found: Inspection, settings: DataSettings, names: Sequence[str]) -> None:
    """Print the statistics of a dataset to stdout.

    Args:
        head: The name of the dataset and its sensor.
        found: The statistics.
        settings: Window and bins.
        names: Names of the recordings without events.
    """
    print(head)
    for table in _tables(found):
        table.print()
    if found.unlabelled is not None and found.unlabelled.ms:
        ms, of_ms, recordings = found.unlabelled
        print(f"  without a label: {ms:,.6g} of {of_ms:,.6g} ms, in {recordings:,} recordings")
    if found.groups:
        print(f"  {_counts_text(found.groups, 'groups')}")
    if found.windows:
        print(f"  {_counts_text(found.windows, 'windows')}, one every {settings.stride_ms:g} ms")
    print(f"  {binning_text(found, settings)}")
    if found.empty:
        shown = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
        say(f"  {len(found.empty):,} recordings have no events: {shown}")
    for warning in found.warnings:
        say(f"  warning: {warning}")


def _counts_text(numbers: Sequence[int], what: str) -> str:
    """Return `6 groups: 4 / 1 / 1 (train / val / test)`."""
    *parts, total = numbers
    return f"{total:,} {what}: {' / '.join(f'{part:,}' for part in parts)} (train / val / test)"


def _tables(found: Inspection) -> Iterator[Table]:
    """Yield a table of the parts, and one of the classes, or values, or labels over time."""
    yield _group_table("part", found.parts, with_parts=False)
    if found.classes:
        yield _group_table("class", found.classes, with_parts=True)
    if found.values:
        head = ("value", *(head for part in (*PARTS, "all") for head in (part, "")))
        yield Table(head, list(map(_value_cells, found.values)))
    if found.labels:
        head = ("label", *(f"{part} (ms)" for part in (*PARTS, "all")), "share", "recordings")
        total = sum(label.ms[-1] for label in found.labels)
        yield Table(head, [_label_cells(label, total) for label in found.labels])


def _value_cells(value: ValueStats) -> list[str]:
    """Return the mean and the range of a value in each part."""
    cells = [value.name]
    for part in value.parts:
        cells += ["", ""] if part is None else [f"{part.mean:.3g}", f"{part.least:.3g} to {part.most:.3g}"]
    return cells


def _label_cells(label: LabelStats, total: float) -> list[str]:
    """Return the duration of a label in each part, and its number of recordings."""
    share = f"{label.ms[-1] / total:.1%}" if total else ""
    return [label.name, *(f"{ms:,.0f}" for ms in label.ms), share, f"{label.recordings:,}"]


def _group_table(kind: str, groups: list[RecordingStats], *, with_parts: bool) -> Table:
    """Return a line for each part or class."""
    on = ["ON"] if any(group.on is not None for group in groups) else []
    head = [kind, "train / val / test" if with_parts else "recordings", "events", "", "until (ms)", "", "per ms", *on]
    rows = [
        [
            group.name,
            " / ".join(f"{part:,}" for part in group.parts) if with_parts else f"{group.recordings:,}",
            *(
                *_range_cells(group.events),
                *_range_cells(group.last_ms),
                "" if group.rate is None else f"{group.rate:.1f}",
            ),
            *("" if group.on is None else f"{group.on:.1%}" for _ in on),
        ]
        for group in groups
    ]
    return Table(head, rows)


def binning_text(found: Inspection, settings: DataSettings) -> str:
    """Return a text about the steps, the dropped events and the filled pixels of the frames."""
    binning = found.binning
    left = (
        f"{binning.outside:,} of {binning.events:,} events come later and are dropped"
        if binning.outside
        else "no event later"
        if settings.stride_us is None
        else f"a window every {settings.stride_ms:g} ms"
    )
    if binning.dropped:
        left += f", {binning.dropped:.2%} of those in the window are in no frame{_drop_reasons(settings)}"
    return (
        f"{settings.steps_text}, {left}; {binning.filled:.2%} of their pixels have events,"
        f" {binning.many:.0%} of those more than one, at most {binning.most:,} ({binning.sampled} recordings inspected)"
    )


def _drop_reasons(settings: DataSettings) -> str:
    """Return the reasons why events of the window may be in no frame."""
    width, height = settings.size[:2] if settings.crop is None else settings.crop[2:]
    columns, rows = width % settings.downsample, height % settings.downsample if height > 1 else 0
    reasons = []
    if settings.crop is not None:
        reasons.append("outside data.crop")
    if columns or rows:
        edges = [f"{n} {what}" for n, what in ((columns, "columns"), (rows, "rows")) if n]
        reasons.append(
            f"in the last {' and '.join(edges)}, which fill no pixel of data.downsample={settings.downsample}"
        )
    if settings.events_per_bin is not None:
        reasons.append(f"after {settings.steps} steps of data.events_per_bin={settings.events_per_bin:,}")
    return f" ({', or '.join(reasons)})" if reasons else ""


def _range_cells(values: RangeStats | None) -> tuple[str, str]:
    """Return the mean, and the least and largest value, as texts."""
    return ("", "") if values is None else (f"{values.mean:,.0f}", f"{values.least:,.0f} to {values.most:,.0f}")
