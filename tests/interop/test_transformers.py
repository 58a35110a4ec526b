"""Spiking transformers load SpikingJelly's state dicts, and agree with SpikingJelly on outputs and gradients.

Axes: T steps, B samples, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from snnlab.config.compose import compose_experiment
from snnlab.errors import DataError
from snnlab.interop.spikingjelly import in_order_of_use, match_spikingjelly
from snnlab.interop.state_dicts import load_state_dict
from snnlab.nn import build_network

from ..refusals import assert_raises

STEPS, BATCH = 3, 2
# SpikingJelly's LIFNode with tau = 2 and a detached reset.
LIF: dict[str, Any] = {"type": "lif", "tau_mem": "2 steps", "decay": "euler", "input_gain": "1-a", "reset": "value"}
LIF |= {"v_reset": 0.0, "detach_reset": True, "surrogate": {"type": "sigmoid", "alpha": 4.0}}


def library(name: str) -> Any:
    """Return a module of SpikingJelly, or skip; warnings at its import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"spikingjelly.activation_based.{name}")


Layers = dict[str, Any]
NORM = {"type": "batch_norm"}
POOL = {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1}
LOW = {**LIF, "v_threshold": 0.5}


def residual(layers: Layers, **shortcut: Layers) -> Layers:
    return {"type": "residual", "layers": layers, **shortcut}


