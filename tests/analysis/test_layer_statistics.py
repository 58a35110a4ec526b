"""The layer statistics agree with a plain run of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.analysis.layer_statistics import BINS, EDGES, NetworkStatistics
from snnlab.nn import LIF, Network, build_network
from snnlab.nn.record import record

from .conftest import weight_of

Measured = Callable[..., NetworkStatistics]


def test_spikes_rates_and_the_first_step_are_those_of_a_recording(chain: Network, frames: Tensor, measured: Measured):
    with torch.no_grad():
        weight_of(chain, "fc1").mul_(3)
        weight_of(chain, "fc2").mul_(4)
    spikes = record(chain, frames).spikes
    statistics = measured(chain, frames)
    assert [layer.name for layer in statistics.layers] == ["lif1", "lif2", "readout"]
    for name in ("lif1", "lif2"):
        layer, s = statistics.layer(name), spikes[name].flatten(1).reshape(12, 5, 6)
        assert layer.spiking is not None
        assert layer.spikes_per_step == pytest.approx(float(s.mean()))
        assert layer.first_step == int(s.flatten(1).any(1).nonzero()[0])
        assert layer.spiking.silent == pytest.approx(float((s.sum((0, 1)) == 0).float().mean()))
        assert layer.spiking.saturated == pytest.approx(float((s.mean(0) >= 0.9).float().mean()))
    assert statistics.input_first == 2
    assert statistics.layer("readout").spikes_per_step is None
    assert statistics.layer("readout").spiking is None


def test_current_membrane_and_surrogate_of_one_neuron_are_as_computed_by_hand(measured: Measured):
    network = Network(
        {"lif": LIF(dt=10.0, tau_mem=20.0, v_threshold=2.0, surrogate={"type": "triangle", "width": 0.25})}
    )
    x = torch.tensor([1.0, 0.5, 0.0]).reshape(3, 1, 1).requires_grad_()
    statistics = measured(network, x)
    (layer,) = statistics.layers
    a = torch.exp(torch.tensor(-0.5))
    u = torch.stack([torch.tensor(1.0), a + 0.5, a * (a + 0.5)])
    surrogate_gradient = (1 - (u - 2.0).abs() / (2 * 0.25 * 2.0)).clamp(min=0)
    assert layer.spiking is not None
    assert layer.drive_mean == pytest.approx(0.5)
    assert layer.spiking.max_membrane == pytest.approx(float(u.max()) / 2)
    assert layer.spiking.surrogate_mean == pytest.approx(float(surrogate_gradient.mean()))
    assert layer.spiking.width == 0.25
    assert layer.spiking.v_threshold == 2.0
    relative_v = torch.bucketize(u / 2, torch.tensor(EDGES[1:-1]), right=True)
    assert layer.spiking.membrane_histogram == tuple(torch.bincount(relative_v, minlength=BINS).tolist())
    assert sum(layer.spiking.membrane_histogram) == 3


def test_the_gradient_at_a_layers_input_is_that_of_each_step(chain: Network, frames: Tensor, measured: Measured):
    drives: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].retain_grad()
        drives.append(inputs[0])

    handle = chain.get_submodule("lif2").register_forward_pre_hook(keep)
    statistics = measured(chain, frames)
    handle.remove()
    assert drives[0].grad is not None
    assert statistics.layer("lif2").drive_gradient == pytest.approx(
        drives[0].grad.flatten(1).norm(dim=1).tolist(), rel=1e-5
    )
    assert len(statistics.layer("readout").drive_gradient) == 12


def test_gradients_are_those_of_the_network_and_one_step_is_tried(chain: Network, frames: Tensor, measured: Measured):
    with torch.no_grad():
        weight_of(chain, "fc2").mul_(4)
    before = weight_of(chain, "fc2").detach().clone()
    statistics = measured(chain, frames, make_optimizer=lambda network: torch.optim.SGD(network.parameters(), lr=0.1))
    weight = weight_of(chain, "fc2")
    assert weight.grad is not None
    layer = statistics.layer("lif2")
    assert layer.weight_norm == pytest.approx(float(before.norm()))
    assert layer.weight_gradient == pytest.approx(float(weight.grad.norm()), rel=1e-5)
    assert layer.relative_update == pytest.approx(0.1 * float(weight.grad.norm()) / float(before.norm()), rel=1e-4)
    assert statistics.layer("readout").gradient > 0


def test_steps_after_a_recordings_end_do_not_count(chain: Network, frames: Tensor, measured: Measured):
    lengths = torch.tensor([6, 6, 6, 6, 6])
    long, short = measured(chain, frames, lengths), measured(chain, frames[:6])
    assert long.events == pytest.approx(short.events)
    assert long.mean_length == 6
    for name in ("lif1", "lif2"):
        a, b = long.layer(name), short.layer(name)
        assert a.spiking is not None
        assert b.spiking is not None
        assert (a.drive_mean, a.spiking.max_membrane) == pytest.approx((b.drive_mean, b.spiking.max_membrane))
        assert (a.spikes_per_step, a.spiking.surrogate_mean) == pytest.approx(
            (b.spikes_per_step, b.spiking.surrogate_mean)
        )


@pytest.mark.parametrize(
    ("neuron", "recurrent"),
    [("lif", True), ("adlif", False)]
    + [pytest.param(name, True, marks=pytest.mark.long) for name in ("alif", "iaf")]
    + [pytest.param(name, False, marks=pytest.mark.long) for name in ("cuba_lif", "lsnn", "snntorch_alpha")],
)
def test_every_neuron_has_membrane_statistics(neuron: str, recurrent: bool, frames: Tensor, measured: Measured):
    layers = {"fc": {"type": "linear", "out_features": 3}, "lif": {"type": neuron, "recurrent": recurrent}}
    network = build_network(layers, in_shape=(4,), dt=10.0).network
    (layer,) = measured(network, frames).layers
    assert layer.spiking is not None
    assert 0 < layer.spiking.surrogate_mean <= 1


@pytest.mark.parametrize("kind", ["psn", "masked_psn", "sliding_psn"])
def test_a_neuron_of_all_steps_at_once_has_membrane_statistics(kind: str, frames: Tensor, measured: Measured):
    network = build_network({"lif": {"type": kind}}, in_shape=(4,), dt=10.0, num_steps=12).network
    lengths = torch.tensor([12, 12, 12, 12, 5])
    x = frames * 4
    (layer,) = measured(network, x, lengths).layers
    neuron: Any = network.get_submodule("lif")
    valid = torch.arange(12)[:, None] < lengths
    x = x * valid[..., None]
    u = 1.0 + neuron.drive(x, None, lengths)[0][valid].detach()
    assert layer.spiking is not None
    assert layer.spiking.max_membrane == pytest.approx(float(u.max()), rel=1e-5)
    assert sum(layer.spiking.membrane_histogram) == u.numel()


@pytest.mark.long
def test_weights_of_single_steps_count_in_the_membrane(frames: Tensor, measured: Measured):
    settings = {"type": "glif", "init": "value"}
    found = []
    for per_step in (False, True):
        layers = {"lif": settings | {"conductance_per_step": per_step}}
        (layer,) = measured(build_network(layers, in_shape=(4,), dt=10.0, num_steps=12).network, frames).layers
        assert layer.spiking is not None
        found.append(layer.spiking.max_membrane)
    assert found[0] == pytest.approx(found[1])


def test_a_layer_in_a_loop_is_measured_over_all_steps(frames: Tensor, measured: Measured):
    layers = {
        "loop": {
            "type": "loop",
            "layers": {"fc": {"type": "linear", "out_features": 4}, "lif": {"type": "lif"}},
            "feedback": {"from": "lif", "to": "lif", "layers": {"fb": {"type": "linear", "out_features": 4}}},
        }
    }
    network = build_network(layers, in_shape=(4,), dt=10.0).network
    statistics = measured(network, frames)
    layer = statistics.layers[0]
    assert layer.name == "loop.lif"
    assert layer.spiking is not None
    assert layer.spikes_per_step == pytest.approx(float(record(network, frames).spikes["loop.lif"].mean()))
    assert len(layer.drive_gradient) == 12


def test_without_output_neurons_the_last_layer_is_the_output(frames: Tensor, measured: Measured):
    network = Network({"lif": LIF(dt=10.0), "out": nn.Linear(4, 2, bias=False)})
    statistics = measured(network, frames)
    assert [layer.name for layer in statistics.layers] == ["lif", "out"]
    assert statistics.layer("out").first_step == statistics.layer("lif").first_step
    assert statistics.layer("out").weight_gradient > 0
