from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnlab.nn import LI, LIF, CubaLIF, Network, build_network
from snnlab.nn.losses.regularizers import MembraneBandCost
from snnlab.nn.record import record, step_spikes

T, B = 6, 3


def nested() -> Network:
    inner = Network({"fc": nn.Linear(4, 4), "lif": LIF(1.0, v_threshold=0.2), "cuba": CubaLIF(1.0, v_threshold=0.1)})
    return Network({"block": Network({"deep": inner}), "lif2": LIF(1.0), "out": nn.Linear(4, 2), "readout": LI(1.0)})


@pytest.fixture
def x() -> Tensor:
    return torch.rand(T, B, 4, dtype=torch.float64) * 2


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return nested().double()


def test_spikes_are_those_of_the_whole_forward_bit_for_bit(network: Network, x: Tensor) -> None:
    recording, counts = record(network, x), {}
    y, _ = network(x, counts=counts)
    assert list(recording.spikes) == ["block.deep.lif", "block.deep.cuba", "lif2"]
    for name, spikes in recording.spikes.items():
        assert spikes.shape == (T, B, 4)
        assert spikes.any()
        assert torch.equal(spikes.sum(0), counts[name])
    assert torch.equal(recording.spikes["lif2"], network.lif2(recording.spikes["block.deep.cuba"])[0])  # type: ignore[operator]
    torch.testing.assert_close(recording.y, y)


def test_states_are_recorded_by_layer_and_variable(network: Network, x: Tensor) -> None:
    recording = record(network, x)
    _, last = network(x)
    assert {name: list(of) for name, of in recording.states.items()} == {
        "block.deep.lif": ["v"],
        "block.deep.cuba": ["v", "i"],
        "lif2": ["v"],
        "readout": ["v"],
    }
    assert torch.equal(recording.states["readout"]["v"], recording.y)
    torch.testing.assert_close(recording.states["block.deep.cuba"]["i"][-1], last["block"]["deep"]["cuba"].i)


def test_steps_past_a_samples_length_are_empty(network: Network, x: Tensor) -> None:
    lengths, counts = torch.tensor([T, 2, 4]), {}
    recording = record(network, x, lengths=lengths)
    network(x, lengths=lengths, counts=counts)
    for name, spikes in recording.spikes.items():
        assert torch.equal(spikes.sum(0), counts[name])
        assert not spikes[2:, 1].any()
    v = recording.states["lif2"]["v"]
    assert torch.equal(v[2:, 1], v[1, 1].expand(T - 2, 4))


def test_recording_does_not_change_modes_buffers_and_gradients(network: Network, x: Tensor) -> None:
    network.add_module("drop", nn.Dropout(0.5).eval())
    network.add_module("norm", nn.BatchNorm1d(2).double())
    modes = [part.training for part in network.modules()]
    before, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    recording = record(network, x)
    assert [part.training for part in network.modules()] == modes
    assert True in modes
    assert False in modes
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not recording.y.requires_grad


def test_layers_within_blocks_and_loops_have_dotted_names(x: Tensor) -> None:
    fc, lif = {"type": "linear", "out_features": 4}, {"type": "lif", "v_threshold": 0.2}
    layers = {
        "block": {"type": "residual", "layers": {"fc": fc, "lif": lif}, "shortcut": {"rest": lif}},
        "loop": {
            "type": "loop",
            "layers": {"fc": fc, "a": lif, "b": {**lif, "recurrent": True}},
            "feedback": {"from": "b", "to": "a", "layers": {"fc": fc, "back": {"type": "cuba_lif"}}},
        },
    }
    network = build_network(layers, in_shape=(4,), dt=1.0).network.double()
    recording, counts = record(network, x), {}
    y, _ = network(x, counts=counts)
    torch.testing.assert_close(recording.y, y)
    assert recording.spikes.keys() == counts.keys()
    for name, spikes in recording.spikes.items():
        assert torch.equal(spikes.sum(0), counts[name])
        assert network.get_submodule(name)
    assert recording.spikes.keys() == {"block.lif", "block.shortcut.rest", "loop.a", "loop.b", "loop.b_to_a.back"}
    assert {name: list(of) for name, of in recording.states.items()} == {
        "block.lif": ["v"],
        "block.shortcut.rest": ["v"],
        "loop.a": ["v"],
        "loop.b": ["s", "v"],
        "loop.b_to_a": ["y"],
        "loop.b_to_a.back": ["v", "i"],
    }
    assert torch.equal(recording.states["loop.b"]["s"], recording.spikes["loop.b"])
    assert torch.equal(recording.states["loop.b_to_a"]["y"], recording.spikes["loop.b"])


