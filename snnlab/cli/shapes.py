"""`snnlab train debug=shapes`: what each layer takes and gives, for one batch, and nothing trained.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn

from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning, table_console
from snnlab.data.events.frames import Batch
from snnlab.nn import Network
from snnlab.nn.layer import TemporalLayer
from snnlab.session import Session


class Passed(NamedTuple):
    """What went through a layer: its input and its output, whether they begin with T, B or with T*B."""

    name: str
    x: Tensor
    y: Tensor
    lead: int


def show_shapes(experiment: Experiment, folder: Path) -> None:
    """Send one batch through the experiment's network and print a row a layer.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    with experiment.located_errors(), quiet_lightning():
        session = Session(experiment, folder)
        session.prepare()
        device = session.processes.device
        batch = session.data.first_batch(device)
        with torch.no_grad():
            passed = list(layers_passed(session.network.to(device), batch))
    steps, samples = batch.x.shape[:2]
    print(f"{steps} steps of {samples} samples through the network, {device}")
    table_console().print(shapes_table(passed))


def layers_passed(network: Network, batch: Batch) -> Iterator[Passed]:
    """Yield what went through each layer, first the frames themselves."""
    seen: list[Passed] = []

    def hook(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        seen.append(Passed(name, inputs[0], y, 2 if isinstance(layer, TemporalLayer) else 1))

    handles = [
        layer.register_forward_hook(lambda *given, name=name: hook(name, *given))
        for name, layer in network.named_children()
    ]
    try:
        network(batch.x, lengths=batch.lengths)
    finally:
        for handle in handles:
            handle.remove()
    yield Passed("(frames)", batch.x, batch.x, 2)
    yield from seen


def shapes_table(passed: list[Passed]) -> Table:
    """Return a row a layer; shapes are those of one sample at one step, figures those of the whole output."""
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "in", "out", "dtype", "order", "min", "mean", "max", "not 0"):
        left = column in ("layer", "in", "out", "dtype", "order")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for name, x, y, lead in passed:
        figures = (f"{float(f):.3g}" for f in (y.min(), y.float().mean(), y.max()))
        fired = f"{float((y != 0).float().mean()):.2%}"
        dtype = str(y.dtype).removeprefix("torch.")
        table.add_row(name, _shape(x, lead), _shape(y, lead), dtype, _memory(y, lead), *figures, fired)
    return table


def _shape(x: Tensor, lead: int) -> str:
    return "x".join(str(size) for size in x.shape[lead:])


def _memory(y: Tensor, lead: int) -> str:
    """Return where the channels are in memory; blank where a sample has no places."""
    if y.dim() - lead != 3:
        return ""
    flat = y.flatten(0, lead - 1)
    first, last = flat.is_contiguous(), flat.is_contiguous(memory_format=torch.channels_last)
    return {(True, True): "either", (True, False): "first", (False, True): "last"}.get((first, last), "strided")
