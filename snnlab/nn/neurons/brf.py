"""The balanced resonate-and-fire neuron."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import FiringThreshold, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.learn import InShape, Number
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import FACTOR, Constant, Decay
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import Converted, setting
from snnlab.spec.interval import Finite, above

DEFAULT_DT = 10.0


class BRFState(NamedTuple):
    """Real part v of the membrane, which spikes, imaginary part w, and the refractory variable q, each `[B, ...]`."""

    v: Tensor
    w: Tensor
    q: Tensor


class BRFCoefficients(NamedTuple):
    """Coefficients of the update, of one step.

    Attributes:
        damping: dt (p(omega) - b'), where q is 0.
        rotation: dt omega.
        dt: Length of a step, s.
        gain: Gain of the input, dt * input_gain.
        gamma: Factor of q.
    """

    damping: Number
    rotation: Number
    dt: float
    gain: float
    gamma: float


@NEURONS.register("brf")
class BRF(SurrogateNeuron):
    """Balanced resonate-and-fire neuron: a damped oscillator whose threshold and damping rise with its spikes.

    There is no reset. Each neuron learns its omega and b', which start uniform within their ranges. The damping cannot
    be below the border of divergence, p(omega), of a step of this length, as long as dt * omega < 1.

    Args:
        dt: Length of a step, ms; 10 ms, as the authors have, where steps have no length.
        equation_dt: dt of the equations, ms, for data whose steps have another length; null: dt.
        omega: Range of the angular frequency, rad/s, `[low, high]`.
        damping: Range of b', 1/s, `[low, high]`.
        gamma: Factor of the refractory variable in one step.
        input_gain: Factor of the input, which is a level: it counts for the length of a step in s.
        learn: Whether omega and b' are learned.

    Shape:
        x: `[T, B, ...]`; state: `BRFState(v, w, q)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Higuchi et al., Balanced resonate-and-fire neurons, ICML 2024, and its code.
    """

    # A step's own length would round to 0; the authors round omega and b'.
    rounds_coefficients: ClassVar[bool] = False

    omega: Annotated[Converted[Sequence[float], Tensor], "rad/s"] = setting(default=(5.0, 10.0))
    damping: Annotated[Converted[Sequence[float], Tensor], "1/s"] = setting(default=(0.0, 3.0))
    gamma: Annotated[float, FACTOR] = 0.9
    v_threshold: FiringThreshold = 1.0
    input_gain: Finite = 1.0
    learn: bool = True
    equation_dt: Annotated[float, "ms", above(0)] | None = None
    surrogate: SurrogateSetting = setting(default={"type": "double_gaussian", "sigma": 0.5, "scale": 0.5})
    in_shape: InShape = None

    def prepare(self) -> None:
        if self.in_shape is None:
            raise ConfigError("", "brf has values for each neuron and needs in_shape, the shape of one sample")
        self.seconds = (self.equation_dt or self.dt or DEFAULT_DT) / 1000.0
        self.refractory = Decay("tau_refractory", "gamma", None, self.gamma, self.dt, "exact")
        ranges = {name: _require_range(name, vars(self).pop(name)) for name in ("omega", "damping")}
        high = ranges["omega"][1]
        if high * self.seconds >= 1.0:
            raise ConfigError("omega", f"must be below 1 / dt = {1.0 / self.seconds:g} rad/s, got {high:g}")
        for name, (low, high) in ranges.items():
            values = torch.empty(self.in_shape).uniform_(low, high)
            if self.learn:
                self.register_parameter(name, nn.Parameter(values))
            else:
                self.register_buffer(name, values)
        super().prepare()

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        units = {"omega": "rad_per_s", "damping": "per_s"}
        yield from ((name, units[name], value.detach().double().abs()) for name, value in self.named_parameters())

    @torch.no_grad()
    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        for name in ("omega", "damping"):  # their time constants are 1 / omega and 1 / b'
            self.get_value(name).div_(factor(shape))
        return True

    def coefficients(self) -> BRFCoefficients:
        dt = self.seconds
        omega, damping = (self.get_value(name).double().abs() for name in ("omega", "damping"))
        # Beyond 1 / dt, which learning can reach, p(omega) stays at its lowest.
        border = torch.sqrt((1.0 - (dt * omega).square()).clamp(min=1e-12)) - 1.0
        return BRFCoefficients(border - dt * damping, dt * omega, dt, dt * self.input_gain, self.refractory.per_step())

    def definitions(self) -> dict[str, str]:
        return {
            "damping": "dt * (p - damping)",
            "p": "p = (sqrt(1 - (dt * omega)**2) - 1) / dt",
            "rotation": "dt * omega",
            "gain": "dt * input_gain",
        }

    def get_value(self, name: str) -> Tensor:
        """Return omega or b' of each neuron, learned or not; the sign does not count."""
        return getattr(self, name)

    def initial_state(self, x: Tensor) -> BRFState:
        return BRFState(torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: BRFState, coefficients: BRFCoefficients) -> tuple[Tensor, BRFState]:
        k, (v, w, q) = coefficients, state
        b = k.damping - k.dt * q
        v_new = v + b * v - k.rotation * w + k.gain * x
        w_new = w + k.rotation * v + b * w
        s = spike(v_new - self.v_threshold - q, self.surrogate, self.v_threshold, strict=True)
        return s, BRFState(v_new, w_new, k.gamma * q + s)

    def constants(self) -> list[Constant]:
        return [self.refractory.constant()]

    def info(self) -> NeuronInfo:
        gain = Gain(self.input_gain, self.input_gain * self.seconds)
        firing = Firing(self.v_threshold, strict=True, variable="v", rise=1.0)
        power = 0 if self.equation_dt else -1
        return NeuronInfo(gain, firing, AfterSpike("none"), drive_power=power)


def _require_range(name: str, ends: Sequence[float]) -> tuple[float, float]:
    """Return a range as two numbers, or raise a ConfigError."""
    if len(ends) != 2 or not 0.0 <= ends[0] <= ends[1]:
        raise ConfigError(name, f"must be [low, high], 0 <= low <= high, got {list(ends)}")
    return ends[0], ends[1]
