"""The adaptive neuron of `adlif` by the Euler-forward method: its adaptation current is driven one step later."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.adlif import AdLIF, AdLIFCoefficients
from snnlab.nn.neurons.info import DELAYED_FEEDBACK, NeuronInfo
from snnlab.nn.neurons.register import NEURONS


class EFAdLIFState(NamedTuple):
    """Membrane potential v, adaptation current w, and what the last step adds to w at the next one, each `[B, ...]`."""

    v: Tensor
    w: Tensor
    drive: Tensor


@NEURONS.register("ef_adlif")
class EFAdLIF(AdLIF):
    """Leaky integrate-and-fire neuron with an adaptation current, by the Euler-forward method.

    Potential and current are both updated from the step before, so that the current acts on the potential two steps
    after its drive; in `adlif`, the symplectic Euler method, one step after it. The delay makes oscillations grow that
    decay in the equations without steps: a large q, and short time constants, are unstable.

    The arguments are those of `adlif`.

    Shape:
        x: `[T, B, ...]`; state: `EFAdLIFState(v, w, drive)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`,
        and the state.

    Source: Baronig et al., Advancing spatio-temporal processing through adaptation in spiking neural networks, Nature
        Communications 16, 2025.
    """

    def info(self) -> NeuronInfo:
        own = super().info()
        return replace(own, warnings=(*own.warnings, DELAYED_FEEDBACK))

    def initial_state(self, x: Tensor) -> EFAdLIFState:  # pyright: ignore[reportIncompatibleMethodOverride]
        return EFAdLIFState(self.rest(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: EFAdLIFState, coefficients: AdLIFCoefficients
    ) -> tuple[Tensor, EFAdLIFState]:
        s, v, drive = self.spike_and_drive(x, state.v, state.w, coefficients)
        return s, EFAdLIFState(v, coefficients.rho * state.w + state.drive, drive)
