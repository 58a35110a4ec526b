"""A method's network with its frames and its optimizer."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from stepbench.methods import DT, Method, Variant
from stepbench.work import Workload, frames, set_weights, targets
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.nn import NEURONS
from snnlab.nn.neurons.membrane import LeakyMembrane


class Answer(NamedTuple):
    """A network's results: mean outputs `[B, K]`, and the gradient of each weight."""

    outputs: Tensor
    gradients: list[Tensor]


class Training:
    """A network of PyTorch, with the weights that all methods have."""

    def __init__(self, method: Method, variant: Variant, work: Workload, device: str) -> None:
        assert method.make is not None
        network, x = method.make(work, variant.form), frames(work)
        set_weights(weights_of(network), input_scale(method), work)
        if variant.layout == "channels-last":
            x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network, self.x, self.targets = network.to(device).train(), x.to(device), targets(work).to(device)
        self.optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad])

    def step(self) -> float:
        """Train one step and return its seconds."""
        started = time.perf_counter()
        self.optimizer.zero_grad()
        F.cross_entropy(self.network(self.x), self.targets).backward()
        self.optimizer.step()
        if self.x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def answer(self) -> Answer:
        """Return outputs and gradients, without changing the weights."""
        y = self.network(self.x)
        F.cross_entropy(y, self.targets).backward()
        return Answer(y.detach(), [weight.grad for weight in weights_of(self.network) if weight.grad is not None])


def training(method: Method, variant: Variant, work: Workload, device: str) -> Training:
    """Return a method that is ready to train."""
    if method.make is None:
        from stepbench.jax_training import JaxTraining  # late, because JAX may be missing

        return JaxTraining(method, variant, work, device)
    return Training(method, variant, work, device)


def weights_of(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the layers, in order."""
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]


def input_scale(method: Method) -> float:
    """Return the standard deviation of a white input for which that of the membrane without reset is its threshold, 1.

    1 / sqrt(sum(h_t^2)), from the impulse response h_t = g * a^t, or g * (a^(t+1) - b^(t+1)) / (a - b) after a synapse
    """
    if method.neuron is None:
        return 1.0
    settings = {name: value for name, value in method.neuron.items() if name != "type"}
    neuron = NEURONS.build(method.neuron["type"], settings, "neuron", dt=DT)
    assert isinstance(neuron, LeakyMembrane)
    k = neuron.coefficients()
    a, b, g = float(k.a), float(k.b) if hasattr(neuron, "synapse") else 0.0, float(k.g)
    return math.sqrt((1 - a * a) * (1 - b * b) * (1 - a * b) / (1 + a * b)) / g
