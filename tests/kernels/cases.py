"""The cases for comparisons of kernels: all variants of the canonical neurons, on inputs of many shapes.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn import surrogate as surrogates
from snnlab.nn.neurons import IAF, LI, LIF, CubaLI, CubaLIF
from snnlab.nn.neurons.membrane import LeakyMembrane

Axes = Mapping[str, Sequence[Any]]

KINDS: dict[str, tuple[type[LeakyMembrane], dict[str, Any]]] = {
    "lif": (LIF, {}),
    "iaf": (IAF, {}),
    "jump": (CubaLIF, {"synapse": "jump_first"}),
    "decay": (CubaLIF, {"synapse": "decay_first"}),
    "li": (LI, {}),
    "li_jump": (CubaLI, {"synapse": "jump_first"}),
    "li_decay": (CubaLI, {"synapse": "decay_first"}),
}

SURROGATES = {
    **{name: getattr(surrogates, name)() for name in ("Atan", "Circ", "Exponential", "Gaussian")},
    **{name: getattr(surrogates, name)() for name in ("MultiGaussian", "Rectangular", "Sigmoid", "StraightThrough")},
    **{name: getattr(surrogates, name)() for name in ("SuperSpike", "Triangle")},
    "Absolute": surrogates.Atan(alpha=2.0),
    "PerThreshold": surrogates.Exponential(grad_width=0.5, grad_scale=0.8),
}

# Shape of one sample and number of samples; the last two differ in memory layout.
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "scalar": ((), 4),
    "flat": ((500,), 4),
    "image": ((3, 5, 7), 4),
    "empty": ((6,), 0),
    "channels_last": ((4, 6, 5), 4),
    "strided": ((5, 6), 4),
}

LAYOUTS: Axes = {
    "T": [9, 1, 33],
    "shape": list(SHAPES),
    "dtype": [torch.float32, torch.float64],
    "ragged": [False, True],
    "given": [True, False],
    "learn": ["none", "layer", "channel", "neuron", "mixed"],
    "gain": [1.0, 0.7, "1-a", "average"],
    "leak": [0.1, 0.0],
    "through": ["yvin", "y", "vi"],
    "asks": ["all", "x", "numbers"],
}

SPIKING: Axes = {
    "kind": ["lif", "jump", "decay", "iaf"],
    "reset": [("subtract", False), ("subtract", True), ("value", False), ("value", True), ("none", False)],
    "detach": [True, False],
    "threshold": ["inclusive", "strict"],
    "v_reset": [-0.2, 0.0],
    "surrogate": list(SURROGATES),
    **LAYOUTS,
    "through": ["yvin", "y", "vi", "n"],
}

INTEGRATING: Axes = {"kind": ["li", "li_jump", "li_decay"], **LAYOUTS}

# Numbers without rounding in any order of operations, so that membranes meet the threshold exactly.
EXACT: dict[str, Any] = {
    **{"T": 9, "shape": "flat", "dtype": torch.float64, "ragged": True, "given": True, "learn": "none"},
    **{"gain": 0.5, "leak": 0.25, "v_reset": -0.25, "through": "yvin", "asks": "all", "surrogate": "Atan"},
}

# Everything that can be learned, by a layer, channel or neuron in turn.
LEARNED: dict[str, Any] = {
    **{"T": 9, "shape": "image", "dtype": torch.float64, "ragged": True, "given": True, "learn": "mixed"},
    **{"gain": 0.7, "leak": 0.1, "v_reset": -0.2, "through": "yvin", "asks": "all", "surrogate": "Atan"},
    "threshold": "inclusive",
}


class KernelCase(NamedTuple):
    """A neuron and its input; all tensors are leaves.

    Attributes:
        neuron: The neuron, whose `step` is the definition.
        x: Input, `[T, B, ...]`.
        v: Membrane before it, `[B, ...]`.
        i: Current before it, or None without a synapse.
        lengths: Valid steps of each sample, `[B]`, or None.
        through: The outputs through which gradients flow; spikes are counted if n is among them.
        asks: The inputs that need gradients: all, x, or the coefficients.
    """

    neuron: Any
    x: Tensor
    v: Tensor
    i: Tensor | None
    lengths: Tensor | None
    through: str
    asks: str


def settings(choice: Mapping[str, Any], exact: bool) -> dict[str, Any]:
    """Return a neuron's settings."""
    own: dict[str, Any] = {"input_gain": choice["gain"], "dt": 1.0, **KINDS[choice["kind"]][1]}
    if choice["kind"] != "iaf":
        own |= {"v_leak": choice["leak"]} | ({"beta": 0.5} if exact else {"tau_mem": 6.0})
    if "synapse" in own:
        own |= {"alpha": 0.5} if exact else {"tau_syn": 4.0}
    if "reset" in choice:
        own["reset"], own["reset_delay"] = choice["reset"]
        own |= {"detach_reset": choice["detach"], "threshold": choice["threshold"], "v_reset": choice["v_reset"]}
        own |= {"surrogate": SURROGATES[choice["surrogate"]], "v_threshold": 1.5 if exact else 0.9}
    return own


