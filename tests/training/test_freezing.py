from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network
from snnlab.nn.losses import CrossEntropy
from snnlab.training.module import SpikingModule, TrainingOptions
from snnlab.training.optimizer import freeze

from ..refusals import assert_raises

LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 8},
    "norm1": {"type": "batch_norm"},
    "lif1": {"type": "lif", "v_threshold": 0.3},
    "block": {"type": "sequential", "layers": {"fc": {"type": "linear", "out_features": 6}, "lif": {"type": "lif"}}},
    "out": {"type": "linear", "out_features": 3},
    "readout": {"type": "li"},
}


def built() -> Any:
    torch.manual_seed(0)
    return build_network(LAYERS, in_shape=(5,), dt=2.0)


@pytest.mark.parametrize(
    ("words", "frozen"),
    [
        (["fc1"], {"fc1.weight", "fc1.bias"}),
        (["block"], {"block.fc.weight", "block.fc.bias"}),
        (["biases", "norm*"], {"fc1.bias", "norm1.weight", "norm1.bias", "block.fc.bias", "out.bias"}),
        ([], set()),
    ],
)
def test_matched_parameters_have_no_gradient(words: list[str], frozen: set[str]) -> None:
    network: Network = built().network
    freeze(network, words)
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == frozen


@pytest.mark.parametrize(("words", "facts"), [(["fc9"], ("", "kind", "fc9")), (["*"], ("", "no", "left"))])
def test_words_that_match_nothing_or_everything_are_errors(words: list[str], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        freeze(built().network, words)


def test_frozen_layers_and_their_batch_norm_statistics_do_not_change(
    quiet_trainer: Callable[..., Any], loader: DataLoader[Any]
) -> None:
    parts = built()
    frozen = freeze(parts.network, ["fc1", "norm1"])
    before = {name: value.clone() for name, value in parts.network.state_dict().items()}
    module = SpikingModule(
        parts,
        CrossEntropy(),
        lambda network: torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1),
        None,
        num_classes=3,
        dt=2.0,
        seed=0,
        options=TrainingOptions(frozen=frozen),
    )
    quiet_trainer(max_epochs=2).fit(module, loader, loader)
    changed = {name for name, value in parts.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"block.fc.weight", "block.fc.bias", "out.weight", "out.bias"}
    assert module.train().network.training
    assert not parts.network.get_submodule("norm1").training
