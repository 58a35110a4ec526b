"""What a neuron is in NIR, as data, to be written and read.

NIR says what a neuron is in continuous time. With steps of dt and factors a, b of one step, a membrane
u[t] = a v[t-1] + g j[t] + (1 - a) v_leak with the current j[t] = b i[t-1] + x[t] is the node whose forward Euler step
is the same:

    tau = dt / (1 - a)      r = g / (1 - a)                     LI, LIF, CubaLI, CubaLIF
    r = g / dt                                                  I, IF
    tau_syn = dt / (1 - b)  w_in = 1 / (1 - b), or b / (1 - b)  CubaLI, CubaLIF; the second where a jump decays at once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.info import NeuronInfo


@dataclass(frozen=True)
class NIRNode:
    """The node of NIR that a kind of neurons is, in both directions.

    Attributes:
        kind: Its primitive, such as `LIF`.
        taus: Its field for each time constant, by the setting; none without a leak.
        is_read: Whether such a node is read as this neuron, which then has the settings `input_gain` and `per_neuron`,
            with time constants `v_leak` and `decay`, with a synapse `synapse`, and those of `lif` if it spikes.
    """

    kind: str
    taus: Mapping[str, str] = field(default_factory=dict)
    is_read: bool = False


LEAKY, SYNAPTIC = {"tau_mem": "tau"}, {"tau_mem": "tau_mem", "tau_syn": "tau_syn"}


class Lost(NamedTuple):
    """Something that a node does not say of a neuron.

    Attributes:
        what: The setting, as in a YAML, or what the neuron does.
        fix: What says it instead.
        instead: What the node has in its place.
    """

    what: str
    fix: str
    instead: str


class InNIR(NamedTuple):
    """A neuron as a node of NIR.

    Attributes:
        kind: Its primitive.
        values: Its fields, numbers or a value per channel or neuron, in double precision; times in the unit of dt. The
            threshold is that of a spike at u > v_threshold.
        lost: What it does not say.
    """

    kind: str
    values: Mapping[str, Any]
    lost: Sequence[Lost] = ()


def membrane_values(
    node: NIRNode, dt: float, *, a: Any = 0.0, g: Any = 1.0, v_leak: Any = 0.0, b: Any = 0.0, decays_first: bool = False
) -> dict[str, Any]:
    """Return the fields of a membrane below its threshold.

    Args:
        node: The node.
        dt: Length of a step.
        a: Factor of the membrane in one step.
        g: Gain of its drive.
        v_leak: Resting potential.
        b: Factor of the synapse in one step.
        decays_first: Whether a jump of the current decays at once.
    """
    if not node.taus:
        return {"r": g / dt}
    factors = {"tau_mem": a, "tau_syn": b}
    times = {name: dt / (1.0 - factors[setting]) for setting, name in node.taus.items()}
    jump = {"w_in": (b if decays_first else 1.0) / (1.0 - b)} if "tau_syn" in node.taus else {}
    return {"r": g / (1.0 - a), "v_leak": v_leak, **times, **jump}


def gain_of(
    node: NIRNode, values: Mapping[str, Any], dt: float, *, a: Any = 0.0, b: Any = 0.0, is_current: bool
) -> Any:
    """Return g for the fields of a node: the inverse of `membrane_values`, where a jump does not decay at once.

    Args:
        node: The node.
        values: Its fields.
        dt: Length of a step.
        a: Factor of the membrane in one step.
        b: Factor of the synapse in one step.
        is_current: Whether a spike is a current of 1 during its step; else it is an impulse of 1.
    """
    r = values["r"]
    if not node.taus:
        return r * dt if is_current else r
    if "tau_syn" not in node.taus:
        return r * ((1.0 - a) if is_current else 1.0 / values[node.taus["tau_mem"]])
    return r * (1.0 - a) * values["w_in"] * ((1.0 - b) if is_current else 1.0 / values[node.taus["tau_syn"]])


def next_below(value: Any) -> Tensor:
    """Return the largest number of single precision below the value rounded to it: u > it where u >= value."""
    single = torch.as_tensor(value, dtype=torch.float64).detach().float()
    return torch.nextafter(single, torch.tensor(-torch.inf))


INCLUSIVE = Lost("threshold: inclusive", "threshold: strict", "the next float below the threshold")


def lost_of(info: NeuronInfo) -> list[Lost]:
    """Return what no node says of a neuron, by its description."""
    found: list[Lost] = []
    firing, reset = info.firing, info.reset
    several = firing is not None and firing.several
    if several:
        found.append(Lost("several spikes a step", "spikes: one, reset: value", "one spike a step, reset to 0"))
    if firing is not None and firing.rise is not None:
        found.append(Lost("an adaptive threshold", "type: lif or cuba_lif", "a constant threshold"))
    if info.adaptation is not None:
        found.append(Lost("an adaptation current", "type: lif", "no adaptation"))
    if info.synapse == "next_step":
        found.append(Lost("a current of the step before", "type: cuba_lif", "the current of the step"))
    if reset is not None and not several:
        if reset.kind != "value":
            found.append(Lost(f"reset: {reset.kind}", "reset: value", "a reset to 0"))
        if reset.delayed:
            found.append(Lost("reset_delay: true", "reset_delay: false", "a reset at once"))
        if reset.rest_steps:
            found.append(Lost("a refractory period", "none", "no refractory period"))
    if info.lowest is not None:
        found.append(Lost(f"floor: {info.lowest:g}", "floor: null", "no lowest potential"))
    return found if firing is None or firing.strict else [*found, INCLUSIVE]
