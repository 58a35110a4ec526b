"""The leaky integrate-and-fire neuron with an adaptation current."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.kernels.trace import equals_constant
from snnlab.nn.neurons.info import AdaptationCurrent, DtWarning, NeuronInfo
from snnlab.nn.neurons.learn import (
    Init,
    Learnable,
    Number,
    Ranges,
    apply_ranges,
    as_learn,
    as_ranges,
    init_uniform_,
    learnable_quantity,
    require_start_in_range,
)
from snnlab.nn.neurons.membrane import (
    Adaptive,
    MembraneCoefficients,
    symbol_of,
)
from snnlab.nn.neurons.nir_node import LEAKY, NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting, setting
from snnlab.spec.interval import FINITE, Finite, Interval

Coupling = Literal["before_reset", "after_reset"]
AdaptationGain = Annotated[float | Literal["1-rho"], FINITE]

# Bittar and Garner 2022.
DEFAULT_RANGES: Ranges = {"a": (-1.0, 1.0), "b": (0.0, 2.0)}


class AdLIFState(NamedTuple):
    """Membrane potential v and adaptation current w, each `[B, ...]`."""

    v: Tensor
    w: Tensor


class AdLIFCoefficients(NamedTuple):
    """Coefficients of the update; learned ones are tensors.

    Attributes:
        membrane: Coefficients of the canonical recurrence.
        adaptation_gain: 1 - a, the gain of w on the membrane.
        rho: Factor of w in one step.
        a: Gain of the membrane on w.
        b: Jump of w with a spike.
    """

    membrane: MembraneCoefficients
    adaptation_gain: Number
    rho: Number
    a: Number
    b: Number


@NEURONS.register("adlif")
class AdLIF(Adaptive):
    """Leaky integrate-and-fire neuron with a slow, inhibitory adaptation current, driven by potential and spikes.

    h_a is the `a_gain` and h_b the `b_gain`, each a number or 1 - rho. The potential is relative to rest. The defaults
    are dw/dt = (a v - w) / tau_adapt with a jump b at each spike, which hardly depends on dt. Published variants:

    - RadLIF (`neuron=radlif`): `before_reset`, both gains 1, `input_gain: 1-a`. This is sparch's code: u and s of step
      t-1 enter w, and this w enters u[t]; in the paper u[t] has the w of the step before.
    - SE-adLIF (`neuron=se_adlif`), the symplectic Euler method: `after_reset`, reset to 0, both gains 1-rho, q = 120.
    - Norse's `ada_lif_step` after its synapse: a = 0, b_gain 1, `decay: euler`, `input_gain: 1-a`.

    Args:
        a: Gain of the potential on w; a negative a excites the neuron.
        b: Gain of a spike on w.
        coupling: Whether the potential before or after the reset drives w.
        a_gain: h_a: `1-rho`, so that w converges to a * v, or a number.
        b_gain: h_b: a number, 1 for a jump of b, or `1-rho`.
        q: Factor of a and b, so that a and b can be numbers near 1.
        ranges: Bounds of learned quantities, `{tau_mem: [5, 25], a: [0, 1]}`, in the unit of the setting; by default
            [-1, 1] for a and [0, 2] for b.
        init: Initial value of learned quantities with a range: their `value`, or `uniform` between the bounds, drawn
            for each channel or neuron.

    Shape:
        x: `[T, B, ...]`; state: `AdLIFState(v, w)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Bittar and Garner, A surrogate gradient spiking baseline for speech command recognition, Frontiers in
    Neuroscience 16, 2022, and its code, sparch; Baronig et al., Advancing spatio-temporal processing in spiking neural
    networks through adaptation, 2024.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("LIF", LEAKY)
    factor_symbols: ClassVar[tuple[str, str]] = ("beta", "alpha")
    a: Annotated[Learnable, FINITE] = setting(default=0.1, read_by=learnable_quantity)
    b: Annotated[Learnable, FINITE] = setting(default=0.1, read_by=learnable_quantity)
    coupling: Coupling = "after_reset"
    a_gain: AdaptationGain = "1-rho"
    b_gain: AdaptationGain = 1.0
    q: Finite = 1.0
    v_leak: Annotated[Learnable, FINITE] = no_setting(0.0)
    ranges: Ranges | None = None
    init: Init = "value"

    def create_parameters(self) -> None:
        self.intervals = as_ranges({**DEFAULT_RANGES, **(self.ranges or {})}, self.decays(), ("a", "b"))
        require_start_in_range(as_learn(self.learn), self.learnable(), self.intervals)
        super().create_parameters()
        if self.init == "uniform":
            for name in [n for n in self.learn_per if n in self.intervals]:
                init_uniform_(self.learned[name])

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return the learnable quantities; quantities with a range stay within it."""
        own = super().learnable()
        own.pop("v_leak")
        driven: dict[str, tuple[float, Interval]] = {"a": (self.a, FINITE), "b": (self.b, FINITE)}
        return apply_ranges(own | driven, self.intervals, self.init)

    def coefficients(self) -> AdLIFCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        membrane, rho = super().coefficients(), self.factor(self.adaptation_decay)
        h_a, h_b = (1.0 - rho if gain == "1-rho" else float(gain) for gain in (self.a_gain, self.b_gain))
        a, b = self.value("a"), self.value("b")
        return AdLIFCoefficients(membrane, 1.0 - membrane.a, rho, self.q * h_a * a, self.q * h_b * b)

    def definitions(self) -> dict[str, str]:
        own = super().definitions()
        own["membrane_a"] = own["a"]  # a is another coefficient here
        gains = {"h_a": self.a_gain, "h_b": self.b_gain}
        own |= {
            symbol: f"{symbol} = {'1 - rho' if gain == '1-rho' else symbol[-1] + '_gain'}"
            for symbol, gain in gains.items()
        }
        return own | {"adaptation_gain": f"1 - {symbol_of(own['a'])}", "a": "q * h_a * a", "b": "q * h_b * b"}

    def initial_state(self, x: Tensor) -> AdLIFState:
        return AdLIFState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: AdLIFState, coefficients: AdLIFCoefficients) -> tuple[Tensor, AdLIFState]:
        s, v, drive = self.spike_and_drive(x, state.v, state.w, coefficients)
        return s, AdLIFState(v, coefficients.rho * state.w + drive)

    def spike_and_drive(self, x: Tensor, v: Tensor, w: Tensor, k: AdLIFCoefficients) -> tuple[Tensor, Tensor, Tensor]:
        """Return the spikes of one step, the membrane after it, and what the two add to w."""
        u = self.integrate(v, x, k.membrane) - k.adaptation_gain * w
        s = self._spike(u, k.membrane)
        v = self._reset(u, s, k.membrane)
        return s, v, k.a * (v if self.coupling == "after_reset" else u) + k.b * s

    def info(self) -> NeuronInfo:
        own = super().info()
        found: list[DtWarning] = []
        if self.a_gain != "1-rho" and not self._stays_zero("a"):
            found.append(DtWarning("potential_adds_up", fix=(("a_gain", "1-rho"),)))
        if self.b_gain == "1-rho" and not self._stays_zero("b"):
            found.append(DtWarning("jump_shrinks_with_rho", fix=(("b_gain", 1.0),)))
        seen = {"before_reset": "u", "after_reset": "v"}[self.coupling]
        current = AdaptationCurrent(self.a, seen, self.b)
        return replace(own, adaptation=current, warnings=(*own.warnings, *found))

    def _stays_zero(self, name: str) -> bool:
        """Return whether a or b is zero and not learned."""
        return name not in self.learn_per and equals_constant(getattr(self, name), 0.0)
