"""Under autocast convolutions are half as precise, and membranes are not."""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.nn import Network, build_network

SHAPE = (2, 20, 20)


def network() -> Network:
    torch.manual_seed(0)
    layers = {
        "conv1": {"type": "conv2d", "out_channels": 8, "kernel_size": 5},
        "n1": {"type": "lif", "tau_mem": 20.0},
        "pool1": {"type": "max_pool", "kernel_size": 2},
        "conv2": {"type": "conv2d", "out_channels": 8, "kernel_size": 5},
        "n2": {"type": "alif"},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 10},
        "readout": {"type": "li"},
    }
    net = build_network(layers, in_shape=SHAPE, dt=10.0).network
    with torch.no_grad():
        net.get_parameter("conv1.weight").mul_(4.0)
        net.get_parameter("conv2.weight").mul_(4.0)
    return net


def answer(*, half: bool) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the output, the counts, the membranes and the gradients."""
    net, counts = network(), {}
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(30, 16, *SHAPE, generator=generator) < 0.1).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y, state = net(x, counts=counts)
    y.mean(0).square().sum().backward()
    membranes = {name: state[name].v for name in ("n1", "n2", "readout")}
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return y.detach(), {name: n.detach() for name, n in counts.items()}, membranes, gradients


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_membranes_stay_in_single_precision_and_the_error_is_that_of_the_weights() -> None:
    y, counts, membranes, gradients = answer(half=True)
    expected = answer(half=False)
    assert {v.dtype for v in (y, *membranes.values(), *gradients.values())} == {torch.float32}
    # bfloat16 has 8 binary digits: an error of up to 0.4 % in each weight, which moves a spike here and there.
    for name, n in expected[1].items():
        assert n.mean() > 0.2
        assert 0.0 < float((counts[name] - n).abs().sum() / n.sum()) < 0.05, name
        assert abs(float(counts[name].sum() / n.sum()) - 1.0) < 0.01, name
    assert 0.0 < relative(y.mean(0), expected[0].mean(0)) < 0.12
    assert gradients.keys() == expected[3].keys()
    for name, gradient in expected[3].items():
        assert relative(gradients[name], gradient) < 0.1, name
