from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LIF, Loop, LoopFeedback, Network, build_network
from snnlab.nn.layers.norm import BatchNorm

from ..refusals import assert_raises

T, B = 6, 3
LIF_NODE: dict[str, Any] = {"type": "lif", "v_threshold": 0.05}
LAYERS: dict[str, Any] = {
    "fc1": {"type": "linear", "out_features": 9},
    "lif1": LIF_NODE,
    "fc2": {"type": "linear", "out_features": 7},
    "lif2": LIF_NODE,
    "out": {"type": "linear", "out_features": 2},
}
BACK: dict[str, Any] = {"from": "lif2", "to": "lif1", "layers": {"fb": {"type": "linear", "out_features": 9}}}


def build(feedback: Any = None, layers: dict[str, Any] = LAYERS, in_shape: tuple[int, ...] = (4,)) -> Network:
    node = {"type": "loop", "layers": layers, "feedback": feedback}
    return build_network({"loop": node}, in_shape=in_shape, dt=1.0).network


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, B, 4, dtype=torch.float64) * 4


def test_values_by_hand() -> None:
    half = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(half.weight, 0.5)
    loop = Loop({"a": nn.Identity(), "b": nn.ReLU()}, [LoopFeedback("b", "a", (1,), half)])
    y, state = loop(torch.tensor([2.0, 1.0, -3.0, 1.0], dtype=torch.float64).reshape(4, 1, 1))
    assert y.flatten().tolist() == [2.0, 2.0, 0.0, 1.0]
    assert state["b_to_a"].y.tolist() == [[1.0]]


def test_the_equation_of_the_docstring_step_by_step(x: Tensor) -> None:
    network = build(BACK).double()
    fc1, lif1, fc2, lif2, out = (network.get_submodule(f"loop.{name}") for name in LAYERS)
    fb = network.get_submodule("loop.lif2_to_lif1.fb")
    last, state1, state2, expected = x.new_zeros(B, 7), None, None, []
    for x_t in x:
        spikes, state1 = lif1((fc1(x_t) + fb(last))[None], state1)
        spikes, state2 = lif2(fc2(spikes), state2)
        last = spikes[0]
        expected.append(out(last))
    y, state = network(x)
    torch.testing.assert_close(y, torch.stack(expected))
    assert torch.equal(state["loop"]["lif2_to_lif1"].y, last)
    assert last.any()


