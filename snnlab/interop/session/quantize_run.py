"""Writes the network of a run in whole numbers as the folder of a new run, and measures what it loses.

Axes: T steps, B samples.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.config.schema import Experiment
from snnlab.data.data_module import EventDataModule
from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError
from snnlab.interop.session.import_run import require_new, write_run
from snnlab.nn import INTEGER_TARGETS
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, plain_loops
from snnlab.nn.neurons.recurrent import Feedback, Recurrent
from snnlab.nn.neurons.whole_neuron import watch_overflow
from snnlab.nn.quantization import (
    WholeGroup,
    check_widths,
    clipped_share,
    end_with_readout,
    fit_scales,
    groups_of,
    quantize_network,
)
from snnlab.runs.run_folder import CheckpointName
from snnlab.runs.tables import Table
from snnlab.session.session import Session
from snnlab.session.weights import trained_on_mask
from snnlab.training.checkpoints import tensors_hash


class QuantizationOptions(NamedTuple):
    """How a run is quantized.

    Attributes:
        checkpoint: The run's checkpoint.
        recordings: Number of training recordings that set the scales, and of validation recordings that measure.
        fold_norm: Whether batch normalizations are folded.
    """

    checkpoint: CheckpointName
    recordings: int
    fold_norm: bool


class NetworkAnswers(NamedTuple):
    """Answers of a network: how many are right, None where targets are no classes, and the mean loss."""

    right: int | None
    loss: float


def quantize_run(experiment: Experiment, run: Path, folder: Path, options: QuantizationOptions) -> Iterator[str]:
    """Write the network of a run in whole numbers, and yield what it loses as lines of text.

    Args:
        experiment: The experiment of the run, with a target.
        run: The run.
        folder: The new folder.
        options: How.
    """
    require_new("quantize", folder)
    assert experiment.quantize is not None
    chosen = dict(experiment.quantize)
    settings = dict(chosen)
    target: IntegerTarget = INTEGER_TARGETS.build(settings.pop("type", None), settings, "quantize")
    source = Session(replace(experiment, quantize=None), folder, run=run, checkpoint=options.checkpoint)
    source.build("loss", "network")
    denominator = source.settings.denominator()
    network = source.network.eval()
    if options.fold_norm:
        network = fold_norm(network).eval()
        experiment = _with_layers(experiment, network)
    end_with_readout(network, target)
    groups_of(network)  # refuses what has no rule before recordings are read
    data = source.data
    train, val = (data.epoch_items(part)[: options.recordings] for part in (data.split.train, data.split.val))
    if not val.size:
        advice = "set fit_on=train" if experiment.fit_on == "train_and_val" else "set data.val_fraction=0.1"
        raise ConfigError("quantize", "there are no validation recordings to measure on", advice)
    activity = _activity(network, data, train)
    whole = _quantized(network, target, activity, denominator)
    check_widths(groups_of(whole))
    yield f"scales from {train.size:,} training recordings, answers to {val.size:,} validation recordings"
    if (seen := trained_on_mask(run, data.store)) is not None and (many := int(seen[val].sum())):
        yield f"the network was trained on {many:,} of these validation recordings: only the difference says something"
    real, all_whole = _answers(network, source, data, val), _answers(whole, source, data, val, denominator)
    alone = {}
    for group in groups_of(network):
        levels = denominator if group.inputs[0].is_first else 1  # of the network's input
        one_whole = _quantized(network, target, activity, levels, only=group.name)
        alone[group.name] = _answers(one_whole, source, data, val, levels)
    sums = _overflows(whole, data, val, denominator)
    yield from _table(groups_of(whole), real, all_whole, alone, sums, val.size).text().splitlines()
    worst = max(alone, key=lambda name: alone[name].loss)
    yield f"the layer that loses most: {worst}"
    yield from _overflow_lines(sums)
    record = {
        "target": chosen,
        "run": str(run),
        "weights": tensors_hash(source.network.state_dict()),
        "training_recordings": int(train.size),
        "validation_recordings": int(val.size),
        "real": real._asdict(),
        "whole": all_whole._asdict(),
        "alone": {name: one._asdict() for name, one in alone.items()},
        "overflows": {name: sum(one.recordings.values()) for name, one in sums.items()},
    }
    made = replace(experiment, init_from=None, record={**(experiment.record or {}), "init_from": None})
    write_run(folder, made, source.built._replace(network=whole), {"quantized": record}, run)


def _with_layers(experiment: Experiment, network: Network) -> Experiment:
    """Return the experiment with the layers of a network."""
    assert network.built_from is not None
    layers = {name: dict(node) for name, node in network.built_from.layers.items()}
    record = dict(experiment.record or {})
    return replace(
        experiment,
        model={**experiment.model, "layers": layers},
        record={**record, "model": {**record["model"], "layers": layers}},
    )


def _quantized(
    network: Network,
    target: IntegerTarget,
    activity: Mapping[str, Tensor],
    denominator: int,
    *,
    only: str | None = None,
) -> Network:
    """Return a copy of a network in whole numbers, or with only some neurons in whole numbers."""
    whole = copy.deepcopy(network)
    fit_scales(quantize_network(whole, target, only=only, input_denominator=denominator), activity)
    return whole.eval()


def _inputs(data: EventDataModule, items: np.ndarray, denominator: int) -> Iterator[tuple[Batch, Tensor]]:
    """Yield batches with their frames, whole numbers of 1/denominator, as these whole numbers."""
    for batch in data.batches_of(items):
        yield batch, batch.x if denominator == 1 else (batch.x * denominator).round()


@torch.no_grad()
def _activity(network: Network, data: EventDataModule, items: np.ndarray) -> dict[str, Tensor]:
    """Return the mean square of each input channel of all weights, by their name."""
    sums: dict[str, Tensor] = {}
    many: Counter[str] = Counter()

    def add(name: str, values: Tensor) -> None:
        channels = values.movedim(1, 0).flatten(1).double()
        sums[name] = sums.get(name, 0.0) + channels.square().sum(1)
        many[name] += channels.shape[1]

    def before(name: str, module: Any, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        add(name, x.flatten(0, 1) if isinstance(module, TemporalLayer) else x)

    def after(name: str, module: Recurrent, inputs: Any, output: Any) -> None:
        y = output[0].flatten(0, 1)
        add(name, y.flatten(1) if module.feedback.weight.dim() == 2 else y)

    hooks = []
    for group in groups_of(network):
        for one in group.inputs:
            if isinstance(one.module, Feedback):
                layer = network.get_submodule(group.name)
                hooks.append(layer.register_forward_hook(partial(after, one.name)))
            else:
                hooks.append(one.module.register_forward_pre_hook(partial(before, one.name)))
    try:
        for batch in data.batches_of(items):
            network(batch.x, lengths=batch.lengths)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total / many[name] for name, total in sums.items()}


@torch.no_grad()
def _answers(
    network: Network, session: Session, data: EventDataModule, items: np.ndarray, denominator: int = 1
) -> NetworkAnswers:
    """Return how a network answers recordings."""
    right, loss = 0, 0.0
    for batch, x in _inputs(data, items, denominator):
        counts: dict[str, Tensor] = {}
        y, _ = network(x, lengths=batch.lengths, counts=counts)
        mean, _ = session.loss_with_class_counts(y, batch.targets, batch.lengths, counts)
        loss += float(mean) * batch.lengths.numel()
        if session.settings.targets == "class":
            right += int((session.loss.readout(y, batch.lengths).argmax(-1) == batch.targets).sum())
    return NetworkAnswers(right if session.settings.targets == "class" else None, loss / items.size)


class Overflows(NamedTuple):
    """Sums of neurons that did not fit: their share, and their number by recording."""

    share: float
    recordings: Counter[int]


@torch.no_grad()
def _overflows(network: Network, data: EventDataModule, items: np.ndarray, denominator: int) -> dict[str, Overflows]:
    """Return by the name of the neurons which sums did not fit."""
    names = {group.neuron: group.name for group in groups_of(network)}
    over: dict[str, Counter[int]] = {name: Counter() for name in names.values()}
    many: Counter[str] = Counter()
    current: list[np.ndarray] = []

    def watch(neuron: Neuron, mask: Tensor) -> None:
        name = names[neuron]
        many[name] += mask.numel()
        for at in mask.flatten(1).any(1).nonzero().flatten().tolist():
            over[name][int(current[-1][at])] += int(mask[at].sum())

    with plain_loops(), watch_overflow(watch):
        for batch, x in _inputs(data, items, denominator):
            current.append(batch.index.numpy())
            network(x, lengths=batch.lengths)
    return {name: Overflows(sum(found.values()) / max(many[name], 1), found) for name, found in over.items()}


def _table(
    groups: Sequence[WholeGroup],
    real: NetworkAnswers,
    whole: NetworkAnswers,
    alone: Mapping[str, NetworkAnswers],
    sums: Mapping[str, Overflows],
    of: int,
) -> Table:
    def cells(one: NetworkAnswers) -> list[str]:
        return [f"{one.loss:.4f}", *([] if one.right is None else [f"{one.right:,} of {of:,}"])]

    rows = [["none", "", "", *cells(real)]]
    for group in groups:
        clipped = ", ".join(f"{clipped_share(one):.2%}" for one in group.inputs)
        rows.append([group.name, clipped, f"{sums[group.name].share:.2%}", *cells(alone[group.name])])
    rows.append(["all", "", "", *cells(whole)])
    head = ["in whole numbers", "weights clipped", "sums that overflow", "loss"]
    return Table([*head, *([] if real.right is None else ["right"])], rows, text_columns=(0,))


def _overflow_lines(sums: Mapping[str, Overflows]) -> Iterator[str]:
    for name, one in sums.items():
        if one.recordings:
            recording, most = one.recordings.most_common(1)[0]
            yield (
                f"overflow: {name}, in {len(one.recordings):,} recordings, most in recording {recording}: {most:,} sums"
            )
    if not any(one.recordings for one in sums.values()):
        yield "no sum overflows"
