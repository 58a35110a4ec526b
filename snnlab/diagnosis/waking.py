"""Whether training wakes a silent layer: its surrogate may let enough through for the first few steps to do it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from snnlab.diagnosis.measure import Objective
from snnlab.diagnosis.weights import MakeOptimizer
from snnlab.nn import Network
from snnlab.nn.temporal import Counts

# A layer that has not spiked after so many steps on one batch keeps an epoch, and often a run, from beginning.
STEPS = 10


def waking(
    network: Network,
    x: Tensor,
    lengths: Tensor,
    objective: Objective,
    make_optimizer: MakeOptimizer,
    names: Iterable[str],
) -> dict[str, int | None]:
    """Train on one batch until the layers spike; return after how many steps each one did, None after `STEPS`.

    The first of these steps is the one that `measure` has tried.

    Args:
        network: The network, behind `measure`; its weights change.
        x: Frames.
        lengths: Valid steps of each sample.
        objective: From the network's output and its counts to the loss.
        make_optimizer: What makes the optimizer.
        names: The silent layers.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    wakes: dict[str, int | None] = dict.fromkeys(names)
    optimizer = make_optimizer(network)
    for step in range(1, STEPS + 1):
        counts: Counts = {}
        y, _ = network(x, lengths=lengths, counts=counts)
        wakes |= {name: step for name, at in wakes.items() if at is None and bool(counts[name].any())}
        if None not in wakes.values() or step == STEPS:
            break
        optimizer.zero_grad(set_to_none=True)
        objective(y, counts).backward()
        optimizer.step()
    return wakes