@pytest.mark.peers
def test_a_loop_gives_the_spikes_of_spikingjellys_recurrent_container(x: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("spikingjelly.activation_based")
        from spikingjelly.activation_based import layer, neuron
    assert peer
    container = layer.LinearRecurrentContainer(neuron.LIFNode(tau=2.0), in_features=4, out_features=4).double()
    lif = LIF(tau_mem="2 steps", decay="euler", input_gain="1-a", reset="value")
    fc, fb = nn.Linear(4, 4).double(), nn.Linear(4, 4, bias=False).double()
    from_input, from_output = container.rc.weight.split(4, dim=1)
    fc.load_state_dict({"weight": from_input, "bias": container.rc.bias})
    fb.load_state_dict({"weight": from_output})
    y, _ = Loop({"fc": fc, "lif": lif}, [LoopFeedback("lif", "lif", (4,), fb)])(x * 3)
    assert torch.equal(y, torch.stack([container(x_t * 3) for x_t in x]))
    assert 0 < y.mean() < 1


def test_several_feedbacks_add_up() -> None:
    x = torch.randn(T, B, 4, dtype=torch.float64)
    same = {name: {"type": "identity"} for name in "abc"}
    y, state = build([{"from": "c", "to": "a"}, {"from": "b", "to": "a"}, {"from": "b", "to": "b"}], same)(x)
    last, expected = torch.zeros(B, 4, dtype=torch.float64), []
    for x_t in x:  # b and c are alike
        last = x_t + 3 * last
        expected.append(last)
    torch.testing.assert_close(y, torch.stack(expected))
    assert list(state["loop"]) == ["c_to_a", "b_to_a", "b_to_b"]


def test_names_are_dotted_and_the_modules_own(x: Tensor) -> None:
    feedback = {**BACK, "layers": {**BACK["layers"], "back": {"type": "lif", "v_threshold": 0.1}}}
    node = {"type": "loop", "layers": LAYERS, "feedback": feedback}
    built = build_network({"loop": node}, in_shape=(4,), dt=1.0)
    assert built.spiking == {"loop.lif1": (9,), "loop.lif2": (7,), "loop.lif2_to_lif1.back": (9,)}
    assert all(isinstance(built.network.get_submodule(name), LIF) for name in built.spiking)
    assert "loop.lif2_to_lif1.fb.weight" in built.network.state_dict()
    _, state = built.network.double()(x)
    assert list(state["loop"]) == ["lif2_to_lif1", "lif1", "lif2"]
    assert list(state["loop"]["lif2_to_lif1"].layers) == ["back"]


@pytest.mark.parametrize(
    "feedback", [BACK, [BACK, {"from": "lif1", "to": "lif1"}, {"from": "fc2", "to": "fc2", "layers": BACK["layers"]}]]
)
def test_one_call_and_split_calls_agree_with_counts(feedback: Any, x: Tensor) -> None:
    network = build(feedback).double()
    whole, last = network(x, counts=(total := {}))
    for size in (1, 4):
        chunks, state, counts = [], None, {name: torch.zeros_like(n) for name, n in total.items()}
        for chunk in x.split(size):
            y, state = network(chunk, state, counts=(own := {}))
            chunks.append(y)
            counts = {name: counts[name] + own[name] for name in counts}
        torch.testing.assert_close(torch.cat(chunks), whole)
        torch.testing.assert_close(state, last)
        assert all(torch.equal(counts[name], total[name]) for name in total)
    assert all(total[name].any() for name in ("loop.lif1", "loop.lif2"))


def test_a_gradient_by_hand() -> None:
    weight = torch.tensor(0.5, dtype=torch.float64)
    fb = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(fb.weight, weight.item())
    loop = Loop({"a": nn.Identity()}, [LoopFeedback("a", "a", (1,), fb)])
    x = torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    loop(x)[0][-1].sum().backward()  # y[2] = w^2 x[0] + w x[1] + x[2]
    assert x.grad is not None
    assert fb.weight.grad is not None
    assert x.grad.flatten().tolist() == [0.25, 0.5, 1.0]
    assert fb.weight.grad.item() == 2 * 0.5 * 3.0


def test_layers_before_and_after_the_feedback_get_all_steps_at_once(x: Tensor) -> None:
    layers = {"norm1": BatchNorm(4), "lif1": LIF(1.0), "norm2": BatchNorm(4), "lif2": LIF(1.0), "norm3": BatchNorm(4)}
    Loop(layers, [LoopFeedback("lif2", "lif1", (4,), nn.Identity())]).double()(x)
    tracked = {name: int(layers[name].num_batches_tracked) for name in ("norm1", "norm2", "norm3")}
    assert tracked == {"norm1": 1, "norm2": T, "norm3": 1}


def test_a_shared_dropout_mask_within_is_drawn_once(x: Tensor) -> None:
    layers = {"drop": {"type": "dropout"}, "same": {"type": "identity"}}
    y, _ = build({}, layers)(torch.ones(T, B, 4))
    dropped = y == 0
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert 0 < dropped.double().mean() < 1


def test_images_feed_back_through_a_convolution_and_stay_channels_last() -> None:
    conv = {"type": "conv2d", "kernel_size": 3, "padding": "same"}
    layers = {
        "conv": {**conv, "out_channels": 5},
        "lif1": LIF_NODE,
        "conv2": {**conv, "out_channels": 6},
        "l": LIF_NODE,
    }
    network = build({"to": "lif1", "layers": {"fb": {**conv, "out_channels": 5}}}, layers, (2, 6, 5))
    x = torch.rand(T * B, 2, 6, 5).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    for lengths in (None, torch.tensor([4, 2, 3])):
        y, _ = network(x, lengths=lengths)
        assert y.shape == (T, B, 6, 6, 5)
        assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("feedback", "fragments"),
    [
        ({"from": "lif9"}, ("feedback.from", "lif9", "lif2")),
        ({"to": "zzz"}, ("feedback.to", "zzz", "fc1, lif1, fc2, lif2, out")),
        ([BACK, {"from": "fc"}], ("feedback.1.from", "fc")),
        ({"from": "lif1", "to": "fc2"}, ("feedback", "from: fc2, to: lif1", "residual")),
        ([BACK, BACK], ("feedback.1", "lif2", "lif1", "already")),
        ({"form": "lif1"}, ("feedback.form", "from, to, layers", "from")),
        ({"from": 3}, ("feedback.from", 3)),
        ({**BACK, "layers": 3}, ("feedback.layers", 3)),
        ({**BACK, "layers": {"fb": {"type": "lnear"}}}, ("feedback.layers.fb.type", "lnear")),
        ([BACK, {**BACK, "layers": {"fb": {"type": "linear"}}}], ("feedback.1.layers.fb", "out_features")),
        (
            {"from": "lif2", "to": "lif1"},
            ("feedback", [7], "lif2", "lif1", [9], "{fc: {type: linear, out_features: 9}}"),
        ),
        ({"from": "lif2"}, ("feedback", [7], "lif2", "fc1", [4])),
        (3, ("feedback", 3)),
        ([], ("feedback", "{from: lif2, to: lif1}")),
    ],
)
def test_an_error_names_its_place_and_proposes_a_fix(feedback: Any, fragments: tuple) -> None:
    place, *facts = fragments
    with assert_raises((ConfigError, UnknownSettingError), f"model.layers.loop.{place}", *facts):
        build(feedback)


