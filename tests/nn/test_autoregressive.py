"""A block that goes on with its own output: against a loop by hand, its gradient, its state, and its refusals.

Axes: T steps, B samples.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network

from ..refusals import assert_raises

T, B, K, KNOWN = 7, 3, 2, 3
LAYERS = {"fc": {"type": "linear", "out_features": 5}, "rnn": {"type": "gru", "hidden_size": K}}
pytestmark = pytest.mark.usefixtures("loops_in_python")


def block(layers: Any = None, num_steps: int | None = T, **settings: Any) -> Network:
    node = {"type": "autoregressive", "layers": layers or LAYERS, "known_steps": KNOWN, **settings}
    return build_network({"a": node}, in_shape=(K,), dt=1.0, num_steps=num_steps).network


def by_hand(network: Any, x: torch.Tensor, *, detach: bool = True) -> torch.Tensor:
    """Run the layers step by step with torch's own modules."""
    fc, rnn = network.a.fc, network.a.rnn
    outputs, h = [], torch.zeros(1, x.shape[1], K)
    for t in range(len(x)):
        fed = x[t] if t < KNOWN else outputs[-1].detach() if detach else outputs[-1]
        h = torch.nn.GRU.forward(rnn, fc(fed)[None], h)[1]
        outputs.append(h[0])
    return torch.stack(outputs)


@pytest.mark.parametrize("detach", [True, False])
def test_after_the_known_steps_the_input_is_the_last_output(detach: bool) -> None:
    network, x = block(detach=detach), torch.randn(T, B, K, requires_grad=True)
    y, expected = network(x)[0], by_hand(network, x, detach=detach)
    torch.testing.assert_close(y, expected)
    for result, other in zip(
        *(torch.autograd.grad(side.square().sum(), [x, *network.parameters()]) for side in (y, expected)), strict=True
    ):
        torch.testing.assert_close(result, other)


def test_what_comes_after_the_known_steps_is_not_read() -> None:
    network, x = block(), torch.randn(T, B, K)
    changed = torch.cat([x[:KNOWN], torch.full((T - KNOWN, B, K), torch.nan)])
    assert torch.equal(network(x)[0], network(changed)[0])


@pytest.mark.parametrize("sizes", [(2, 5), (3, 4), (4, 3), (1,) * T])
def test_pieces_of_time_equal_the_whole_and_ended_samples_keep_their_state(sizes: tuple[int, ...]) -> None:
    network, x = block(), torch.randn(T, B, K)
    lengths = torch.tensor([T, 2, 5])
    for given in (None, lengths):
        whole, last = network(x, lengths=given)
        outputs, begin = [], 0
        state: Any = None
        for piece in x.split(sizes):
            own = None if given is None else (given - begin).clamp(0, len(piece))
            y, state = network(piece, state, lengths=own)
            outputs.append(y)
            begin += len(piece)
        torch.testing.assert_close(torch.cat(outputs), whole)
        for part, other in zip(state["a"]["generated"], last["a"]["generated"], strict=True):
            torch.testing.assert_close(part, other)
    for b, n in enumerate(lengths.tolist()):
        short, after = network(x[:n, b : b + 1])
        torch.testing.assert_close(whole[:n, b : b + 1], short)
        torch.testing.assert_close(last["a"]["generated"].y[b : b + 1], after["a"]["generated"].y)


def test_spikes_are_counted_in_all_steps() -> None:
    layers = {"fc": {"type": "linear", "out_features": K}, "lif": {"type": "lif", "v_threshold": 0.1}}
    network, counts = block(layers), {}
    y, _ = network(torch.rand(T, B, K), counts=counts)
    assert y[KNOWN:].any()
    assert torch.equal(counts["a.lif"], y.sum(0))


def test_another_output_shape_and_layers_that_need_whole_recordings_are_refused() -> None:
    with assert_raises(ConfigError, "model.layers.a.layers", "[5]", "[2]"):
        block({"fc": LAYERS["fc"]})
    with assert_raises(ConfigError, "model.layers.a.layers.psn", "psn"):
        block({"psn": {"type": "psn"}})
    with assert_raises(ConfigError, "model.layers.a.known_steps"):
        block(known_steps=0)
