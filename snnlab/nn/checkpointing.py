"""Gradient checkpointing in segments of time, with spikes saved as uint8.

For each group of a weight layer and its neurons, the network saves the group's input (spikes as uint8) and the neurons'
states between the segments. The backward pass recomputes all other activations, one group and one segment at a time.
Many segments are short, so that all groups are recomputed together, and no spikes are saved. Batch norm, and each other
layer that needs all steps at once, is recomputed for all steps.

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

from snnlab.nn.layer import Counts, add_counts, reach_of
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.stages import Stage, run_stages

_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_UINT8_MAX = 255
# Segments from which on the spikes of all steps, a byte each, need more than a segment of a layer's activations: some
# five numbers per neuron and step.
MANY_SEGMENTS = 20


def output_levels(layers: Iterable[nn.Module], levels: int | None) -> int | None:
    """Return n if the output of layers is a multiple of 1/n, such as spikes or their pooled means; else None.

    Args:
        layers: Layers that are applied in order.
        levels: The n of their input, or None.
    """
    for layer in layers:
        if isinstance(layer, Neuron):
            levels = 1 if layer.spiking else None
        elif isinstance(layer, _AVERAGE):
            levels = None if levels is None else levels * _average_window_size(layer)
        elif not isinstance(layer, (*_MAX, nn.Flatten)):
            levels = None
    return levels


def save_as_uint8(x: Tensor, levels: int) -> saved_tensors_hooks:
    """Return a context in which autograd saves a tensor as uint8, if that is exact.

    Args:
        x: The tensor; multiples of 1/levels, none above 255/levels.
        levels: The n of `output_levels`.
    """
    address, dtype, shape = x.data_ptr(), x.dtype, x.shape  # autograd keeps the functions, which must not keep x

    def pack(saved: Tensor) -> Tensor:
        if saved.data_ptr() != address or saved.shape != shape:
            return saved
        packed = (saved.detach() * levels).round_().clamp_(0, _UINT8_MAX).to(torch.uint8)
        return packed if torch.equal(unpack(packed), saved) else saved

    def unpack(saved: Tensor) -> Tensor:
        # A mean is a sum divided by the number of cells in the window.
        return saved.to(dtype).div_(levels) if saved.dtype == torch.uint8 else saved

    return saved_tensors_hooks(pack, unpack)


def _average_window_size(layer: nn.Module) -> int:
    """Return the number of cells in a window of an average pooling."""
    size = layer.kernel_size
    dims = next(n for n, kind in enumerate(_AVERAGE, 1) if isinstance(layer, kind))
    return prod(size) if isinstance(size, tuple) else int(size) ** dims  # pyright: ignore[reportArgumentType]


_POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class StageGroup(NamedTuple):
    """Stages that are recomputed together.

    Attributes:
        stages: The stages, in order.
        splits_time: Whether time can be split into segments: no layer needs later steps.
    """

    stages: tuple[Stage, ...]
    splits_time: bool

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
    num_segments: int,
) -> Tensor:
    """Run stages like `run_stages`, in segments of time, and save only the tensors between the groups."""
    states = dict(before)
    for splits_time, neighbors in groupby(_groups_with_levels(stages), key=lambda each: each[0].splits_time):
        groups = list(neighbors)
        if splits_time and num_segments >= MANY_SEGMENTS:
            groups = [(StageGroup(tuple(stage for group, _ in groups for stage in group.stages), True), groups[0][1])]
        length = -(-x.shape[0] // num_segments) if splits_time else x.shape[0]
        outputs = []
        # Each segment passes all groups before the next one, so that no output inside them exists for all steps.
        for number, y in enumerate(x.split(length)):
            left = None if lengths is None else (lengths - number * length).clamp(0, y.shape[0])
            for group, levels in groups:
                state = {stage.name: states[stage.name] for stage in group.stages if stage.name in states}
                y, own_state, own_counts = _run_saving_input(group, levels, y, state, left, counts is not None)
                states.update(own_state)
                after.update(own_state)
                add_counts(counts, own_counts)
            outputs.append(y)
        # Concatenated along the folded axis, because that keeps channels-last memory.
        x = torch.cat([y.flatten(0, 1) for y in outputs]).unflatten(0, (x.shape[0], x.shape[1]))
    return x


def stage_groups(stages: Sequence[Stage]) -> Iterator[StageGroup]:
    """Yield groups of stages, each of which ends with neurons and their pooling, and the rest as the last group."""
    begin = 0
    layers = [stage.layers for stage in stages]
    for end, own in enumerate(layers, 1):
        is_neuron = isinstance(own[-1][1], Neuron)
        pooled_next = end < len(layers) and isinstance(layers[end][0][1], _POOLINGS)
        after_neuron = end > 1 and isinstance(layers[end - 2][-1][1], Neuron)
        is_pooled = isinstance(own[-1][1], _POOLINGS) and (len(own) > 1 or after_neuron)
        if is_pooled or (is_neuron and not pooled_next):
            yield _stage_group(stages[begin:end])
            begin = end
    if begin < len(stages):
        yield _stage_group(stages[begin:])


def _stage_group(stages: Sequence[Stage]) -> StageGroup:
    group = StageGroup(tuple(stages), True)
    return group._replace(splits_time=reach_of(group.layers) in ("step", "past"))


def _groups_with_levels(stages: Sequence[Stage]) -> Iterator[tuple[StageGroup, int | None]]:
    """Yield each group and the n for which its input has only multiples of 1/n (spikes: 1); None if unknown."""
    levels: int | None = None
    for group in stage_groups(stages):
        yield group, levels
        levels = output_levels(group.layers, levels)


def _run_saving_input(
    group: StageGroup, levels: int | None, x: Tensor, state: dict[str, Any], lengths: Tensor | None, with_counts: bool
) -> tuple[Tensor, dict[str, Any], Counts]:
    """Run a group and save only its input, as uint8 if that is exact."""
    with nullcontext() if levels is None else save_as_uint8(x, levels):
        return checkpoint(
            _run_group,
            group,
            x,
            state,
            lengths,
            with_counts,
            use_reentrant=False,
            context_fn=partial(_checkpoint_contexts, group.layers),
        )


def _run_group(
    group: StageGroup, x: Tensor, state: dict[str, Any], lengths: Tensor | None, with_counts: bool
) -> tuple[Tensor, dict[str, Any], Counts]:
    """Run a group of stages; return output, states and counts."""
    after, counts = dict[str, Any](), Counts()
    return run_stages(group.stages, x, state, after, lengths, counts if with_counts else None), after, counts


def _checkpoint_contexts(
    layers: Sequence[nn.Module],
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), RestoreBuffers(layers)


class RestoreBuffers(AbstractContextManager[None]):
    """A context in which layers run again with the buffers of their first run; at its end they get the later ones back.

    Running statistics already contain the batch. With `retain_graph`, each backward pass enters this context again.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.owners = [module for layer in layers for module in layer.modules() if _own_buffers(module)]
        self.first_buffers = [_cloned_buffers(owner) for owner in self.owners]

    def __enter__(self) -> None:
        self.later_buffers = [_own_buffers(owner) for owner in self.owners]
        self._set(self.first_buffers)
        self.first_buffers = [_cloned_buffers(owner) for owner in self.owners]

    def __exit__(self, *_: object) -> None:
        self._set(self.later_buffers)

    def _set(self, buffers: list[dict[str, Tensor]]) -> None:
        for owner, own in zip(self.owners, buffers, strict=True):
            for name, buffer in own.items():
                setattr(owner, name, buffer)


def _own_buffers(owner: nn.Module) -> dict[str, Tensor]:
    return dict(owner.named_buffers(recurse=False))


def _cloned_buffers(owner: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in _own_buffers(owner).items()}
