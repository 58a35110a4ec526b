"""The contract of every layer of the registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from snnlab.nn import LAYERS, Network, build_network

from ...marks import mostly_long

IMAGE, VOLUME, LINE = (4, 6, 5), (2, 4, 4, 4), (4, 8)
CONV = {"out_channels": 6, "kernel_size": 3}
WITHIN = {"fc": {"type": "linear", "out_features": 5}, "lif": {"type": "lif"}}
EDGES = [["input", "fc"], ["fc", "lif"], ["lif", "output"]]
SAME = {"lif": {"type": "lif", "v_threshold": 0.5}}
NEURON = {"neuron": {"type": "lif", "v_threshold": 0.5}}
DELAY = {"max": "2 steps", "learn": True}
# For each type an input shape and the required settings; the text after a space tells variants of a type apart.
MINIMAL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "adaptive_avg_pool": (IMAGE, {"output_size": 2}),
    "adaptive_max_pool": (IMAGE, {"output_size": 2}),
    "adlif": (IMAGE, {}),
    "alif": (IMAGE, {}),
    "attention_product": ((12, 3, 2), {"num_heads": 2}),
    "avg_pool": (IMAGE, {"kernel_size": 2}),
    "batch_norm": (IMAGE, {}),
    "conv1d": (LINE, CONV),
    "conv1d delay": (LINE, CONV | {"delay": DELAY, "padding": 1, "padding_mode": "circular"}),
    "conv2d": (IMAGE, CONV),
    "conv2d delay": (IMAGE, CONV | {"delay": DELAY, "padding": "same", "groups": 2}),
    "conv3d": (VOLUME, CONV),
    "conv3d delay": (VOLUME, CONV | {"delay": DELAY}),
    "conv_transpose1d": (LINE, CONV),
    "conv_transpose2d": (IMAGE, CONV),
    "conv_transpose3d": (VOLUME, CONV),
    "cuba_li": (IMAGE, {}),
    "cuba_lif": (IMAGE, {}),
    "delay": (IMAGE, {"delay": "2 steps"}),
    "delay learned": (IMAGE, {"delay": DELAY}),
    "dropout": (IMAGE, {}),
    "ef_adlif": (IMAGE, {}),
    "flatten": (IMAGE, {}),
    "gelu": (IMAGE, {}),
    "graph": ((5,), {"layers": WITHIN, "edges": [*EDGES, ["lif", "fc", 1], ["input", "lif", 2]]}),
    "group_norm": (IMAGE, {"num_groups": 2}),
    "gru": ((5,), {"hidden_size": 3}),
    "iaf": (IMAGE, {}),
    "identity": (IMAGE, {}),
    "kv_mask": ((12, 3, 2), {"layers": SAME}),
    "integrator": (IMAGE, {}),
    "layer_norm": (IMAGE, {}),
    "leaky_relu": (IMAGE, {}),
    "li": (IMAGE, {}),
    "lif": (IMAGE, {}),
    "lif delayed_conv": (IMAGE, {"recurrent": {"delay": DELAY}, "v_threshold": 0.1}),
    "lif delayed_dense": ((5,), {"recurrent": {"delay": DELAY}, "v_threshold": 0.1}),
    "linear": (IMAGE, {"out_features": 3}),
    "loihi2": (IMAGE, {"channel_bias": True}),
    "linear every": (
        IMAGE,
        {"out_features": 3, "every": 2, "delay": {"max": "4 steps", "count": 3, "initial": "even"}},
    ),
    "linear delay": (IMAGE, {"out_features": 3, "delay": DELAY | {"count": 2}}),
    "loop": ((5,), {"layers": WITHIN, "feedback": {"layers": {"back": {"type": "linear", "out_features": 5}}}}),
    "lsnn": (IMAGE, {}),
    "lstm": ((5,), {"hidden_size": 3}),
    "max_pool": (IMAGE, {"kernel_size": 2}),
    "parallel": (IMAGE, {"branches": {"a": WITHIN, "b": WITHIN}}),
    "qk_mask": ((12, 3, 2), {"num_heads": 2, "layers": SAME}),
    "relu": (IMAGE, {}),
    "repeat": (IMAGE, {"times": 2, "layers": WITHIN}),
    "residual": (IMAGE, {"layers": WITHIN}),
    "scale": (IMAGE, {"scale": 0.5}),
    "sequential": (IMAGE, {"layers": WITHIN}),
    "sigmoid": (IMAGE, {}),
    "brf": (IMAGE, {}),
    "vanilla_rf": (IMAGE, {}),
    "resonate_and_fire": (IMAGE, {}),
    "lif_refrac": (IMAGE, {}),
    "klif": (IMAGE, {}),
    "glif": (IMAGE, {}),
    "izhikevich": (IMAGE, {}),
    "lif_ex": (IMAGE, {}),
    "adex": (IMAGE, {}),
    "coba_lif": (IMAGE, {}),
    "tc_lif": (IMAGE, {}),
    "ts_lif": (IMAGE, {"dendrite_gain": 2.0, "soma_gain": 3.0}),
    "tsodyks_markram": (IMAGE, {}),
    "sliding_psn": (IMAGE, {}),
    "snntorch_alpha": (IMAGE, {}),
    "sum_pool": (IMAGE, {"kernel_size": 2}),
    "tanh": (IMAGE, {}),
    "threshold": (IMAGE, {}),
    "voting": ((4, 6), {"group_size": 3}),
}
# They need the number of steps, and all of them in one call.
WHOLE = {"masked_psn", "psn"}
KINDS = sorted(MINIMAL)
T, B = 4, 3


def network_of(kind: str) -> tuple[Network, tuple[int, ...], tuple[int, ...]]:
    in_shape, settings = MINIMAL[kind]
    built = build_network({"a": {"type": kind.split()[0], **settings}}, in_shape=in_shape, dt=1.0)
    return built.network, in_shape, built.shapes["a"]


def test_every_kind_of_ours_is_in_the_table() -> None:
    ours = {kind for kind in LAYERS if LAYERS.get(kind, "").__module__.startswith("snnlab.")}
    assert ours == {kind.split()[0] for kind in MINIMAL} | WHOLE


SIZES = [(1, B, torch.float32), (T, B, torch.float64), (T, 1, torch.bfloat16)]


@pytest.mark.parametrize("kind", mostly_long(KINDS, 60))
@pytest.mark.parametrize(("steps", "batch", "dtype"), mostly_long(SIZES, 1))
def test_output_has_the_shape_that_was_inferred_and_the_inputs_dtype(
    kind: str, steps: int, batch: int, dtype: torch.dtype
) -> None:
    network, in_shape, out_shape = network_of(kind)
    y, state = network.to(dtype)(torch.randn(steps, batch, *in_shape, dtype=dtype))
    assert y.shape == (steps, batch, *out_shape)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert all(part.shape[0] == batch for part in tree_leaves(state) if isinstance(part, Tensor))


@pytest.mark.parametrize("kind", mostly_long(KINDS, 60))
def test_steps_one_by_one_equal_the_whole_in_evaluation(kind: str) -> None:
    network, in_shape, _ = network_of(kind)
    network.double().eval()
    x = torch.randn(T, B, *in_shape, dtype=torch.float64) * 2
    whole, _ = network(x)
    chunks, state = [], None
    for x_t in x.split(1):
        y, state = network(x_t, state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", mostly_long(KINDS, 60))
def test_steps_past_the_end_are_zero_and_change_nothing_before(kind: str, training: bool) -> None:
    network, in_shape, _ = network_of(kind)
    network.train(training)
    x, lengths = torch.randn(T, B, *in_shape), torch.tensor([T, 1, 2])
    torch.manual_seed(0)
    y, _ = network(x, lengths=lengths)
    x[1:, 1], x[2:, 2] = 50.0, -50.0
    torch.manual_seed(0)
    other, _ = network(x, lengths=lengths)
    assert torch.equal(y, other)
    assert (y[1:, 1] == 0).all()
    assert (y[2:, 2] == 0).all()


@pytest.mark.parametrize("kind", mostly_long(KINDS, 60))
def test_gradients_reach_the_input_and_every_parameter(kind: str) -> None:
    network, in_shape, _ = network_of(kind)
    x = torch.randn(T, B, *in_shape, requires_grad=True)
    y, _ = network(x)
    (y * torch.randn_like(y)).sum().backward()
    for tensor in (x, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize("kind", mostly_long(KINDS, 60))
def test_a_forward_leaves_no_state_in_the_layer(kind: str) -> None:
    network, in_shape, _ = network_of(kind)
    network.eval()
    layer = network.get_submodule("a")
    attributes, saved = dict(vars(layer)), {k: v.clone() for k, v in layer.state_dict().items()}
    network(torch.randn(T, B, *in_shape), counts={})
    assert vars(layer) == attributes
    assert not any(isinstance(value, Tensor) for value in vars(layer).values())
    torch.testing.assert_close(dict(layer.state_dict()), saved, rtol=0, atol=0)
