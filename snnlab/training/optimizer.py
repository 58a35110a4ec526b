"""Parameters by kind and by name: groups of the optimizer, and those that stay as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from snnlab.compat import BatchNormNd
from snnlab.errors import ConfigError, did_you_mean, located
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.nn.neurons.recurrent import Feedback
from snnlab.nn.neurons.time_constants import Leak

Kinds = Mapping[str, frozenset[str]]
WEIGHTS, RECURRENT, BIASES, NORMS = "weights", "recurrent", "biases", "norms"
NEURONS, TIME_CONSTANTS, THRESHOLDS = "neurons", "time_constants", "thresholds"
KINDS = (WEIGHTS, RECURRENT, BIASES, NORMS, NEURONS, TIME_CONSTANTS, THRESHOLDS)
"""`neurons` is all that neurons learn, time constants and thresholds among it; `norms` have biases that are both."""
_NORMS = (BatchNormNd, nn.LayerNorm, nn.GroupNorm)


def kinds_of(network: nn.Module) -> dict[str, frozenset[str]]:
    """Return the kinds of each parameter of a network, by its name, in the network's order."""
    learned: dict[str, frozenset[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, LeakyMembrane) and module.learn_per:
            prefix = f"{name}.learned." if name else "learned."
            learned |= {f"{prefix}{quantity}": _of_neuron(module, quantity) for quantity in module.learn_per}
    return {
        name: learned.get(name) or _of_layer(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
        for name, _ in network.named_parameters()
    }


def _of_neuron(neuron: LeakyMembrane, quantity: str) -> frozenset[str]:
    leaks = {value.given for value in vars(neuron).values() if isinstance(value, Leak)}
    if quantity in leaks:
        return frozenset({NEURONS, TIME_CONSTANTS})
    return frozenset({NEURONS, THRESHOLDS} if quantity == "v_threshold" else {NEURONS})


def _of_layer(owner: nn.Module, name: str) -> frozenset[str]:
    kinds = set[str]()
    if name.startswith("bias"):
        kinds.add(BIASES)
    if isinstance(owner, _NORMS):
        kinds.add(NORMS)
    if isinstance(owner, Feedback) or (isinstance(owner, nn.RNNBase) and name.startswith("weight_hh")):
        kinds.add(RECURRENT)
    return frozenset(kinds or {WEIGHTS})


def matches(name: str, kinds: frozenset[str], wanted: Iterable[str]) -> bool:
    """Return whether a parameter is of one of the kinds, or in one of the layers, or has one of the names, `wanted`.

    Args:
        name: The parameter's name, such as `block1.conv1.weight`.
        kinds: Its kinds.
        wanted: Kinds, or patterns such as `conv*` for the name or for what it begins with, up to a dot.
    """
    parts = name.split(".")
    begins = [".".join(parts[: n + 1]) for n in range(len(parts))]
    return any(word in kinds or any(fnmatchcase(begin, word) for begin in begins) for word in wanted)


def require_match(wanted: Sequence[str], kinds: Kinds) -> None:
    """Raise if no parameter is meant by one of the words.

    Raises:
        ConfigError: then, naming the word and what there is.
    """
    for word in wanted:
        if not any(matches(name, of, [word]) for name, of in kinds.items()):
            many = Counter(kind for of in kinds.values() for kind in of)
            layers = list(dict.fromkeys(name.rpartition(".")[0] for name in kinds))
            known = [kind for kind in KINDS if many[kind]]
            near = did_you_mean(word, [*known, *layers])
            there = [*(f"{kind} ({many[kind]})" for kind in known), *layers]
            raise ConfigError("", f"nothing is called '{word}', or of that kind", near, there)


DECAY = "weight_decay"
# Behind the name of a group's part that does not decay.
_NO_DECAY = ", no decay"


class Group(NamedTuple):
    """Parameters with settings of their own.

    Attributes:
        name: What it is called.
        match: Which parameters are meant: kinds, layers, names or patterns.
        settings: Settings of the optimizer that are different for them.
    """

    name: str
    match: Sequence[str]
    settings: Mapping[str, Any]


class GroupedOptimizer(NamedTuple):
    """Makes an optimizer for a network; each parameter goes to the first group that means it, else to the rest.

    Attributes:
        make: From parameters, or groups of them, to the optimizer.
        groups: The groups, in order.
        decays: What weight decay is for, where a group does not say how much it has; None: everything.
    """

    make: Callable[[Iterable[Any]], Optimizer]
    groups: Sequence[Group] = ()
    decays: Sequence[str] | None = None

    def __call__(self, network: nn.Module) -> Optimizer:
        """Return the optimizer of those parameters that are trained.

        Raises:
            ValueError: starting with the group that nothing belongs to.
        """
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not self.groups and self.decays is None:
            return self.make(list(trained.values()))
        parts = [part for part in self.parts(network) if part["params"]]
        if len(parts) == 1 and not self.groups:
            return self.make(parts[0]["params"])
        return self.make(parts)

    def parts(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return what the optimizer is given: the rest first, whose rate is the one that is logged.

        Raises:
            ValueError: starting with the group that nothing belongs to.
        """
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        kinds = {name: of for name, of in kinds_of(network).items() if name in trained}
        left = list(trained)
        parts = []
        for group in self.groups:
            with located(f"groups.{group.name}"):
                require_match(group.match, kinds)
            own = [name for name in left if matches(name, kinds[name], group.match)]
            if not own:
                raise ConfigError(f"groups.{group.name}", "all that it means is in the groups before it")
            left = [name for name in left if name not in own]
            parts.append((group.name, own, group.settings))
        made = []
        for label, names, settings in [("rest", left, {}), *parts]:
            decays = self._decaying(names, settings, kinds)
            made.append({"params": [trained[n] for n in names if n in decays], **settings, "name": label})
            spared = [trained[n] for n in names if n not in decays]
            made.append({"params": spared, **settings, DECAY: 0.0, "name": f"{label}{_NO_DECAY}"})
        return made

    def _decaying(self, names: Iterable[str], settings: Mapping[str, Any], kinds: Any) -> set[str]:
        if self.decays is None or DECAY in settings:
            return set(names)
        return {name for name in names if matches(name, kinds[name], self.decays)}


def rates(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a log says of an optimizer's learning rates: `lr`, the first group's, and of several `lr/NAME`.

    Args:
        groups: What the optimizer has; those of one name differ in their weight decay alone.
    """
    named = {group.get("name", "").removesuffix(_NO_DECAY): float(group["lr"]) for group in groups}
    each = {f"lr/{name}": rate for name, rate in named.items() if name} if len(named) > 1 else {}
    return {"lr": float(groups[0]["lr"]), **each}


def freeze(network: nn.Module, words: Sequence[str]) -> list[nn.Module]:
    """Let parameters have no gradient, and return the layers that stay in evaluation: what batch norm has seen stays.

    Args:
        network: The network.
        words: Layers, kinds, names or patterns; see `parameters.matches`.

    Raises:
        ConfigError: if a word means nothing, or nothing is left to train.
    """
    kinds, modules = kinds_of(network), dict(network.named_modules())
    layers = [name for name in modules if any(fnmatchcase(name, word) for word in words) and name]
    require_match([word for word in words if not any(fnmatchcase(name, word) for name in layers)], kinds)
    for name, parameter in network.named_parameters():
        if matches(name, kinds[name], words):
            parameter.requires_grad_(False)
    if words and not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError("", "nothing is left to train")
    return [modules[name] for name in layers]
