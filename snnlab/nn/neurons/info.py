"""What a neuron says of itself, as data: for whoever shows a network, draws it or looks at what depends on dt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from snnlab.nn.neurons.learn import Number, Per

# Settings and the values that they would be given.
Fix = tuple[tuple[str, str | float | bool], ...]
Advice = Literal["keep dt", "train again where dt changes", "keep dt, or train again", "more bins"]
Cause = Literal[
    "late_feedback",
    "norm_over_time",
    "norm_of_a_step",
    "bias",
    "gain",
    "constant_in_steps",
    "constant_as_factor",
    "too_short_for_euler",
    "shorter_than_a_step",
    "no_reset",
    "reset_to_a_value",
    "late_reset",
    "jump_for_a_whole_step",
    "jump_decays_first",
    "late_current",
    "potential_adds_up",
    "jump_shrinks_with_rho",
    "jump_drives_each_step",
]


class DtWarning(NamedTuple):
    """Something that changes with the length of a step, and what to do about it.

    Attributes:
        cause: What it is.
        fix: The settings that make up for it; empty where none does.
        advice: What to do where no setting helps.
        about: The time constant, or the input_gain, that it is about.
        number: The length of that constant in steps, or its factor.
        source: The layer whose level arrives where impulses should; empty where impulses arrive.
        power: k, where the drive is n^k times as strong in n times the steps.
    """

    cause: Cause
    fix: Fix = ()
    advice: Advice = "keep dt"
    about: str = ""
    number: float = 0.0
    source: str = ""
    power: int = 0


LATE_FEEDBACK = DtWarning("late_feedback", advice="keep dt, or train again")


class Gain(NamedTuple):
    """What the drive is multiplied by.

    Attributes:
        given: The setting.
        value: The number that it comes to; of neurons that learn it the mean.
    """

    given: float | str
    value: float


class Firing(NamedTuple):
    """When a neuron spikes.

    Attributes:
        threshold: What its variable has to reach.
        strict: Whether it has to be above.
        variable: Which one it is, as the equations call it.
        rise: How far a spike raises the threshold; None where it stays.
        rising: Of how many channels or features, the last ones, it is raised; None for all.
        several: Whether there is a spike for each multiple of the threshold.
    """

    threshold: Number
    strict: bool = False
    variable: str = "u"
    rise: Number | None = None
    rising: int | None = None
    several: bool = False


class AfterSpike(NamedTuple):
    """What a spike does to the membrane.

    Attributes:
        kind: `subtract`, `value` or `none`.
        value: What is subtracted, or what the membrane is set to.
        of: From what it is subtracted.
        adapted: Whether the raised threshold is subtracted.
        delayed: Whether it happens a step later.
        rest_steps: For how many steps the neuron then rests.
    """

    kind: Literal["subtract", "value", "none"]
    value: Number = 0.0
    of: str = "v"
    adapted: bool = False
    delayed: bool = False
    rest_steps: float = 0.0


class AdaptationCurrent(NamedTuple):
    """What drives the slow current w: `a` times a variable of this name, and `b` with each spike."""

    a: Number
    variable: str
    b: Number


class FeedbackInfo(NamedTuple):
    """How spikes come back to their own layer: by a convolution's window, none where all see all; and to themselves."""

    window: tuple[int, ...]
    autapses: bool


@dataclass(frozen=True)
class NeuronInfo:
    """A neuron's dialect.

    Attributes:
        equations: Its update, a line each; t is the step.
        gain: Of the drive.
        firing: When it spikes; None for an integrator.
        reset: What a spike does.
        lowest: The least that the membrane falls to.
        adaptation: The slow current that it fires against.
        synapse: When a jump on the current acts: before it decays, after, or only at the next step.
        feedback: How its spikes come back.
        resolution: Its states are whole numbers of 1 / resolution.
        learned: Whose own each learned quantity is.
        drive_power: k, where impulses of the same total drive the neuron n^k times as strongly in n times the steps;
            0 suits spikes and events, -1 a level that is there at each step. None: not known.
        fixes: By a k that does not suit what arrives, the settings that make up for it.
        warnings: What else in it depends on dt.
    """

    equations: tuple[str, ...] = ()
    gain: Gain | None = None
    firing: Firing | None = None
    reset: AfterSpike | None = None
    lowest: float | None = None
    adaptation: AdaptationCurrent | None = None
    synapse: Literal["jump_first", "decay_first", "next_step"] | None = None
    feedback: FeedbackInfo | None = None
    resolution: int | None = None
    learned: Mapping[str, Per] = field(default_factory=dict)
    drive_power: int | None = None
    fixes: Mapping[int, Fix] = field(default_factory=dict)
    warnings: tuple[DtWarning, ...] = ()
