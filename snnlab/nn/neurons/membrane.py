"""Base classes of the canonical neurons: membrane, spike and reset, synapse, adaptation.

j[t] = b * i[t-1] + x[t]                              the synaptic current, where there is a synapse
u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak       the membrane before the reset
s[t] = H(u[t] - v_threshold)
v[t] = u[t] reset by s[t]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.trace import Symbol, equals_constant, with_slope
from snnlab.nn.neurons.base import DetachReset, Neuron, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, Cause, DtWarning, Firing, Fix, Gain, NeuronInfo
from snnlab.nn.neurons.learn import (
    InShape,
    Learn,
    Learnable,
    Number,
    Per,
    StoredQuantity,
    as_learn,
    learnable_quantity,
    learned_parameter,
    number_text,
    require_learnable,
    values_key,
)
from snnlab.nn.neurons.nir_node import InNIR, Lost, NIRNode, lost_of, membrane_values, next_below
from snnlab.nn.neurons.time_constants import Alpha, Constant, Decay, DecayRule, Factor, TauAdapt, TauMem, TauSyn
from snnlab.nn.surrogate import Surrogate, notify_observers, spike
from snnlab.spec.declared import declared_fields, no_setting, setting
from snnlab.spec.field import Help
from snnlab.spec.interval import FINITE, Interval, above, at_least, below

InputGain = Annotated[float | Literal["1-a", "average"], FINITE]
PerNeuron = Annotated[
    Sequence[str],
    Help(
        "Quantities, or `input_gain`, that are not learned and have a value for each neuron, which is part of the"
        " weights; the setting is the initial value of all."
    ),
]


class MembraneCoefficients(NamedTuple):
    """Coefficients of the canonical recurrence; learned ones are tensors.

    Attributes:
        a: Factor of the membrane in one step.
        g: Gain of its drive.
        c: (1 - a) * v_leak.
        b: Factor of the synapse in one step; 0 where there is none.
        v_threshold: Firing threshold; infinite where nothing spikes.
        r: Amount of a reset by subtraction: the threshold, or its average remainder at the step's end.
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

    A subclass with more decays makes them in its `prepare` before it calls this one's.

        u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak

    Args:
        tau_mem: Membrane time constant, ms, or `"2 steps"`.
        beta: The factor a, in place of `tau_mem`.
        v_leak: Resting potential, dimensionless.
        decay: `exact`: a = exp(-dt / tau_mem); `euler`: a = 1 - dt / tau_mem.
        input_gain: g: a number (1 for impulses: each spike or event is a jump); `average`: the average remainder, at a
            step's end, of an impulse at any moment of it, (1 - a) * tau_mem / dt; `1-a` (for a filtered current).
        learn: Learned quantities: `[tau_mem, v_leak]`, one value per layer; or `{tau_mem: channel}` with the value per
            layer, channel or neuron.

    Attributes:
        tau_mem: The setting; where it is learned, its current value: ms, a number, or a tensor with a value per channel
            or neuron. The same holds for all quantities that can be learned.

    """

    tau_mem: TauMem = setting(default=20.0, read_by=learnable_quantity)
    beta: Factor = setting(default=None, read_by=learnable_quantity)
    v_leak: Annotated[Learnable, FINITE] = setting(default=0.0, read_by=learnable_quantity)
    decay: DecayRule = "exact"
    input_gain: InputGain = 1.0
    learn: Learn = ()
    per_neuron: PerNeuron = no_setting(())
    in_shape: InShape = None
    leaks: ClassVar[bool] = True
    # The factors of membrane and synapse in equations: others where a and b are something else.
    factor_symbols: ClassVar[tuple[str, str]] = ("a", "b")

    def prepare(self) -> None:
        super().prepare()
        if self.input_gain == "average" and self.beta == 0:
            raise ConfigError("input_gain", "average needs beta > 0, got 0", "set input_gain: 1")
        self.membrane_decay = Decay("tau_mem", "beta", self.tau_mem, self.beta, self.dt, self.decay)
        self.learn_per: dict[str, Per] = {}
        self._ranges: dict[str, Interval] = {}
        self.create_parameters()

    def create_parameters(self) -> None:
        """Check all settings together and create the learned parameters, after all else is prepared."""
        wanted, per_neuron, self.per_neuron = as_learn(self.learn), self.per_neuron, ()
        self.coefficients()
        legal = self.learnable()
        for name in wanted:
            require_learnable(name, legal)
        if wanted:
            self.learned = nn.ParameterDict(
                {name: learned_parameter(name, *legal[name], per, self.in_shape) for name, per in wanted.items()}
            )
            self._ranges = {name: legal[name][1] for name in wanted}
            self.learn_per = wanted
        self._create_values(per_neuron, legal)

    def _create_values(self, per_neuron: Sequence[str], legal: Mapping[str, tuple[float, Interval]]) -> None:
        """Create a buffer in double precision for each quantity of `per_neuron`; `legal` has its start and interval."""
        known = {name: start for name, (start, _) in legal.items()}
        if isinstance(self.input_gain, float):
            known["input_gain"] = self.input_gain
        for name in per_neuron:
            require_learnable(name, known, "per_neuron")
            if list(per_neuron).count(name) > 1:
                raise ConfigError("per_neuron", f"{name} is in it twice")
            if name in self.learn_per:
                raise ConfigError("per_neuron", f"{name} is learned", f"set learn: {{{name}: neuron}} alone")
            if self.in_shape is None:
                raise ConfigError("per_neuron", "needs in_shape, the shape of one sample at one step")
            self.register_buffer(values_key(name), torch.full(self.in_shape, known[name], dtype=torch.float64))
        self.per_neuron = tuple(per_neuron)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return the learnable quantities, each with its initial value and its legal values."""
        decay = self.membrane_decay
        own: dict[str, tuple[float, Interval]] = (
            {decay.setting: (decay.initial_value(), decay.legal_values())} if self.leaks else {}
        )
        return own | ({"v_leak": (self.v_leak, FINITE)} if self.leaks else {})

    def value(self, name: str) -> Number:
        """Return a quantity: a number, or its learned value in double precision."""
        if name in self._ranges:
            return self._ranges[name].value(self.learned[name].double())
        if name in self.per_neuron:
            return self.get_buffer(values_key(name)).double()
        return getattr(self, name)

    def learned_value(self, name: str) -> Tensor:
        """Return the learned value of a quantity, in the unit of its setting, detached."""
        return torch.as_tensor(self.value(name)).detach()

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        for name in self.learn_per:
            value = self.learned_value(name)
            decay = next((decay for decay in self.decays() if decay.setting == name), None)
            if decay is not None:
                yield decay.tau_name, "steps" if decay.dt is None else "ms", decay.length(value)
            if decay is None or decay.setting == decay.factor_name:
                yield name, "", value

    def current_value(self, name: str) -> float | Tensor:
        """Return the learned value of a quantity; a time constant in ms."""
        value = self.learned_value(name)
        decay = next((decay for decay in self.decays() if decay.tau_name == name), None)
        value = value if decay is None else decay.length(value)
        if value.dim() == 0:
            return value.item()
        return value.to(self.learned[name].dtype) if name in self._ranges else value

    def fix_value(self, name: str, value: Tensor) -> None:
        """Give a quantity values that are not learned, in the unit of its setting."""
        self._ranges = {key: interval for key, interval in self._ranges.items() if key != name}
        self.learn_per = {key: per for key, per in self.learn_per.items() if key != name}
        self.register_buffer(values_key(name), value.double())
        self.per_neuron = tuple(dict.fromkeys([*self.per_neuron, name]))

    def map_quantities(self, change: Callable[[Tensor], Tensor]) -> None:
        for name in tuple(self.learn_per):
            self.fix_value(name, change(self.learned_value(name)))

    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        decays = [decay for decay in self.decays() if decay.setting in self.learnable()]
        for decay in decays:
            own = decay.setting in self._ranges or decay.setting in self.per_neuron
            value = self.learned_value(decay.setting).double() if own else torch.tensor(decay.initial_value()).double()
            self.fix_value(decay.setting, decay.scaled(value, factor(shape)))
        return bool(decays)

    def factor(self, decay: Decay) -> Number:
        """Return the factor by which a variable decays in one step."""
        if decay.setting in self._ranges or decay.setting in self.per_neuron:
            return decay.learned_factor(torch.as_tensor(self.value(decay.setting)))
        return decay.per_step()

    def coefficients(self) -> MembraneCoefficients:
        """Return a, g and c in double precision."""
        a = self.factor(self.membrane_decay) if self.leaks else 1.0
        if self.input_gain == "1-a":
            g = 1.0 - a
        else:
            g = mean_remainder(a, self.decay) if self.input_gain == "average" else self._gain()
        v_leak = self.value("v_leak")
        return MembraneCoefficients(a, g, 0.0 if equals_constant(v_leak, 0.0) or not self.leaks else (1.0 - a) * v_leak)

    def definitions(self) -> dict[str, str]:
        fields = declared_fields(type(self))
        found = {"a": self.membrane_decay.definition(self.factor_symbols[0]) if self.leaks else "1"}
        a = symbol_of(found["a"])
        gain = {"1-a": f"1 - {a}", "average": _remainder_text(self.membrane_decay, a)}
        found["g"] = f"g = {gain.get(str(self.input_gain), 'input_gain')}"
        return found | {"c": f"(1 - {a}) * v_leak" if "v_leak" in fields else "0"}

    def _gain(self) -> Number:
        return self.value("input_gain") if "input_gain" in self.per_neuron else float(self.input_gain)

    def integrate(self, v: Tensor, j: Tensor, k: MembraneCoefficients) -> Tensor:
        """Return u = a * v + (g * j + c), the membrane before any reset."""
        drive = j if equals_constant(k.g, 1.0) else k.g * j
        return (v if equals_constant(k.a, 1.0) else k.a * v) + (drive if equals_constant(k.c, 0.0) else drive + k.c)

    def rest(self, x: Tensor) -> Tensor:
        """Return the membrane at rest, v = v_leak, for one step of input."""
        return expand_potential(self.value("v_leak"), x)

    def decays(self) -> list[Decay]:
        return [self.membrane_decay] if self.leaks else []

    def constants(self) -> list[Constant]:
        """Return the current time constants."""
        return [
            decay.learned_constant(self.learned_value(decay.setting))
            if decay.setting in self._ranges or decay.setting in self.per_neuron
            else decay.constant()
            for decay in self.decays()
        ]

    def info(self) -> NeuronInfo:
        """Return the description; the gain `1-a` treats the input as a level, others treat it as impulses."""
        filters = self.input_gain == "1-a"
        k = self.coefficients()
        g = torch.as_tensor(getattr(k, "membrane", k).g).detach().mean().item()
        fixes: dict[int, Fix] = {-1: (("input_gain", 1.0),)} if filters else {1: (("input_gain", "1-a"),)}
        power = -1 if filters else 0
        gain = Gain(self.input_gain, g)
        return NeuronInfo(gain, learned=self.learn_per, drive_power=power, fixes=fixes)

    def in_nir(self, dt: float) -> InNIR | None:
        return None if self.nir is None else self.node_in_nir(self.nir, dt, lost_of(self.info()))

    def node_in_nir(self, node: NIRNode, dt: float, lost: Sequence[Lost]) -> InNIR:
        """Return the membrane as this node of NIR."""
        k, info = self.coefficients(), self.info()
        k = getattr(k, "membrane", k)
        leak, late = self.value("v_leak"), info.synapse == "decay_first"
        values = membrane_values(node, dt, a=k.a, g=k.g, v_leak=leak, b=k.b, decays_first=late)
        if info.firing is not None:
            threshold = k.v_threshold if info.firing.strict else next_below(k.v_threshold)
            to_value = info.reset is not None and info.reset.kind == "value"
            values |= {"v_threshold": threshold, "v_reset": k.v_reset if to_value else 0.0}
        return InNIR(node.kind, values, lost)

    def stored_quantity(self, name: str) -> StoredQuantity | None:
        if name in self.learn_per:
            return StoredQuantity(f"learned.{name}", self.learned[name], self.learnable()[name][1], as_logarithm=True)
        if name in self.per_neuron:
            key = values_key(name)
            return StoredQuantity(key, self.get_buffer(key), self.learnable()[name][1], as_logarithm=False)
        return None

    def extra_repr(self) -> str:
        """Return the constants that `print(network)` shows."""
        setting = self.membrane_decay.setting
        value = getattr(self, setting)
        short = isinstance(value, Tensor) or setting in self.learn_per
        return f"{setting}={number_text(value) if short else value}, dt={self.dt}"


