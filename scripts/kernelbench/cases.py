"""The cases: layers of neurons in the variants whose kernels differ, and the sizes of their input."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

# C, H, W of the outputs of the first and the second convolution of `conv_lif` on N-MNIST; and a dense layer.
SHAPES: dict[str, tuple[int, ...]] = {"12x30x30": (12, 30, 30), "32x11x11": (32, 11, 11), "512": (512,)}
IMAGES = ("12x30x30", "32x11x11")


class KernelCase(NamedTuple):
    """A layer of neurons, and the layers around it.

    Attributes:
        title: Its name in the table.
        neuron: Its name in YAML files.
        settings: Its settings.
        surrogate: Its surrogate gradient, as named in YAML files.
        pool: The pooling after it, `avg` or `max`, and its size.
        inplace: Whether it follows a convolution, whose output's memory it can use.
        shapes: The shapes of its input.
        steps: Steps in time, or None for those of the command line.
    """

    title: str
    neuron: str = "lif"
    settings: Mapping[str, Any] = MappingProxyType({})
    surrogate: str = "atan"
    pool: tuple[str, int] | None = None
    inplace: bool = False
    shapes: tuple[str, ...] = IMAGES
    steps: int | None = None


_TAU = {"tau_mem": "channel"}
_DELAYED_RESET = {"reset": "value", "reset_delay": True}
_ATTACHED = {"detach_reset": False}

CASES = {
    "lif": KernelCase("LIF subtract, atan"),
    "superspike": KernelCase("same, superspike", surrogate="superspike"),
    "inplace": KernelCase("atan, in x's memory", inplace=True),
    "avg_pool": KernelCase("atan + avg pool 2", pool=("avg", 2), inplace=True),
    "superspike_avg_pool": KernelCase("superspike + avg pool 2", surrogate="superspike", pool=("avg", 2), inplace=True),
    "sigmoid_avg_pool": KernelCase("sigmoid + avg pool 2", surrogate="sigmoid", pool=("avg", 2), inplace=True),
    "max_pool": KernelCase("atan + max pool 2", pool=("max", 2), inplace=True),
    "cuba": KernelCase("CUBA-LIF", "cuba_lif"),
    "cuba_avg_pool": KernelCase("CUBA-LIF + avg pool 2", "cuba_lif", pool=("avg", 2), inplace=True),
    "value_delayed_attached": KernelCase("value, delayed, attached", settings=_DELAYED_RESET | _ATTACHED, inplace=True),
    "subtract_attached": KernelCase("subtract, attached", settings=_ATTACHED, inplace=True),
    "tau": KernelCase("tau learned per channel", settings={"learn": _TAU}),
    "tau_avg_pool": KernelCase("same + avg pool 2", settings={"learn": _TAU}, pool=("avg", 2), inplace=True),
    "tau_threshold": KernelCase(
        "tau, threshold learned", settings={"learn": {"tau_mem": "layer", "v_threshold": "layer"}}, inplace=True
    ),
    "alif": KernelCase("ALIF", "alif"),
    "alif_learned": KernelCase("ALIF, tau and tau_adapt learned", "alif", {"learn": _TAU | {"tau_adapt": "channel"}}),
    "value_delayed": KernelCase("value, delayed, detached", settings=_DELAYED_RESET, inplace=True),
    "avg_pool_3": KernelCase("atan + avg pool 3", pool=("avg", 3), inplace=True),
    "max_pool_3": KernelCase("atan + max pool 3", pool=("max", 3), inplace=True),
    # Neurons that the plain loop ran before kernels were rendered for all neurons.
    "adlif": KernelCase("AdLIF, T=100", "adlif", shapes=("512",), steps=100),
    "lsnn": KernelCase("LSNN, T=100", "lsnn", shapes=("512",), steps=100),
    "alpha": KernelCase("snnTorch's Alpha, T=100", "snntorch_alpha", shapes=("512",), steps=100),
}
