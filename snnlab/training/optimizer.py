"""Selects parameters by kind and by name: groups of the optimizer, frozen parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from snnlab.compat import BatchNormNd
from snnlab.errors import ConfigError, did_you_mean, error_context
from snnlab.nn.delays import Delays, clamp_delays, delays_of
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.recurrent import Feedback
from snnlab.nn.neurons.time_constants import Decay

Kinds = Mapping[str, frozenset[str]]
WEIGHTS, RECURRENT, BIASES, DELAYS, NORMS = "weights", "recurrent", "biases", "delays", "norms"
NEURONS, TIME_CONSTANTS, THRESHOLDS = "neurons", "time_constants", "thresholds"
KINDS = (WEIGHTS, RECURRENT, BIASES, DELAYS, NORMS, NEURONS, TIME_CONSTANTS, THRESHOLDS)
"""`neurons`: all that neurons learn, with time constants and thresholds. Biases of norms are `norms` and `biases`."""
_NORMS = (BatchNormNd, nn.LayerNorm, nn.GroupNorm)


def parameter_kinds(network: nn.Module) -> dict[str, frozenset[str]]:
    """Return the kinds of each parameter of a network, by its name, in the network's order."""
    learned: dict[str, frozenset[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, Neuron) and not module.parallel:
            own = [part for part, _ in module.named_parameters() if part.removeprefix("learned.").count(".") == 0]
            kinds = {part: _neuron_parameter_kinds(module, part.removeprefix("learned.")) for part in own}
            learned |= {f"{name}.{part}" if name else part: found for part, found in kinds.items()}
    return {
        name: learned.get(name)
        or _layer_parameter_kinds(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
        for name, _ in network.named_parameters()
    }


def _neuron_parameter_kinds(neuron: Neuron, quantity: str) -> frozenset[str]:
    time_constants = {value.setting for value in vars(neuron).values() if isinstance(value, Decay)}
    if quantity in time_constants:
        return frozenset({NEURONS, TIME_CONSTANTS})
    return frozenset({NEURONS, THRESHOLDS} if quantity == "v_threshold" else {NEURONS})


def _layer_parameter_kinds(owner: nn.Module, name: str) -> frozenset[str]:
    if isinstance(owner, Delays):
        return frozenset({DELAYS})
    kinds = set[str]()
    if name.startswith("bias"):
        kinds.add(BIASES)
    if isinstance(owner, _NORMS):
        kinds.add(NORMS)
    if isinstance(owner, Feedback) or (isinstance(owner, nn.RNNBase) and name.startswith("weight_hh")):
        kinds.add(RECURRENT)
    return frozenset(kinds or {WEIGHTS})


def matches(name: str, kinds: frozenset[str], wanted: Iterable[str]) -> bool:
    """Return whether `wanted` contains a kind, a layer or the name of a parameter.

    Args:
        name: The parameter's name, such as `block1.conv1.weight`.
        kinds: Its kinds.
        wanted: Kinds, or patterns such as `conv*` for the name or for its beginning up to a dot.
    """
    parts = name.split(".")
    prefixes = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return any(pattern in kinds or any(fnmatchcase(prefix, pattern) for prefix in prefixes) for pattern in wanted)


def require_match(wanted: Sequence[str], kinds: Kinds) -> None:
    """Require that each word of `wanted` matches a parameter."""
    for pattern in wanted:
        if not any(matches(name, of, [pattern]) for name, of in kinds.items()):
            counts = Counter(kind for of in kinds.values() for kind in of)
            layers = list(dict.fromkeys(name.rpartition(".")[0] for name in kinds))
            known = [kind for kind in KINDS if counts[kind]]
            near = did_you_mean(pattern, [*known, *layers])
            choices = [*(f"{kind} ({counts[kind]})" for kind in known), *layers]
            raise ConfigError("", f"no layer, parameter or kind matches '{pattern}'", near, choices)


DECAY = "weight_decay"
# Suffix of the name of a group's parameters without weight decay.
_NO_DECAY_SUFFIX = ", no decay"


class Group(NamedTuple):
    """A parameter group with its own settings.

    Attributes:
        name: Its name.
        match: Its parameters: kinds, layers, names or patterns.
        settings: Optimizer settings that differ for it.
    """

    name: str
    match: Sequence[str]
    settings: Mapping[str, Any]


class GroupedOptimizer(NamedTuple):
    """Makes an optimizer for a network; each parameter goes to the first group that matches it, else to the rest.

    Attributes:
        make: Returns the optimizer of parameters, or of parameter groups.
        groups: The groups, in order.
        decays: Parameters with weight decay, in groups without their own weight decay; None: all.
    """

    make: Callable[[Iterable[Any]], Optimizer]
    groups: Sequence[Group] = ()
    decays: Sequence[str] | None = None

    def __call__(self, network: nn.Module) -> Optimizer:
        """Return the optimizer of the parameters that require a gradient; after each step it clamps learned delays."""
        optimizer = self._ungrouped(network)
        if delays_of(network):
            optimizer.register_step_post_hook(lambda *_: clamp_delays(network))
        return optimizer

    def _ungrouped(self, network: nn.Module) -> Optimizer:
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not self.groups and self.decays is None:
            return self.make(list(trained.values()))
        param_groups = [group for group in self.param_groups(network) if group["params"]]
        if len(param_groups) == 1 and not self.groups:
            return self.make(param_groups[0]["params"])
        return self.make(param_groups)

    def param_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return the parameter groups: first the rest, whose learning rate is logged as `lr`."""
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        kinds = {name: of for name, of in parameter_kinds(network).items() if name in trained}
        left = list(trained)
        selected = []
        for group in self.groups:
            place = f"optimizer.groups.{group.name}"
            with error_context(place):
                require_match(group.match, kinds)
            own = [name for name in left if matches(name, kinds[name], group.match)]
            if not own:
                raise ConfigError(place, "all its parameters are in earlier groups")
            left = [name for name in left if name not in own]
            selected.append((group.name, own, group.settings))
        made = []
        for label, names, settings in [("rest", left, {}), *selected]:
            decays = self._decaying(names, settings, kinds)
            made.append({"params": [trained[n] for n in names if n in decays], **settings, "name": label})
            undecayed = [trained[n] for n in names if n not in decays]
            made.append({"params": undecayed, **settings, DECAY: 0.0, "name": f"{label}{_NO_DECAY_SUFFIX}"})
        return made

    def _decaying(self, names: Iterable[str], settings: Mapping[str, Any], kinds: Any) -> set[str]:
        if self.decays is None or DECAY in settings:
            return set(names)
        return {name for name in names if matches(name, kinds[name], self.decays)}


def learning_rates(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return learning rates by their names in the log: `lr` of the first group, and `lr/NAME` if there are several.

    Args:
        groups: The optimizer's groups; those of one name differ only in their weight decay.
    """
    named = {group.get("name", "").removesuffix(_NO_DECAY_SUFFIX): float(group["lr"]) for group in groups}
    each = {f"lr/{name}": rate for name, rate in named.items() if name} if len(named) > 1 else {}
    return {"lr": float(groups[0]["lr"]), **each}


def freeze(network: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Freeze parameters, and return the layers that stay in evaluation mode, which keeps batch norm's statistics.

    Args:
        network: The network.
        patterns: Layers, kinds, names or patterns such as `conv*`.
    """
    kinds, modules = parameter_kinds(network), dict(network.named_modules())
    layers = [name for name in modules if any(fnmatchcase(name, pattern) for pattern in patterns) and name]
    require_match([pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in layers)], kinds)
    for name, parameter in network.named_parameters():
        if matches(name, kinds[name], patterns):
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError("", "no parameter is left to train")
    return [modules[name] for name in layers]
