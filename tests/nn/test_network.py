from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import LIF, CubaLIF, Network, TemporalLayer, build_network
from snnlab.nn.layer import fold_time, valid_steps
from snnlab.nn.neurons.base import set_backend

from ..refusals import assert_raises

T, B = 6, 3
CONV_LIF: dict[str, dict[str, Any]] = {
    "conv1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
    "norm1": {"type": "batch_norm"},
    "lif1": {"type": "lif", "v_threshold": 0.5},
    "pool1": {"type": "max_pool", "kernel_size": 2},
    "drop1": {"type": "dropout", "p": 0.2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 5},
    "readout": {"type": "li"},
}
IN_SHAPE = (2, 8, 8)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build_network(CONV_LIF, in_shape=IN_SHAPE, dt=1.0).network


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(T, B, *IN_SHAPE) * 4


def nested() -> Network:
    torch.manual_seed(0)
    inner = Network({"fc": nn.Linear(4, 4), "lif": LIF(1.0, v_threshold=0.2), "rest": CubaLIF(1.0, v_threshold=0.1)})
    return Network({"block": Network({"deep": inner}), "lif2": LIF(1.0), "flat": nn.Identity()})


def test_layers_are_applied_in_order() -> None:
    fc, lif, out = nn.Linear(3, 4), LIF(1.0), nn.Linear(4, 2)
    x = torch.randn(T, B, 3) * 3
    y, state = Network({"fc": fc, "lif": lif, "out": out})(x)
    spikes, lif_state = lif(fc(x))
    torch.testing.assert_close(y, out(spikes))
    torch.testing.assert_close(state["lif"].v, lif_state.v)
    assert list(state) == ["lif"]


def test_names_are_keys_of_state_dict_and_state(network: Network, x: Tensor) -> None:
    assert list(network.state_dict()) == [
        *("conv1.weight", "conv1.bias"),
        *(f"norm1.{k}" for k in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        *("out.weight", "out.bias"),
    ]
    assert list(network(x)[1]) == ["lif1", "drop1", "readout"]
    assert list(network.eval()(x)[1]) == ["lif1", "readout"]


def test_nested_names_are_dotted() -> None:
    network, counts = nested(), {}
    y, state = network(torch.rand(T, B, 4) * 2, counts=counts)
    assert list(counts) == ["block.deep.lif", "block.deep.rest", "lif2"]
    assert torch.equal(counts["lif2"], y.sum(0))
    assert list(network.state_dict()) == ["block.deep.fc.weight", "block.deep.fc.bias"]
    assert list(state) == ["block", "lif2"]
    assert list(state["block"]["deep"]) == ["lif", "rest"]


def test_counts_are_taken_before_pooling_and_readouts_have_none(network: Network, x: Tensor) -> None:
    counts: dict[str, Tensor] = {}
    network(x, counts=counts)
    assert {name: n.shape for name, n in counts.items()} == {"lif1": (B, 4, 6, 6)}
    assert 0 < counts["lif1"].max() <= T
    assert counts["lif1"].requires_grad


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_an_input_without_steps_is_rejected(network: Network, x: Tensor, backend: Any) -> None:
    set_backend(network, backend)
    with assert_raises(ValueError, 1, "[T, B, ...]", 0):
        network(x[:0])


def test_samples_of_different_lengths_are_independent(network: Network, x: Tensor) -> None:
    network.eval()
    lengths, counts = torch.tensor([T, 2, 4]), {}
    y, state = network(x, lengths=lengths, counts=counts)
    for b, n in enumerate(lengths.tolist()):
        alone: dict[str, Tensor] = {}
        short, last = network(x[:n, b : b + 1], counts=alone)
        torch.testing.assert_close(y[:n, b : b + 1], short)
        assert (y[n:, b] == 0).all()
        torch.testing.assert_close(state["readout"].v[b : b + 1], last["readout"].v)
        torch.testing.assert_close(counts["lif1"][b : b + 1], alone["lif1"])


def test_an_unknown_name_in_the_state_is_refused(network: Network, x: Tensor) -> None:
    _, state = network(x)
    with assert_raises(ValueError, ["lif9"]):
        network(x, {**state, "lif9": state["lif1"]})


@pytest.mark.parametrize("name", ["forward", "training", "a.b", "1a", "", "a-b"])
def test_unusable_names_are_rejected(name: str) -> None:
    with assert_raises(ConfigError, "", "layer"):
        Network({name: nn.Identity()})


@pytest.mark.parametrize(("name", "proposed"), [("train", "train1"), ("<img src=x>", None), ("", None), ("1", None)])
def test_only_a_usable_name_is_proposed(name: str, proposed: str | None) -> None:
    with assert_raises(ConfigError, "", "_", *([proposed] if proposed else [])) as caught:
        Network({name: nn.Identity()})
    assert ("such" in str(caught.value)) == bool(proposed)


def test_memory_stays_channels_last_from_the_convolution_to_the_pooling(network: Network, x: Tensor) -> None:
    folded: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            folded[name] = output[0].flatten(0, 1) if isinstance(module, TemporalLayer) else output

        return hook

    for name in ("conv1", "norm1", "lif1", "pool1", "drop1"):
        network.get_submodule(name).register_forward_hook(keep(name))
    x = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    for lengths in (None, torch.tensor([T, 2, 4])):
        network(x, lengths=lengths)
        assert len(folded) == 5
        assert all(y.is_contiguous(memory_format=torch.channels_last) for y in folded.values())
        folded.clear()


def test_values_do_not_depend_on_the_memory_format(network: Network, x: Tensor) -> None:
    network.double().eval()
    x = x.double()
    last = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    torch.testing.assert_close(network(last)[0], network(x)[0])


def test_valid_steps_is_none_if_all_steps_are_valid() -> None:
    x = torch.zeros(4, 2, 3, 5)
    assert valid_steps(None, 4, x) is None
    assert valid_steps(torch.tensor([4, 9]), 4, x) is None
    valid = valid_steps(torch.tensor([1, 3]), 4, x)
    assert valid is not None
    assert valid.shape == (4, 2, 1, 1)
    assert valid.squeeze().int().T.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]


def test_folding_time_makes_one_batch_of_all_steps() -> None:
    seen: list[torch.Size] = []

    def layer(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return x.sum(-1)

    assert fold_time(layer, torch.zeros(4, 2, 3, 5)).shape == (4, 2, 3)
    assert seen == [(8, 3, 5)]
