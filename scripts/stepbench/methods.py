"""The methods that train the network: libraries and backends, their variants, and snnlab's equal neurons."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, cast, get_args

import torch
from omegaconf import OmegaConf
from stepbench import peers
from stepbench.work import UsageError, Workload, modules, nodes
from torch import Tensor, nn

from snnlab.config.folders import find_file
from snnlab.kernels.function import Backend, resolve_backend
from snnlab.nn import build_network
from snnlab.nn.neurons.base import set_backend

DT = 10.0  # ms
BACKENDS: tuple[Backend, ...] = tuple(name for name in get_args(Backend) if name != "auto")
LAYOUTS = ("channels-last", "contiguous")


class Variant(NamedTuple):
    """A variant of a method: its code and its memory format."""

    form: str
    layout: str

    def __str__(self) -> str:
        """Return both as text."""
        return ", ".join(word for word in self if word)


class Tolerance(NamedTuple):
    """Largest errors relative to the largest value, and the share of values that must be within them."""

    outputs: float = 1e-4
    gradients: float = 1e-3
    share: float = 0.999


BF16 = Tolerance(outputs=0.05, gradients=0.2, share=0.99)


class Method(NamedTuple):
    """A method that trains the network.

    Attributes:
        make: Builds it for a work and a form; it maps frames to the mean output over time. None: Spyx, which does not
            train with PyTorch.
        neuron: The YAML node of snnlab's equal neuron, if there is one.
        backend: The backend, if it is a method of snnlab.
        forms: Variants of its code; the fastest is kept.
        layouts: Memory formats; the fastest is kept.
        requires: The library, as a requirement of pip.
        pinned: Whether exactly this version is needed.
        environment: An environment variable and its value, needed before the import.
        devices: The devices that it supports.
        tolerance: Its largest error relative to snnlab's plain loop.
    """

    make: Callable[[Workload, str], nn.Module] | None
    neuron: dict[str, Any] | None = None
    backend: Backend | None = None
    forms: tuple[str, ...] = ("",)
    layouts: tuple[str, ...] = LAYOUTS
    requires: str | None = None
    pinned: bool = False
    environment: tuple[str, str] | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    tolerance: Tolerance = Tolerance()

    def variants(self, work: Workload) -> list[Variant]:
        """Return its variants; a dense network has one memory format."""
        layouts = self.layouts if work.kind == "conv" else ("contiguous",)
        return [Variant(form, layout) for form in self.forms for layout in layouts]


class SnnlabNetwork(nn.Module):
    """The network in snnlab."""

    def __init__(
        self,
        work: Workload,
        form: str,
        neuron: dict[str, Any],
        backend: Backend,
        fuse: bool = True,
        events: bool = False,
        segments: int = 0,
    ) -> None:
        super().__init__()
        self.network = build_network(nodes(work, neuron), in_shape=work.in_shape, dt=DT).network
        set_backend(self.network, backend)
        self.network.configure(fuse=fuse, sparse_input="always" if events else "never", checkpoint_segments=segments)

    def forward(self, x: Tensor, counts: dict[str, Tensor] | None = None) -> Tensor:
        """Return the mean output over time, `[B, K]`."""
        return self.network(x, counts=counts)[0].mean(0)


def preset(neuron: str, **changes: Any) -> dict[str, Any]:
    """Return a preset as a layer's node."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(find_file(f"neuron/{neuron}")))) | changes


