"""The network in other libraries of PyTorch, in the forms in which their users write it.

Axes: T steps, B samples.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from stepbench.work import Workload, modules
from torch import Tensor, nn

from snnlab.nn.layer import fold_time

# `folded`: all steps at once through each layer, so that only the neuron loops; `stepwise`: the whole network step by
# step, as in tutorials. Which is faster depends on the batch: folded is twice as fast at 1, a tenth slower at 128.
CELL_FORMS = ("folded", "stepwise")
# `folded` as above; `whole`: its layer loops by itself.
SINABS_FORMS = ("folded", "whole")


class Temporal(nn.Module):
    """A layer of all steps, `[T, B, ...]`, in a network whose other layers take them as one batch."""


class Loop(Temporal):
    """A library's cell, called for each step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of all steps."""
        outputs, state = [], None
        for x_t in x.unbind():
            y, state = self.cell(x_t, state)
            outputs.append(y)
        return concatenated(outputs, x)


class Folded(nn.Module):
    """All steps at once through each layer."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output over time, `[B, K]`."""
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Temporal) else fold_time(layer, x)
        return x.mean(0)


class Stepwise(nn.Module):
    """The whole network step by step; the cells among its layers have a state."""

    def __init__(self, layers: Sequence[nn.Module], cell: type[nn.Module]) -> None:
        super().__init__()
        self.layers, self.cell = nn.ModuleList(layers), cell

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output over time, `[B, K]`."""
        outputs, states = [], [None] * len(self.layers)
        for y in x.unbind():
            for n, layer in enumerate(self.layers):
                if isinstance(layer, self.cell):
                    y, states[n] = layer(y, states[n])
                else:
                    y = layer(y)
            outputs.append(y)
        return torch.stack(outputs).mean(0)


def concatenated(outputs: list[Tensor], x: Tensor) -> Tensor:
    """Return the outputs of all steps of x as one; stacked, they would lose channels-last memory."""
    return torch.cat(outputs).unflatten(0, x.shape[:2])


def import_quietly(name: str) -> Any:
    """Import a library without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def cell_network(work: Workload, form: str, cell: type[nn.Module]) -> nn.Module:
    """Return a network of cells in one of CELL_FORMS."""
    return Stepwise(modules(work, cell), cell) if form == "stepwise" else Folded(modules(work, lambda: Loop(cell())))


def spikingjelly(work: Workload, form: str, compiled: bool = False, **settings: Any) -> nn.Module:
    """Return SpikingJelly's multi-step network, which takes all steps; settings are those of its neurons."""
    layer = import_quietly("spikingjelly.activation_based.layer")
    neuron = import_quietly("spikingjelly.activation_based.neuron")
    reset = import_quietly("spikingjelly.activation_based.functional").reset_net
    layers = modules(work, lambda: neuron.LIFNode(step_mode="m", **settings), layer, step_mode="m")

    class SpikingJelly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)
            self.run = torch.compile(self.layers, dynamic=False) if compiled else self.layers

        def forward(self, x: Tensor) -> Tensor:
            reset(self.layers)
            return self.run(x).mean(0)

    return SpikingJelly()


def snntorch(work: Workload, form: str) -> nn.Module:
    """Return snnTorch's network."""
    leaky = import_quietly("snntorch").Leaky

    class FromRest(nn.Module):
        """Leaky that starts at rest: without a state it would continue from its last call."""

        def __init__(self) -> None:
            super().__init__()
            self.leaky = leaky(beta=0.9)

        def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
            return self.leaky(x, torch.zeros_like(x) if state is None else state)

    return cell_network(work, form, FromRest)


def norse(work: Workload, form: str) -> nn.Module:
    """Return Norse's network."""
    return cell_network(work, form, import_quietly("norse.torch").LIFBoxCell)


def sinabs(work: Workload, form: str) -> nn.Module:
    """Return Sinabs' network of neurons that spike once a step; their time constants are fixed, as in snnlab's."""
    layers, activation = import_quietly("sinabs.layers"), import_quietly("sinabs.activation")

    class LIF(Temporal):
        def __init__(self) -> None:
            super().__init__()
            self.lif = layers.LIF(tau_mem=20.0, spike_fn=activation.SingleSpike).requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            self.lif.reset_states()
            if form == "whole":
                return self.lif(x.transpose(0, 1)).transpose(0, 1)
            return concatenated([self.lif(x_t[:, None])[:, 0] for x_t in x.unbind()], x)

    return Folded(modules(work, LIF))