def test_the_proposed_fix_for_images_is_a_convolution() -> None:
    conv = {"type": "conv2d", "kernel_size": 2, "stride": 2, "out_channels": 4}
    layers = {"up": {"type": "conv_transpose2d", "kernel_size": 2, "stride": 2, "out_channels": 3}, "lif": LIF_NODE}
    hint = "{conv: {type: conv2d, out_channels: 2, kernel_size: 1, stride: 2}}"
    with assert_raises(ConfigError, "model.layers.loop.feedback", hint):
        build({}, layers, (2, 5, 4))
    with assert_raises(ConfigError, "model.layers.loop.feedback", [2, 6, 4]):
        build({}, {"conv": conv}, (2, 6, 4))


def test_a_layer_with_the_name_of_a_feedback_is_refused() -> None:
    with assert_raises(ConfigError, "model.layers.loop", "'a_to_a'"):
        build({"from": "a"}, {"a": {"type": "identity"}, "a_to_a": {"type": "identity"}})


def test_a_norm_of_each_step_is_rejected_within_the_feedback() -> None:
    norm = {"type": "batch_norm", "per_step": True}
    layers = {"a": LIF_NODE, "norm": norm, "b": LIF_NODE}
    own = {"from": "a", "to": "a", "layers": {"norm": norm}}
    for name, place, feedback in (("norm", "layers.norm", {}), ("a_to_a", "feedback", own)):
        node = {"type": "loop", "layers": layers, "feedback": feedback}
        with assert_raises(ConfigError, f"model.layers.loop.{place}", "per_step", name):
            build_network({"loop": node}, in_shape=(4,), dt=1.0, num_steps=T)
    node = {"type": "loop", "layers": {"norm": norm, "a": LIF_NODE}, "feedback": {"to": "a"}}
    network = build_network({"loop": node}, in_shape=(4,), dt=1.0, num_steps=T).network
    assert network(torch.randn(T, B, 4))[0].shape == (T, B, 4)


def test_batch_norm_within_trains_where_one_recording_outlasts_the_others(x: Tensor) -> None:
    layers = {"fc": LAYERS["fc1"], "norm": {"type": "batch_norm"}, "lif": LIF_NODE}
    network = build({"from": "lif", "to": "norm"}, layers).double()
    lengths = torch.tensor([3, T, 2])
    y, _ = network(x, lengths=lengths)
    y[-1].sum().backward()
    assert y[3:, [0, 2]].count_nonzero() == 0
    grads = [p.grad for p in network.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    assert int(network.get_buffer("loop.norm.num_batches_tracked")) == 3  # the last three steps have no variance


def test_forward_feedback_is_rejected_from_python() -> None:
    layers = {"a": nn.Identity(), "b": nn.Identity()}
    for feedback in ([], [LoopFeedback("a", "b", (1,), nn.Identity())]):
        with assert_raises(ConfigError, "feedback"):
            Loop(layers, feedback)
