"""The process of one code: reads requests line by line, runs their cases, and prints the times.

It uses only the layers of `snnlab.nn`, which every commit has.

Axes: T steps, B samples, C channels, H, W.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernelbench.cases import CASES, KernelCase
from torch import Tensor, nn

import snnlab.nn
from snnlab.errors import SnnlabError

DT = 10.0  # ms
SIZE = 0.6  # deviation of the input: a neuron spikes in a tenth of the steps


class Layer:
    """A case that is ready to run.

    Args:
        case: The case.
        shape: C, H, W, or the number of neurons.
        steps: T.
        batch: B.
    """

    def __init__(self, case: KernelCase, shape: tuple[int, ...], steps: int, batch: int) -> None:
        self.values = random_tensor(steps * batch, *shape)
        folded = self.values.clone().requires_grad_()
        layers: dict[str, nn.Module] = {}
        if case.inplace:
            self.leaf = folded
            self.x = self.values.unflatten(0, (steps, batch))
            layers["conv"] = constant_conv(folded)
        else:
            self.leaf = self.x = folded.detach().unflatten(0, (steps, batch)).requires_grad_()
            self.values = self.values.unflatten(0, (steps, batch))
        layers["neuron"] = neuron(case, shape)
        if case.pool is not None:
            kind, size = case.pool
            layers["pool"] = nn.AvgPool2d(size) if kind == "avg" else nn.MaxPool2d(size)
        self.network = snnlab.nn.Network(layers)
        self.gradient: Tensor | None = None

    def run(self) -> tuple[float, float, dict[str, Tensor]]:
        """Return the seconds of forward and backward, and outputs, states and gradients by name."""
        self.leaf.data.copy_(self.values)
        self.leaf.grad = None
        self.network.zero_grad(set_to_none=True)
        start = time.thread_time()
        y, state = self.network(self.x)
        forward = time.thread_time() - start
        if self.gradient is None:  # the same numbers for any memory format of y
            self.gradient = torch.empty_like(y).copy_(random_tensor(*y.flatten(0, 1).shape).view(y.shape))
        start = time.thread_time()
        y.backward(self.gradient)
        backward = time.thread_time() - start
        found = {"output y": y.detach()}
        found |= {f"state {name}": part.detach() for name, part in state["neuron"]._asdict().items()}
        assert self.leaf.grad is not None
        found["gradient of x"] = self.leaf.grad.reshape(self.x.shape)
        for name, parameter in self.network.named_parameters():
            if parameter.grad is not None:
                found[f"gradient of {name}"] = parameter.grad
        return forward, backward, found


@lru_cache(maxsize=2)
def random_tensor(*shape: int) -> Tensor:
    """Return random numbers, always the same; images are channels-last in memory."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * SIZE
    return numbers.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else numbers


def constant_conv(output: Tensor) -> nn.Conv2d:
    """Return a convolution that returns a fixed output at no cost, whose memory the next layer can use."""
    channels = output.shape[1]
    layer = nn.Conv2d(channels, channels, 1, bias=False)

    def give(input: Tensor) -> Tensor:
        return output.view_as(output)

    layer.forward = give
    return layer


def neuron(case: KernelCase, shape: tuple[int, ...]) -> nn.Module:
    """Return a case's neurons."""
    settings = {"surrogate": {"type": case.surrogate}, **case.settings}
    return snnlab.nn.NEURONS.build(case.neuron, settings, "neuron", dt=DT, in_shape=shape)


def serve() -> None:
    """Answer the requests of stdin line by line until it ends; other output of this process goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = time_repetitions(request) if "repeat" in request else run_once(request)
        print(json.dumps(answer), file=answers, flush=True)


def run_once(request: dict[str, Any]) -> dict[str, Any]:
    """Run a case once and write its results; return the folder of the code, and the error if it lacks the case."""
    code = {"code": str(Path(snnlab.__file__).parents[1])}
    try:
        layer = build_layer(request)
    except (AttributeError, ValueError, SnnlabError) as error:  # another commit may lack the case
        return {**code, "lacks": f"{type(error).__name__}: {error}"}
    _, _, found = layer.run()
    np.savez(request["results"], allow_pickle=False, **{name: values.numpy() for name, values in found.items()})
    return code


def time_repetitions(request: dict[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of some repetitions, after one that is not measured.

    Each turn allocates new memory: its address changes times by a tenth, for as long as a process keeps it.
    """
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    layer = build_layer(request)
    times = [layer.run()[:2] for _ in range(1 + request["repeat"])][1:]
    return {"forward": [first for first, _ in times], "backward": [second for _, second in times]}


def build_layer(request: dict[str, Any]) -> Layer:
    """Return a case that is ready to run."""
    return Layer(CASES[request["case"]], tuple(request["shape"]), request["steps"], request["batch"])


if __name__ == "__main__":
    serve()
