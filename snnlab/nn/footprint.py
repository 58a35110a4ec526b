"""How much memory a training step on a CPU takes at its peak, foretold from four small ones.

The network's own code runs, forward and backward, for two numbers of steps and two of samples; in the place of compiled
loops stands one that takes the memory of theirs and computes nothing. The memory of all tensors is written down behind
each operation. Each place of that list grows as a line in steps, in samples and in both; carried on to the real size,
the highest is the peak. Loops in Python make other lists for other numbers of steps: of these the peaks are carried on.

Axes: T steps, B samples.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.compat import TorchDispatchMode, tree_iter
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.kernels.pool import Pool
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, exact
from snnlab.nn.neurons.membrane import Coefficients, LeakyMembrane
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.temporal import OWN, Counts
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
    """Return what the line through what was seen at two places has at another."""
    return seen[0] + (place - places[0]) / max(places[1] - places[0], 1) * (seen[1] - seen[0])


def _look(network: Network, in_shape: Shape, steps: int, batch: int, window: int | None) -> np.ndarray:
    """Return the bytes of the weights, of the frames, of what is kept, and of all behind each operation of a step."""
    network = copy.deepcopy(network)
    _hollow_all(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    x = torch.zeros(steps, batch, *in_shape[1:], in_shape[0]).movedim(-1, 2)  # channels-last, as those of events
    network.train()
    with torch.enable_grad(), Ledger() as ledger:
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
        """Run an operation and add what it returns."""
        made = func(*args, **(kwargs or {}))
        self.add(part for part in tree_iter(made) if isinstance(part, Tensor))
        return made


def _hollow_all(network: nn.Module) -> None:
    """Let the neurons of a network that may be spoiled run hollow, where loops are compiled for them."""
    for layer in network.children():
        if not isinstance(layer, Neuron):
            _hollow_all(layer)
        elif isinstance(own := layer.neuron if isinstance(layer, Recurrent) else layer, LeakyMembrane):
            if layer is own and own.canonical_itself and own.backend != "reference":
                reuses = own.backend != "eager"
                own.stand_in, own.fuses = partial(_canonical, reuses=reuses), own.fuses and reuses
            elif own.cell is not None and own.backend not in ("reference", "eager"):
                layer.forward = partial(_step_by_step, layer, own)


def _canonical(
    x: Tensor,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
    pool: Pool | None = None,
    overwrite: bool = False,
    *,
    reuses: bool = True,
) -> Run:
    """Return zeros in the shapes of a run of the canonical recurrence; see `numba_cpu.run`."""
    learned = [number for number in k if isinstance(number, Tensor) and number.requires_grad]
    like = x if pool is None else x.new_empty(*x.shape[:2], *pool.shape(x.shape[2:]))
    if pool is not None:  # which reads and writes channels-last
        like = like.movedim(2, -1).contiguous().movedim(-1, 2)
    own = rule.spikes + (i0 is not None and bool(learned))
    y = _Hollow.apply(own, overwrite and not learned, reuses and rule.spikes, like, x, v0, i0, *learned)
    n = torch.zeros_like(v0) if count and rule.spikes else None
    return Run(y, torch.zeros_like(v0), None if i0 is None else torch.zeros_like(i0), n)


def _step_by_step(
    neuron: Neuron, own: LeakyMembrane, x: Tensor, state: Any = None, *, counts: Counts | None = None, **_: Any
) -> tuple[Tensor, Any]:
    """Run a neuron with an adaptive threshold or a feedback as `kernels.adaptive` and `kernels.recurrent` do."""
    x = exact(x)
    state = neuron.initial_state(x[0]) if state is None else state
    trained = [weight for weight in neuron.parameters() if weight.requires_grad]
    many = 1 + 2 * bool(own.learn_per)
    y = _Hollow.apply(many, False, False, x, x, x[0], None, *trained)
    if counts is not None and own.spiking:
        counts[OWN] = torch.zeros_like(x[0])
    return y, state


class _Hollow(torch.autograd.Function):
    """Keeps so many tensors as large as x, or the first in x's place, and gives its gradient in the place of that."""

    @staticmethod
    def forward(
        ctx: Any, many: int, over: bool, reuses: bool, like: Tensor, x: Tensor, v0: Tensor, i0: Any, *learned: Tensor
    ) -> Tensor:
        kept = [torch.zeros_like(x) for _ in range(many - over)] if any(ctx.needs_input_grad) else []
        y, ctx.reuses = torch.zeros_like(like), reuses
        ctx.save_for_backward(*([x.detach()] if over else []), *kept, *([] if reuses else [y]), v0, i0, *learned)
        ctx.many = many
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, *saved = ctx.saved_tensors
        v0, i0, *learned = saved[ctx.many - ctx.reuses :]
        dx = first if ctx.reuses else torch.zeros_like(first)
        states = (None if part is None else torch.zeros_like(part) for part in (v0, i0))
        return None, None, None, None, dx, *states, *map(torch.zeros_like, learned)
