"""Regularizers: membranes and rates within a band, budgets of spikes and operations, small weights.

No kernel returns the membrane at each step, so `membrane_band` runs its layers a second time, by the plain loop with
autograd.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from snnlab.errors import ConfigError, join_names
from snnlab.kernels.reference import unroll
from snnlab.nn.delays import Delays
from snnlab.nn.fan_out import fan_out
from snnlab.nn.layer import EXTRA_PREFIX, Counts
from snnlab.nn.losses.loss import (
    REGULARIZERS,
    LayerRegularizer,
    LossAndTerms,
    LossContext,
    Regularizer,
    mean_over_samples,
    select_layers,
)
from snnlab.nn.losses.spike_targets import spikes_at_most_once
from snnlab.nn.neurons.base import Neuron, cast_coefficients, to_full_precision
from snnlab.nn.surrogate import Surrogate, observe_membranes
from snnlab.spec.declared import setting
from snnlab.spec.interval import Positive, above, below

_log = logging.getLogger(__name__)


class MembraneBandCost:
    """A forward hook of a layer of neurons: sums the squared distances of each neuron's membrane from a band.

        n = sum over valid steps of max(0, lower - m[t])^2 + max(0, m[t] - upper)^2

    with m = 1 + (u - threshold) / v_threshold, and u the membrane that is compared with the threshold, before the
    reset.

    Args:
        lower: Lower bound in units of the threshold; None for no bound.
        upper: Upper bound in units of the threshold; None for no bound.
    """

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower, self.upper = lower, upper
        # The key of this band among a layer's counts; the enclosing network prepends the layer's name.
        self.key = f"{EXTRA_PREFIX}membrane {lower} {upper}".replace(".", ",")  # a dot separates layer names

    def __call__(self, neuron: Neuron, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        """Add the sums to `counts`, if the call has it."""
        arguments = dict(zip(("x", "state"), inputs, strict=False)) | dict(named)
        counts: Counts | None = arguments.get("counts")
        if counts is not None:
            counts[self.key] = self.sum(neuron, arguments["x"], arguments.get("state"), arguments.get("lengths"))

    def sum(self, neuron: Neuron, x: Tensor, state: Any, lengths: Tensor | None) -> Tensor:
        """Return n.

        Shape:
            x: `[T, B, ...]`; state: `[B, ...]` each; lengths: `[B]`; returns `[B, ...]`.
        """

        def step(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
            membrane, after = membrane_of_step(neuron, x, state, k)
            assert membrane is not None
            return self._squared_distance(membrane), after

        x = neuron.weighted_input(to_full_precision(x))
        state = neuron.initial_state(x[0]) if state is None else state
        return unroll(step, x, state, cast_coefficients(neuron.coefficients(), x), lengths)[0].sum(0)

    def _squared_distance(self, membrane: Tensor) -> Tensor:
        cost = torch.zeros_like(membrane)
        if self.lower is not None:
            cost = cost + (self.lower - membrane).relu().square()
        return cost if self.upper is None else cost + (membrane - self.upper).relu().square()


def membrane_of_step(neuron: Neuron, x: Tensor, state: Any, k: Any) -> tuple[Tensor | None, Any]:
    """Return the membrane of one step in units of the threshold, and the state after it.

    Shape:
        x: `[B, ...]`; returns `[B, ...]`, or None for a neuron that does not call `spike`.
    """
    membranes: list[Tensor] = []

    def observe(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor) -> None:
        membranes.append(1.0 + distance / v_threshold)

    with observe_membranes(observe):
        _, after = neuron.step(x, state, k)
    return (membranes[-1] if membranes else None), after  # with a delayed reset, the last call is this step's spike


def has_observable_membrane(neuron: Neuron, shape: tuple[int, ...]) -> bool:
    """Return whether the membrane of a layer with neurons of this shape, `[...]`, can be observed: its step spikes."""
    if neuron.parallel:
        return False
    first = next(neuron.parameters(), None)
    x = torch.zeros(1, *shape, device=None if first is None else first.device)
    with torch.no_grad():
        k = cast_coefficients(neuron.coefficients(), x)
        return membrane_of_step(neuron, x, neuron.initial_state(x), k)[0] is not None


def require_band(lower: float | None, upper: float | None) -> None:
    """Raise a ConfigError for a band without a bound, or with the lower one above the upper one."""
    if lower is None and upper is None:
        raise ConfigError("lower", "set it, or upper, or both")
    if lower is not None and upper is not None and lower >= upper:
        raise ConfigError("lower", f"must be below upper ({upper:g}), got {lower:g}")


@REGULARIZERS.register("membrane_band")
class MembraneBand(LayerRegularizer):
    """Squared distance of membranes below a lower or above an upper bound, at each step, in units of the threshold.

        value = mean over samples, layers, neurons and steps of max(0, lower - u)^2 + max(0, u - upper)^2

    with u the membrane that is compared with the threshold, before the reset; a neuron fires at u >= 1. Kernels do not
    return membranes, so these layers run a second time, by the plain loop: name only the layers that need it.

    Args:
        lower: The lowest membrane without cost, below 1; null for no bound.
        upper: The highest membrane without cost; null for no bound.
    """

    lower: Annotated[float | None, "thresholds", below(1)] = None
    upper: Annotated[float | None, "thresholds", above(0)] = None

    def prepare(self) -> None:
        super().prepare()
        require_band(self.lower, self.upper)
        self.cost = MembraneBandCost(self.lower, self.upper)
        self._logged = False

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        neurons = {name: context.built.network.get_submodule(name) for name in self._names}
        for name, neuron in neurons.items():
            if not isinstance(neuron, Neuron) or not has_observable_membrane(neuron, context.built.spiking[name]):
                raise ConfigError(
                    "layers", f"the membrane of '{name}' cannot be observed", "name other layers, in layers"
                )
        for neuron in neurons.values():
            neuron.register_forward_hook(self.cost, with_kwargs=True)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        self._log_once()
        layers = [counts[f"{name}.{self.cost.key}"].flatten(1).mean(1) / lengths for name in self._names]
        value = mean_over_samples(torch.stack(layers).mean(0), weight)
        return value, {"membrane_band": value}

    def _log_once(self) -> None:
        """Log, at the first training batch, that steps take longer."""
        if self.training and not self._logged:
            self._logged = True
            _log.info(
                "for the membranes of %s a step takes longer: besides their kernel they run by the plain loop",
                join_names(self._names),
            )


# A first batch that exceeds the budget by this factor means an error, or a network that becomes silent.
WARNING_FACTOR = 10


class Budget(LayerRegularizer):
    """Base class of budgets: the squared logarithm of the ratio of a sample's spending to the budget, if above 1.

    The gradient at 100 times the budget is only a few times larger than at 2 times, so that a network that begins far
    above the budget does not become silent at once. No gradient restores a silent network: add a `rate_band` with a
    lower bound.

    Args:
        budget: The spending without cost.
    """

    budget: Positive = setting(kw_only=False)

    def prepare(self) -> None:
        super().prepare()
        self._checked = False

    @abstractmethod
    def spent(self, counts: Counts) -> Tensor:
        """Return the spending of each sample, `[B]`."""

    def require_exceedable(self, context: LossContext, most: float) -> None:
        """Check that the network can exceed the budget.

        Args:
            context: The network and the data.
            most: The spending of one step in which every neuron fires once.
        """
        if spikes_at_most_once(context.built.network) and self.budget >= most * context.num_steps:
            raise ConfigError(
                "budget",
                (
                    f"{self.budget:,.10g} cannot be exceeded: if every neuron fired at each of"
                    f" {context.num_steps} steps, that would be {most * context.num_steps:,.10g}"
                ),
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        spent = self.spent(counts)
        self._warn_about_silence(spent)
        value = mean_over_samples(squared_log_excess(spent, self.budget), weight)
        return value, {"budget": value}

    def _warn_about_silence(self, spent: Tensor) -> None:
        """Warn if the network is silent, or may become silent; reads the first training batch, and no later one."""
        if not self.training or self._checked or spent.is_meta:
            return
        self._checked = True
        mean, budget = float(spent.detach().mean()), f"{self.budget:,.10g}"
        if mean == 0:
            _log.warning("the budget of %s has no effect: no counted neuron fires on the first batch", budget)
        elif mean > WARNING_FACTOR * self.budget:
            _log.warning(
                "the first batch takes %s a sample, far more than the budget of %s: the network may become silent;"
                " begin with a larger budget, or add a lower bound (type: rate_band)",
                f"{mean:,.0f}",
                budget,
            )


def squared_log_excess(value: Tensor, bound: float) -> Tensor:
    """Return max(0, ln(value / bound))^2, which is smooth at the bound and has no gradient below it."""
    return (value / bound).clamp(min=1).log().square()


def sum_over_layers(parts: Iterable[Tensor]) -> Tensor:
    """Return each sample's sum over all layers and neurons, `[B, n]` each to `[B]`."""
    return torch.stack([part.sum(1) for part in parts]).sum(0)