def expand_potential(value: Number, x: Tensor) -> Tensor:
    """Return a membrane at a potential, one or one per neuron, with the shape of one step of input."""
    return value.to(x.dtype).expand_as(x) if isinstance(value, Tensor) else torch.full_like(x, value)


def mean_remainder(a: Number, decay: DecayRule) -> Number:
    """Return the average remainder, at a step's end, of an impulse at any moment of it.

    exact: (1 - a) / -ln(a) = (1 - a) * tau / dt        euler: 1, which gives a sum of impulses the right mean
    """
    if decay == "euler":
        return 1.0
    return (1.0 - a) / -(a.log() if isinstance(a, Tensor) else math.log(a))


def symbol_of(definition: str) -> str:
    """Return the symbol of a definition: `a` of `a = exp(-dt / tau_mem)`."""
    return definition.partition(" = ")[0]


def _remainder_text(decay: Decay, a: str) -> str:
    """Return `mean_remainder` as a formula; `a` is the symbol of the factor."""
    if decay.decay == "euler":
        return "1"
    return f"(1 - {a}) / -ln({a})" if decay.tau is None else f"(1 - {a}) * {decay.tau_name} / dt"


class PerfectMembrane(LeakyMembrane):
    """A membrane without a leak, whose step needs no length.

    Args:
        input_gain: g, a number.
    """

    tau_mem: TauMem = no_setting(None)
    beta: Factor = no_setting(None)
    v_leak: Annotated[Learnable, FINITE] = no_setting(0.0)
    decay: DecayRule = no_setting("exact")
    input_gain: Annotated[float, FINITE] = 1.0  # pyright: ignore[reportIncompatibleVariableOverride]
    leaks: ClassVar[bool] = False