class Bfloat16Network(nn.Module):
    """A network whose convolutions and linear layers run in bfloat16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output over time, `[B, K]`."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network(x).float()


def snnlab_method(neuron: dict[str, Any], backend: Backend, **settings: Any) -> Method:
    """Return a method of snnlab; its frames are in channels-last memory, as snnlab makes them."""
    make = partial(SnnlabNetwork, neuron=neuron, backend=backend, **settings)
    return Method(make, neuron, backend, layouts=LAYOUTS[:1])


def bfloat16_method(method: Method) -> Method:
    """Return a method in bfloat16; its spikes differ where a membrane is close to its threshold."""
    make = method.make
    assert make is not None
    return method._replace(make=lambda work, form: Bfloat16Network(make(work, form)), tolerance=BF16)


def without_neurons(work: Workload, form: str, activation: Callable[[], nn.Module]) -> nn.Module:
    """Return the network with an activation instead of neurons."""
    return peers.Folded(modules(work, activation))


spikingjelly_method = partial(Method, neuron=preset("spikingjelly_lif"), requires="spikingjelly==2.0.0")
METHODS: dict[str, Method] = {
    # `snnlab` is what `snnlab train` runs on data as sparse as these frames; the others lack one of its features.
    "snnlab": snnlab_method(preset("lif"), "auto", events=True),
    "snnlab_cuba": snnlab_method(preset("cuba_lif"), "auto", events=True),
    **{f"snnlab_{backend}": snnlab_method(preset("lif"), backend) for backend in BACKENDS},
    "snnlab_numba_unfused": snnlab_method(preset("lif"), "numba", fuse=False),
    "snnlab_recompute": snnlab_method(preset("lif"), "auto", events=True, segments=10),
    "snnlab_bf16": bfloat16_method(snnlab_method(preset("lif"), "auto")),
    "spikingjelly": spikingjelly_method(peers.spikingjelly),
    "spikingjelly_compiled": spikingjelly_method(partial(peers.spikingjelly, compiled=True)),
    # By default it uses CUDA kernels on GPUs, not Triton's.
    "spikingjelly_triton": spikingjelly_method(
        peers.spikingjelly, environment=("SJ_LIF_CUDA_IMPLEMENTATION", "triton"), devices=("cuda",)
    ),
    # Its CuPy kernels, which version 2 no longer has.
    "spikingjelly_cupy": spikingjelly_method(
        partial(peers.spikingjelly, backend="cupy"),
        requires="spikingjelly==0.0.0.0.14",
        pinned=True,
        devices=("cuda",),
    ),
    "snntorch": Method(peers.snntorch, preset("snntorch_leaky"), forms=peers.CELL_FORMS, requires="snntorch==1.0.0"),
    # The gradient that Norse 1.1.0 computes; it ignores alpha.
    "norse": Method(
        peers.norse,
        preset("norse_lif_box", surrogate={"type": "superspike", "alpha": 1.0}),
        forms=peers.CELL_FORMS,
        requires="norse==1.1.0",
    ),
    "sinabs": Method(peers.sinabs, preset("sinabs_lif_single"), forms=peers.SINABS_FORMS, requires="sinabs==3.1.3"),
    # Its LIF is snnTorch's Leaky with another gradient, and outputs its spikes one step later.
    "spyx": Method(
        None,
        preset("snntorch_leaky", detach_reset=False, surrogate={"type": "superspike", "alpha": 25.0}),
        forms=peers.CELL_FORMS,
        layouts=LAYOUTS[:1],
        requires="spyx==1.0.0",
    ),
    "relu": Method(partial(without_neurons, activation=nn.ReLU)),
    "relu_bf16": bfloat16_method(Method(partial(without_neurons, activation=nn.ReLU))),
    "convs": Method(partial(without_neurons, activation=nn.Identity)),
}


def choose_methods(names: list[str] | None, device: str) -> tuple[list[str], dict[str, str]]:
    """Return the methods to run, and the reasons why others are left out.

    Raises:
        UsageError: if a named method does not exist or cannot run.
    """
    if unknown := set(names or ()) - METHODS.keys():
        raise UsageError(f"there is no method {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    unavailable = {
        name: why for name in names or METHODS if (why := unavailable_reason(METHODS[name], device)) is not None
    }
    if names and unavailable:
        raise UsageError("; ".join(f"{name}: {why}" for name, why in unavailable.items()))
    return [name for name in dict.fromkeys(names or METHODS) if name not in unavailable], unavailable


def unavailable_reason(method: Method, device: str) -> str | None:
    """Return the reason why a method cannot run here, or None."""
    if device not in method.devices:
        return f"runs on {', '.join(method.devices)}, not on {device}"
    if method.environment is not None and os.environ.get(method.environment[0]) != method.environment[1]:
        return f"needs {'='.join(method.environment)} in the environment"
    if method.requires is not None:
        found = installed(method.requires)
        if found is None or (method.pinned and found != method.requires.rpartition("==")[2]):
            return f"not installed (pip install {method.requires})"
    if method.backend is not None:
        try:
            resolve_backend(method.backend, torch.device(device), torch.float32)
        except ValueError as error:
            return str(error)
    return None


def installed(requirement: str) -> str | None:
    """Return the installed version of a library, or None."""
    try:
        return version(requirement.partition("==")[0])
    except PackageNotFoundError:
        return None
