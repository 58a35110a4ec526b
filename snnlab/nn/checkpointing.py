"""Less memory for more time: what the backward pass needs is computed again, and spikes are kept as bytes.

A network keeps, for each weight layer with its neurons, what goes in, spikes as bytes, and the neurons' states between
the pieces. All else is there for one layer and one piece at a time. Batch norm, and whatever else sees all steps at
once, is computed again for all of them.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from snnlab.nn.layer import Counts, reach_of
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.stages import Stage, run_stages

_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_LARGEST = 255


def levels_behind(layers: Iterable[nn.Module], levels: int | None) -> int | None:
    """Return n where what layers give are whole numbers of 1/n, as spikes and their pooled means are; else None.

    Args:
        layers: Layers that are applied in turn.
        levels: That of their input.
    """
    for layer in layers:
        if isinstance(layer, Neuron):
            levels = 1 if layer.spiking else None
        elif isinstance(layer, _AVERAGE):
            levels = None if levels is None else levels * _cells(layer)
        elif not isinstance(layer, (*_MAX, nn.Flatten)):
            levels = None
    return levels


def kept_as_bytes(x: Tensor, levels: int) -> saved_tensors_hooks:
    """Return a context in which autograd keeps a tensor as bytes, if that gives back the very same numbers.

    Args:
        x: What is kept; whole numbers of 1/levels, none above 255/levels.
        levels: See `levels_behind`.
    """
    dtype, where, shape = x.dtype, x.data_ptr(), x.shape  # autograd keeps the functions, which must not keep x

    def pack(kept: Tensor) -> Tensor:
        if kept.data_ptr() != where or kept.shape != shape:
            return kept
        packed = (kept.detach() * levels).round_().clamp_(0, _LARGEST).to(torch.uint8)
        return packed if torch.equal(unpack(packed), kept) else kept

    def unpack(kept: Tensor) -> Tensor:
        # A mean is a sum divided by the window's cells.
        return kept.to(dtype).div_(levels) if kept.dtype == torch.uint8 else kept

    return saved_tensors_hooks(pack, unpack)


def _cells(layer: nn.Module) -> int:
    """Return the cells of a window of an average pooling."""
    size = layer.kernel_size
    dims = next(n for n, kind in enumerate(_AVERAGE, 1) if isinstance(layer, kind))
    return prod(size) if isinstance(size, tuple) else int(size) ** dims  # pyright: ignore[reportArgumentType]


_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class Segment(NamedTuple):
    """Stages that are computed again together.

    Attributes:
        stages: The stages, in order.
        in_pieces: Whether each of their layers sees one step after another, so that time can be cut.
    """

    stages: tuple[Stage, ...]
    in_pieces: bool

    @property
    def layers(self) -> list[nn.Module]:
        """The layers, in order."""
        return [layer for stage in self.stages for _, layer in stage.layers]


def run_in_segments(
    stages: Sequence[Stage],
    x: Tensor,
    before: Mapping[str, Any],
    after: dict[str, Any],
    lengths: Tensor | None,
    counts: Counts | None,
    *,
    pieces: int,
) -> Tensor:
    """Run stages as `run_stages` does, in so many pieces of time, and keep only what comes between the segments."""
    known = dict(before)
    for in_pieces, stretch in groupby(_with_levels(stages), key=lambda each: each[0].in_pieces):
        part_of_line = list(stretch)
        length = -(-x.shape[0] // pieces) if in_pieces else x.shape[0]
        outputs = []
        # Each piece goes through all layers before the next one: no layer's output is there for all steps at once.
        for number, y in enumerate(x.split(length)):
            left = None if lengths is None else (lengths - number * length).clamp(0, y.shape[0])
            for segment, levels in part_of_line:
                state = {stage.name: known[stage.name] for stage in segment.stages if stage.name in known}
                y, own_state, own_counts = _kept_small(segment, levels, y, state, left, counts is not None)
                known.update(own_state)
                after.update(own_state)
                for key, n in own_counts.items():
                    _add(counts, key, n)
            outputs.append(y)
        # Joined along the folded axis, because that keeps channels-last memory.
        x = torch.cat([y.flatten(0, 1) for y in outputs]).unflatten(0, (x.shape[0], x.shape[1]))
    return x


def segments(stages: Sequence[Stage]) -> Iterator[Segment]:
    """Yield the stages up to each group of neurons and the pooling behind it, and the rest."""
    begin = 0
    layers = [stage.layers for stage in stages]
    for place, own in enumerate(layers, 1):
        neurons = isinstance(own[-1][1], Neuron)
        pooled_next = place < len(layers) and isinstance(layers[place][0][1], _POOLS)
        behind = place > 1 and isinstance(layers[place - 2][-1][1], Neuron)
        ends = isinstance(own[-1][1], _POOLS) and (len(own) > 1 or behind)
        if ends or (neurons and not pooled_next):
            yield _segment(stages[begin:place])
            begin = place
    if begin < len(stages):
        yield _segment(stages[begin:])


def _segment(stages: Sequence[Stage]) -> Segment:
    made = Segment(tuple(stages), True)
    return made._replace(in_pieces=reach_of(made.layers) in ("step", "past"))


def _with_levels(stages: Sequence[Stage]) -> Iterator[tuple[Segment, int | None]]:
    """Yield the segments with what is known of their inputs; see `levels_behind`."""
    levels: int | None = None
    for segment in segments(stages):
        yield segment, levels
        levels = levels_behind(segment.layers, levels)


def _kept_small(
    segment: Segment, levels: int | None, x: Tensor, state: dict[str, Any], lengths: Tensor | None, counted: bool
) -> tuple[Tensor, dict[str, Any], Counts]:
    """Run layers of which only the input is kept, as bytes where these hold it."""
    with nullcontext() if levels is None else kept_as_bytes(x, levels):
        return checkpoint(
            _run,
            segment,
            x,
            state,
            lengths,
            counted,
            use_reentrant=False,
            context_fn=partial(_contexts, segment.layers),
        )


def _run(
    segment: Segment, x: Tensor, state: dict[str, Any], lengths: Tensor | None, counted: bool
) -> tuple[Tensor, dict[str, Any], Counts]:
    after, counts = dict[str, Any](), Counts()
    return run_stages(segment.stages, x, state, after, lengths, counts if counted else None), after, counts


def _add(counts: Counts | None, key: str, n: Tensor) -> None:
    if counts is not None:
        counts[key] = counts[key] + n if key in counts else n


def _contexts(layers: Sequence[nn.Module]) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), Again(layers)


class Again(AbstractContextManager[None]):
    """Let layers run once more with the buffers that they had at first, and leave those that they have by now.

    Running means have seen the batch already. A graph that is kept comes here for each of its backward passes.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.owners = [module for layer in layers for module in layer.modules() if _buffers(module)]
        self.at_first = [_copied(owner) for owner in self.owners]

    def __enter__(self) -> None:
        self.now = [_buffers(owner) for owner in self.owners]
        self._set(self.at_first)
        self.at_first = [_copied(owner) for owner in self.owners]

    def __exit__(self, *_: object) -> None:
        self._set(self.now)

    def _set(self, buffers: list[dict[str, Tensor]]) -> None:
        for owner, own in zip(self.owners, buffers, strict=True):
            for name, buffer in own.items():
                setattr(owner, name, buffer)


def _buffers(owner: nn.Module) -> dict[str, Tensor]:
    return dict(owner.named_buffers(recurse=False))


def _copied(owner: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in _buffers(owner).items()}
