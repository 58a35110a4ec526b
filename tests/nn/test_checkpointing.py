"""Gradient checkpointing gives the same results in less memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network, checkpointing
from snnlab.nn.checkpointing import MANY_SEGMENTS, StageGroup, stage_groups
from snnlab.nn.neurons.base import set_backend

from ..refusals import assert_raises

Layers = Mapping[str, Mapping[str, Any]]

SHAPE = (2, 13, 11)
STEPS, BATCH = 11, 5

CONV = {"type": "conv2d", "out_channels": 6, "kernel_size": 3}
LIF = {"type": "lif", "tau_mem": 20.0}
POOL = {"type": "max_pool", "kernel_size": 2}
END = {"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 10}, "readout": {"type": "li"}}
NETWORKS: dict[str, Layers] = {
    "conv": {"conv1": CONV, "n1": LIF, "pool1": POOL, "conv2": CONV, "n2": {"type": "cuba_lif"}, **END},
    "norm": {"conv1": CONV, "norm1": {"type": "batch_norm"}, "n1": LIF, "pool1": POOL, **END},
    "dropout": {"conv1": CONV, "n1": LIF, "drop1": {"type": "dropout", "p": 0.3}, "conv2": CONV, "n2": LIF, **END},
    "recurrent": {"flatten1": {"type": "flatten"}, "fc": {"type": "linear", "out_features": 20}}
    | {"n1": {"type": "alif", "recurrent": True}, "out": END["out"], "readout": END["readout"]},
    "block": {"block1": {"type": "sequential", "layers": {"conv1": CONV, "n1": LIF}}, "pool1": POOL, **END},
    "unpooled": {"conv1": CONV, "n1": {"type": "lif", "learn": ["tau_mem"]}, **END},
}


def network(layers: Layers, segments: int | None) -> Network:
    """Return a network, always with the same weights."""
    torch.manual_seed(0)
    built = build_network(layers, in_shape=SHAPE, dt=5.0).network
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.mul_(3.0 if name.startswith("conv2") else 1.0)
    built.configure(checkpoint_segments=segments or 0)
    return built


def answer(net: Network, lengths: Tensor | None, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return output, counts, states, gradients and buffers after a step of training."""
    net = net.to(dtype)
    counts: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS, BATCH, *SHAPE, generator=generator, dtype=dtype) * 3
    torch.manual_seed(2)
    y, state = net(x, lengths=lengths, counts=counts)
    weights = torch.randn(y.shape, generator=generator, dtype=dtype)
    ((y * weights).sum() + sum(n.square().mean() for n in counts.values())).backward()
    found = {"y": y.detach()} | {f"counts {name}": n.detach() for name, n in counts.items()}
    found |= {f"state {name}": part.v.detach() for name, part in state.items() if hasattr(part, "v")}
    found |= {f"gradient {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return found | {f"buffer {name}": b.double() for name, b in net.named_buffers()}


@pytest.mark.long
@pytest.mark.compiled
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "unpooled")) for n in NETWORKS])
def test_it_is_the_same_network(name: str) -> None:
    layers, at = NETWORKS[name], list(NETWORKS).index(name)
    segments, lengths = (4, 1, 50)[at % 3], None if at in (0, 4) else torch.tensor([11, 0, 3, 8, 4])
    # In double precision, where only rounding differs between machines.
    found, expected = (answer(network(layers, each), lengths, torch.float64) for each in (segments, None))
    assert found.keys() == expected.keys()
    assert any(name.startswith("counts") and n.mean() > 0.05 for name, n in expected.items())
    for name, part in expected.items():
        largest = part.abs().max().clamp(min=1e-2)  # the gradient of a bias before batch norm is only rounding
        assert float((found[name] - part).abs().max() / largest) < 1e-4, name


def parts(name: str) -> list[StageGroup]:
    """Return the groups of stages of a network."""
    return list(stage_groups(network(NETWORKS[name], None).plan(torch.zeros(STEPS, BATCH, *SHAPE)).stages))


def test_a_group_ends_with_neurons_and_their_pooling() -> None:
    names = [[name for stage in each.stages for name, _ in stage.layers] for each in parts("conv")]
    assert names == [["conv1", "n1", "pool1"], ["conv2", "n2"], ["flatten", "out", "readout"]]


