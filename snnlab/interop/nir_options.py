"""The options for what NIR leaves open, and what they decide for a graph, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from snnlab.errors import ConfigError, join_names
from snnlab.spec.interval import FINITE, Count, at_least
from snnlab.spec.signatures import check_settings

# Primitives of NIR that spike.
POPULATIONS = ("LIF", "IF", "CubaLIF")
# Length of a file's unit of time, ms; a step for `steps`.
UNITS = {"s": 1000.0, "ms": 1.0}
# A shorter step, ms, is a mistake: nothing would happen in it.
SHORTEST_MS = 1e-6
# A line names no more nodes than this.
_MOST_NAMES = 6


@dataclass(frozen=True)
class NIRReadOptions:
    """How a graph is read where it leaves something open.

    What is left out is what a graph of snnlab is meant with, for others as said.

    Args:
        time_unit: Unit of the time constants, s by default; Sinabs writes steps.
        dt: Length of a step, 1 by default.
        discretization: Factors of one step: exp(-dt / tau), by default, or 1 - dt / tau.
        spikes: A spike is an impulse of 1, or a current of 1 during its step, for IF r or r dt; by default an impulse
            for IF and I, a current for neurons that leak.
        reset: Subtract the threshold, or to zero; by default to v_reset where the graph has it, else subtract.
        threshold: A spike above it, as NIR says, or at it too; by default strict, and inclusive with several spikes a
            step.
        spikes_per_step: At most one, or one for each multiple of the threshold, as Sinabs does.
        floor: Lower bound of the membranes, none by default.
        synapse: An input reaches the membrane whole in its own step, or less the decay of a step, or a step later.
        cycle_delay: Steps by which the output of a population returns to itself, 1 by default.
        ignore_metadata: Read graphs of snnlab by these options too, whatever they are meant with.
    """

    time_unit: Literal["s", "ms", "steps"] | None = None
    dt: Annotated[float | None, "ms", at_least(SHORTEST_MS)] = None
    discretization: Literal["exact", "euler"] | None = None
    spikes: Literal["impulse", "current"] | None = None
    reset: Literal["subtract", "zero"] | None = None
    threshold: Literal["strict", "inclusive"] | None = None
    spikes_per_step: Literal["one", "several"] = "one"
    floor: Annotated[float | None, FINITE] = None
    synapse: Literal["jump_first", "decay_first", "next_step"] = "jump_first"
    cycle_delay: Count | None = None
    ignore_metadata: bool = False

    def filled(self, meant: Mapping[str, Any]) -> FilledOptions:
        """Return the options, those that are null as they are meant by a graph, or else the defaults."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return FilledOptions(**{**meant, **given})


@dataclass(frozen=True)
class FilledOptions(NIRReadOptions):
    """The options with the defaults of those that every reading needs."""

    time_unit: Literal["s", "ms", "steps"] = "s"
    dt: float = 1.0
    discretization: Literal["exact", "euler"] = "exact"
    cycle_delay: int = 1

    @property
    def step(self) -> float:
        """Length of a step in the unit of the time constants."""
        return 1.0 if self.time_unit == "steps" else self.dt / UNITS[self.time_unit]

    @property
    def strict(self) -> bool:
        """Whether a membrane at the threshold does not spike."""
        return (self.threshold or ("inclusive" if self.spikes_per_step == "several" else "strict")) == "strict"


def check_options(options: NIRReadOptions) -> None:
    """Raise a ConfigError for options that contradict each other."""
    if options.spikes_per_step == "several":
        if options.reset == "zero":
            raise ConfigError("spikes_per_step", "several needs reset: subtract")
        if options.threshold == "strict":
            raise ConfigError("spikes_per_step", "several needs threshold: inclusive")


def option_text(values: Mapping[str, Any]) -> str:
    """Return options as on a command line: `--dt 1 --spikes current`."""
    texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return " ".join(f"--{name.replace('_', '-')} {text}" for name, text in texts.items())


def checked_options(values: Mapping[str, Any]) -> NIRReadOptions:
    """Return options, their names and values checked."""
    check_settings(NIRReadOptions, values, "import", "import")
    return NIRReadOptions(**values)


