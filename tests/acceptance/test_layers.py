"""What docs/layers.md promises of layers, blocks and delays: one network of a user's file has them, and is trained."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from snnlab import load

from ..refusals import assert_text_has
from .calling import call
from .conftest import FAST, Outcome

CONV = "conv: {type: conv2d, out_channels: 4, kernel_size: 3, padding: 1}"
MODEL = f"""
layers:
  conv1: {{type: conv2d, out_channels: 4, kernel_size: 5, stride: 2}}
  norm1: {{type: batch_norm}}
  lif1: {{type: neuron}}
  pool1: {{type: avg_pool, kernel_size: 2}}
  twice:
    type: repeat
    times: 2
    layers: {{block: {{type: residual, connect: iand, layers: {{{CONV}, lif: {{type: neuron}}}}}}}}
  both:
    type: parallel
    branches:
      one: {{conv: {{type: conv2d, out_channels: 2, kernel_size: 1}}}}
      other: {{inner: {{type: sequential, layers: {{{CONV}, lif: {{type: neuron}}}}}}}}
  pool2: {{type: adaptive_max_pool, output_size: 2}}
  flatten: {{type: flatten}}
  delayed: {{type: linear, out_features: 6, delay: {{max: 160, learn: true}}}}
  lif2: {{type: neuron, recurrent: true}}
  loop1:
    type: loop
    layers:
      fc1: {{type: linear, out_features: 6}}
      lif1: {{type: neuron}}
      fc2: {{type: linear, out_features: 6}}
      lif2: {{type: neuron}}
    feedback: {{from: lif2, to: lif1, layers: {{fb: {{type: linear, out_features: 6}}}}}}
  wired:
    type: graph
    layers: {{a: {{type: linear, out_features: 6}}, b: {{type: neuron}}}}
    edges: [[input, a], [a, b], [b, a, 1], [b, output]]
  drop: {{type: dropout, p: 0.2}}
  gru: {{type: gru, hidden_size: 8}}
  out: {{type: linear, out_features: "${{data.num_classes}}"}}
  readout: {{type: li, tau_mem: 20.0}}
"""
OWN = ("--config-dir", "mine", "model=all", "backend=reference")


class Made(NamedTuple):
    """A network's file, what `snnlab show` says of it, and a run of it."""

    root: Path
    shown: Outcome
    run: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Made:
    root = tmp_path_factory.mktemp("layers")
    (root / "mine" / "model").mkdir(parents=True)
    (root / "mine" / "model" / "all.yaml").write_text(MODEL)
    shown = call(root, "show", *OWN, "data.num_bins=4")
    fast = [word for word in FAST if not word.startswith("model")]
    done = call(root, "train", *OWN, *fast, digits_store, "plots=null", "monitors=null", "logger=none")
    assert done.status == 0, done.err
    return Made(root, shown, root / done.out.splitlines()[-1])


def test_show_has_the_shape_after_each_layer_of_each_block(made: Made):
    assert made.shown.status == 0, made.shown.err
    assert_text_has(made.shown.out, "conv1", "conv2d", "4 × 15 × 15", "204", "twice", "copy2", "residual, iand", "148")
    assert_text_has(made.shown.out, "both", "parallel", "6 × 7 × 7", "branch", "sequential", "pool2", "6 × 2 × 2")
    assert_text_has(made.shown.out, "delayed", "loop1", "feedback", "wired", "graph", "delay 1", "gru", "readout")


def test_copies_of_a_repeat_and_blocks_have_weights_of_their_own(made: Made):
    state = load(made.run).network.state_dict()
    convs = [value for name, value in state.items() if name.endswith("block.conv.weight")]
    assert len(convs) == 2
    assert not torch.equal(*convs)


def test_a_network_that_is_called_in_chunks_gives_the_same_outputs(made: Made):
    run = load(made.run)
    x = run.batch("test", range(2)).x
    network = run.network.eval()
    with torch.no_grad():
        whole, _ = network(x)
        pieces, state = [], None
        for step in x:
            y, state = network(step[None], state)
            pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-5, atol=1e-6)


def test_learned_delays_are_between_0_and_their_maximum(made: Made):
    delays = [value for name, value in load(made.run).network.state_dict().items() if name.endswith("delays.fraction")]
    assert delays
    assert all(float(value.min()) >= 0 and float(value.max()) <= 1 for value in delays)  # fractions of the maximum


def test_a_layer_in_a_block_is_set_on_the_command_line(made: Made):
    done = call(made.root, "train", *OWN, "model.layers.loop1.layers.lif1.tau_mem=7", "--cfg", "job")
    assert done.status == 0, done.err
    assert "tau_mem: 7" in done.out
