"""What a neuron says of itself, in words."""

from __future__ import annotations

from collections.abc import Iterator

from snnlab.nn.neurons.info import AfterSpike, Cause, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import number_text

# By the power of the number of steps.
_DRIVES = {-1: "half the drive", 1: "twice the drive", 2: "four times the drive"}
_FITS_ONE_DT = "so that what it learns fits one dt"
_CAUSES: dict[Cause, str] = {
    "late_feedback": "its feedback comes one step later, however long that is",
    "norm_over_time": f"normalises what arrives in a step, over all steps, {_FITS_ONE_DT}",
    "norm_of_a_step": f"normalises each step by itself, {_FITS_ONE_DT}",
    "bias": "a bias acts once a step: twice the bins, {drive}",
    "gain": "an input_gain of {about} does not suit {arrives}: twice the bins, {drive}",
    "constant_in_steps": "{about} is given as {number:.4g} steps: twice the bins, half the time constant",
    "constant_as_factor": "{about} is given as a factor, {number:.4g} a step: twice the bins, half the time constant",
    "too_short_for_euler": "{about} is {number:.3g} steps, where decay: euler needs 2 or more",
    "shorter_than_a_step": "{about} is {number:.3g} steps long, so that what happens within a step is lost",
    "no_reset": "spikes at each step above its threshold: twice the bins, twice the spikes",
    "reset_to_a_value": "what is above the threshold is lost at a spike, the more the longer a step",
    "late_reset": "the reset waits for the next step, however long that is",
    "jump_for_a_whole_step": "a jump is there for the whole of its step, however long that is",
    "jump_decays_first": "jumps decay before they act, the more the longer a step",
    "late_current": "its membrane sees a current one step later, however long that is",
    "potential_adds_up": "w adds the potential up at each step: twice the bins, twice its pull",
    "jump_shrinks_with_rho": "a spike moves w by (1 - rho) q b: twice the bins, half the jump",
    "jump_drives_each_step": "a jump drives the membrane at each step that it stays: twice the bins, twice the drive",
}
_SYNAPSES = {"jump_first": "jump first", "decay_first": "decay first", "next_step": "a step later"}


def warning_text(warning: DtWarning) -> str:
    """Return what depends on dt."""
    level = f"the level of {warning.source}, which comes once a step"
    arrives = level if warning.source else "impulses (spikes or events)"
    fields = {**warning._asdict(), "drive": _DRIVES.get(warning.power, ""), "arrives": arrives}
    return _CAUSES[warning.cause].format(**fields)


def cure_text(warning: DtWarning) -> str:
    """Return what to do about it."""
    return " with ".join(f"{name}: {_value(value)}" for name, value in warning.fix) or warning.advice


def neuron_words(info: NeuronInfo) -> dict[str, str]:
    """Return gain, threshold, reset and the like, by their name."""
    return dict(_words(info))


def _words(info: NeuronInfo) -> Iterator[tuple[str, str]]:
    if info.gain is not None:
        value = f"{info.gain.value:.4g}"
        yield "gain", f"{info.gain.given} = {value}" if isinstance(info.gain.given, str) else value
    if info.learned:
        yield "learns", ", ".join(f"{name} per {per}" for name, per in info.learned.items())
    if info.firing is not None:
        yield "threshold", _firing(info.firing)
    if info.reset is not None:
        each = " a spike" if info.firing is not None and info.firing.several else ""
        yield "reset", _reset(info.reset) + each
    if info.lowest is not None:
        yield "bound", f"v ≥ {info.lowest:g}"
    if info.adaptation is not None:
        a, variable, b = info.adaptation
        yield "adaptation", f"w, by {number_text(a)} {variable} + {number_text(b)} s"
    if info.synapse is not None:
        yield "synapse", _SYNAPSES[info.synapse]
    if info.resolution is not None:
        yield "integers", f"1/{info.resolution}"
    if info.feedback is not None:
        size = "x".join(map(str, info.feedback.window))
        kind = f"{size} convolution" if size else "dense"
        yield "feedback", kind + ("" if info.feedback.autapses else ", no autapses")


def _firing(firing: Firing) -> str:
    threshold = number_text(firing.threshold)
    if firing.several:
        return f"trunc({firing.variable} / {threshold})"
    rise = "" if firing.rise is None else f", + {number_text(firing.rise)} a spike"
    last = "" if firing.rising is None else f" (the last {firing.rising})"
    return f"{firing.variable} {'>' if firing.strict else '≥'} {threshold}{rise}{last}"


def _reset(reset: AfterSpike) -> str:
    what = "the adapted threshold" if reset.adapted else number_text(reset.value)
    of = "" if reset.of == "v" else f" of {reset.of}"
    text = {"subtract": f"subtract {what}{of}", "value": f"to {what}", "none": "none"}[reset.kind]
    rest = f", then {reset.rest_steps:g} steps of rest" if reset.rest_steps else ""
    return text + rest + (", a step later" if reset.delayed else "")


def _value(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.4g}"
