"""Estimate the peak memory of a training step on a CPU from four small training steps.

The network's own code runs forward and backward for two numbers of steps and two batch sizes; its kernels allocate
their memory but compute nothing. The memory of all tensors is recorded after each operation. Each entry of this list is
linear in steps, in samples and in both; its extrapolation to the real size gives the peak as its largest entry. A loop
in Python makes lists of different lengths for different numbers of steps: then only their peaks are extrapolated.

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

# Steps and samples of the small training steps; batch norm needs more than one sample.
_FEW_STEPS, _FEW_SAMPLES = (4, 8), (2, 4)
MakeOptimizer = Callable[[Network], Optimizer]


class Footprint(NamedTuple):
    """Peak memory of the tensors of a training step on a CPU, in bytes.

    Attributes:
        peak: All tensors.
        frames: The input.
        learning: The weights and the optimizer's state.
        kept: The tensors that the forward pass saves for the backward pass; some may be freed before the peak.
        counted: Whether `learning` contains the optimizer's state; it is unknown for an optimizer that needs a closure.
    """

    peak: float
    frames: float
    learning: float
    kept: float
    counted: bool = True

    @property
    def passing(self) -> float:
        """The rest: gradients and temporary tensors."""
        return max(0.0, self.peak - self.frames - self.learning - self.kept)


def footprint(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, make: MakeOptimizer, window: int | None = None
) -> Footprint:
    """Estimate the peak memory of the tensors of a training step.

    Python, its libraries and the gaps between tensors in the allocator need more memory in addition. Nothing is
    compiled, and the network does not change. The estimate includes the effects of backend, fusion and checkpointing.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.
        steps: T.
        batch: B.
        make: Makes the optimizer.
        window: Steps of a window of truncated backpropagation; None: one window of all steps.

    Raises:
        RuntimeError: if the network does not train.
        ValueError: if the network does not train.
    """
    # One window does not show the memory of several; a network that is built for a number of steps accepts no other.
    piece = window or built.network.run_settings.checkpoint_segments
    few = (2 * piece, 3 * piece) if piece else _FEW_STEPS
    few = (built.num_steps, built.num_steps) if built.num_steps > 1 else few
    samples = _FEW_SAMPLES if batch > 1 else (1, 1)

    def look(make: MakeOptimizer | None) -> list[list[np.ndarray]]:
        with torch.random.fork_rng(devices=[]):
            return [[_look(built.network, in_shape, t, b, make, window) for b in samples] for t in few]

    try:
        seen, counted = look(make), True
    except TypeError:  # the optimizer needs a closure
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
    """Return bytes: of weights and optimizer, of frames, of saved tensors, at the update, and after each operation."""
    network = copy.deepcopy(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    x = torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, like frames of events
    optimizer = make(network) if make else None
    network.train()
    with torch.enable_grad(), without_loops(), Ledger() as ledger:
        ledger.add([*network.parameters(), *network.buffers()])
        for weight in trained:  # gradients of the step before, which exist until the backward pass
            weight.grad = torch.zeros_like(weight)
        if optimizer:
            optimizer.step()  # its first step allocates its state
        before = ledger.live
        learning = before - sum(weight.nbytes for weight in trained)
        frames = ledger.add([x])
        ledger.behind.clear()
        # Losses differ by no more than the size of the network's output.
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
    """A context that counts the memory of tensors: each new storage is added, and subtracted when it is freed.

    Attributes:
        live: Bytes now.
        behind: Bytes after each operation; temporary memory inside an operation is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.behind: list[int] = []
        self._known: set[int] = set()

    def add(self, tensors: Iterable[Tensor]) -> int:
        """Add the storages of tensors that are not counted yet, and return their bytes."""
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
