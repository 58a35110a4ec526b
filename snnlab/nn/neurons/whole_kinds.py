"""The neurons that have a rule for whole numbers."""

from __future__ import annotations

from snnlab.errors import ConfigError
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.neurons.alif import ALIF
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.brf import BRF
from snnlab.nn.neurons.cuba_li import CubaLI
from snnlab.nn.neurons.cuba_lif import CubaLIF
from snnlab.nn.neurons.iaf import IAF
from snnlab.nn.neurons.integrator import Integrator
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.nn.neurons.whole_brf import WholeBRF
from snnlab.nn.neurons.whole_membrane import (
    WholeALIF,
    WholeCubaLI,
    WholeCubaLIF,
    WholeIAF,
    WholeIntegrator,
    WholeLI,
    WholeLIF,
)
from snnlab.nn.neurons.whole_neuron import WholeNeuron

WHOLE: dict[type[Neuron], type[WholeNeuron]] = {
    **{LIF: WholeLIF, IAF: WholeIAF, CubaLIF: WholeCubaLIF, ALIF: WholeALIF, BRF: WholeBRF},
    **{LI: WholeLI, CubaLI: WholeCubaLI, Integrator: WholeIntegrator},
}


def make_whole(neuron: Neuron, target: IntegerTarget, channels: int, axes: int, weight_shift: int) -> WholeNeuron:
    """Make a neuron one in whole numbers, in place: its settings and what it learns stay.

    Args:
        neuron: The neuron.
        target: Widths, rounding and overflow.
        channels: Number of output channels of the weights before it.
        axes: Number of axes of the layer after the channels.
        weight_shift: As for `WholeNeuron.begin`.
    """
    kind = WHOLE.get(type(neuron))
    if kind is None:
        kinds = ", ".join(one.__name__ for one in WHOLE)
        raise ConfigError("", f"{type(neuron).__name__} has no rule for whole numbers", f"these have one: {kinds}")
    neuron.__class__ = kind
    assert isinstance(neuron, WholeNeuron)
    neuron.begin(target, channels, axes, weight_shift)
    return neuron
