"""How much memory a training step on a CPU takes at its peak, from a step of tensors that have shapes and no values.

The network's own code runs, forward and backward, on PyTorch's `meta` device, where rendered loops take their memory
and do nothing. A layer that looks at values cannot run so: then small steps of real tensors are looked at, and the
memory is taken to be linear in steps, in samples and in both.

Axes: T steps, B samples.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab.kernels.function import without_loops
from snnlab.nn.blocks import Loop
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.footprint.ledger import Ledger
from snnlab.nn.footprint.optimizers import Held
from snnlab.nn.network import Network, run_line
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.windows import run_windows

# Steps and samples of the small steps; a normalisation over the batch needs more than one sample.
_FEW_STEPS, _FEW_SAMPLES = (4, 8), (2, 4)
# Steps that are looked at where each takes time and there are more.
_MANY_STEPS = (32, 64)


class Footprint(NamedTuple):
    """Bytes that the tensors of a training step on a CPU take at its peak.

    Attributes:
        peak: All of them.
        frames: Of them the input.
        learning: Of them the weights, and what the optimizer keeps of each.
        kept: Of them what the forward pass leaves for the backward pass; some may be given up before the peak.
        rough: Whether it was carried over from small steps.
    """

    peak: float
    frames: float
    learning: float
    kept: float
    rough: bool = False

    @property
    def passing(self) -> float:
        """The rest: gradients, and what comes and goes within a layer."""
        return max(0.0, self.peak - self.frames - self.learning - self.kept)


def footprint(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, held: Held | None, window: int | None = None
) -> Footprint:
    """Return what the tensors of a training step will take at its peak.

    Python, its libraries and the gaps that an allocator leaves between tensors come on top. Nothing is computed or
    compiled, and the network stays as it is; its backend, fusing and recomputing count.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.
        steps: T.
        batch: B.
        held: What the optimizer holds; None counts as nothing.
        window: Steps of a window of truncated backpropagation; None: it goes through all of them.

    Raises:
        RuntimeError: if the network does not train; ValueError too.
    """
    held = Held(0, 0) if held is None else held
    with torch.random.fork_rng(devices=[]):
        try:
            return _shadow(built, in_shape, steps, batch, held, window)
        except (RuntimeError, TypeError):  # of a layer that looks at values; any other mistake comes again
            return _carried_over(built, in_shape, steps, batch, held, window)


def _shadow(built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, held: Held, window: int | None) -> Footprint:
    """Look at a step without values."""
    network = built.network
    memo: dict[int, Tensor] = {id(part): part.to("meta") for part in network.buffers()}
    memo |= {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    with torch.device("meta"):
        copied = copy.deepcopy(network, memo)
        many = _looked_at(_MANY_STEPS, window)
        if not _goes_step_by_step(copied) or steps <= many[1] or built.num_steps > 1 or network.run is not run_line:
            return _look(copied, in_shape, steps, batch, held, window)
        return _line(many, [_look(copied, in_shape, t, batch, held, window) for t in many], steps)


def _carried_over(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, held: Held, window: int | None
) -> Footprint:
    """Look at four small steps, and carry on the lines through them."""

    def look(num_steps: int, num_samples: int) -> Footprint:
        with without_loops():
            return _look(copy.deepcopy(built.network), in_shape, num_steps, num_samples, held, window)

    few = (built.num_steps, built.num_steps) if built.num_steps > 1 else _looked_at(_FEW_STEPS, window)
    of_steps = [_line(_FEW_SAMPLES, [look(t, b) for b in _FEW_SAMPLES], batch) for t in few]
    return _line(few, of_steps, steps)._replace(rough=True)


def _looked_at(usual: tuple[int, int], window: int | None) -> tuple[int, int]:
    """Return the two numbers of steps that are looked at; those of one window would not show what several take."""
    return usual if window is None else (2 * window, 3 * window)


def _line(places: tuple[int, int], seen: list[Footprint], place: int) -> Footprint:
    """Return what the line through footprints at two places has at another."""
    way = (place - places[0]) / max(places[1] - places[0], 1)
    peak, frames, learning, kept, _ = (a + way * (b - a) for a, b in zip(*seen, strict=True))
    return Footprint(peak, frames, learning, kept)


def _goes_step_by_step(network: nn.Module) -> bool:
    """Return whether something in a network goes through the steps in Python."""
    return any(
        isinstance(layer, Loop | Recurrent) or (isinstance(layer, Neuron) and layer.backend == "reference")
        for layer in network.modules()
    )


def _look(network: Network, in_shape: Shape, steps: int, batch: int, held: Held, window: int | None) -> Footprint:
    """Train a step of a network that may be spoiled, and look at the memory of its tensors."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    sizes = [weight.untyped_storage().nbytes() for weight in trained]
    x = _frames(in_shape, steps, batch)
    network.train()
    with torch.enable_grad(), Ledger() as ledger:
        weights = ledger.add([*network.parameters(), *network.buffers()])
        frames = ledger.add([x])
        for weight in trained:  # of the step before: they are there until the backward pass
            weight.grad = torch.zeros_like(weight)
        before = ledger.live
        loss = _loss(network, x, window)
        kept = ledger.live - before
        for weight in trained:
            weight.grad = None
        loss.backward()
    learning = weights + held.states * sum(sizes)
    changing = frames + learning + sum(sizes) + held.passing * max(sizes, default=0)
    return Footprint(max(ledger.peak - weights + learning, changing), frames, learning, kept)


def _loss(network: Network, x: Tensor, window: int | None) -> Tensor:
    """Return a number to differentiate; how losses differ is as small as the network's output."""
    return run_windows(network, x, window or len(x), counts={}).sum()


def _frames(in_shape: Shape, steps: int, batch: int) -> Tensor:
    """Return silent frames, channels-last as those of events."""
    return torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)