def conv(channels: int, size: int = 1, *, bias: bool = False, stride: int = 1) -> Layers:
    settings = {"out_channels": channels, "kernel_size": size, "padding": size // 2, "stride": stride, "bias": bias}
    return {"type": "conv2d", **settings}


def projection(name: str, channels: int, *, bias: bool = False) -> Layers:
    return {name: conv(channels, bias=bias), f"{name}_norm": NORM, f"{name}_neuron": LIF}


def patches(channels: list[int], pooled: list[bool], *, bias: bool = False, pool_first: bool = True) -> Layers:
    """Return stages of a convolution, a norm, neurons and in some a pooling."""
    layers: Layers = {}
    for stage, (width, pool) in enumerate(zip(channels, pooled, strict=True), 1):
        last = {f"pool{stage}": POOL, f"neuron{stage}": LIF} if pool else {f"neuron{stage}": LIF}
        layers |= {f"conv{stage}": conv(width, 3, bias=bias), f"norm{stage}": NORM}
        layers |= last if pool_first else dict(reversed(last.items()))
    return layers


def embedding(channels: int) -> Layers:
    shortcut = {"conv": conv(channels, stride=2, bias=True), "norm": NORM, "neuron": LIF}
    return residual(patches([channels] * 2, [True, False], bias=True), shortcut=shortcut)


def self_attention(channels: int, num_heads: int) -> Layers:
    product = {"type": "attention_product", "num_heads": num_heads, "scale": 0.125}
    return {**projection("qkv", 3 * channels), "product": product, "low": LOW, **projection("out", channels)}


def qk_attention(channels: int, num_heads: int, per: str = "token") -> Layers:
    mask = {"type": "qk_mask", "num_heads": num_heads, "per": per, "layers": {"lif": LOW}}
    return {**projection("qk", 2 * channels), "mask": mask, **projection("out", channels)}


def spike_driven_attention(channels: int) -> Layers:
    mask = {"type": "kv_mask", "layers": {"lif": LOW}}
    out = {"out": conv(channels, bias=True), "out_norm": NORM}
    return {"neuron": LIF, **projection("qkv", 3 * channels), "mask": mask, **out}


def mlp(channels: int, *, bias: bool) -> Layers:
    return {**projection("fc1", 2 * channels, bias=bias), **projection("fc2", channels, bias=bias)}


def neurons_first(layers: Layers) -> Layers:
    """Return the layers with the neurons of each projection before its convolution."""
    items = [*layers.items()]
    return dict(item for at in range(0, len(items), 3) for item in (items[at + 2], *items[at : at + 2]))


POSITION = {"conv": conv(32, 3), "norm": NORM, "neuron": LIF}
HEAD: Layers = {
    "pool": {"type": "adaptive_avg_pool", "output_size": 1},
    "flatten": {"type": "flatten"},
}
OUT: Layers = {"out": {"type": "linear", "out_features": 10}}
DETACHED = {"tau": 2.0, "detach_reset": True}
WIDTHS = [4, 8, 16, 32]


def encoder(attention: Layers, mlp: Layers) -> Layers:
    return {"type": "repeat", "times": 2, "layers": {"attention": residual(attention), "mlp": residual(mlp)}}


def spikformer() -> Layers:
    blocks = encoder(self_attention(32, 4), mlp(32, bias=False))
    return {**patches(WIDTHS, [True] * 4), "position": residual(POSITION), "encoder": blocks, **HEAD, **OUT}


def qkformer() -> Layers:
    layers = patches([4], [True], bias=True)
    for stage, channels in enumerate((8, 16, 32), 1):
        attention = self_attention(channels, 4) if channels == 32 else qk_attention(channels, 4)
        layers |= {
            f"embedding{stage}": embedding(channels),
            f"attention{stage}": residual(attention),
            f"mlp{stage}": residual(mlp(channels, bias=True)),
        }
    return {**layers, **HEAD, **OUT}


def spike_driven() -> Layers:
    stem = patches(WIDTHS, [False, True, False, True], bias=True, pool_first=False)
    del stem["neuron4"]
    position = residual(neurons_first(POSITION))
    blocks = encoder(spike_driven_attention(32), neurons_first(mlp(32, bias=True)))
    return {**stem, "position": position, "encoder": blocks, **HEAD, "lif": LIF, **OUT}


class Pair(NamedTuple):
    """Our layers and the same module of SpikingJelly.

    Attributes:
        layers: Our layers.
        theirs: Makes SpikingJelly's module.
        size: Height and width of the input.
        channels: Channels of the input.
        tokens: Whether SpikingJelly's module takes `[T, B, C, H * W]`.
        answer: Whether SpikingJelly's module returns the mean over time.
    """

    layers: dict[str, Any]
    theirs: Callable[[], nn.Module]
    size: int = 5
    channels: int = 8
    tokens: bool = True
    answer: bool = False


def attention(name: str, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(library("layer.attention"), name)(8, **settings)


PAIRS = {
    "self_attention": Pair(self_attention(8, 2), attention("SpikingSelfAttention", num_heads=2)),
    "token": Pair(qk_attention(8, 2), attention("TokenQKAttention", num_heads=2)),
    "channel": Pair(qk_attention(8, 2, "channel"), attention("ChannelQKAttention", num_heads=2)),
    "spike_driven": Pair(
        {"a": residual(spike_driven_attention(8))}, attention("SpikeDrivenSelfAttention", num_heads=2), tokens=False
    ),
    "mlp": Pair(mlp(8, bias=False), lambda: library("model.spikformer").SpikformerMLP(8, 16, 8, **DETACHED)),
    "patch_splitting": Pair(
        {**patches(WIDTHS, [True] * 4), "position": residual(POSITION)},
        lambda: library("model.spikformer").SpikformerPatchStem(18, 18, 16, 2, 32, **DETACHED),
        18,
        2,
        tokens=False,
    ),
    "patch_embedding": Pair(
        {"a": embedding(16)},
        lambda: library("model.qkformer")._PatchEmbedStage(8, 16, None, {**DETACHED, "step_mode": "m"}),
        tokens=False,
    ),
    "spikformer": Pair(
        spikformer(),
        lambda: library("model.spikformer").Spikformer(
            3, 2, 34, 34, num_classes=10, embed_dims=32, num_heads=4, mlp_ratio=2, depths=2
        ),
        34,
        2,
        tokens=False,
    ),
    "qkformer": Pair(
        qkformer(),
        lambda: library("model.qkformer").QKFormer(3, 2, 10, 32, (4, 4, 4), (1, 1, 1), 2, detach_reset=True),
        34,
        2,
        tokens=False,
        answer=True,
    ),
    "spike_driven_transformer": Pair(
        spike_driven(),
        lambda: library("model.spike_driven_transformer").SpikeDrivenTransformer(
            3, 2, 10, 32, 4, 2, 2, "0101", detach_reset=True
        ),
        18,
        2,
        tokens=False,
        answer=True,
    ),
}


def randomize(network: nn.Module) -> None:
    """Draw all constants of norms, and large weights, so that neurons spike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.dim() == 1:
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(noise + (1.0 if name.endswith(("weight", "running_var")) else 0.5))


def assert_near(found: Tensor | None, expected: Tensor | None, fraction: float, atol: float = 0.0) -> None:
    """Assert that the error is at most a fraction of the largest value."""
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=fraction * float(expected.detach().abs().max()) + atol)


FAST = ("qkformer", "spike_driven")
# The blocks of the other cases are parts of these networks.
LONG = ("token", "spikformer", "spike_driven_transformer")


@pytest.mark.long
@pytest.mark.peers
@pytest.mark.parametrize(
    "name",
    [
        name if name in FAST else pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow)
        for name in PAIRS
    ],
)
def test_it_loads_spikingjellys_weights_and_gives_its_outputs_and_gradients(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = PAIRS[name]
    theirs = pair.theirs().double()
    library("functional").set_step_mode(theirs, "m")
    randomize(theirs)
    ours = build_network(pair.layers, in_shape=(pair.channels, pair.size, pair.size), dt=None).network.double()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    load_state_dict(ours, tmp_path / "theirs.pt", "spikingjelly")

    x = torch.poisson(torch.full((STEPS, BATCH, pair.channels, pair.size, pair.size), 0.5, dtype=torch.float64))
    x.requires_grad_()
    x_theirs = x.detach().clone().requires_grad_()
    y, expected = ours(x)[0], theirs(x_theirs.flatten(3) if pair.tokens else x_theirs)
    y = y.mean(0) if pair.answer else y.reshape(expected.shape)
    assert expected.std() > 0.05
    assert_near(y, expected, 1e-5)
    weights = torch.rand_like(expected)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_near(x.grad, x_theirs.grad, 1e-4)

    own, names = dict(ours.named_parameters()), match_spikingjelly(tmp_path, theirs.state_dict(), ours).targets
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters() if parameter.grad is not None}
    joined = in_order_of_use(gradients, ours.state_dict())
    assert {names[key] for key in joined} == own.keys()
    for key, grad in joined.items():
        # The gradient of a bias before a normalization is 0 up to rounding.
        assert_near(own[str(names[key])].grad, grad, 1e-4, atol=1e-10)


COUNTS = {"spikformer": 2_585_610 - 18_944, "qkformer": 1_504_138, "spike_driven_transformer": 2_566_794 - 2 * 64}


@pytest.mark.parametrize("name", COUNTS)
def test_a_network_has_the_parameters_that_its_authors_code_uses(name: str) -> None:
    experiment, _ = compose_experiment([f"model={name}", "data=cifar10dvs", "data.root=FOLDER"], None)
    network = build_network(experiment.model["layers"], in_shape=(2, 32, 32), dt=1.0).network
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[name]


def test_a_missing_bias_names_the_setting_of_its_layer_in_all_copies(tmp_path: Path) -> None:
    def layers(*, bias: bool) -> Layers:
        return {"encoder": encoder(self_attention(4, 2), mlp(4, bias=bias))}

    theirs = build_network(layers(bias=True), in_shape=(4, 2, 2), dt=None).network.state_dict()
    torch.save(theirs, tmp_path / "theirs.pt")
    network = build_network(layers(bias=False), in_shape=(4, 2, 2), dt=None).network
    with assert_raises(DataError, tmp_path / "theirs.pt", "model.layers.encoder.layers.mlp.layers.fc1.bias=true"):
        load_state_dict(network, tmp_path / "theirs.pt", "spikingjelly")
