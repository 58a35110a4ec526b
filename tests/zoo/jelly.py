"""The zoo's networks in SpikingJelly; a call runs all steps.

Axes: T steps, B samples.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from torch import Tensor, nn


def library(name: str) -> Any:
    """Return a module of SpikingJelly, or skip; warnings at its import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"spikingjelly.activation_based.{name}")


functional, layer, neuron, surrogate = (library(name) for name in ("functional", "layer", "neuron", "surrogate"))
plif_nets, sew_resnet = library("model.parametric_lif_net"), library("model.sew_resnet")


def spiking(kind: str) -> dict[str, Any]:
    """Return a neuron with the surrogate gradient and the detached reset of the publications, as arguments."""
    return {"spiking_neuron": getattr(neuron, kind), "surrogate_function": surrogate.ATan(), "detach_reset": True}


def plif_net(name: str, features: int, hidden: int, outputs: int) -> nn.Module:
    """Return a PLIF-Net with the linear layers of the authors' code, which have no biases."""
    network = getattr(plif_nets, name)(**spiking("ParametricLIFNode"))
    network.conv_fc[-6] = layer.Linear(features, hidden, bias=False)
    network.conv_fc[-3] = layer.Linear(hidden, outputs, bias=False)
    return network


def plif_layers(in_channels: int, kernel_size: int) -> nn.Module:
    return nn.Sequential(
        layer.Conv2d(in_channels, 32, kernel_size, padding=kernel_size // 2, bias=False),
        layer.BatchNorm2d(32),
        neuron.ParametricLIFNode(surrogate_function=surrogate.ATan(), detach_reset=True),
    )


class SEWBlock(nn.Module):
    """The block of the authors' network for gestures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(plif_layers(32, 3), plif_layers(32, 3))

    def forward(self, x: Tensor) -> Tensor:
        return sew_resnet.sew_function(x, self.conv(x), "ADD")


def sew_gesture() -> nn.Module:
    blocks: list[nn.Module] = []
    for _ in range(7):
        blocks += [SEWBlock(), layer.MaxPool2d(2)]
    return nn.Sequential(plif_layers(2, 1), *blocks, layer.Flatten(), layer.Linear(32, 11))


def vgg_snn() -> nn.Module:
    """Return VGGSNN with its authors' neuron: u = v / 2 + x, and a triangular surrogate gradient."""
    parts: list[nn.Module] = [layer.AdaptiveAvgPool2d(48)]
    channels = 2
    for width in (64, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):  # 0: pooling
        if width == 0:
            parts.append(layer.AvgPool2d(2))
            continue
        lif = neuron.LIFNode(2.0, decay_input=False, surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0))
        parts += [layer.Conv2d(channels, width, 3, padding=1), layer.BatchNorm2d(width), lif]
        channels = width
    return nn.Sequential(*parts, layer.Flatten(), layer.Linear(512 * 3 * 3, 10))


MAKE = {
    "plif_conv2": lambda: plif_net("NMNISTNet", 128 * 8 * 8, 2048, 100),
    "plif_conv4": lambda: plif_net("CIFAR10DVSNet", 128 * 8 * 8, 2048, 100),
    "plif_conv5": lambda: plif_net("DVSGestureNet", 128 * 4 * 4, 512, 110),
    "dvsgesture_net": lambda: plif_nets.DVSGestureNet(**spiking("LIFNode")),
    "sew_gesture": sew_gesture,
    "sew_resnet18": lambda: sew_resnet.sew_resnet18(cnf="ADD", **spiking("IFNode")),
    "sew_resnet34": lambda: sew_resnet.sew_resnet34(cnf="ADD", **spiking("IFNode")),
    "sew_resnet50": lambda: sew_resnet.sew_resnet50(cnf="ADD", **spiking("IFNode")),
    "vgg_snn": vgg_snn,
}


def spikformer() -> nn.Module:
    """Return Spikformer-2-256 for frames of 48 x 48, which takes `[T, B, ...]`."""
    return library("model.spikformer").Spikformer(4, 2, 48, 48, num_classes=10, num_heads=16, depths=2)


def make(name: str) -> nn.Module:
    """Return a network of the zoo in SpikingJelly, which takes `[T, B, ...]`."""
    network = MAKE[name]()
    functional.set_step_mode(network, "m")
    return network