def test_the_spikes_of_each_step_are_those_of_all_layers(network: Network, x: Tensor) -> None:
    lengths = torch.tensor([T, 2, 4])
    spikes, recording = step_spikes(network, x, lengths=lengths), record(network, x, lengths=lengths)
    assert torch.equal(spikes, sum(each.flatten(2).sum(2) for each in recording.spikes.values()).float())  # type: ignore[union-attr]
    assert spikes.any()
    assert not spikes[2:, 1].any()
    hook = network.get_submodule("lif2").register_forward_hook(MembraneBandCost(-1.0, 0.1), with_kwargs=True)
    assert torch.equal(step_spikes(network, x, lengths=lengths), spikes)  # other counts of a loss are no spikes
    hook.remove()
    assert step_spikes(Network({"out": nn.Linear(4, 2)}).double(), x).tolist() == [[0.0] * B] * T


@pytest.mark.parametrize("lengths", [None, torch.tensor([T, 2, 0])])
def test_a_network_that_runs_all_steps_at_once_has_the_same_record(
    lengths: Tensor | None, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    feedback = {"from": "l2", "to": "l1", "layers": {"fb": {"type": "linear", "out_features": 5}}}
    layers = {
        "fc": {"type": "linear", "out_features": 5},
        "loop": {"type": "loop", "layers": {"l1": {"type": "lif"}, "l2": {"type": "cuba_lif"}}, "feedback": feedback},
        "rec": {"type": "alif", "recurrent": True},
        "gru": {"type": "gru", "hidden_size": 3},
    }
    network = build_network(layers, in_shape=(4,), dt=1.0).network.double()
    expected = record(network, x * 4, lengths=lengths)
    monkeypatch.setattr("snnlab.nn.record.whole_recording_layer", lambda _: "fc")
    found = record(network, x * 4, lengths=lengths)
    torch.testing.assert_close(found.y, expected.y)
    assert found.spikes.keys() == expected.spikes.keys()
    assert all(torch.equal(found.spikes[name], spikes) for name, spikes in expected.spikes.items())
    assert any(spikes.any() for spikes in found.spikes.values())
    assert expected.states.pop("loop.l2_to_l1")  # the outputs of l2 once more
    torch.testing.assert_close(found.states, expected.states)


def test_a_layer_that_needs_all_steps_has_spikes_but_no_states(x: Tensor) -> None:
    layers = {"psn": {"type": "psn"}, "fc": {"type": "linear", "out_features": 5}, "lif": {"type": "lif"}}
    network = build_network(layers, in_shape=(4,), dt=1.0, num_steps=T).network.double()
    found, counts = record(network, x * 8), {}
    y, _ = network(x * 8, counts=counts)
    assert torch.equal(found.y, y)
    assert found.states.keys() == {"lif"}
    assert found.spikes["psn"].any()
    for name, n in counts.items():
        assert torch.equal(found.spikes[name].sum(0), n)
    total = sum(spikes.flatten(2).sum(2) for spikes in found.spikes.values())
    assert torch.equal(step_spikes(network, x * 8), total.float())  # type: ignore[union-attr]
