"""A network in ONNX Runtime is as near to the plain dense loops of its form as single precision allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.interop.onnx_network import AFTER, HAS_ONNX, OPSET, onnx_network
from snnlab.interop.onnx_run import OnnxSteps, certify_onnx, loop_differences, onnx_session
from snnlab.kernels.neuron_form import NeuronForm, trace_form
from snnlab.kernels.trace_cache import UntraceableStep
from snnlab.nn import build_network
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network_form import INPUT, Currents, NetworkForm, Neurons, Value, network_form

from ..refusals import assert_raises
from .forms import LIF, NETWORKS, conv, form_of, form_of_neurons, form_with_own_numbers, names, neuron_kinds, recorded

if TYPE_CHECKING or HAS_ONNX:
    import onnx

pytestmark = pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
# Weights with which these neurons spike on the events of the test.
GAINS = {"brf": 400.0, "vanilla_rf": 400.0, "izhikevich": 200.0, "ts_lif": 40.0}


# It truncates sums, which another order of their terms takes below a whole number; with whole weights it is compared
# to the bit.
OF_WHOLE_WEIGHTS = {"loihi2"}

# What NETWORKS leaves out: uneven and unused rows, padded means, maps of one pixel.
EDGES = (
    {
        **{"c1": conv(kernel_size=4, padding="same"), "n1": LIF},
        "p": {"type": "avg_pool", "kernel_size": 3, "stride": 2, "padding": 1},
        **{"c2": conv(kernel_size=2, stride=3, bias=False), "n2": LIF, "c3": conv(padding=1), "n3": LIF},
        **{"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}},
    },
    (2, 7, 8),
)


def recordings(form: NetworkForm) -> list[np.ndarray]:
    return [recorded(form, 0.2, 40).frames, recorded(form, 0.2, 5, seed=1).frames]


def assert_near(form: NetworkForm) -> None:
    found = certify_onnx(onnx_network(form, with_neurons=True), recordings(form))
    sizes = sum(state.size for one in form.neurons.values() for state in one.form.start.values())
    assert (found.steps, found.far, found.spikes_far, found.spikes_differ) == (45, 0, 0, 0), found
    assert found.values >= 45 * (sizes + np.prod(form.out_shape))
    assert found.spikes or not any(one.form.spiking for one in form.neurons.values())


@pytest.mark.parametrize("name", ["edges", *names(unmarked=3)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_every_kind_of_map_is_near_the_plain_loops_step_by_step_and_in_a_loop(name: str) -> None:
    layers, in_shape = EDGES if name == "edges" else NETWORKS[name]
    form = form_of(layers, in_shape, 3.0)
    assert_near(form)
    step, loop = onnx_network(form), onnx_network(form, all_steps=True)
    for network in (step, loop):
        onnx.checker.check_model(network.model, full_check=True)
    far, total = loop_differences(loop, step, recordings(form))
    assert far == 0
    assert total == 45 * np.prod(form.out_shape) + 2 * sum(state.size for state in step.start.values())


@pytest.mark.parametrize("kind", [kind for kind in neuron_kinds() if kind.values[0] not in OF_WHOLE_WEIGHTS])
def test_every_neuron_is_near_its_step_in_all_states(kind: str) -> None:
    assert_near(form_of_neurons(kind, GAINS.get(kind, 4.0)))


def test_loihi2_with_whole_weights_has_the_same_whole_numbers() -> None:
    neuron = {"type": "loihi2", "scale": 1, "alpha": 0.75, "beta": 0.96875, "v_threshold": 80.0}
    layers = {"fc": {"type": "linear", "out_features": 20, "bias": False}, "lif": neuron}
    network = build_network(layers, in_shape=(30,), dt=1.0).network.eval()
    chance = np.random.default_rng(0)
    network.load_state_dict({"fc.weight": torch.tensor(2.0 * chance.integers(-20, 30, (20, 30)))})
    frames = chance.integers(0, 2, (40, 30)).astype(np.float32)
    outcome = certify_onnx(onnx_network(network_form(network, (30,)), with_neurons=True), [frames])
    assert (outcome.steps, outcome.largest, outcome.spikes_differ) == (40, 0.0, 0)
    assert outcome.spikes > 100


@pytest.mark.parametrize("name", ["pooling", "sums, groups, dilation, feedback"])
def test_a_batch_of_three_equals_three_of_one(name: str) -> None:
    layers, in_shape = NETWORKS[name]
    network = onnx_network(form_of(layers, in_shape, 3.0))
    frames = np.stack([recorded(network.form, 0.2, 20, seed).frames for seed in range(3)], 1)
    together, alone = OnnxSteps(network, batch=3), [OnnxSteps(network) for _ in range(3)]
    for step in frames:
        together.frame[:] = step
        y = together.step()
        for at, one in enumerate(alone):
            one.frame[:] = step[at : at + 1]
            np.testing.assert_allclose(y[at : at + 1], one.step(), atol=1e-6)
    for key, values in together.inputs.items():
        np.testing.assert_allclose(values, np.concatenate([one.inputs[key] for one in alone]), atol=1e-6, err_msg=key)


def test_the_model_alone_says_its_opset_its_axes_and_the_states_that_do_not_begin_at_zero() -> None:
    layers = {"fc": {"type": "linear", "out_features": 3}, "n": {"type": "lsnn"}, "out": {"type": "li"}}
    form = form_of(layers, (4,), 3.0)
    model = onnx_network(form, step_ms=2.5).model
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    session = onnx_session(model)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["start"]) == {"n.b": 1.0}
    assert float(about["step_ms"]) == 2.5
    assert {one.name: one.shape for one in session.get_inputs()} == {
        **{"frame": ["batch", 4], "out.v": ["batch", 3]},
        **{f"n.{key}": ["batch", 3] for key in form.neurons["n"].form.start},
    }
    # As docs/deploy.md runs it.
    start, dense = json.loads(about["start"]), DenseLoops(form)
    states = {one.name: np.full((2, 3), start.get(one.name, 0.0), np.float32) for one in session.get_inputs()[1:]}
    for frame in recorded(form, 0.5, 10).frames:
        given = {"frame": np.repeat(frame.reshape(1, 4), 2, 0), **states}
        found = dict(zip((one.name for one in session.get_outputs()), session.run(None, given), strict=True))
        states = {name: found[name + AFTER] for name in states}
        np.testing.assert_allclose(found["output"], np.repeat(dense.step(frame).reshape(1, 3), 2, 0), rtol=1e-5)


def test_sums_of_currents_that_may_be_negative_keep_their_sign() -> None:
    layers: dict[str, dict[str, Any]] = {"c": conv(), "p": {"type": "sum_pool", "kernel_size": 2}, "n": LIF}
    form = form_of(layers, (2, 10, 10), 3.0)
    assert_near(form)


def test_numbers_and_first_states_of_each_channel_and_of_each_neuron_are_kept() -> None:
    form = form_with_own_numbers()
    start = np.random.default_rng(0).random((8, 7, 6), np.float32)
    operations = [
        one._replace(form=one.form._replace(start={"v": start}))
        if one.name == "n1" and isinstance(one, Neurons)
        else one
        for one in form.operations
    ]
    form = form._replace(operations=tuple(operations))
    assert_near(form)
    (about,) = (one.value for one in onnx_network(form).model.metadata_props if one.key == "start")
    np.testing.assert_array_equal(np.array(json.loads(about)["n1.v"], np.float32), start)


class OddState(NamedTuple):
    """States of `OddNeuron`."""

    v: torch.Tensor
    same: torch.Tensor


class OddNeuron:
    """A step that uses all operations."""

    approximate = True

    def step(self, x: torch.Tensor, state: OddState, k: Any) -> tuple[torch.Tensor, OddState]:
        v = (state.v * 0.5 + (x - 3.0)) / (1.0 + x.abs().sqrt())
        whole, low, power = (v * 4.0).trunc(), (v * 4.0).floor(), (-v.abs()).exp()
        odd = ((whole != low) & (v <= 0.5)) | ~(v < 2.0) | (whole == 1.0)
        return torch.where(odd, whole + low, power), OddState(v, torch.full_like(x, 2.5))


@pytest.mark.parametrize("shape", [(3, 5, 4), (6, 1, 1)])
def test_every_operation_of_a_step_and_a_state_that_is_one_number_are_rendered(shape: tuple[int, ...]) -> None:
    zeros = torch.zeros(1, *shape)
    found = trace_form(OddNeuron().step, OddState(zeros, zeros), None)
    assert not isinstance(found, UntraceableStep), found
    start = {name: np.zeros(shape, np.float32) for name in OddState._fields}
    numbers = {name: np.asarray(value, np.float32) for name, value in found.numbers(None).items()}
    one = Neurons("n", shape, Value(INPUT), NeuronForm("odd", found.step, numbers, start, spiking=False))
    form = NetworkForm(shape, (one,), Value(0), "form")
    frames = np.random.default_rng(0).integers(0, 24, (2, 20, *shape)).astype(np.float32) / 4
    dense = DenseLoops(form)
    y = [dense.step(frame) for frame in frames[0]]
    assert np.min(y) < 0 < np.max(y)
    step, loop = onnx_network(form, with_neurons=True), onnx_network(form, all_steps=True)
    found = certify_onnx(step, list(frames))
    assert (found.far, found.values) == (0, 40 * 4 * np.prod(shape)), found
    assert loop_differences(loop, onnx_network(form), list(frames))[0] == 0


def lif_form(v_threshold: float = 1.0) -> NetworkForm:
    layers = {"fc": {"type": "linear", "out_features": 1, "bias": False}, "n": {**LIF, "v_threshold": v_threshold}}
    network = build_network({**layers, "out": {"type": "li"}}, in_shape=(200,), dt=1.0).network.eval()
    torch.manual_seed(0)
    torch.nn.init.uniform_(network.get_submodule("fc").get_parameter("weight"), 0.0, 1.0)
    return network_form(network, (200,))


def test_a_spike_that_rounding_decides_is_counted_with_its_distance_and_what_follows_is_left_out() -> None:
    """The threshold is between the membranes of two orders of the same sum."""
    form = lif_form(1e9)
    steps, rng = OnnxSteps(onnx_network(form)), np.random.default_rng(0)
    frames, own, other = np.zeros((1, 200), np.float32), 0.0, 0.0
    while own == other:
        frames = rng.random((1, 200), np.float32)
        dense = DenseLoops(form)
        steps.reset()
        dense.step(frames[0])
        steps.frame[:] = frames
        steps.step()
        own, other = float(dense.states["n"]["v"].item()), float(steps.states()["n"]["v"].item())
    found = certify_onnx(onnx_network(lif_form(max(own, other)), with_neurons=True), [frames])
    assert (found.spikes_differ, found.spikes_far, found.far) == (1, 0, 0)
    assert found.is_equal
    assert 0 <= found.farthest <= 1e-5 * max(own, other)
    assert found.skipped >= 3


def test_a_network_that_no_file_can_hold_is_refused_before_it_is_written() -> None:
    form = lif_form()
    currents = form.operations[0]
    assert isinstance(currents, Currents)
    huge = currents.maps[0]._replace(weight=np.broadcast_to(np.float32(1), (2**22, 200, 1, 1)))
    operations = (currents._replace(maps=(huge,)), *form.operations[1:])
    with assert_raises(ConfigError, "--onnx", "3.4 GB"):
        onnx_network(form._replace(operations=operations))


@pytest.mark.parametrize("broken", ["weight", "threshold"])
def test_a_wrong_model_is_found(broken: str) -> None:
    form = lif_form(40.0)
    network = onnx_network(form, with_neurons=True)
    for tensor in network.model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if broken == "weight" and values.size == 200:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.001), tensor.name))
        if broken == "threshold" and values.size == 1 and values.item() == 40.0:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.1), tensor.name))
    found = certify_onnx(network, list(np.random.default_rng(0).random((3, 30, 200), np.float32) * 0.2))
    assert not found.is_equal
    assert (found.far if broken == "weight" else found.spikes_far) > 0
