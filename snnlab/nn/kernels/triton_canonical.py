"""The canonical neurons on a GPU, a step at a time, by the Triton kernels of all steps.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from snnlab.nn.kernels import keeping, triton_backward, triton_forward
from snnlab.nn.kernels.triton_cells import TritonCell
from snnlab.nn.kernels.triton_launch import dialect, formula_of


class CanonicalCell(TritonCell):
    """Neurons of the canonical recurrence; the steps of a call are one."""

    states: ClassVar[tuple[str, ...]] = ("v", "i")

    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs."""
        return keeping.of_canonical(self.job.rule, wanted)

    def run(self, steps: slice, x: Tensor, y: Tensor, lengths: Tensor | None) -> None:
        """Go through one step."""
        v, i = self._pair()
        for name, part in (("vs", v), ("is", i)):
            if part is not None and name in self.kept:
                self.kept[name][steps.start] = part
        kept = {name: self.of(name, steps) for name in ("u", "j")}
        # A program reads the state before it writes there.
        state = {"v0": v, "i0": i, "v": v, "i": i}
        self.launch(triton_forward.forward, lengths, x=x, y=y, count=self.n, **state, **kept, **dialect(self.job.rule))

    def resume(
        self,
        kept: Mapping[str, Tensor],
        grads: Sequence[Tensor | None],
        gn: Tensor | None,
        wanted: Collection[str],
    ) -> None:
        """Stand behind the last step; see `Cell`."""
        super().resume(kept, grads, gn, wanted)
        for name, of_what in (("given", "u"), ("given0", "vs")):
            if (slope := self.slope(kept.get(of_what), self.k.v_threshold)) is not None:
                self.keep({name: slope})

    def back(self, steps: slice, gy: Tensor | None, dx: Tensor, lengths: Tensor | None) -> None:
        """Go back through one step."""
        rule, (gv, gi) = self.job.rule, self._pair()
        kept = {name: self.of(name, steps) for name in ("u", "j", "x", "given", "given0")}
        self.launch(
            triton_backward.backward,
            lengths,
            gy=gy,
            gn=self.n,
            v0=self.of("vs", steps),
            i0=self.of("is", steps),
            gv=gv,
            gi=gi,
            dx=dx,
            dv0=gv,
            di0=gi,
            attached=not rule.detach_reset,
            formula=formula_of(rule),
            **kept,
            **self.summed(),
            **dialect(rule),
        )

    def _pair(self) -> tuple[Tensor, Tensor | None]:
        """Return the membrane and the current, or their gradients; None without a synapse."""
        v, *i = self.state
        return v, i[0] if i else None
