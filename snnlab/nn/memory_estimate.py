"""Estimate the peak memory of a training step on a CPU from four small training steps.

The network's own code runs forward and backward for two numbers of steps and two batch sizes; its kernels allocate
their memory but compute nothing. The memory of all tensors is recorded after each operation. Each entry of this list is
linear in steps, in samples and in both; its extrapolation to the real size gives the peak as its largest entry. A loop
in Python makes lists of different lengths for different numbers of steps: then only the peak for the real number of
samples is extrapolated to the real number of steps.

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
from snnlab.kernels.function import loops_disabled
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.tbptt import run_windows

# Steps and samples of the small training steps; batch norm needs more than one sample.
_FEW_STEPS, _FEW_SAMPLES = (4, 8), (2, 4)
MakeOptimizer = Callable[[Network], Optimizer]


class MemoryEstimate(NamedTuple):
    """Peak memory of the tensors of a training step on a CPU, in bytes.

    Attributes:
        peak: All tensors.
        frames: The input.
        weights_and_optimizer: The weights and the optimizer's state.
        saved: The tensors that the forward pass saves for the backward pass; some may be freed before the peak.
        optimizer_known: Whether the optimizer's state is included; it is unknown for an optimizer with a closure.
    """

    peak: float
    frames: float
    weights_and_optimizer: float
    saved: float
    optimizer_known: bool = True

    @property
    def temporary(self) -> float:
        """The rest: gradients and temporary tensors."""
        return max(0.0, self.peak - self.frames - self.weights_and_optimizer - self.saved)


def estimate_memory(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, make: MakeOptimizer, window: int | None = None
) -> MemoryEstimate:
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
    """
    # One window does not show the memory of several; a network that is built for a number of steps accepts no other.
    segment_steps = window or built.network.run_settings.checkpoint_segments
    few_steps = (2 * segment_steps, 3 * segment_steps) if segment_steps else _FEW_STEPS
    few_steps = (built.num_steps, built.num_steps) if built.num_steps > 1 else few_steps
    few_samples = _FEW_SAMPLES if batch > 1 else (1, 1)

    def measure(make: MakeOptimizer | None) -> list[list[np.ndarray]]:
        with torch.random.fork_rng(devices=[]):
            return [[_measure(built.network, in_shape, t, b, make, window) for b in few_samples] for t in few_steps]

    try:
        measured, optimizer_known = measure(make), True
    except TypeError:  # the optimizer needs a closure
        measured, optimizer_known = measure(None), False
    of_steps = [_extrapolate(few_samples, _of_one_length(each), batch) for each in measured]
    weights_and_optimizer, frames, saved, *live = _extrapolate(few_steps, _of_one_length(of_steps), steps)
    return MemoryEstimate(max(live), frames, weights_and_optimizer, saved, optimizer_known)


def _of_one_length(measured: list[np.ndarray]) -> list[np.ndarray]:
    """Return lists of `_measure`, if their lengths differ with only the largest of the memory after each operation."""
    if len({len(each) for each in measured}) == 1:
        return measured
    return [np.array([*each[:4], each[4:].max()]) for each in measured]


def _extrapolate(sizes: tuple[int, int], measured: list[np.ndarray], size: int) -> np.ndarray:
    """Return the values at a size on the line through those measured at two sizes."""
    return measured[0] + (size - sizes[0]) / max(sizes[1] - sizes[0], 1) * (measured[1] - measured[0])


def _measure(
    network: Network, in_shape: Shape, steps: int, batch: int, make: MakeOptimizer | None, window: int | None
) -> np.ndarray:
    """Return bytes: of weights and optimizer, of frames, of saved tensors, at the update, and after each operation."""
    network = copy.deepcopy(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    x = torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, like frames of events
    optimizer = make(network) if make else None
    network.train()
    with torch.enable_grad(), loops_disabled(), MemoryTracker() as tracker:
        tracker.add([*network.parameters(), *network.buffers()])
        for weight in trained:  # gradients of the step before, which exist until the backward pass
            weight.grad = torch.zeros_like(weight)
        if optimizer:
            optimizer.step()  # its first step allocates its state
        before = tracker.live
        weights_and_optimizer = before - sum(weight.nbytes for weight in trained)
        frames = tracker.add([x])
        tracker.after_each.clear()
        # Losses differ by no more than the size of the network's output.
        loss = run_windows(network, x, window or len(x), counts={}).sum()
        saved = tracker.live - before - frames
        for weight in trained:
            weight.grad = None
        loss.backward()
        del loss
        after_forward = [*tracker.after_each]
        tracker.after_each.clear()
        if optimizer:
            optimizer.step()
        tracker.add([])
    return np.array([weights_and_optimizer, frames, saved, max(tracker.after_each), *after_forward], np.float64)


class MemoryTracker(TorchDispatchMode):
    """A context that counts the memory of tensors: each new storage is added, and subtracted when it is freed.

    Attributes:
        live: Bytes now.
        after_each: Bytes after each operation; temporary memory inside an operation is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.after_each: list[int] = []
        self._counted: set[int] = set()

    def add(self, tensors: Iterable[Tensor]) -> int:
        """Add the storages of tensors that are not counted yet, and return their bytes."""
        before = self.live
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = id(storage), storage.nbytes()
            if key not in self._counted:
                self._counted.add(key)
                self.live += size
                weakref.finalize(storage, self._subtract, key, size)
        self.after_each.append(self.live)
        return self.live - before

    def _subtract(self, key: int, size: int) -> None:
        self._counted.remove(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.add(part for part in tree_iter(made) if isinstance(part, Tensor))
        return made
