"""The slow variable by which a neuron tires of its own spikes."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import Interval, above
from snnlab.nn.neurons.learn import Learn, Number, as_learn, quantity
from snnlab.nn.neurons.membrane import Coefficients
from snnlab.nn.neurons.spiking import SpikingMembrane
from snnlab.nn.neurons.time_constants import Leak, TimeConstant
from snnlab.nn.surrogate import spike

DEFAULT_TAU_ADAPT = 200.0


class Adaptive(SpikingMembrane):
    """A membrane beside a slow variable, of which a part rho is left after each step.

    Args:
        tau_adapt: Time constant of the adaptation, ms, or `"2 steps"`; 200 ms where neither it nor `rho` is given.
        rho: The factor of one step itself, in place of `tau_adapt`.
    """

    tau_adapt: Any = quantity("tau_adapt")
    rho: Any = quantity("rho")

    def set_adaptation(self, tau_adapt: TimeConstant | None, rho: float | None) -> None:
        """Keep the adaptation's decay, which the membrane's constructor does not know."""
        if tau_adapt is None and rho is None:
            tau_adapt = DEFAULT_TAU_ADAPT
        self.tau_adapt, self.rho = tau_adapt, rho
        self.leak_of_adaptation = Leak("tau_adapt", "rho", tau_adapt, rho, self.dt, self.decay)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        leak = self.leak_of_adaptation
        return {leak.given: (leak.start(), leak.range())} | super().learnable()

    def decays(self) -> list[Leak]:
        return [*super().decays(), self.leak_of_adaptation]


class ThresholdCoefficients(NamedTuple):
    """The numbers of a membrane with an adaptive threshold; those that a neuron learns are tensors.

    Attributes:
        membrane: Those of the canonical recurrence.
        rho: Factor of the adaptation in one step.
        relaxation: 1 - rho, which for a slow adaptation a rounded rho would lose.
        adaptation: How far a spike raises the threshold.
    """

    membrane: Coefficients
    rho: Number
    relaxation: Number
    adaptation: Number

    @property
    def g(self) -> Number:
        """Gain of the membrane's drive, of which `LeakyMembrane.info` tells."""
        return self.membrane.g


class AdaptiveThreshold(Adaptive):
    """A membrane whose threshold rises by `adaptation` with each spike and comes back with `tau_adapt`.

    Args:
        adaptation: How far a spike raises the threshold, dimensionless as v_threshold is.

    Raises:
        ConfigError: if it is zero and to be learned.
    """

    adaptation: Any = quantity("adaptation")

    def set_threshold(self, tau_adapt: TimeConstant | None, rho: float | None, adaptation: float, learn: Learn) -> None:
        """Keep the threshold's settings, which the membrane's constructor does not know."""
        self.set_adaptation(tau_adapt, rho)
        if adaptation == 0 and "adaptation" in as_learn(learn):
            raise ConfigError("adaptation", "is learned above 0 and cannot start there", "start it at 0.1, say")
        self.adaptation = float(adaptation)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return what can be learned; a spike never lowers the threshold."""
        own = super().learnable()
        return own | ({"adaptation": (self.adaptation, above(0.0))} if self.adaptation else {})

    def coefficients(self) -> ThresholdCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        rho = self.factor(self.leak_of_adaptation)
        return ThresholdCoefficients(super().coefficients(), rho, 1.0 - rho, self.value("adaptation"))

    def spike_at(self, threshold: Tensor, u: Tensor, k: Coefficients) -> Tensor:
        """Return the spikes of a membrane u; the unit of the surrogate is v_threshold, wherever adaptation lifts it."""
        return spike(u - threshold, self.surrogate, k.v_threshold, strict=self.strict)
