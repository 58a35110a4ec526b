"""What the balanced and the vanilla resonate-and-fire neuron have in common: learned frequency and damping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import FiringThreshold, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.learn import InShape
from snnlab.nn.surrogate import SurrogateSetting
from snnlab.spec.declared import Converted, setting
from snnlab.spec.interval import Finite, above

DEFAULT_DT = 10.0


class LearnedOscillator(SurrogateNeuron):
    """Damped oscillator without a reset, in the discretisation of Higuchi et al.

    Each neuron learns its omega and its damping, which start uniform within their ranges.

    Args:
        dt: Length of a step, ms; 10 ms, as the authors have, where steps have no length.
        equation_dt: dt of the equations, ms, for data whose steps have another length; null: dt.
        omega: Range of the angular frequency, rad/s, `[low, high]`.
        damping: Range of the damping, 1/s, `[low, high]`.
        input_gain: Factor of the input, which is a level: it counts for the length of a step in s.
        learn: Whether omega and the damping are learned.
    """

    # A step's own length would round to 0; the authors round omega and the damping.
    rounds_coefficients: ClassVar[bool] = False

    omega: Annotated[Converted[Sequence[float], Tensor], "rad/s"] = setting(default=(5.0, 10.0))
    damping: Annotated[Converted[Sequence[float], Tensor], "1/s"] = setting(default=(0.0, 3.0))
    v_threshold: FiringThreshold = 1.0
    input_gain: Finite = 1.0
    learn: bool = True
    equation_dt: Annotated[float, "ms", above(0)] | None = None
    surrogate: SurrogateSetting = setting(default={"type": "double_gaussian", "sigma": 0.5, "scale": 0.5})
    in_shape: InShape = None

    def prepare(self) -> None:
        if self.in_shape is None:
            raise ConfigError("", "the neuron has values for each unit and needs in_shape, the shape of one sample")
        self.seconds = (self.equation_dt or self.dt or DEFAULT_DT) / 1000.0
        ranges = {name: _require_range(name, vars(self).pop(name)) for name in ("omega", "damping")}
        self.require_omega(ranges["omega"][1])
        for name, (low, high) in ranges.items():
            values = torch.empty(self.in_shape).uniform_(low, high)
            if self.learn:
                self.register_parameter(name, nn.Parameter(values))
            else:
                self.register_buffer(name, values)
        super().prepare()

    def require_omega(self, highest: float) -> None:
        """Raise a ConfigError if the equations cannot have this omega, rad/s."""

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        units = {"omega": "rad_per_s", "damping": "per_s"}
        yield from ((name, units[name], value.detach().double().abs()) for name, value in self.named_parameters())

    @torch.no_grad()
    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        for name in ("omega", "damping"):  # their time constants are 1 / omega and 1 / damping
            self.get_value(name).div_(factor(shape))
        return True

    def get_value(self, name: str) -> Tensor:
        """Return omega or the damping of each neuron, learned or not; the sign does not count."""
        return getattr(self, name)

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