class Facts(NamedTuple):
    """What of a graph its assumptions depend on.

    Attributes:
        kinds: The primitive of each node.
        resets: Nodes that have a v_reset in the file.
        constants: Time constants, ms.
        delayed: Populations whose output returns later.
        dropped: Nodes that are left out.
        doubles: Whether there are weights in double precision.
        notes: What was found in single nodes.
    """

    kinds: Mapping[str, str]
    resets: Collection[str]
    constants: Collection[float]
    delayed: Collection[str]
    dropped: Collection[str]
    doubles: bool
    notes: Collection[str]


def assumption_lines(facts: Facts, options: FilledOptions) -> Iterator[str]:
    """Yield what the options of a graph decide, each as one line."""
    kinds = {*facts.kinds.values()}
    leaky = kinds & {"LIF", "LI", "CubaLIF", "CubaLI"}
    if facts.constants:
        low, high = (f"{rounded(value):.4g}" for value in (min(facts.constants), max(facts.constants)))
        length = f"{low} ms" if low == high else f"{low} to {high} ms"
        yield f"time_unit: time constants are in {options.time_unit}, so that they are {length}"
    elif leaky or "Delay" in kinds:
        yield f"time_unit: time constants are in {options.time_unit}"
    if leaky or "Delay" in kinds or (kinds & {"IF", "I"} and options.spikes == "current"):
        yield f"dt: a step is {options.dt:g} ms"
    if leaky:
        factor = {"exact": "exp(-dt / tau)", "euler": "1 - dt / tau"}[options.discretization]
        yield f"discretization: {options.discretization}, a factor of {factor} in one step"
    if leaky:
        kind = options.spikes or "current"
        gain = {"current": "a current of 1 during the step", "impulse": "an impulse of 1"}[kind]
        yield f"spikes: to neurons that leak a spike is {gain} (spikes: {kind})"
    if kinds & {"IF", "I"}:
        kind = options.spikes or "impulse"
        gain = {"current": "r dt", "impulse": "r"}[kind]
        yield f"spikes: to IF and I a spike adds {gain} to the membrane (spikes: {kind})"
    if kinds & {*POPULATIONS}:
        yield from _firing_lines(facts, options)
    if kinds & {"CubaLIF", "CubaLI"}:
        order = {
            "jump_first": "the input reaches the membrane in its own step, through the synapse",
            "decay_first": "the input decays by a step before the membrane reads it",
            "next_step": "the membrane reads the synaptic current of the step before",
        }[options.synapse]
        yield f"synapse: {order} (synapse: {options.synapse})"
    yield from _structure_lines(facts, options)


def _firing_lines(facts: Facts, options: FilledOptions) -> Iterator[str]:
    populations = [name for name, kind in facts.kinds.items() if kind in POPULATIONS]
    with_reset = [name for name in populations if name in facts.resets]
    if options.reset is not None:
        what = "subtracts the threshold" if options.reset == "subtract" else "resets the membrane to zero"
        yield f"reset: a spike {what} (reset: {options.reset})"
    elif with_reset:
        yield "reset: a spike resets the membrane to the v_reset of the file"
    if options.reset is None and len(with_reset) < len(populations):
        who = (
            "the file has no v_reset"
            if not with_reset
            else f"{join_names(set(populations) - set(with_reset))} have no v_reset"
        )
        yield f"reset: {who}, so a spike subtracts the threshold"
    at = "above" if options.strict else "at or above"
    often = "one spike a step at most" if options.spikes_per_step == "one" else "once for each multiple of it in a step"
    yield f"threshold: a membrane {at} v_threshold spikes; {often}"
    if options.floor is not None:
        yield f"floor: membranes stay at or above {options.floor:g}"


def _structure_lines(facts: Facts, options: FilledOptions) -> Iterator[str]:
    if facts.delayed:
        plural = "step" if options.cycle_delay == 1 else "steps"
        yield f"cycle_delay: the output of {join_names(facts.delayed)} returns {options.cycle_delay} {plural} later"
    yield from facts.notes
    if names := list(facts.dropped):
        more = [f"and {len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
        shown = join_names([*names[:_MOST_NAMES], *more])
        yield f"left out, since no path leads from them to the output: {len(names):,} nodes, {shown}"
    if facts.doubles:
        yield "weights in double precision are rounded to single precision"


def rounded(value: float) -> float:
    """Return a value without the digits that a change of its unit added."""
    return float(f"{value:.15g}")
