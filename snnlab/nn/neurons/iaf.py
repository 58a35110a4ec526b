"""The integrate-and-fire neuron without a leak."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.learn import Learn, Shape, number_text
from snnlab.nn.neurons.membrane import (
    Floor,
    MembraneCoefficients,
    PerNeuron,
    Reset,
    SpikesPerStep,
    SpikingMembrane,
    SurrogateSetting,
    Threshold,
    expand_potential,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Dt
from snnlab.spec.interval import FINITE, Finite, Positive

VInit = Annotated[float | Literal["v_reset"], FINITE]


class IAFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("iaf")
class IAF(SpikingMembrane):
    """Integrate-and-fire neuron without a leak.

    The resets are those of `SpikingMembrane`.

    Args:
        dt: Length of a step, ms; not used, since nothing decays.
        v_init: Potential before the first step; `v_reset`: the potential after a spike, 0 where `reset` is not `value`.
        input_gain: g, a number.
        learn: Learned quantities: `[v_threshold]`, and v_reset where `reset` is `value`.

    Shape:
        x: `[T, B, ...]`; state: `IAFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = v[t-1] + g * x[t],   s[t] = H(u[t] - v_threshold),   v[t] = u[t] reset by s[t]",
    )

    leaks: ClassVar[bool] = False

    def __init__(
        self,
        dt: Dt = None,
        *,
        v_threshold: Positive = 1.0,
        v_reset: Finite = 0.0,
        v_init: VInit = 0.0,
        input_gain: Finite = 1.0,
        reset: Reset = "subtract",
        reset_delay: bool = False,
        detach_reset: bool = True,
        threshold: Threshold = "inclusive",
        spikes: SpikesPerStep = "one",
        floor: Floor = None,
        surrogate: SurrogateSetting | None = None,
        learn: Learn = (),
        per_neuron: PerNeuron = (),
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__(
            dt,
            tau_mem=None,
            beta=None,
            v_leak=0.0,
            v_threshold=v_threshold,
            v_reset=v_reset,
            decay="exact",
            input_gain=input_gain,
            reset=reset,
            reset_delay=reset_delay,
            detach_reset=detach_reset,
            threshold=threshold,
            surrogate=surrogate,
            spikes=spikes,
            floor=floor,
        )
        self.v_init: VInit = v_init
        self.create_parameters(learn, in_shape, per_neuron)

    def initial_state(self, x: Tensor) -> IAFState:
        v_init = self.v_init
        if isinstance(v_init, str):
            return IAFState(expand_potential(self.value("v_reset") if self.reset == "value" else 0.0, x))
        return IAFState(expand_potential(v_init, x))

    def step(self, x: Tensor, state: IAFState, coefficients: MembraneCoefficients) -> tuple[Tensor, IAFState]:
        s, v = self.fire(state.v, x, coefficients)
        return s, IAFState(v)

    def extra_repr(self) -> str:
        """Return the threshold that `print(network)` shows."""
        return f"v_threshold={number_text(self.v_threshold)}"
