"""The neuron with an adaptive threshold on a GPU in Triton: one launch forward, one back.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import ClassVar

from torch import Tensor

from snnlab.nn.kernels import adaptive, keeping, triton_adaptive_backward, triton_adaptive_forward
from snnlab.nn.kernels.triton_cells import TritonCell
from snnlab.nn.kernels.triton_launch import formula_of


class AdaptiveCell(TritonCell):
    """Neurons with an adaptive threshold."""

    states: ClassVar[tuple[str, ...]] = ("v", "w")

    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs; spikes follow from the gaps."""
        return [name for name in keeping.of_adaptive(self.job.rule, wanted) if name != "y"]

    def run(self, steps: slice, x: Tensor, y: Tensor, lengths: Tensor | None) -> None:
        """Go through some steps."""
        v, w = self.state
        rule = self.job.rule
        kept = {name: self.of(name, steps) for name in ("gaps", "vs", "ws")}
        given = {"x": x, "v": v, "w": w, "y": y, "count": self.n, "reset": rule.reset, "strict": rule.strict}
        self.launch(triton_adaptive_forward.forward, lengths, **given, **kept)

    def back(self, steps: slice, gy: Tensor | None, dx: Tensor, lengths: Tensor | None) -> None:
        """Go back through some steps."""
        gv, gw = self.state
        rule = self.job.rule
        kept = {name: self.of(name, steps) for name in ("gaps", "x", "vs", "ws")}
        grads = {"gy": gy, "gv": gv, "gw": gw, "gn": self.n, "dx": dx, **self.summed()}
        self.launch(
            triton_adaptive_backward.backward,
            lengths,
            given=self.slope(self.kept["gaps"][steps], 0.0),
            reset=rule.reset,
            strict=rule.strict,
            attached=not rule.detach_reset,
            formula=formula_of(rule),
            **kept,
            **grads,
        )


run = partial(adaptive.run, AdaptiveCell)
