"""Regularizers: membranes and rates within a band, budgets of spikes and operations, small weights.

No kernel gives a membrane's whole way, so a layer whose membrane is to stay in a band goes once more through its input
by the plain loop, whose gradient is autograd's own.

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

from snnlab.errors import ConfigError, listing
from snnlab.kernels.reference import unroll
from snnlab.nn.layer import ASIDE, Counts
from snnlab.nn.losses.loss import REGULARISERS, Regulariser, Task, Valued, chosen, mean_over_samples
from snnlab.nn.losses.spike_targets import spikes_once
from snnlab.nn.neurons.base import Neuron, exact, rounded
from snnlab.nn.operations import fan_out
from snnlab.nn.surrogate import Surrogate, watching
from snnlab.settings import above, below

_log = logging.getLogger(__name__)


class MembraneCost:
    """A forward hook of a neuron: counts, for each, the squares of what its membrane is outside a band.

        n = sum over valid steps of max(0, lower - m[t])^2 + max(0, m[t] - upper)^2

    with m = 1 + (u - threshold) / v_threshold, and u the membrane on which the spike is decided, before the reset.

    Args:
        lower: In units of the threshold; None for no bound.
        upper: In units of the threshold; None for no bound.
    """

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower, self.upper = lower, upper
        # A layer counts it under this key, each band for itself; the network around it puts the layer's name before it.
        self.key = f"{ASIDE}membrane {lower} {upper}".replace(".", ",")  # a dot would be a layer's within a network

    def __call__(self, neuron: Neuron, given: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        """Count it, where somebody counts."""
        said = dict(zip(("x", "state"), given, strict=False)) | dict(named)
        counts: Counts | None = said.get("counts")
        if counts is not None:
            counts[self.key] = self.sum(neuron, said["x"], said.get("state"), said.get("lengths"))

    def sum(self, neuron: Neuron, x: Tensor, state: Any, lengths: Tensor | None) -> Tensor:
        """Return n.

        Shape:
            x: `[T, B, ...]`; state: see `Neuron`; lengths: `[B]`; returns `[B, ...]`.
        """

        def step(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
            held, after = membrane_of_step(neuron, x, state, k)
            assert held is not None
            return self._outside(held), after

        x = exact(x)
        state = neuron.initial_state(x[0]) if state is None else state
        return unroll(step, x, state, rounded(neuron.coefficients(), x), lengths)[0].sum(0)

    def _outside(self, held: Tensor) -> Tensor:
        cost = torch.zeros_like(held)
        if self.lower is not None:
            cost = cost + (self.lower - held).relu().square()
        return cost if self.upper is None else cost + (held - self.upper).relu().square()


def membrane_of_step(neuron: Neuron, x: Tensor, state: Any, k: Any) -> tuple[Tensor | None, Any]:
    """Return the membrane of one step in units of the threshold, and the state after it.

    Shape:
        x: `[B, ...]`; returns the same, or None for a neuron that decides by itself, without `spike`.
    """
    looks: list[Tensor] = []

    def look(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor) -> None:
        looks.append(1.0 + distance / v_threshold)

    with watching(look):
        _, after = neuron.step(x, state, k)
    return (looks[-1] if looks else None), after  # with a delayed reset the step's own spike is the later one


def shows_membrane(neuron: Neuron, shape: tuple[int, ...]) -> bool:
    """Return whether a neuron of so many, `[...]`, says how far its membrane is from its threshold."""
    first = next(neuron.parameters(), None)
    x = torch.zeros(1, *shape, device=None if first is None else first.device)
    with torch.no_grad():
        k = rounded(neuron.coefficients(), x)
        return membrane_of_step(neuron, x, neuron.initial_state(x), k)[0] is not None


@REGULARISERS.register("membrane_band")
class MembraneBand(Regulariser):
    """How far membranes are below a lower bound or above an upper one, at every step, in units of the threshold.

        value = mean over samples, layers, neurons and steps of max(0, lower - u)^2 + max(0, u - upper)^2

    with u the membrane on which a spike is decided, before the reset, as a part of the threshold: a neuron fires from 1
    on. Kernels keep no membranes, so these layers go once more through their input by the plain loop: name those few
    that need it.

    Args:
        lower: The lowest membrane that costs nothing, below 1; null for no bound.
        upper: The highest membrane that costs nothing; null for no bound.
        layers: Names of spiking layers or of blocks; null for all.
    """

    def __init__(
        self,
        lower: Annotated[float | None, "thresholds", below(1)] = None,
        upper: Annotated[float | None, "thresholds", above(0)] = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if lower is None and upper is None:
            raise ConfigError("lower", "set it, or upper, or both")
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError("lower", f"must be below upper ({upper:g}), got {lower:g}")
        self.cost, self.layers = MembraneCost(lower, upper), layers
        self._names: list[str] = []
        self._said = False

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        neurons = {name: task.built.network.get_submodule(name) for name in self._names}
        for name, neuron in neurons.items():
            if not isinstance(neuron, Neuron) or not shows_membrane(neuron, task.built.spiking[name]):
                raise ConfigError("layers", f"'{name}' does not show its membrane", "name other layers, in layers")
        for neuron in neurons.values():
            neuron.register_forward_hook(self.cost, with_kwargs=True)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        self._say()
        layers = [counts[f"{name}.{self.cost.key}"].flatten(1).mean(1) / lengths for name in self._names]
        value = mean_over_samples(torch.stack(layers).mean(0), weight)
        return value, {"membrane_band": value}

    def _say(self) -> None:
        """Say, at the first training batch, what makes a step longer."""
        if self.training and not self._said:
            self._said = True
            _log.info(
                "for the membranes of %s a step takes longer: besides their kernel they run by the plain loop",
                listing(self._names),
            )


# So many times the budget is a slip, or a network that will fall silent.
FAR_ABOVE = 10


class Budget(Regulariser):
    """How often what is spent on a sample holds a budget: the squared logarithm, where it is more than once.

    A hundred times the budget pulls only a few times as hard as twice the budget, so that a network that begins far
    excess it is not silenced at once. Nothing pulls a silenced one back: a `rate_band` with a lower bound would.

    Args:
        budget: What costs nothing, > 0.
        layers: Names of spiking layers or of blocks; null for all.

    Raises:
        ConfigError: if only a silent network could keep to it.
    """

    def __init__(self, budget: float, layers: Sequence[str] | None) -> None:
        super().__init__()
        self.budget, self.layers = budget, layers
        self._names: list[str] = []
        self._looked = False

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")

    @abstractmethod
    def spent(self, counts: Counts) -> Tensor:
        """Return what is spent on each sample, `[B]`."""

    def require_reach(self, task: Task, most: float) -> None:
        """Refuse a budget that nothing can exceed.

        Args:
            task: What the loss is used for.
            most: What is spent at one step in which every neuron fires once.

        Raises:
            ConfigError: naming what can be spent.
        """
        if spikes_once(task.built.network) and self.budget >= most * task.num_steps:
            raise ConfigError(
                "budget",
                (
                    f"{self.budget:,.10g} cannot be exceeded: if every neuron fired at each of"
                    f" {task.num_steps} steps, that would be {most * task.num_steps:,.10g}"
                ),
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        spent = self.spent(counts)
        self._look(spent)
        value = mean_over_samples(excess(spent, self.budget), weight)
        return value, {"budget": value}

    def _look(self, spent: Tensor) -> None:
        """Say, at the first training batch, if silence meets the budget, or probably will."""
        if not self.training or self._looked:
            return
        self._looked = True
        mean, budget = float(spent.detach().mean()), f"{self.budget:,.10g}"
        if mean == 0:
            _log.warning("the budget of %s is met by silence: nothing that it counts fires on the first batch", budget)
        elif mean > FAR_ABOVE * self.budget:
            _log.warning(
                "the first batch takes %s a sample, far more than the budget of %s: the network may fall silent to keep"
                " it; begin with a larger one, or set a lower bound beside it (type: rate_band)",
                f"{mean:,.0f}",
                budget,
            )


def excess(value: Tensor, bound: float) -> Tensor:
    """Return max(0, ln(value / bound))^2, which is smooth at the bound and has no gradient below."""
    return (value / bound).clamp(min=1).log().square()


def total(parts: Iterable[Tensor]) -> Tensor:
    """Return each sample's sum over all layers and neurons, `[B, n]` each to `[B]`."""
    return torch.stack([part.sum(1) for part in parts]).sum(0)