@pytest.mark.parametrize(("name", "cut"), [("norm", [False, True]), ("dropout", [True, False, True])])
def test_time_is_not_split_for_a_layer_that_needs_all_steps(name: str, cut: list[bool]) -> None:
    assert [group.splits_time for group in parts(name)] == cut


@pytest.mark.parametrize(("segments", "groups"), [(MANY_SEGMENTS - 1, 3), (MANY_SEGMENTS, 1)])
def test_many_segments_save_no_spikes_between_groups(
    segments: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[StageGroup] = []
    run = checkpointing._run_saving_input
    monkeypatch.setattr(
        checkpointing, "_run_saving_input", lambda group, *more: [ran.append(group), run(group, *more)][1]
    )
    network(NETWORKS["conv"], segments)(torch.randn(1, BATCH, *SHAPE))
    assert len(ran) == groups
    assert [stage.name for group in ran for stage in group.stages] == [
        stage.name for group in parts("conv") for stage in group.stages
    ]


def test_a_negative_number_of_segments_is_rejected() -> None:
    with assert_raises(ConfigError, "checkpoint_segments", 0, -1):
        network(NETWORKS["conv"], -1)


@pytest.mark.long
def test_a_retained_graph_gives_the_same_gradients_again() -> None:
    net = network(NETWORKS["norm"], 4)
    y, _ = net(torch.randn(STEPS, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1)) * 3)
    once, again, last = (
        torch.autograd.grad(y.sum(), list(net.parameters()), retain_graph=keep) for keep in (True, True, False)
    )
    for gradients in zip(once, again, last, strict=True):
        assert all(torch.equal(gradients[0], other) for other in gradients[1:])


def test_all_kernels_run_again() -> None:
    def gradients(segments: int | None) -> dict[str, Tensor]:
        net = network(NETWORKS["conv"], segments)
        set_backend(net, "reference")
        return answer(net, None)

    found, expected = gradients(4), gradients(None)
    assert all(torch.allclose(found[name], part, rtol=1e-3, atol=1e-4) for name, part in expected.items())


def test_recomputation_uses_the_buffers_of_the_first_run() -> None:
    def gradient(segments: int | None) -> Tensor:
        net = network(NETWORKS["unpooled"], segments)
        torch.manual_seed(3)
        spectral_norm(
            net.get_submodule("conv1")
        )  # the weight is computed from buffers, which change in each forward pass
        found = answer(net, None)
        return found["gradient conv1.parametrizations.weight.original"]

    expected = gradient(None)
    assert float((gradient(1) - expected).abs().max() / expected.abs().max()) < 1e-4


PROGRAM = """
import sys
from pathlib import Path
import torch
from snnlab.nn import build_network
from snnlab.memory import keep_heap

keep_heap()
torch.set_num_threads(1)
layers = {"conv1": {"type": "conv2d", "out_channels": 12, "kernel_size": 5}, "n1": {"type": "lif"},
          "pool1": {"type": "max_pool", "kernel_size": 2}, "flatten": {"type": "flatten"},
          "out": {"type": "linear", "out_features": 10}, "readout": {"type": "li"}}
net = build_network(layers, in_shape=(2, 34, 34), dt=1.0).network
segments = int(sys.argv[1])
net.configure(checkpoint_segments=segments, sparse_input="never")

def peak(key):
    return next(int(line.split()[1]) / 1024 for line in Path("/proc/self/status").open() if line.startswith(key))

net(torch.zeros(2, 1, 2, 34, 34))[0].sum().backward()
x = torch.zeros(200, 8, 2, 34, 34)
before = peak("VmRSS:")
net(x)[0].sum().backward()
print(peak("VmHWM:") - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_segments_reduce_memory() -> None:
    def megabytes(segments: int) -> float:
        arguments = [sys.executable, "-c", PROGRAM, str(segments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "SNNLAB_CHECK_TRACES": "0"}
        return float(subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout)

    whole, in_segments = megabytes(0), megabytes(20)
    # 200 * 8 * 12 * 30 * 30 membranes are 69 MB, a quarter of that is pooled spikes, which are saved as uint8.
    assert whole > 80
    assert in_segments < 0.3 * whole
