"""Exports the network of a run as a NIR file, and measures what a lossy export loses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from snnlab.config.schema import Experiment
from snnlab.errors import DataError
from snnlab.interop import nir_metadata
from snnlab.interop.integer_network import integer_network, is_whole
from snnlab.interop.nir_export import Exported, to_graph
from snnlab.interop.nir_files import write_graph
from snnlab.interop.nir_import import from_graph
from snnlab.interop.nir_options import NIRReadOptions, option_text
from snnlab.nn import Network
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.layer import only_spikes
from snnlab.nn.quantization import real_name
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.session import Session

# Recordings on which an export is measured, at most.
MOST_RECORDINGS = 1024


class NirOptions(NamedTuple):
    """How a network is written.

    Attributes:
        checkpoint: Which weights of the run.
        lossy: Write what NIR cannot say as the nearest that it can.
        fold_norm: Fold batch normalizations into the layer before them.
    """

    checkpoint: CheckpointName
    lossy: bool = False
    fold_norm: bool = False


class ExportComparison(NamedTuple):
    """Answers of two networks on the same recordings.

    Attributes:
        recordings: Their number.
        same: Recordings with the same answer.
        right: Right answers of both; None where the targets are no classes.
        spikes: Spikes of both.
    """

    recordings: int
    same: int
    right: tuple[int, int] | None
    spikes: tuple[int, int]

    def __str__(self) -> str:
        right = "" if self.right is None else f", right {self.right[0]:,} -> {self.right[1]:,}"
        return (
            f"{self.same:,} of {self.recordings:,} validation recordings have the same answer{right},"
            f" spikes {self.spikes[0]:,} -> {self.spikes[1]:,}"
        )


def export_nir(experiment: Experiment, run: Path, target: Path, options: NirOptions) -> Iterator[str]:
    """Write the network of a run into a NIR file, and yield lines that say what was lost.

    Args:
        experiment: That of the run.
    """
    session = Session(experiment, run, run=run, checkpoint=options.checkpoint)
    session.use_threads()
    network = session.network.eval()
    written = fold_norm(network) if options.fold_norm else network
    if is_whole(network):
        written = integer_network(network).network
    readout = session.experiment.loss.get("readout")
    exported = to_graph(written, lossy=options.lossy, readout=readout if isinstance(readout, str) else None)
    lines = list(_lost_lines(exported))
    if is_whole(network):
        lines.append(f"in whole numbers: {_measure(session, _real_network(session), written)}")
    elif options.fold_norm:
        lines.append(f"fold_norm rounds: {_measure(session, network, written)}")
    if exported.lost:
        lines.append(f"as NIR says it: {_measure(session, network, as_nir_says(exported.graph))}")
    write_graph(target, exported.graph)
    yield from lines
    meant = _meaning(exported.graph)
    step = f"{meant['dt']:g} ms" if "dt" in meant else "no length"
    rule = f"by forward Euler in steps of {step}, an input of 1 as a current of 1 during its step"
    yield f"meant to be read {rule}: snnlab import --ignore-metadata {option_text(meant)}"
    yield f"{len(exported.graph.nodes)} nodes, {len(exported.graph.edges)} edges"


def _real_network(session: Session) -> Network:
    """Return the network with the real weights that whole numbers are rounded from."""
    real = Session(replace(session.experiment, quantize=None)).built.network
    weights = {real_name(name): value for name, value in session.network.state_dict().items()}
    real.load_state_dict({name: weights[name] for name in real.state_dict()})
    return real.eval()


def _lost_lines(exported: Exported) -> Iterator[str]:
    by_text: dict[str, list[str]] = {}
    for each in exported.lost:
        by_text.setdefault(f"{each.what} -> {each.instead}", []).append(each.layer)
    for text, layers in by_text.items():
        yield f"lost: {', '.join(layers)}: {text}"


def as_nir_says(graph: Any) -> Network:
    """Return the network that a reader makes of a graph of snnlab without its metadata, by forward Euler."""
    return from_graph(graph, NIRReadOptions(**_meaning(graph), ignore_metadata=True)).build().network


def _meaning(graph: Any) -> dict[str, Any]:
    """Return the options with which a graph of snnlab is read as it is meant, without its layers."""
    own = nir_metadata.read(graph)
    assert own is not None
    return own.meaning(has_reset=any(hasattr(node, "v_reset") for node in graph.nodes.values()))


def _measure(session: Session, network: Network, other: Network) -> str:
    """Return how two networks differ on the validation recordings, or why this cannot be measured."""
    try:
        data = session.data
    except DataError as error:
        return f"not measured ({error.message})"
    items = data.epoch_items(data.split.val)[:MOST_RECORDINGS]
    if not len(items):
        return "not measured (no validation recordings)"
    return str(compare(session, network, other, items))


@torch.no_grad()
def compare(session: Session, network: Network, other: Network, items: np.ndarray) -> ExportComparison:
    """Return how two networks differ on recordings of a session's data, in evaluation mode."""
    same = right = right_other = 0
    spikes = [0, 0]
    classes = session.settings.targets == "class"
    for batch in session.data.batches_of(items):
        answers = []
        for index, each in enumerate((network, other)):
            counts: dict[str, torch.Tensor] = {}
            y, _ = each(batch.x, lengths=batch.lengths, counts=counts)
            answers.append(session.loss.readout(y, batch.lengths))
            spikes[index] += int(sum(n.sum().item() for n in only_spikes(counts).values()))
        if classes:
            first, second = (answer.argmax(-1) for answer in answers)
            right += int((first == batch.targets).sum())
            right_other += int((second == batch.targets).sum())
            same += int((first == second).sum())
        else:
            same += int((answers[0] == answers[1]).flatten(1).all(1).sum())
    return ExportComparison(len(items), same, (right, right_other) if classes else None, (spikes[0], spikes[1]))
