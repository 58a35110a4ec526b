"""The leaky membrane that the whole canonical family shares.

j[t] = b * i[t-1] + x[t]                              the synapse's current, where there is a synapse
u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak       the membrane before the reset
s[t] = H(u[t] - v_threshold)
v[t] = u[t] reset by s[t]
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.intervals import FINITE, Interval
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.info import Fix, Gain, NeuronInfo
from snnlab.nn.neurons.learn import (
    Learn,
    Number,
    Per,
    Shape,
    as_learn,
    number_text,
    parameter,
    quantity,
    require_learnable,
)
from snnlab.nn.neurons.time_constants import Constant, Decay, Leak, TimeConstant

InputGain = Annotated[float | Literal["1-a", "average"], FINITE]

DEFAULT_TAU_MEM = 20.0


class Coefficients(NamedTuple):
    """The numbers of the canonical recurrence; those that a neuron learns are tensors.

    Attributes:
        a: Factor of the membrane in one step.
        g: Gain of its drive.
        c: (1 - a) * v_leak.
        b: Factor of the synapse in one step; 0 where there is none.
        v_threshold: Firing threshold; infinite where nothing spikes.
        r: What a reset by subtraction takes away: the threshold, or what is left of it at the step's end on average.
        v_reset: Potential after a spike, where it is reset to a value.
    """

    a: Number
    g: Number
    c: Number
    b: Number = 0.0
    v_threshold: Number = math.inf
    r: Number = math.inf
    v_reset: Number = 0.0


class LeakyMembrane(Neuron):
    """A membrane that leaks towards v_leak and integrates its drive j.

        u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak

    Args:
        dt: Length of a step, ms; None where steps have no length.
        tau_mem: Membrane time constant, ms, or `"2 steps"`; 20 ms where neither it nor `beta` is given.
        beta: The factor a itself, in place of `tau_mem`.
        v_leak: Resting potential, dimensionless.
        decay: `exact`: a = exp(-dt / tau_mem); `euler`: a = 1 - dt / tau_mem.
        input_gain: g: a number (1 for impulses: each spike or event is a jump); `average`: what an impulse at any
            moment of a step leaves at its end, (1 - a) * tau_mem / dt; `1-a` (for a filtered current).
        learn: What training changes: `[tau_mem, v_leak]`, or with whose own it is, `{tau_mem: channel}` (layer,
            channel or neuron).
        in_shape: Shape of one sample at one step; needed where channels or neurons learn their own.

    Attributes:
        tau_mem: As it was given; where it is learned, as it is now: ms, a number, or a tensor of each channel's or
            neuron's own. The same holds of all that can be learned.

    Raises:
        ConfigError: if a value is out of its range, or cannot be learned.
    """

    tau_mem: Any = quantity("tau_mem")
    beta: Any = quantity("beta")
    v_leak: Any = quantity("v_leak")
    leaks: ClassVar[bool] = True

    def __init__(
        self,
        dt: float | None,
        tau_mem: TimeConstant | None,
        beta: float | None,
        v_leak: float,
        decay: Decay,
        input_gain: InputGain,
    ) -> None:
        super().__init__()
        if tau_mem is None and beta is None:
            tau_mem = DEFAULT_TAU_MEM
        self.dt, self.tau_mem, self.beta = dt, tau_mem, beta
        self.decay: Decay = decay
        self.v_leak, self.input_gain = float(v_leak), input_gain
        if input_gain == "average" and beta == 0:
            raise ConfigError(
                "input_gain", "average needs a membrane that remembers, and beta is 0", "set input_gain: 1"
            )
        self.leak_of_membrane = Leak("tau_mem", "beta", tau_mem, beta, dt, decay)
        self.learn_per: dict[str, Per] = {}
        self._ranges: dict[str, Interval] = {}

    def start(self, learn: Learn, in_shape: Shape | None) -> None:
        """Check all settings together and make the parameters; every constructor ends with it."""
        wanted = as_learn(learn)
        self.coefficients()
        legal = self.learnable()
        for name in wanted:
            require_learnable(name, legal)
        if wanted:
            self.learned = nn.ParameterDict(
                {name: parameter(name, *legal[name], per, in_shape) for name, per in wanted.items()}
            )
            self._ranges = {name: legal[name][1] for name in wanted}
            self.learn_per = wanted

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return what can be learned, with its start and its legal values."""
        leak = self.leak_of_membrane
        own: dict[str, tuple[float, Interval]] = {leak.given: (leak.start(), leak.range())} if self.leaks else {}
        return own | ({"v_leak": (self.v_leak, FINITE)} if self.leaks else {})

    def value(self, name: str) -> Number:
        """Return a quantity: a number, or what training has made of it, in double precision."""
        if name in self._ranges:
            return self._ranges[name].value(self.learned[name].double())
        return getattr(self, name)

    def learned_value(self, name: str) -> Tensor:
        """Return what training has made of a quantity, in the unit in which it was given, detached."""
        return torch.as_tensor(self.value(name)).detach()

    def present(self, name: str) -> float | Tensor:
        """Return what training has made of a quantity; of a time constant its length, ms."""
        value = self.learned_value(name)
        decay = next((decay for decay in self.decays() if decay.tau_name == name), None)
        value = value if decay is None else decay.length(value)
        return value.item() if value.dim() == 0 else value.to(self.learned[name].dtype)

    def factor(self, leak: Leak) -> Number:
        """Return what is left of a variable after one step."""
        if leak.given in self._ranges:
            return leak.learned_per_step(torch.as_tensor(self.value(leak.given)))
        return leak.per_step()

    def coefficients(self) -> Coefficients:
        """Return a, g and c in double precision."""
        a = self.factor(self.leak_of_membrane) if self.leaks else 1.0
        if self.input_gain == "1-a":
            g = 1.0 - a
        else:
            g = average_left(a, self.decay) if self.input_gain == "average" else float(self.input_gain)
        v_leak = self.value("v_leak")
        return Coefficients(a, g, 0.0 if is_number(v_leak, 0.0) or not self.leaks else (1.0 - a) * v_leak)

    def integrate(self, v: Tensor, j: Tensor, k: Coefficients) -> Tensor:
        """Return u = a * v + (g * j + c), the membrane before any reset."""
        drive = j if is_number(k.g, 1.0) else k.g * j
        return (v if is_number(k.a, 1.0) else k.a * v) + (drive if is_number(k.c, 0.0) else drive + k.c)

    def rest(self, x: Tensor) -> Tensor:
        """Return the membrane at rest, v = v_leak, for one step of input."""
        return potential(self.value("v_leak"), x)

    def decays(self) -> list[Leak]:
        """Return what decays in it, as the user said it."""
        return [self.leak_of_membrane] if self.leaks else []

    def constants(self) -> list[Constant]:
        """Return the time constants, as they are now."""
        return [
            decay.learned_constant(self.learned_value(decay.given)) if decay.given in self._ranges else decay.constant()
            for decay in self.decays()
        ]

    def info(self) -> NeuronInfo:
        """Return the gain; `1-a` treats the input as a level, the others treat it as impulses."""
        filters = self.input_gain == "1-a"
        g = torch.as_tensor(self.coefficients().g).detach().mean().item()
        fixes: dict[int, Fix] = {-1: (("input_gain", 1.0),)} if filters else {1: (("input_gain", "1-a"),)}
        power = -1 if filters else 0
        gain = Gain(self.input_gain, g)
        return NeuronInfo(self.equations, gain, learned=self.learn_per, drive_power=power, fixes=fixes)

    def extra_repr(self) -> str:
        """Return the constants that `print(network)` shows."""
        given = self.leak_of_membrane.given
        value = getattr(self, given)
        return f"{given}={number_text(value) if given in self.learn_per else value}, dt={self.dt}"


def potential(value: Number, x: Tensor) -> Tensor:
    """Return a membrane at one potential, or each neuron's own, for one step of input."""
    return value.to(x.dtype).expand_as(x) if isinstance(value, Tensor) else torch.full_like(x, value)


def average_left(a: Number, decay: Decay) -> Number:
    """Return what is left at a step's end, on average, of an impulse that comes at any moment of it.

    exact: (1 - a) / -ln(a) = (1 - a) * tau / dt        euler: 1, since a sum of its impulses has the right mean
    """
    if decay == "euler":
        return 1.0
    return (1.0 - a) / -(a.log() if isinstance(a, Tensor) else math.log(a))


def is_number(value: Number, number: float) -> bool:
    """Return whether a coefficient is just this number, which spares an operation at each step."""
    return isinstance(value, float) and value == number
