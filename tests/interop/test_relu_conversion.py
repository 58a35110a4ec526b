"""ReLU layers as integrate-and-fire neurons: scales are SpikingJelly's, outputs come to those of the ReLU layers.

Axes: T steps, N frames, then the layer's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.interop.relu_conversion import InputKind, ScalePer, check_convertible, convert_network, measure_scales
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.network import BuiltNetwork, Network, build_network

from ..marks import mostly_long
from ..refusals import assert_raises

SHAPE = (2, 12, 12)
LAYERS: dict[str, dict[str, Any]] = {
    "conv1": {"type": "conv2d", "out_channels": 6, "kernel_size": 3},
    "norm1": {"type": "batch_norm"},
    "relu1": {"type": "relu"},
    "pool1": {"type": "avg_pool", "kernel_size": 2},
    "conv2": {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "groups": 2, "weight_norm": True},
    "relu2": {"type": "relu"},
    "flatten": {"type": "flatten"},
    "drop": {"type": "dropout"},
    "fc": {"type": "linear", "out_features": 20},
    "relu3": {"type": "relu"},
    "out": {"type": "linear", "out_features": 5},
}


def built(layers: Mapping[str, Any] = LAYERS, in_shape: tuple[int, ...] = SHAPE) -> BuiltNetwork:
    """Return a network in double precision with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    made = build_network(layers, in_shape=in_shape, dt=None)
    for name, layer in made.network.layers():
        if made.network.layer_types[name] == "batch_norm":
            for key, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.5, 2), ("weight", 0.5, 2)):
                layer.state_dict()[key].uniform_(low, high)
    made.network.double().eval()
    return made


def frames(number: int = 50) -> Tensor:
    return torch.rand(number, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3


def spiking(network: BuiltNetwork, per: ScalePer, unit: float, x: Tensor) -> Network:
    folded = fold_norm(network.network).eval()
    check_convertible(folded.built_from.layers, "constant")  # type: ignore[union-attr]
    converted = convert_network(folded, network.shapes, measure_scales(folded, [x], len(x), per=per), unit)
    made = build_network(converted.layers, in_shape=network.network.built_from.in_shape, dt=None).network  # type: ignore[union-attr]
    made.load_state_dict(converted.weights)
    return made.double().eval()


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("kind", mostly_long(["constant", "events"], 1))
@torch.no_grad()
def test_the_mean_output_comes_to_that_of_the_relu_layers_as_one_over_the_steps(per: ScalePer, kind: InputKind) -> None:
    network, x = built(), frames(20)
    wanted = network.network(x[None])[0][0]
    far = []
    for steps in (32, 256):
        unit, step = (1.0, x) if kind == "constant" else (float(steps), x / steps)
        y = spiking(network, per, unit, x)(step.expand(steps, *x.shape))[0]
        far.append((y.mean(0) - wanted).abs().max().item() / wanted.abs().max().item())
    assert far[1] < 0.02
    assert far[1] < far[0] / 4


@torch.no_grad()
def test_a_layer_spikes_as_often_as_its_activation_is_large_to_half_a_spike() -> None:
    layers = {"fc": {"type": "linear", "out_features": 40}, "relu": {"type": "relu"}}
    network, steps = built(layers, (3,)), 16
    x = torch.rand(30, 3, dtype=torch.float64)
    activation = network.network(x[None])[0][0]
    largest = activation.max()
    unit = spiking(network, "layer", 1.0, x)
    assert unit.layer_types == {"fc": "linear", "iaf": "iaf", "unit": "scale"}
    spikes = (unit(x.expand(steps, *x.shape))[0] / largest).sum(0)
    wanted = (steps * activation / largest + 0.5).floor().clamp(0, steps)
    np.testing.assert_allclose(spikes.numpy(), wanted.numpy(), atol=1e-6)


@torch.no_grad()
def test_max_pooling_of_the_first_layer_is_exact_for_a_constant_input() -> None:
    layers = {key: LAYERS[key] for key in ("conv1", "relu1")} | {
        "pool": {"type": "max_pool", "kernel_size": 2},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 3},
    }
    network, x = built(layers), frames(5)
    y = spiking(network, "channel", 1.0, x)(x.expand(1000, *x.shape))[0]
    np.testing.assert_allclose(y.mean(0).numpy(), network.network(x[None])[0][0].numpy(), atol=5e-3)


