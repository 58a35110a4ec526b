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
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.compat import TorchDispatchMode, tree_iter
from snnlab.kernels.function import without_loops
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.network import Network
from snnlab.nn.windows import run_windows

# Steps and samples of the small steps; a normalisation over the batch needs more than one sample.
_FEW_STEPS, _FEW_SAMPLES = (4, 8), (2, 4)


class Held(NamedTuple):
    """What an optimizer holds.

    Attributes:
        states: Numbers that it keeps of each weight from step to step.
        passing: Numbers of each weight of a tensor that come and go while that tensor is changed.
    """

    states: int
    passing: int


_HELD = {"SGD": Held(0, 0), "RMSprop": Held(1, 1), "Adagrad": Held(1, 1), "Adamax": Held(2, 1)}
_HELD |= dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam", "Adadelta"), Held(2, 2))


class Footprint(NamedTuple):
    """Bytes that the tensors of a training step on a CPU take at its peak.

    Attributes:
        peak: All of them.
        frames: Of them the input.
        learning: Of them the weights, and what the optimizer keeps of each.
        kept: Of them what the forward pass leaves for the backward pass; some may be given up before the peak.
    """

    peak: float
    frames: float
    learning: float
    kept: float

    @property
    def passing(self) -> float:
        """The rest: gradients, and what comes and goes within a layer."""
        return max(0.0, self.peak - self.frames - self.learning - self.kept)


def held_by(target: str, settings: Mapping[str, Any]) -> Held | None:
    """Return what an optimizer holds; None of one that is not PyTorch's, or rare.

    Args:
        target: Its class with its module, `torch.optim.Adam`.
        settings: Its arguments by name.
    """
    module, _, name = target.rpartition(".")
    if not module.startswith("torch.optim") or name not in _HELD:
        return None
    more = sum(bool(settings.get(setting)) for setting in ("amsgrad", "momentum", "centered"))
    decays = bool(settings.get("weight_decay")) and name != "AdamW"  # which changes the weights themselves
    return Held(_HELD[name].states + more, _HELD[name].passing + decays)


def footprint(
    built: BuiltNetwork, in_shape: Shape, steps: int, batch: int, held: Held | None, window: int | None = None
) -> Footprint:
    """Return what the tensors of a training step will take at its peak.

    Python, its libraries and the gaps that an allocator leaves between tensors come on top. Nothing is
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
    held = held or Held(0, 0)
    # One window would not show what several take; a network that is built for so many steps takes no others.
    piece = window or getattr(built.network.run, "keywords", {}).get("pieces", 0)
    few = (2 * piece, 3 * piece) if piece else _FEW_STEPS
    few = (built.num_steps, built.num_steps) if built.num_steps > 1 else few
    samples = _FEW_SAMPLES if batch > 1 else (1, 1)
    with torch.random.fork_rng(devices=[]):
        seen = [[_look(built.network, in_shape, t, b, window) for b in samples] for t in few]
    if len({len(each) for of_steps in seen for each in of_steps}) > 1:
        seen = [[np.array([*each[:3], each[3:].max()]) for each in of_steps] for of_steps in seen]
    weights, frames, kept, *live = _line(few, [_line(samples, each, batch) for each in seen], steps)
    sizes = [p.numel() * p.element_size() for p in built.network.parameters() if p.requires_grad]
    learning = weights + held.states * sum(sizes)
    changing = frames + learning + sum(sizes) + held.passing * max(sizes, default=0)
    return Footprint(max(max(live) - weights + learning, changing), frames, learning, kept)


def _line(places: tuple[int, int], seen: list[np.ndarray], place: int) -> np.ndarray:
    return seen[0] + (place - places[0]) / max(places[1] - places[0], 1) * (seen[1] - seen[0])


def _look(network: Network, in_shape: Shape, steps: int, batch: int, window: int | None) -> np.ndarray:
    """Return the bytes of the weights, of the frames, of what is kept, and of all behind each operation of a step."""
    network = copy.deepcopy(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    x = torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, as those of events
    network.train()
    with torch.enable_grad(), without_loops(), Ledger() as ledger:
        weights = ledger.add([*network.parameters(), *network.buffers()])
        frames = ledger.add([x])
        for weight in trained:  # of the step before: they are there until the backward pass
            weight.grad = torch.zeros_like(weight)
        before = ledger.live
        # How losses differ is as small as the network's output.
        loss = run_windows(network, x, window or len(x), counts={}).sum()
        kept = ledger.live - before
        for weight in trained:
            weight.grad = None
        loss.backward()
    return np.array([weights, frames, kept, *ledger.behind], np.float64)


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
