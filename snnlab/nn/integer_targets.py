"""What a network computes with in whole numbers: widths, rounding and overflow, one table for each target.

A weight is w = clip(round(W * g / scale)), of `weight_bits`, shifted left by `weight_shift`: the unit of states,
thresholds and biases is scale / 2^weight_shift, and g, the gain of the neuron's input, is part of its weights. Decays
are whole numbers of 1 / 2^decay_bits; their product with a state is rounded towards zero. All other numbers are rounded
to the nearest. A neuron's input, its current and its membrane have `state_bits` each, one of them the sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from snnlab.errors import ConfigError
from snnlab.kernels.whole_numbers import EXACT_BITS, MOST_FACTOR_BITS
from snnlab.registry import Registry
from snnlab.spec.declared import Declared
from snnlab.spec.field import Help
from snnlab.spec.interval import between

INTEGER_TARGETS = Registry("target")
MOST_WEIGHT_BITS = 12
WeightBits = Annotated[int, between(2, MOST_WEIGHT_BITS)]


class IntegerTarget(Declared):
    """Widths, rounding and overflow of a network in whole numbers.

    Args:
        weight_bits: Bits of a weight, one of them its sign.
        weight_shift: Bits by which a weight is shifted left before it is added: fraction bits of the states.
        state_bits: Bits of a neuron's input, current and membrane, and of thresholds, one of them the sign.
        bias_bits: Bits of a bias, one of them the sign.
        decay_bits: Fraction bits of a decay.
        scales: One scale of weights for each output `channel`, or for the whole `layer`; a readout has one.
        current_overflow: Whether a current that is too large begins anew (`wrap`) or stays at the end (`saturate`); a
            membrane saturates.
        learn_scales: Whether a training learns the scales, from those that the weights have at its start.
        layer_bits: `weight_bits` of some layers by name, `{out: 8}`.
    """

    # What the table cannot say, for the documentation.
    note: ClassVar[str] = ""
    # Classes of the neurons that the target has; all with a rule where it is empty.
    neurons: ClassVar[tuple[str, ...]] = ()
    rounds_to_even: ClassVar[bool] = False
    # Whether a scale lets weights, biases, thresholds and bounds fit, down to the smallest number of their bits.
    fits_all: ClassVar[bool] = False
    # Whether -2^(state_bits - 1) is left out, see `whole_numbers.wrapped` and `saturated`.
    without_least: ClassVar[bool] = False

    weight_bits: WeightBits = 8
    weight_shift: Annotated[int, between(0, 12)] = 6
    state_bits: Annotated[int, between(4, EXACT_BITS)] = 24
    bias_bits: Annotated[int, between(2, EXACT_BITS)] = 24
    decay_bits: Annotated[int, between(1, MOST_FACTOR_BITS)] = 12
    scales: Literal["channel", "layer"] = "channel"
    current_overflow: Literal["saturate", "wrap"] = "saturate"
    learn_scales: Annotated[bool, Help("Whether a training learns the scales.")] = False
    layer_bits: Mapping[str, int] = {}

    def prepare(self) -> None:
        for name, bits in self.layer_bits.items():
            if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= MOST_WEIGHT_BITS:
                raise ConfigError(f"layer_bits.{name}", f"must be a whole number, 2 to {MOST_WEIGHT_BITS}, got {bits}")

    def most_weight(self, layer: str) -> int:
        """Return the largest weight of a layer."""
        return 2 ** (self.layer_bits.get(layer, self.weight_bits) - 1) - 1

    def least_weight(self, layer: str) -> int:
        """Return the smallest weight of a layer."""
        return -self.most_weight(layer) - self.fits_all

    @property
    def most_bias(self) -> int:
        """The largest bias; the smallest is its negative, less 1."""
        return 2 ** (self.bias_bits - 1) - 1

    @property
    def most_state(self) -> int:
        """The largest membrane."""
        return 2 ** (self.state_bits - 1) - 1


@INTEGER_TARGETS.register("int8")
class Int8(IntegerTarget):
    """Weights of 8 bits and states of 24, for any processor with integers of 32 bits."""


@INTEGER_TARGETS.register("int4")
class Int4(IntegerTarget):
    """Weights of 4 bits and states of 16, for small circuits."""

    weight_bits: WeightBits = 4
    state_bits: Annotated[int, between(4, EXACT_BITS)] = 16
    bias_bits: Annotated[int, between(2, EXACT_BITS)] = 16


@INTEGER_TARGETS.register("loihi2")
class Loihi2(IntegerTarget):
    """Intel's Loihi 2, as Lava's fixed-point LIF computes it."""

    note: ClassVar[str] = (
        "Lava's numbers: du = 4095 - b and dv = 4096 - a, for b and a in 4096ths; its strict threshold is one less."
    )
    without_least: ClassVar[bool] = True
    current_overflow: Literal["saturate", "wrap"] = "wrap"
    scales: Literal["channel", "layer"] = "layer"


@INTEGER_TARGETS.register("speck")
class Speck(IntegerTarget):
    """SynSense's Speck, as Sinabs' `discretize` rounds: weights, biases, threshold and floor of a layer have one scale.

    Source: Sinabs 3.1.3, sinabs.backend.dynapcnn.discretize, read and not imported.
    """

    note: ClassVar[str] = (
        "Neurons are `iaf` with a `floor`. The chip adds events one after another, in an order that is undefined: a"
        " membrane that meets its floor or its threshold within a step may differ from the sum of the step, here."
    )
    neurons: ClassVar[tuple[str, ...]] = ("IAF",)
    rounds_to_even: ClassVar[bool] = True
    fits_all: ClassVar[bool] = True
    weight_shift: Annotated[int, between(0, 12)] = 0
    state_bits: Annotated[int, between(4, EXACT_BITS)] = 16
    bias_bits: Annotated[int, between(2, EXACT_BITS)] = 8
    scales: Literal["channel", "layer"] = "layer"


def _ends(one: IntegerTarget) -> str:
    most = f"2^{one.state_bits - 1}"
    return f"-{most} + 1, {most}" if one.without_least else f"-{most}, {most} - 1"


def table_lines() -> Iterator[str]:
    """Yield the table of all targets, in Markdown."""
    targets = {name: INTEGER_TARGETS.build(name, {}, name) for name in INTEGER_TARGETS}
    rows = {
        "weights": lambda one: f"{one.weight_bits} bits, {one.least_weight('')} to {one.most_weight('')}",
        "a scale for each": lambda one: one.scales,
        "scale": lambda one: "all numbers fit" if one.fits_all else "least error",
        "shift of weights": lambda one: f"{one.weight_shift} bits",
        "input, current, membrane, threshold": lambda one: f"{one.state_bits} bits",
        "smallest membrane, largest current": _ends,
        "biases": lambda one: f"{one.bias_bits} bits",
        "decays": lambda one: "none" if one.neurons else f"{one.decay_bits} fraction bits, product towards zero",
        "current too large": lambda one: "no current" if one.neurons else f"{one.current_overflow}s",
        "membrane too large": lambda _: "saturates",
        "rounding of all other numbers": lambda one: f"nearest, halves {'to even' if one.rounds_to_even else 'up'}",
    }
    yield f"| | {' | '.join(f'`{name}`' for name in targets)} |"
    yield f"|---{'|---' * len(targets)}|"
    for name, cell in rows.items():
        yield f"| {name} | {' | '.join(cell(one) for one in targets.values())} |"
    yield from (f"\n`{name}`: {one.note}" for name, one in targets.items() if one.note)
