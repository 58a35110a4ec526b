"""A network's parameters by kind and by name, as `optimizer.groups` and `freeze` speak of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from snnlab.compat import BatchNormNd
from snnlab.errors import ConfigError, did_you_mean
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