@REGULARISERS.register("spikes")
class Spikes(Regulariser):
    """The number of spikes a sample, or the sum of its neurons' squared numbers.

        value = mean over samples of sum_i n[i]^power,   n[i]: spikes of neuron i

    Args:
        power: 1 for the number, which a sample's log calls spikes_per_sample; 2 asks most of the busiest neurons.
        layers: Names of spiking layers or of blocks; null for all.
    """

    def __init__(self, power: Literal[1, 2] = 1, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.power, self.layers = power, layers
        self._names: list[str] = []

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        numbers = (counts[name].flatten(1) for name in self._names)
        value = mean_over_samples(total(n if self.power == 1 else n.square() for n in numbers), weight)
        return value, {"spikes": value}


@REGULARISERS.register("spike_budget")
class SpikeBudget(Budget):
    """How often the number of spikes a sample holds a budget: the squared logarithm, where it is more than once.

        value = mean over samples of max(0, ln(spikes / budget))^2

    Args:
        budget: Spikes a sample that cost nothing.
    """

    def __init__(
        self, budget: Annotated[float, "spikes a sample", above(0)], layers: Sequence[str] | None = None
    ) -> None:
        super().__init__(budget, layers)

    def bind(self, task: Task) -> None:
        super().bind(task)
        self.require_reach(task, sum(math.prod(task.built.spiking[name]) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return total(counts[name].flatten(1) for name in self._names)


@REGULARISERS.register("synaptic_operations")
class SynapticOperations(Budget):
    """How often the synaptic operations of a sample hold a budget: the squared logarithm, where it is more than once.

        value = mean over samples of max(0, ln(operations / budget))^2,   operations = sum_i n[i] * fan_out[i]

    with n[i] the spikes of neuron i and fan_out[i] its connections: the outputs of the next layers with weights that a
    spike of it alone reaches, and its own layer's where that is recurrent. Spikes that a pool joins are counted each by
    itself, weights of 0 are counted, and what the input does in the first layer is not: no spike of the network can
    change it. NeuroBench's figure is lower by the first two and higher by the third.

    Args:
        budget: Operations a sample that cost nothing.

    Source: Yik et al., The NeuroBench framework, Nature Communications 2025, for synaptic operations.
    """

    def __init__(
        self, budget: Annotated[float, "operations a sample", above(0)], layers: Sequence[str] | None = None
    ) -> None:
        super().__init__(budget, layers)

    def bind(self, task: Task) -> None:
        super().bind(task)
        reached = fan_out(task.built, task.in_shape)
        for number, name in enumerate(self._names):
            self.register_buffer(f"fan_out{number}", reached[name], persistent=False)
        self.require_reach(task, sum(float(reached[name].sum()) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return total(
            (counts[name] * self.get_buffer(f"fan_out{number}")).flatten(1) for number, name in enumerate(self._names)
        )


@REGULARISERS.register("rate_band")
class RateBand(Regulariser):
    """How far rates are below a lower bound or excess an upper one, in parts of the bound.

        value = mean over samples, layers and units of max(0, 1 - rate/lower)^2 + max(0, ln(rate/upper))^2

    A unit is a layer, whose rate is the mean of its neurons', or each neuron; the rates are those on each recording, so
    that a lower bound for neurons asks every neuron to fire on every recording. A silent unit costs 1, one at twice the
    upper bound 0.48, whatever dt is.

    Args:
        lower: The lowest rate that costs nothing; null for no bound.
        upper: The highest rate that costs nothing; null for no bound.
        of: What a unit is.
        layers: Names of spiking layers or of blocks; null for all.

    Source: Rossbroich et al., Fluctuation-driven initialization, Neuromorphic Computing and Engineering 2022, whose
        programs (stork) square the spikes below a lower bound for neurons and excess an upper one for a layer.
    """

    def __init__(
        self,
        lower: Annotated[float | None, "Hz; spikes a step where steps have no length", above(0)] = None,
        upper: Annotated[float | None, "Hz; spikes a step where steps have no length", above(0)] = None,
        of: Literal["layer", "neuron"] = "layer",
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if lower is None and upper is None:
            raise ConfigError("lower", "set it, or upper, or both")
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError("lower", f"must be below upper ({upper:g}), got {lower:g}")
        self.lower, self.upper, self.of, self.layers = lower, upper, of, layers
        self._names: list[str] = []
        self._per_step = 1.0

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        self._per_step = 1.0 if task.dt is None else 1000.0 / task.dt
        if spikes_once(task.built.network):
            self._require_reach(
                "1 spike a step" if task.dt is None else f"{self._per_step:g} Hz, a spike in every step"
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        each = torch.stack([self._outside(counts[name], lengths) for name in self._names]).mean(0)
        value = mean_over_samples(each, weight)
        return value, {"rate_band": value}

    def _outside(self, counts: Tensor, lengths: Tensor) -> Tensor:
        rates = counts.flatten(1) * (self._per_step / lengths[:, None])
        if self.of == "layer":
            rates = rates.mean(1, keepdim=True)
        costs = torch.zeros_like(rates)
        if self.lower is not None:
            costs = costs + (1 - rates / self.lower).relu().square()
        if self.upper is not None:
            costs = costs + excess(rates, self.upper)
        return costs.mean(1)

    def _require_reach(self, most: str) -> None:
        if self.lower is not None and self.lower > self._per_step:
            raise ConfigError("lower", f"{self.lower:g} cannot be reached: at most {most}")
        if self.upper is not None and self.upper >= self._per_step:
            raise ConfigError("upper", f"{self.upper:g} cannot be exceeded: at most {most}")


@REGULARISERS.register("weights")
class Weights(Regulariser):
    """The sum of the absolute or squared weights of layers, without biases, norms and the neurons' constants.

        value = sum |w|^power

    Args:
        power: 1 draws weights to 0, 2 keeps them small.
        layers: Names of layers with weights, of recurrent neurons or of blocks; null for all.
    """

    def __init__(self, power: Literal[1, 2] = 2, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.power, self.layers = power, layers
        # In tuples, which torch does not look into: the weights are the network's, not the loss's.
        self._of: tuple[tuple[nn.Module, str], ...] = ()

    def bind(self, task: Task) -> None:
        known = dict(_weighted(task.built.network))
        names = chosen(self.layers, known, "layer with weights")
        self._of = tuple((module, name) for layer in names for module, name in known[layer])

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        weights = (getattr(module, name) for module, name in self._of)
        value = torch.stack([(w.abs() if self.power == 1 else w.square()).sum() for w in weights]).sum()
        value = value if weight is None else value * weight.mean()
        return value, {"weights": value}


def _weighted(network: nn.Module) -> Iterator[tuple[str, list[tuple[nn.Module, str]]]]:
    """Yield the dotted names of the modules with weights, with where their weights are."""
    for name, module in network.named_modules():
        if isinstance(module, (Neuron, ParametrizationList, nn.ParameterDict)) or ".parametrizations." in name:
            continue
        own = [key for key, value in module.named_parameters(recurse=False) if value.dim() > 1]
        if is_parametrized(module):
            own += list(module.parametrizations)  # type: ignore[arg-type]
        if own:
            yield name, [(module, key) for key in own]