Reset = Literal["subtract", "value", "none"]
Threshold = Literal["inclusive", "strict"]
SpikesPerStep = Literal["one", "several"]
Floor = Annotated[float | None, FINITE]


class SpikingMembrane(SurrogateNeuron, LeakyMembrane):
    """A membrane that spikes at its threshold and is reset.

        s[t] = H(u[t] - v_threshold)
        v[t] = u - s * r                     reset "subtract", r = v_threshold
             | (1 - s) * u + s * v_reset     reset "value"
             | u                             reset "none"

    With `input_gain: average` the reset is averaged like the input, r = v_threshold * (1 - a) * tau_mem / dt, since it
    may happen at any moment of its step. With `reset_delay` the reset of step t-1 enters u[t], and v[t] = u[t]:

        subtract: u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak - r * s[t-1]
        value:    u[t] = a * ((1 - s[t-1]) * v[t-1] + s[t-1] * v_reset) + g * j[t] + (1 - a) * v_leak

    With v_leak at or above v_threshold it spikes without input, from the first step on, where it starts at v_leak.

    Args:
        v_threshold: Firing threshold, dimensionless.
        v_reset: Potential after a spike where `reset` is `value`.
        reset: `subtract`, `value` or `none`.
        threshold: `inclusive`: a spike at u >= v_threshold; `strict`: at u > v_threshold.
    """

    v_threshold: Annotated[Learnable, above(0)] = setting(default=1.0, read_by=learnable_quantity)
    v_reset: Annotated[Learnable, FINITE] = setting(default=0.0, read_by=learnable_quantity)
    reset: Reset = "subtract"
    reset_delay: bool = no_setting(False)
    detach_reset: DetachReset = True
    threshold: Threshold = "inclusive"
    spikes: SpikesPerStep = no_setting("one")
    floor: Floor = no_setting(None)
    # Whether it may start at or above its threshold: not where the membrane grows exponentially there.
    may_spike_alone: ClassVar[bool] = True

    def prepare(self) -> None:
        v_threshold, v_leak, v_reset, floor = self.v_threshold, self.v_leak, self.v_reset, self.floor
        if v_threshold <= v_leak and (self.reset_delay or not self.may_spike_alone):
            why = "the start would count as a spike" if self.reset_delay else "the membrane starts there and explodes"
            raise ConfigError("v_threshold", f"must be above v_leak ({v_leak}), since {why}, got {v_threshold}")
        if self.reset == "value" and v_reset >= v_threshold:
            raise ConfigError("v_reset", f"must be below v_threshold ({v_threshold}), got {v_reset}")
        if self.reset == "none" and self.reset_delay:
            raise ConfigError("reset_delay", "needs a reset", "set reset: subtract or value, or reset_delay: false")
        if floor is not None and floor > (v_reset if self.reset == "value" else v_leak):
            above_what = "v_reset" if self.reset == "value" else "v_leak"
            raise ConfigError("floor", f"must not be above {above_what}, got {floor}")
        if self.reset_delay and floor is not None:
            raise ConfigError("floor", "needs reset_delay: false")
        self.graded = self.spikes == "several"  # type: ignore[misc]
        if self.graded and (self.reset, self.reset_delay, self.threshold) != ("subtract", False, "inclusive"):
            needed = "reset: subtract, reset_delay: false and threshold: inclusive"
            raise ConfigError("spikes", f"several needs {needed}")
        self.strict = self.threshold == "strict"
        super().prepare()

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return the learnable quantities; a bound between them keeps the threshold above v_leak and v_reset.

        A v_leak that is not below the threshold has no bound.
        """
        resets, leaks_below = self.reset == "value", self.v_leak < self.v_threshold
        under = [self.v_leak] * leaks_below + [self.v_reset] * resets
        line = max(0.0, (max(under) + self.v_threshold) / 2 if under else 0.0)
        levels: dict[str, tuple[float, Interval]] = {"v_threshold": (self.v_threshold, above(line))}
        own = super().learnable()
        if "v_leak" in own:
            levels["v_leak"] = (self.v_leak, below(line) if leaks_below else FINITE)
        if resets:
            levels["v_reset"] = (self.v_reset, below(line))
        return own | levels

    def coefficients(self) -> MembraneCoefficients:
        own, v_threshold = super().coefficients(), self.value("v_threshold")
        r = mean_remainder(own.a, self.decay) * v_threshold if self.input_gain == "average" else v_threshold
        return own._replace(v_threshold=v_threshold, r=r, v_reset=self.value("v_reset"))

    def definitions(self) -> dict[str, str]:
        own = super().definitions()
        if not self.leaks:
            return own | {"r": "v_threshold"}
        part = _remainder_text(self.membrane_decay, symbol_of(own["a"])) if self.input_gain == "average" else "1"
        return own | {"r": "r = v_threshold" if part == "1" else f"r = v_threshold * {part}"}

    def fire(self, v: Tensor, j: Tensor, k: MembraneCoefficients) -> tuple[Tensor, Tensor]:
        """Return the spikes of one step and the membrane after it."""
        if not self.reset_delay:
            u = self.integrate(v, j, k)
            s = self._several_spikes(u, k) if self.graded else self._spike(u, k)
            after = self._reset(u, s, k)
            return s, after if self.floor is None else self._above_floor(after, k)
        u = self._after_late_reset(v, j, self._spike(v, k), k)
        return self._spike(u, k), u

    def _after_late_reset(self, v: Tensor, j: Tensor, s_before: Tensor, k: MembraneCoefficients) -> Tensor:
        """Return the membrane of a step in which the spikes of the step before reset it."""
        if self.reset == "value":
            return self.integrate(self._reset(v, s_before, k), j, k)
        return self._reset(self.integrate(v, j, k), s_before, k)

    def info(self) -> NeuronInfo:
        found: list[DtWarning] = []
        if self.reset != "subtract":
            cause: Cause = "no_reset" if self.reset == "none" else "reset_to_a_value"
            found.append(DtWarning(cause, fix=(("reset", "subtract"),)))
        if self.reset_delay:
            found.append(DtWarning("late_reset", fix=(("reset_delay", False),)))
        level = self.v_reset if self.reset == "value" else self.v_threshold
        own = super().info()
        return replace(
            own,
            firing=Firing(self.v_threshold, strict=self.strict, several=self.graded),
            reset=AfterSpike(self.reset, level, delayed=self.reset_delay),
            lowest=self.floor,
            warnings=(*own.warnings, *found),
        )

    def _spike(self, u: Tensor, k: MembraneCoefficients) -> Tensor:
        return spike(u - k.v_threshold, self.surrogate, k.v_threshold, strict=self.strict)

    def _several_spikes(self, u: Tensor, k: MembraneCoefficients) -> Tensor:
        return multi_spike(u, self.surrogate, k.v_threshold)

    def _above_floor(self, v: Tensor, k: MembraneCoefficients) -> Tensor:
        return v.clamp(min=self.floor)

    def _reset(self, u: Tensor, s: Tensor, k: MembraneCoefficients) -> Tensor:
        if self.reset == "none":
            return u
        s = s.detach() if self.detach_reset else s
        if self.reset == "subtract":
            return u - s * k.r
        kept = (1.0 - s) * u
        return kept if equals_constant(k.v_reset, 0.0) else kept + s * k.v_reset


class LibraryMembrane(SpikingMembrane):
    """A membrane that spikes and is reset with the conventions of any library.

    Args:
        reset_delay: Whether the reset acts one step after its spike.
        spikes: `one` per step at most, or `several`: trunc(u / v_threshold) of them, each of which subtracts the
            threshold; the surrogate gradient is that of the first.
        floor: Lower bound of the membrane after the reset; None: no bound.
    """

    reset_delay: bool = False
    spikes: SpikesPerStep = "one"
    floor: Floor = None
    per_neuron: PerNeuron = ()


def multi_spike(u: Tensor, surrogate: Surrogate, v_threshold: Number) -> Tensor:
    """Return trunc(u / v_threshold) for u > 0, else 0, with the surrogate gradient around the threshold.

    Shape:
        u: any; returns whole numbers >= 0, same shape.
    """
    if not isinstance(u, Symbol):
        notify_observers(u - v_threshold, surrogate, v_threshold)
    if isinstance(v_threshold, Tensor | Symbol):
        v_threshold = v_threshold.detach()
    return with_slope(partial(spike_count, v_threshold), u, partial(_gradient, surrogate, v_threshold))


def spike_count(v_threshold: Number, u: Tensor) -> Tensor:
    """Return trunc(u / v_threshold) for u > 0, else 0."""
    return torch.trunc(u.clamp(min=0.0) / v_threshold)


def _gradient(surrogate: Surrogate, v_threshold: Number, u: Tensor) -> Tensor:
    return surrogate.derivative(u - v_threshold, v_threshold)


Synapse = Literal["jump_first", "decay_first", "next_step"]
_AVERAGE = ("input_gain", "average")
_JUMP_WARNINGS = {
    "jump_first": DtWarning("jump_for_a_whole_step", fix=(_AVERAGE,)),
    "decay_first": DtWarning("jump_decays_first", fix=(("synapse", "jump_first"), _AVERAGE)),
    "next_step": DtWarning("late_current", fix=(("synapse", "jump_first"), _AVERAGE)),
}


class SynapticMembrane(LeakyMembrane):
    """A membrane whose input is added to a decaying current; for use with `LeakyMembrane` or `SpikingMembrane`.

        j[t] = b * i[t-1] + x[t]   (synapse "jump_first")   or   b * (i[t-1] + x[t])   ("decay_first"),   i[t] = j[t]
        j[t] = i[t-1],   i[t] = b * i[t-1] + x[t]   ("next_step")

    Args:
        tau_syn: Synaptic time constant, ms, or `"2 steps"`.
        synapse: Whether a jump decays from the next step on (`jump_first`) or at once (`decay_first`), or reaches the
            membrane in the next step (`next_step`).
        input_gain: g: `average`: the average remainder, at a step's end, of a jump at any moment of it, filtered by the
            membrane, (1 - a) * (1 - b) * tau_syn / dt; `1-a`, which filters the current; or a number.
        decay: `exact` or `euler`, for both time constants.
    """

    tau_syn: TauSyn = setting(default=10.0, read_by=learnable_quantity)
    alpha: Alpha = setting(default=None, read_by=learnable_quantity)
    synapse: Synapse = "jump_first"
    input_gain: InputGain = "average"

    def prepare(self) -> None:
        if self.input_gain == "average" and (self.alpha == 0 or self.synapse != "jump_first"):
            raise ConfigError(
                "input_gain", "average needs alpha > 0 and synapse: jump_first", "set input_gain: 1-a instead"
            )
        self.synapse_decay = Decay("tau_syn", "alpha", self.tau_syn, self.alpha, self.dt, self.decay)
        super().prepare()

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        decay = self.synapse_decay
        return {decay.setting: (decay.initial_value(), decay.legal_values())} | super().learnable()

    def coefficients(self) -> MembraneCoefficients:
        """Return the membrane's coefficients and b; `input_gain: average` averages a jump of the current."""
        own, b = super().coefficients(), self.factor(self.synapse_decay)
        if self.input_gain == "average":
            own = own._replace(g=(1.0 - own.a) * mean_remainder(b, self.decay))
        return own._replace(b=b)

    def definitions(self) -> dict[str, str]:
        own = super().definitions()
        own["b"] = self.synapse_decay.definition(self.factor_symbols[1])
        if self.input_gain == "average":
            a, b = symbol_of(own["a"]), symbol_of(own["b"])
            part = _remainder_text(self.synapse_decay, b)
            own["g"] = f"g = 1 - {a}" if part == "1" else f"g = (1 - {a}) * {part}"
        return own

    def current(self, i: Tensor, x: Tensor, k: MembraneCoefficients) -> Tensor:
        """Return the current after the jump."""
        return k.b * (i + x) if self.synapse == "decay_first" else k.b * i + x

    def read(self, before: Tensor, after: Tensor) -> Tensor:
        """Return j, the current that the membrane reads: the one after the jump, or of the step before."""
        return before if self.synapse == "next_step" else after

    def decays(self) -> list[Decay]:
        return [*super().decays(), self.synapse_decay]

    def info(self) -> NeuronInfo:
        own = replace(super().info(), synapse=self.synapse)
        if self.input_gain == "average" or own.drive_power is None:
            return replace(own, fixes={})
        # An impulse stays on the synapse for tau_syn / dt steps, which adds one power of the number of steps.
        power = own.drive_power + 1
        warnings = own.warnings if power else (*own.warnings, _JUMP_WARNINGS[self.synapse])
        return replace(own, drive_power=power, fixes={1: (_AVERAGE,)}, warnings=warnings)