@REGULARIZERS.register("spikes")
class Spikes(LayerRegularizer):
    """Number of spikes of a sample, or the sum of the squared spike counts of its neurons.

        value = mean over samples of sum_i n[i]^power,   n[i]: spikes of neuron i

    Args:
        power: 1 for the number of spikes, the metric spikes_per_sample; 2 penalizes the most active neurons most.
    """

    power: Literal[1, 2] = 1

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        numbers = (counts[name].flatten(1) for name in self._names)
        value = mean_over_samples(sum_over_layers(n if self.power == 1 else n.square() for n in numbers), weight)
        return value, {"spikes": value}


@REGULARIZERS.register("spike_budget")
class SpikeBudget(Budget):
    """Squared logarithm of the ratio of a sample's number of spikes to a budget, if it is above 1.

        value = mean over samples of max(0, ln(spikes / budget))^2

    Args:
        budget: The number of spikes a sample without cost.
    """

    budget: Annotated[float, "spikes a sample", above(0)] = setting(kw_only=False)

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        self.require_exceedable(context, sum(math.prod(context.built.spiking[name]) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return sum_over_layers(counts[name].flatten(1) for name in self._names)


@REGULARIZERS.register("synaptic_operations")
class SynapticOperations(Budget):
    """Squared logarithm of the ratio of a sample's synaptic operations to a budget, if it is above 1.

        value = mean over samples of max(0, ln(operations / budget))^2,   operations = sum_i n[i] * fan_out[i]

    with n[i] the spikes of neuron i and fan_out[i] the number of outputs of the next layers with weights that one of
    its spikes reaches, including its own layer if that is recurrent. Spikes in one pooling window are counted
    separately, weights of 0 are counted, and operations of the network's input are not: no spike can change them.
    NeuroBench's number is lower by the first two and higher by the third.

    Args:
        budget: The number of operations a sample without cost.

    Source: Yik et al., The NeuroBench framework, Nature Communications 2025, for synaptic operations.
    """

    budget: Annotated[float, "operations a sample", above(0)] = setting(kw_only=False)

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        fan_outs = fan_out(context.built, context.in_shape)
        for number, name in enumerate(self._names):
            self.register_buffer(f"fan_out{number}", fan_outs[name], persistent=False)
        self.require_exceedable(context, sum(float(fan_outs[name].sum()) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return sum_over_layers(
            (counts[name] * self.get_buffer(f"fan_out{number}")).flatten(1) for number, name in enumerate(self._names)
        )


@REGULARIZERS.register("rate_band")
class RateBand(LayerRegularizer):
    """Relative distance of rates below a lower or above an upper bound.

        value = mean over samples, layers and units of max(0, 1 - rate/lower)^2 + max(0, ln(rate/upper))^2

    A unit is a layer, with the mean rate of its neurons, or a neuron. The rates are those of each recording, so that a
    lower bound for neurons requires each neuron to fire on each recording. A silent unit costs 1, a unit at twice the
    upper bound 0.48, for any dt.

    Args:
        lower: The lowest rate without cost; null for no bound.
        upper: The highest rate without cost; null for no bound.
        of: The unit.

    Source: Rossbroich et al., Fluctuation-driven initialization, Neuromorphic Computing and Engineering 2022, whose
        code (stork) squares the spikes below a lower bound for neurons and above an upper bound for a layer.
    """

    lower: Annotated[float | None, "Hz; spikes a step where steps have no length", above(0)] = None
    upper: Annotated[float | None, "Hz; spikes a step where steps have no length", above(0)] = None
    of: Literal["layer", "neuron"] = "layer"

    def prepare(self) -> None:
        super().prepare()
        require_band(self.lower, self.upper)
        self._rate_every_step = 1.0

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        self._rate_every_step = 1.0 if context.dt is None else 1000.0 / context.dt
        if spikes_at_most_once(context.built.network):
            self._require_reachable(
                "1 spike a step" if context.dt is None else f"{self._rate_every_step:g} Hz, a spike in every step"
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        each = torch.stack([self._squared_distance(counts[name], lengths) for name in self._names]).mean(0)
        value = mean_over_samples(each, weight)
        return value, {"rate_band": value}

    def _squared_distance(self, counts: Tensor, lengths: Tensor) -> Tensor:
        rates = counts.flatten(1) * (self._rate_every_step / lengths[:, None])
        if self.of == "layer":
            rates = rates.mean(1, keepdim=True)
        costs = torch.zeros_like(rates)
        if self.lower is not None:
            costs = costs + (1 - rates / self.lower).relu().square()
        if self.upper is not None:
            costs = costs + squared_log_excess(rates, self.upper)
        return costs.mean(1)

    def _require_reachable(self, most: str) -> None:
        if self.lower is not None and self.lower > self._rate_every_step:
            raise ConfigError("lower", f"{self.lower:g} cannot be reached: at most {most}")
        if self.upper is not None and self.upper >= self._rate_every_step:
            raise ConfigError("upper", f"{self.upper:g} cannot be exceeded: at most {most}")


@REGULARIZERS.register("weights")
class Weights(Regularizer):
    """Sum of the absolute or squared weights of layers, without biases, norms and constants of neurons.

        value = sum |w|^power

    Args:
        power: 1 makes weights sparse, 2 keeps them small.
        layers: Names of layers with weights, of recurrent neurons or of blocks; null for all.
    """

    power: Literal[1, 2] = 2
    layers: Sequence[str] | None = None

    def prepare(self) -> None:
        # In tuples, where torch does not register modules: the weights belong to the network, not to the loss.
        self._weights: tuple[tuple[nn.Module, str], ...] = ()

    def bind(self, context: LossContext) -> None:
        known = dict(_modules_with_weights(context.built.network))
        names = select_layers(self.layers, known, "layer with weights")
        self._weights = tuple((module, name) for layer in names for module, name in known[layer])

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        weights = (getattr(module, name) for module, name in self._weights)
        value = torch.stack([(w.abs() if self.power == 1 else w.square()).sum() for w in weights]).sum()
        value = value if weight is None else value * weight.mean()
        return value, {"weights": value}


def _modules_with_weights(network: nn.Module) -> Iterator[tuple[str, list[tuple[nn.Module, str]]]]:
    """Yield the dotted names of the modules with weights, and where these weights are stored."""
    for name, module in network.named_modules():
        if isinstance(module, (Neuron, Delays, ParametrizationList, nn.ParameterDict)) or ".parametrizations." in name:
            continue
        own = [key for key, value in module.named_parameters(recurse=False) if value.dim() > 1]
        if is_parametrized(module):
            own += list(module.parametrizations)  # type: ignore[arg-type]
        if own:
            yield name, [(module, key) for key in own]
