"""Description of a neuron as data: for the summary and plots of a network, and for checks of its dependence on dt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from snnlab.nn.neurons.learn import Number, Per

# Pairs of a setting and its new value.
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
    """A dependence on the length of a step, and its fix.

    Attributes:
        cause: Its cause.
        fix: Settings that remove it; empty if there are none.
        advice: Advice for when no setting helps.
        about: The time constant concerned, or the input_gain.
        number: Length of that constant in steps, or its factor.
        source: Layer whose output is a level where impulses are expected; empty for impulses.
        power: k, where the drive is n^k times as strong with n times the steps.
    """

    cause: Cause
    fix: Fix = ()
    advice: Advice = "keep dt"
    about: str = ""
    number: float = 0.0
    source: str = ""
    power: int = 0


DELAYED_FEEDBACK = DtWarning("late_feedback", advice="keep dt, or train again")


class Gain(NamedTuple):
    """Factor of the drive.

    Attributes:
        setting: The setting.
        value: Its value; the mean over channels or neurons if it is learned.
    """

    setting: float | str
    value: float


class Firing(NamedTuple):
    """Condition of a spike.

    Attributes:
        threshold: Threshold of the variable.
        strict: Whether the variable must be above the threshold; else it spikes at the threshold too.
        variable: Name of the variable in the equations.
        rise: Rise of the threshold with a spike; None if it is constant.
        rising: Number of channels or features whose threshold rises, the last ones; None for all.
        several: Whether there is a spike for each multiple of the threshold.
    """

    threshold: Number
    strict: bool = False
    variable: str = "u"
    rise: Number | None = None
    rising: int | None = None
    several: bool = False


class AfterSpike(NamedTuple):
    """Effect of a spike on the membrane.

    Attributes:
        kind: `subtract`, `value` or `none`.
        value: The subtracted value, or the new value of the membrane.
        of: Variable that it is subtracted from.
        adapted: Whether the adapted threshold is subtracted.
        delayed: Whether it acts one step later.
        rest_steps: Length of the refractory period in steps.
    """

    kind: Literal["subtract", "value", "none"]
    value: Number = 0.0
    of: str = "v"
    adapted: bool = False
    delayed: bool = False
    rest_steps: float = 0.0


class AdaptationCurrent(NamedTuple):
    """Drive of the slow current w: `a` times the variable of this name, and `b` with each spike."""

    a: Number
    variable: str
    b: Number


class FeedbackInfo(NamedTuple):
    """Feedback of a layer: kernel size of a convolution, empty if dense; and whether neurons reach themselves."""

    window: tuple[int, ...]
    autapses: bool


@dataclass(frozen=True)
class NeuronInfo:
    """Description of a neuron.

    Attributes:
        gain: Gain of the drive.
        firing: Condition of a spike; None for an integrator.
        reset: Effect of a spike.
        lowest: Lower bound of the membrane.
        adaptation: The inhibitory slow current.
        synapse: When a jump of the current acts: before it decays, after, or at the next step.
        feedback: Feedback of its spikes to the layer.
        bits: Bits of its states, sign included, where they are whole numbers.
        learned: For each learned quantity, whether it is learned per layer, channel or neuron.
        drive_power: k, where impulses of the same total drive the neuron n^k times as strongly with n times the steps;
            0 fits spikes and events, -1 a level present at each step. None: not known.
        fixes: For each k that does not fit the input, the settings that correct it.
        warnings: Other dependences on dt.
    """

    gain: Gain | None = None
    firing: Firing | None = None
    reset: AfterSpike | None = None
    lowest: float | None = None
    adaptation: AdaptationCurrent | None = None
    synapse: Literal["jump_first", "decay_first", "next_step"] | None = None
    feedback: FeedbackInfo | None = None
    bits: int | None = None
    learned: Mapping[str, Per] = field(default_factory=dict)
    drive_power: int | None = None
    fixes: Mapping[int, Fix] = field(default_factory=dict)
    warnings: tuple[DtWarning, ...] = ()