def build(choice: Mapping[str, Any], exact: bool = False) -> KernelCase:
    """Return the case of a choice from all axes, always with the same numbers."""
    generator = torch.Generator().manual_seed(0)
    shape, batch = SHAPES[choice["shape"]]
    make, own = KINDS[choice["kind"]][0], settings(choice, exact)
    if choice["learn"] != "none":
        own |= {"learn": learned(list(make(**own).learnable()), choice["learn"]), "in_shape": shape}
    neuron = make(**own)
    for stored in neuron.parameters():
        stored.data += torch.randn(stored.shape, generator=generator) * 0.1
    x, v, i = numbers(neuron, (choice["T"], batch, *shape), exact, generator)
    if not choice["given"]:
        v, i = neuron.initial_state(x[0]).v.detach().clone(), torch.zeros_like(i)
    x, v, i = (in_layout(part.to(choice["dtype"]), choice["shape"]) for part in (x, v, i))
    steps = choice["T"]
    lengths = torch.tensor([0, 1, steps, steps // 2][:batch]) if choice["ragged"] else None
    return KernelCase(neuron, x, v, i if "synapse" in own else None, lengths, choice["through"], choice["asks"])


def learned(quantities: Sequence[str], per: str) -> dict[str, str]:
    """Return for each quantity whether it is learned per layer, channel or neuron."""
    kinds = itertools.cycle(["channel", "neuron", "layer"] if per == "mixed" else [per])
    return dict(zip(quantities, kinds, strict=False))


def numbers(
    neuron: LeakyMembrane, shape: tuple[int, ...], exact: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, v and i that take the membrane across its threshold every few steps, in double precision."""
    uniform = (torch.rand(s, generator=generator, dtype=torch.float64) for s in (shape, shape[1:], shape[1:]))
    if exact:
        x, v, i = ((part * size * 4).round() / 4 - 1.0 for part, size in zip(uniform, (7, 3, 3), strict=True))
        return x, v, i
    k = neuron.coefficients()
    g, b = (float(torch.as_tensor(value).detach().mean()) for value in (k.g, k.b))
    x, v, i = uniform
    drive = (x * 4.0 - 1.3) * (1.0 - b) / g
    return drive, v * 1.5 - 0.5, (i - 0.2) / g


def in_layout(x: Tensor, shape: str) -> Tensor:
    """Return x in a memory layout."""
    if shape == "channels_last":
        return x.flatten(0, -4).to(memory_format=torch.channels_last).unflatten(0, x.shape[:-3])
    if shape == "strided":
        return x.repeat_interleave(2, -1)[..., ::2].transpose(-1, -2).contiguous().transpose(-1, -2)
    return x.contiguous()


def legal(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice is valid for its neuron."""
    sampled = choice["learn"] in ("none", "layer") or choice["shape"] != "scalar"
    if choice["kind"] == "iaf":
        return sampled and isinstance(choice["gain"], float) and choice["leak"] == 0.0
    return sampled and not (choice["kind"].endswith("decay") and choice["gain"] == "average")


def pairwise(axes: Axes, tries: int = 60) -> Iterator[dict[str, Any]]:
    """Yield choices until any two options of two axes have met, as far as they may."""
    draw = random.Random(0)
    places = {name: range(len(options)) for name, options in axes.items()}
    missing = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(places, 2)
        for a, b in itertools.product(places[one], places[other])
    }
    while missing:
        wanted = draw.choice(sorted(missing))
        drawn = [{name: draw.choice(place) for name, place in places.items()} | dict(wanted) for _ in range(tries)]
        kept = [index for index in drawn if legal(chosen(axes, index))]
        if not kept:
            missing.discard(wanted)
            continue
        best = max(kept, key=lambda index: len(missing & pairs(index)))
        missing -= pairs(best)
        yield chosen(axes, best)


def chosen(axes: Axes, index: Mapping[str, int]) -> dict[str, Any]:
    """Return the options at these places."""
    return {name: options[index[name]] for name, options in axes.items()}


def pairs(index: Mapping[str, int]) -> set[tuple[tuple[str, int], tuple[str, int]]]:
    """Return all pairs that one choice holds."""
    return set(itertools.combinations(index.items(), 2))
