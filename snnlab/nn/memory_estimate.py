"""How much memory a training step on a CPU takes at its peak, foretold from four small ones.

The network's own code runs, forward and backward, for two numbers of steps and two of samples; its loops take their
memory and compute nothing. The memory of all tensors is written down behind
each operation. Each place of that list grows as a line in steps, in samples and in both; carried on to the real size,
the highest is the peak. Loops in Python make other lists for other numbers of steps: of these the peaks are carried on.

Axes: T steps, B samples.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from snnlab.compat import TorchDispatchMode, tree_iter
from snnlab.kernels.function import without_loops
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.tbptt import run_windows

# Steps and samples of the small steps; a normalisation over the batch needs more than one sample.
_FEW_STEPS, _FEW_SAMPLES = (4, 8), (2, 4)
MakeOptimizer = Callable[[Network], Optimizer]


class Footprint(NamedTuple):
    """Bytes that the tensors of a training step on a CPU take at its peak.

    Attributes:
        peak: All of them.
        frames: Of them the input.
        learning: Of them the weights, and what the optimizer keeps of each.
        kept: Of them what the forward pass leaves for the backward pass; some may be given up before the peak.
        counted: Whether it is known what the optimizer keeps; of one that asks for a closure it is not.
    """

    peak: float
    frames: float
    learning: float
    kept: float
    counted: bool = True

    @property
    def passing(self) -> float:
        """The rest: gradients, and what comes and goes within a layer."""
        return max(0.0, self.peak - self.frames - self.learning - self.kept)


def footprint(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, make: MakeOptimizer, window: int | None = None
) -> Footprint:
    """Return what the tensors of a training step will take at its peak.

    Python, its libraries and the gaps that an allocator leaves between tensors come on top. Nothing is
    compiled, and the network stays as it is; its backend, fusing and recomputing count.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.
        steps: T.
        batch: B.
        make: What makes the optimizer.
        window: Steps of a window of truncated backpropagation; None: it goes through all of them.

    Raises:
        RuntimeError: if the network does not train; ValueError too.
    """
    # One window would not show what several take; a network that is built for so many steps takes no others.
    piece = window or built.network.run_settings.checkpoint_segments
    few = (2 * piece, 3 * piece) if piece else _FEW_STEPS
    few = (built.num_steps, built.num_steps) if built.num_steps > 1 else few
    samples = _FEW_SAMPLES if batch > 1 else (1, 1)

    def look(make: MakeOptimizer | None) -> list[list[np.ndarray]]:
        with torch.random.fork_rng(devices=[]):
            return [[_look(built.network, in_shape, t, b, make, window) for b in samples] for t in few]

    try:
        seen, counted = look(make), True
    except TypeError:  # it asks for a closure
        seen, counted = look(None), False
    if len({len(each) for of_steps in seen for each in of_steps}) > 1:
        seen = [[np.array([*each[:4], each[4:].max()]) for each in of_steps] for of_steps in seen]
    learning, frames, kept, *live = _line(few, [_line(samples, each, batch) for each in seen], steps)
    return Footprint(max(live), frames, learning, kept, counted)


def _line(places: tuple[int, int], seen: list[np.ndarray], place: int) -> np.ndarray:
    return seen[0] + (place - places[0]) / max(places[1] - places[0], 1) * (seen[1] - seen[0])


def _look(
    network: Network, in_shape: Shape, steps: int, batch: int, make: MakeOptimizer | None, window: int | None
) -> np.ndarray:
    """Return the bytes of what learns, of the frames, of what is kept, of the change, and behind each operation."""
    network = copy.deepcopy(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    x = torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, as those of events
    optimizer = make(network) if make else None
    network.train()
    with torch.enable_grad(), without_loops(), Ledger() as ledger:
        ledger.add([*network.parameters(), *network.buffers()])
        for weight in trained:  # of the step before: they are there until the backward pass
            weight.grad = torch.zeros_like(weight)
        if optimizer:
            optimizer.step()  # its first step makes what it keeps
        before = ledger.live
        learning = before - sum(weight.nbytes for weight in trained)
        frames = ledger.add([x])
        ledger.behind.clear()
        # How losses differ is as small as the network's output.
        loss = run_windows(network, x, window or len(x), counts={}).sum()
        kept = ledger.live - before - frames
        for weight in trained:
            weight.grad = None
        loss.backward()
        del loss
        passed = [*ledger.behind]
        ledger.behind.clear()
        if optimizer:
            optimizer.step()
        ledger.add([])
    return np.array([learning, frames, kept, max(ledger.behind), *passed], np.float64)


class Ledger(TorchDispatchMode):
    """Within it, each new piece of memory of a tensor is added, and taken off when the last tensor in it is gone.

    Attributes:
        live: Bytes now.
        behind: Bytes behind each operation; what one needs inside itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.behind: list[int] = []
        self._known: set[int] = set()

    def add(self, tensors: Iterable[Tensor]) -> int:
        """Add the memory of tensors, if it is not known yet, and return the bytes that are new."""
        before = self.live
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = id(storage), storage.nbytes()
            if key not in self._known:
                self._known.add(key)
                self.live += size
                weakref.finalize(storage, self._drop, key, size)
        self.behind.append(self.live)
        return self.live - before

    def _drop(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.add(part for part in tree_iter(made) if isinstance(part, Tensor))
        return made