class Adaptive(SpikingMembrane):
    """A membrane with a slow adaptation variable, which decays by the factor rho in each step.

    Args:
        tau_adapt: Time constant of the adaptation, ms, or `"2 steps"`.
        rho: The factor of one step, in place of `tau_adapt`.
    """

    tau_adapt: TauAdapt = setting(default=200.0, read_by=learnable_quantity)
    rho: Factor = setting(default=None, read_by=learnable_quantity)

    def prepare(self) -> None:
        self.adaptation_decay = Decay("tau_adapt", "rho", self.tau_adapt, self.rho, self.dt, self.decay)
        super().prepare()

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        decay = self.adaptation_decay
        return {decay.setting: (decay.initial_value(), decay.legal_values())} | super().learnable()

    def decays(self) -> list[Decay]:
        return [*super().decays(), self.adaptation_decay]

    def definitions(self) -> dict[str, str]:
        return super().definitions() | {"rho": self.adaptation_decay.definition("rho"), "relaxation": "1 - rho"}


class ThresholdCoefficients(NamedTuple):
    """Coefficients of a membrane with an adaptive threshold; learned ones are tensors.

    Attributes:
        membrane: Coefficients of the canonical recurrence.
        rho: Factor of the adaptation in one step.
        relaxation: 1 - rho, separate because rounding rho loses it for slow adaptation.
        adaptation: Rise of the threshold with a spike.
    """

    membrane: MembraneCoefficients
    rho: Number
    relaxation: Number
    adaptation: Number


