"""Less memory for more time: what the backward pass needs is computed again, layer by layer and in pieces of time.

A network keeps, for each weight layer with its neurons, what goes in, spikes as bytes, and the neurons' states between
the pieces. All else is there for one layer and one piece at a time. Batch norm, and whatever else sees all steps at
once, is computed again for all of them.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snnlab.nn.network import Network, NetworkState, run_line
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.spike_bytes import kept_as_bytes, levels_behind
from snnlab.nn.temporal import Counts, TemporalLayer

Line = Sequence[tuple[str, nn.Module]]

_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class Segment(NamedTuple):
    """Layers that are computed again together.

    Attributes:
        layers: The layers with their names, applied in order.
        in_pieces: Whether each of them sees one step after another, so that time can be cut.
        preceding: The layers before them, in order.
    """

    layers: Line
    in_pieces: bool
    preceding: Line


def recompute(network: Network, pieces: int) -> None:
    """Let a network compute again what its backward pass needs.

    Args:
        network: The network, changed in place; its parameters, names and results stay.
        pieces: Pieces of time, at least 1; memory falls with their number, until the neurons' states between them
            take more; a step takes half as long again with any.

    Raises:
        ValueError: if pieces is not positive.
    """
    if pieces < 1:
        raise ValueError(f"pieces of time are at least 1, got {pieces}")
    network.run = partial(run_again, pieces=pieces)


def run_again(
    layers: Iterable[tuple[str, nn.Module]],
    x: Tensor,
    before: NetworkState,
    after: NetworkState,
    lengths: Tensor | None,
    counts: Counts | None,
    *,
    pieces: int,
) -> Tensor:
    """Run layers as `run_line` does, and keep only what comes between the segments; see `run_line`."""
    if not torch.is_grad_enabled():
        return run_line(layers, x, before, after, lengths, counts)
    known = dict(before)
    for in_pieces, stretch in groupby(_with_levels(layers), key=lambda each: each[0].in_pieces):
        part_of_line = list(stretch)
        length = -(-x.shape[0] // pieces) if in_pieces else x.shape[0]
        outputs = []
        # Each piece goes through all layers before the next one: no layer's output is there for all steps at once.
        for number, y in enumerate(x.split(length)):
            left = None if lengths is None else (lengths - number * length).clamp(0, y.shape[0])
            for segment, levels in part_of_line:
                state = {name: known[name] for name, _ in segment.layers if name in known}
                y, own_state, own_counts = _kept_small(segment, levels, y, state, left, counts is not None)
                known.update(own_state)
                after.update(own_state)
                for key, n in own_counts.items():
                    _add(counts, key, n)
            outputs.append(y)
        # Joined along the folded axis, because that keeps channels-last memory.
        x = torch.cat([y.flatten(0, 1) for y in outputs]).unflatten(0, (x.shape[0], x.shape[1]))
    return x


def segments(line: Line) -> Iterator[Segment]:
    """Yield the layers up to each group of neurons and the pooling behind it, and the rest."""
    begin = 0
    for place, (_, layer) in enumerate(line):
        pooled = place + 1 < len(line) and isinstance(line[place + 1][1], _POOLS)
        if (isinstance(layer, Neuron) and not pooled) or (
            isinstance(layer, _POOLS) and place and isinstance(line[place - 1][1], Neuron)
        ):
            yield _segment(line, begin, place + 1)
            begin = place + 1
    if begin < len(line):
        yield _segment(line, begin, len(line))


def _segment(line: Line, begin: int, end: int) -> Segment:
    layers = line[begin:end]
    return Segment(layers, all(_sees_one_step(layer) for _, layer in layers), line[:begin])


def _sees_one_step(layer: nn.Module) -> bool:
    if type(layer) is Network:
        return all(_sees_one_step(inner) for _, inner in layer.line())
    return isinstance(layer, Neuron) or not isinstance(layer, TemporalLayer)


def _with_levels(layers: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[Segment, int | None]]:
    """Yield the segments with what is known of their inputs; see `levels_behind`."""
    levels: int | None = None
    for segment in segments(list(layers)):
        yield segment, levels
        levels = levels_behind([layer for _, layer in segment.layers], levels)


def _kept_small(
    segment: Segment, levels: int | None, x: Tensor, state: NetworkState, lengths: Tensor | None, counted: bool
) -> tuple[Tensor, NetworkState, Counts]:
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
    segment: Segment, x: Tensor, state: NetworkState, lengths: Tensor | None, counted: bool
) -> tuple[Tensor, NetworkState, Counts]:
    after, counts = NetworkState(), Counts()
    y = run_line(segment.layers, x, state, after, lengths, counts if counted else None, preceding=segment.preceding)
    return y, after, counts


def _add(counts: Counts | None, key: str, n: Tensor) -> None:
    if counts is not None:
        counts[key] = counts[key] + n if key in counts else n


def _contexts(layers: Line) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), Again([layer for _, layer in layers])


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
