"""Layers with kernels in addition to the canonical neurons: `alif`, and the recurrent ones."""

from __future__ import annotations

from typing import Any

import torch
from loops import perturbed

from snnlab.nn import NEURONS
from snnlab.nn.neurons import ALIF
from snnlab.nn.neurons.recurrent import Recurrent

ALIF_RESETS: dict[str, dict[str, Any]] = {
    "subtract": {"reset": "subtract"},
    "adapted": {"reset": "subtract", "adapted_reset": True},
    "value": {"reset": "value", "v_reset": -0.2},
    "none": {"reset": "none"},
}
LEARNED = ("tau_mem", "tau_adapt", "adaptation", "v_threshold", "v_leak")

SHAPES: dict[str, tuple[int, ...]] = {"dense": (7,), "conv": (2, 5, 3)}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lif": ("lif", {"tau_mem": 6.0, "v_leak": 0.1}),
    "cuba_jump": ("cuba_lif", {"tau_mem": 6.0, "tau_syn": 4.0, "synapse": "jump_first"}),
    "cuba_decay": ("cuba_lif", {"tau_mem": 6.0, "tau_syn": 4.0, "synapse": "decay_first", "input_gain": 1.0}),
    "iaf": ("iaf", {}),
    "alif": ("alif", {"tau_mem": 6.0, "tau_adapt": 20.0, "adaptation": 0.3}),
    "li": ("li", {"tau_mem": 6.0}),
    "cuba_li": ("cuba_li", {"tau_mem": 6.0, "tau_syn": 4.0}),
}
SPIKING = [kind for kind in KINDS if not kind.endswith("li")]
RESETS: dict[str, dict[str, Any]] = {
    **ALIF_RESETS,
    "late": {"reset": "subtract", "reset_delay": True},
    "late_value": {"reset": "value", "v_reset": -0.2, "reset_delay": True},
}
DIALECTS = [
    (kind, reset, detach)
    for kind in SPIKING
    for reset, settings in RESETS.items()
    for detach in (True, False)
    if not ("reset_delay" in settings and kind == "alif") and not ("adapted_reset" in settings and kind != "alif")
]


def alif(reset: str = "subtract", shape: tuple[int, ...] = (7,), per: str = "", **settings: Any) -> Any:
    """Return an adaptive neuron with one of `ALIF_RESETS`; with `per`, it learns all that it can."""
    own: dict[str, Any] = {"tau_mem": 6.0, "tau_adapt": 20.0, "adaptation": 0.3, "v_leak": 0.1, "v_threshold": 0.9}
    if per:
        names = [*LEARNED, *(["v_reset"] if reset == "value" else [])]
        own |= {"learn": dict.fromkeys(names, per), "in_shape": shape}
    return perturbed(ALIF(1.0, **own | ALIF_RESETS[reset] | settings))


def recurrent(
    kind: str = "lif", feedback: str = "dense", shape: tuple[int, ...] = (), per: str = "", **settings: Any
) -> Recurrent:
    """Return recurrent neurons of one of `KINDS`; with `per`, they learn all that they can."""
    torch.manual_seed(0)
    shape = shape or SHAPES[feedback]
    name, own = KINDS[kind]
    own = own | settings
    sent = {"type": feedback, **own.pop("recurrent", {})}
    if per:
        learnable = NEURONS.build(name, dict(own), "n", in_shape=shape, dt=1.0).learnable()
        own["learn"] = dict.fromkeys(learnable, per)
    return perturbed(NEURONS.build(name, {"recurrent": sent, **own}, "n", in_shape=shape, dt=1.0))
