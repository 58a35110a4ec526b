"""The current-based synapse of the canonical family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import Interval
from snnlab.nn.neurons.info import DtWarning, NeuronInfo
from snnlab.nn.neurons.learn import quantity
from snnlab.nn.neurons.membrane import Coefficients, LeakyMembrane, average_left
from snnlab.nn.neurons.time_constants import Leak, TimeConstant

Synapse = Literal["jump_first", "decay_first"]

DEFAULT_TAU_SYN = 10.0


_AVERAGE = ("input_gain", "average")
_UNEVEN = {
    "jump_first": DtWarning("jump_for_a_whole_step", fix=(_AVERAGE,)),
    "decay_first": DtWarning("jump_decays_first", fix=(("synapse", "jump_first"), _AVERAGE)),
}


class Synaptic(LeakyMembrane):
    """A membrane whose input jumps onto a decaying current; a base beside `LeakyMembrane` or `SpikingMembrane`.

        j[t] = b * i[t-1] + x[t]   (synapse "jump_first")   or   b * (i[t-1] + x[t])   ("decay_first"),   i[t] = j[t]

    Args:
        tau_syn: Synaptic time constant, ms, or `"2 steps"`; 10 ms where neither it nor `alpha` is given.
        alpha: The factor b itself, in place of `tau_syn`.
        synapse: Whether a jump decays from the next step on (`jump_first`) or at once (`decay_first`).
        input_gain: g: `average`: of a jump at any moment of a step what it is at its end, as the membrane filters it,
            (1 - a) * (1 - b) * tau_syn / dt; `1-a`, which filters the current; or a number.
        decay: `exact` or `euler`, for both time constants.
    """

    tau_syn: Any = quantity("tau_syn")
    alpha: Any = quantity("alpha")

    def set_synapse(self, tau_syn: TimeConstant | None, alpha: float | None, synapse: Synapse) -> None:
        """Keep the synapse's settings, which the membrane's constructor does not know."""
        if tau_syn is None and alpha is None:
            tau_syn = DEFAULT_TAU_SYN
        if self.input_gain == "average" and (alpha == 0 or synapse == "decay_first"):
            raise ConfigError(
                "input_gain", "average needs alpha > 0 and synapse: jump_first", "set input_gain: 1-a instead"
            )
        self.tau_syn, self.alpha = tau_syn, alpha
        self.synapse: Synapse = synapse
        self.leak_of_synapse = Leak("tau_syn", "alpha", tau_syn, alpha, self.dt, self.decay)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        leak = self.leak_of_synapse
        return {leak.given: (leak.start(), leak.range())} | super().learnable()

    def coefficients(self) -> Coefficients:
        """Return the membrane's coefficients and b; an averaged gain is that of a jump on the current."""
        own, b = super().coefficients(), self.factor(self.leak_of_synapse)
        if self.input_gain == "average":
            own = own._replace(g=(1.0 - own.a) * average_left(b, self.decay))
        return own._replace(b=b)

    def current(self, i: Tensor, x: Tensor, k: Coefficients) -> Tensor:
        """Return j, the current after the jump."""
        return k.b * (i + x) if self.synapse == "decay_first" else k.b * i + x

    def decays(self) -> list[Leak]:
        return [*super().decays(), self.leak_of_synapse]

    def info(self) -> NeuronInfo:
        own = replace(super().info(), synapse=self.synapse)
        if self.input_gain == "average" or own.drive_power is None:
            return replace(own, fixes={})
        # An impulse stays on the synapse for tau_syn / dt steps: one power of the number of steps more.
        power = own.drive_power + 1
        warnings = own.warnings if power else (*own.warnings, _UNEVEN[self.synapse])
        return replace(own, drive_power=power, fixes={1: (_AVERAGE,)}, warnings=warnings)