def sequential(network: Network) -> nn.Sequential:
    """Return the same network in plain PyTorch."""
    first = (nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2))
    second = (nn.Conv2d(6, 8, 3, groups=2), nn.ReLU(), nn.Flatten())
    made = nn.Sequential(*first, *second, nn.Linear(72, 20), nn.ReLU(), nn.Linear(20, 5)).double().eval()
    for place, name in ((0, "conv1"), (1, "norm1"), (4, "conv2"), (7, "fc"), (9, "out")):
        for key, value in made[place].state_dict().items():
            if key != "num_batches_tracked":
                value.copy_(torch.as_tensor(getattr(network.get_submodule(name), key)).detach())
    return made


@pytest.mark.peers
@pytest.mark.parametrize(("mode", "percentile"), [("Max", 100.0), ("99.9%", 99.9), ("90%", 90.0)])
@pytest.mark.parametrize("per", ["layer", "channel"])
def test_scales_are_spikingjellys(mode: str, percentile: float, per: ScalePer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converting = pytest.importorskip("spikingjelly.activation_based.ann2snn")
        recipes = pytest.importorskip("spikingjelly.activation_based.ann2snn.recipes")
    network, x = built(), frames()
    recipe = recipes.RateCodingRecipe([x, x], mode=mode, channel_wise=per == "channel")
    theirs = [
        module.scale.flatten()
        for name, module in converting.Converter(recipe).convert(sequential(network.network)).named_modules()
        if name.endswith("scaler1")
    ]
    # Theirs is a running mean over the batches, so these are equal; ours sees all frames at once.
    ours = measure_scales(fold_norm(network.network).eval(), [x[:7], x[7:]], len(x), percentile, per)
    assert len(theirs) == len(ours) == 3
    for own, their in zip(ours.values(), theirs, strict=True):
        positive = their > 1e-6  # they give a channel without activity 1e-6
        assert positive.any()
        np.testing.assert_allclose(own[positive].numpy(), their[positive].numpy(), rtol=1e-6)


def test_a_silent_channel_has_the_scale_of_its_layer() -> None:
    layers = {"fc": {"type": "linear", "out_features": 3}, "relu": {"type": "relu"}}
    network = built(layers, (2,)).network
    with torch.no_grad():
        network.get_parameter("fc.weight").copy_(torch.tensor([[1.0, 0], [0, 2], [-1, -1]]))
        network.get_parameter("fc.bias").zero_()
    x = torch.tensor([[1.0, 0.5], [0.25, 2.0]], dtype=torch.float64)
    (scales,) = measure_scales(network, [x], 2, per="channel").values()
    assert scales.tolist() == [1.0, 4.0, 4.0]
    with assert_raises(ConfigError, "model.layers.relu", "percentile"):
        measure_scales(network, [0 * x], 2)


@pytest.mark.parametrize(
    ("changes", "kind", "place", "words"),
    [
        ({"relu2": {"type": "sigmoid"}}, "constant", "relu2", ("sigmoid", "relu")),
        ({"norm1": {"type": "group_norm"}}, "constant", "norm1", ("group_norm", "batch_norm")),
        ({"pool1": {"type": "max_pool"}}, "events", "pool1", ("max_pool", "avg_pool", "constant")),
        ({"flatten": {"type": "max_pool"}, "relu2": {"type": "avg_pool"}}, "constant", "flatten", ("ReLU",)),
        ({"drop": {"type": "relu"}}, "constant", "drop", ("pooling",)),
        ({"fc": {"type": "linear", "delay": {"max": 4}}}, "constant", "fc", ("delays",)),
        ({"relu3": {"type": "lif"}}, "constant", "relu3", ("lif",)),
        ({"norm1": {"type": "relu"}, "relu1": {"type": "batch_norm"}}, "constant", "relu1", ("batch_norm", "folded")),
    ],
    ids=str,
)
def test_what_has_no_counterpart_is_named(
    changes: dict[str, Any], kind: InputKind, place: str, words: tuple[str, ...]
) -> None:
    layers = {key: node for key, node in LAYERS.items() if key != "norm1"} if "norm1" not in changes else LAYERS
    if place == "flatten":
        layers = {key: layers[key] for key in ("conv1", "relu1", "relu2", "flatten")} | {}
    with assert_raises(ConfigError, f"model.layers.{place}", *words):
        check_convertible({**layers, **changes}, kind)
