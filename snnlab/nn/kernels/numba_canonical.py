"""The canonical neurons, a step at a time, by the compiled walks.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels import keeping
from snnlab.nn.kernels.bells import GIVEN, Bell, bell_of
from snnlab.nn.kernels.numba_backward import backward
from snnlab.nn.kernels.numba_cells import NumbaCell
from snnlab.nn.kernels.numba_events import NOWHERE, none
from snnlab.nn.kernels.numba_forward import forward
from snnlab.nn.kernels.numba_job import RESETS, SYNAPSES, Job, without_graph
from snnlab.nn.neurons.membrane import Coefficients

# As the walks take it.
NO_POOL = (0, 1, 1)


class CanonicalCell(NumbaCell):
    """Neurons of the canonical recurrence; the steps of a call are one."""

    states: ClassVar[tuple[str, ...]] = ("v", "i")

    def __init__(self, job: Job, k: Coefficients, like: Tensor) -> None:
        super().__init__(job, k, like)
        self.bell = Bell(-1) if job.rule.surrogate is None else bell_of(job.rule.surrogate)
        self.given: Tensor | None = None
        self.no_events = none(like)
        self.dialect = RESETS[job.rule.reset], job.rule.reset_delay

    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs."""
        return keeping.of_canonical(self.job.rule, wanted)

    def run(self, steps: slice, x: np.ndarray, y: np.ndarray, lengths: np.ndarray) -> None:
        """Go through one step."""
        job, (v, *i) = self.job, self.state
        for name, part in (("vs", v), *(("is", part) for part in i)):
            if name in self.kept:
                self.kept[name][steps.start] = part
        walk = partial(
            forward,
            x,
            v.numpy(),
            i[0].numpy() if i else self.nothing[2],
            self.table,
            self.uniform,
            lengths,
            y,
            self.of("u", steps),
            self.of("j", steps),
            self.counted(),
            self.no_events,
            NOWHERE,
            self.piece,
            NO_POOL,
            *self.dialect,
            job.rule.strict,
            SYNAPSES[job.rule.synapse],
            job.rule.spikes,
        )
        self.share(walk)

    def resume(
        self,
        kept: Mapping[str, Tensor],
        grads: Sequence[Tensor | None],
        gn: Tensor | None,
        wanted: Collection[str],
    ) -> None:
        """Stand behind the last step; see `Cell`."""
        super().resume(kept, grads, gn, wanted)
        surrogate = self.job.rule.surrogate
        if surrogate is None or self.bell.formula != GIVEN:
            return
        # The derivative at the membrane before each step, which a delayed reset needs, and at that of the step.
        both = torch.stack([kept.get("vs", kept["u"]), kept["u"]], 1)
        v_threshold = without_graph(self.k.v_threshold)
        derivative = surrogate.derivative(self.spread(both) - v_threshold, v_threshold)
        self.given = torch.from_numpy(np.ascontiguousarray(self.job.layout.rows(derivative)))

    def back(self, steps: slice, gy: np.ndarray, dx: np.ndarray, lengths: np.ndarray) -> None:
        """Go back through one step."""
        job, (gv, *gi) = self.job, self.state
        before = self.of("is", steps)
        vs = self.of("vs", steps)
        walk = partial(
            backward,
            gy,
            self.counted(),
            gv.numpy(),
            gi[0].numpy() if gi else self.nothing[2],
            self.of("u", steps),
            self.of("j", steps),
            self.of("x", steps),
            vs[0] if vs.size else self.nothing[2],
            before[0] if before.size else self.nothing[2],
            self.nothing[3] if self.given is None else self.given[steps.start].numpy(),
            self.table,
            self.uniform,
            lengths,
            dx,
            self.sums.numpy(),
            self.slots,
            self.no_events,
            NOWHERE,
            self.nothing[4],
            self.nothing[2],
            self.piece,
            NO_POOL,
            *self.dialect,
            not job.rule.detach_reset,
            job.rule.strict,
            SYNAPSES[job.rule.synapse],
            self.bell.formula,
            self.bell.lobes,
        )
        self.share(walk)