class AdaptiveThreshold(Adaptive):
    """A membrane whose threshold rises by `adaptation` with each spike and relaxes with `tau_adapt`.

    Args:
        adaptation: Rise of the threshold with a spike, dimensionless like v_threshold.
    """

    adaptation: Annotated[Learnable, at_least(0)] = setting(default=0.1, read_by=learnable_quantity)

    def prepare(self) -> None:
        if self.adaptation == 0 and "adaptation" in as_learn(self.learn):
            raise ConfigError("adaptation", "is learned above 0, so it cannot start at 0", "start at 0.1, for example")
        super().prepare()

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return the learnable quantities; `adaptation` stays above 0."""
        own = super().learnable()
        return own | ({"adaptation": (self.adaptation, above(0.0))} if self.adaptation else {})

    def coefficients(self) -> ThresholdCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        rho = self.factor(self.adaptation_decay)
        return ThresholdCoefficients(super().coefficients(), rho, 1.0 - rho, self.value("adaptation"))

    def spike_at(self, threshold: Tensor, u: Tensor, k: MembraneCoefficients) -> Tensor:
        """Return the spikes of a membrane u at an adapted threshold; the surrogate's unit stays v_threshold."""
        return spike(u - threshold, self.surrogate, k.v_threshold, strict=self.strict)
