"""The eager kernel's gradient from the output to the membrane, back through spikes and resets.

With d the surrogate's derivative at u[t], and gy and gv what arrives at y[t] and at the last v:

    gu[t] = gy[t] * d + w * gu[t+1]     and + p * gv at the last step

p = dv[t]/du[t] and w = du[t+1]/du[t] follow from u[t] alone, for many steps at once; a detached reset leaves out what
is in brackets:

    reset "subtract"    p = 1 [- r * d]                        w = a * p; delayed: a [- r * d]
    reset "value"       p = 1 - s [+ (v_reset - u) * d]        w = a * p, delayed or not
    reset "none"        p = 1                                  w = a

Where the reset is delayed, p = 1 at the last step, and the membrane before the input is a step without an output.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snnlab.nn.kernels.eager_forward import fire, reset, silent
from snnlab.nn.kernels.eager_steps import Ends, Rooms
from snnlab.nn.kernels.eager_sums import Sums, accumulate, add_at_ends, later_rows
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import Coefficients, is_number


class MembraneAdjoint:
    """What gradients reach the membranes of some samples.

    Args:
        gv: What arrives at the membrane after the last valid step, `[B, ...]`; None if nothing does.
        k: Numbers of the recurrence.
        rule: The neuron's dialect.
        ends: Where the samples end.
        rooms: Memory for a group of steps.
        sums: Gradients of the coefficients, added to.
    """

    def __init__(self, gv: Tensor | None, k: Coefficients, rule: Rule, ends: Ends, rooms: Rooms, sums: Sums) -> None:
        self.gv, self.k, self.rule, self.ends, self.rooms, self.sums = gv, k, rule, ends, rooms, sums
        self.valid = ends.valid(rooms.row)
        self.attached = rule.reset != "none" and not rule.detach_reset
        self.late_subtract = rule.reset_delay and rule.reset == "subtract"
        self.factors = None if rule.surrogate is None else rule.surrogate.factors(k.v_threshold)

    def run(self, steps: slice, u: Tensor | None, gy: Tensor, later: Tensor, out: Tensor) -> None:
        """Write the gradient of u for a group of steps; `later` is that of the step after it.

        Shape:
            u, gy, out: the steps, `[K, B, ...]`; u may be None where nothing needs it; later: `[B, ...]`.
        """
        d = self._derivative(steps, u)
        if d is None:
            out.copy_(gy)
        else:
            torch.mul(gy, d, out=out)
        p = self._slope(steps, u, d)
        add_at_ends(out, self.gv, 1.0 if self.rule.reset_delay else p, self.ends, steps)
        accumulate(out, self._carried(p, len(out)), later)
        if self.sums.totals and u is not None:
            self._add_sums(steps, u, gy, d, later_rows(out, later))

    def _derivative(self, steps: slice, u: Tensor | None) -> Tensor | None:
        """Return what y passes on to u, nothing past a sample's end, or None where it passes on all."""
        valid = self.valid[steps] if self.valid is not None and steps.stop > self.ends.shortest else None
        if u is None or self.rule.surrogate is None or self.factors is None:
            return valid
        slope, height = self.factors
        d = torch.sub(u, self.k.v_threshold, out=self.rooms("d", steps)).mul_(slope)
        # Whatever memory the bell returns, it is not ours to change.
        bell = self.rule.surrogate.bell(d)
        if not is_number(height, 1.0):
            bell = torch.mul(bell, height, out=d)
        return bell if valid is None else torch.mul(bell, valid, out=d)

    def _slope(self, steps: slice, u: Tensor | None, d: Tensor | None) -> Number:
        """Return what a reset passes on to u, p without a delay."""
        value = self.rule.reset == "value"
        if u is None or d is None or not (value or self.attached):
            return 1.0
        p = self.rooms("p", steps)
        if not value:
            return torch.mul(d, -self.k.r, out=p).add_(1.0)
        silent(u, self.k, self.rule, p)
        if self.attached:
            p.addcmul_(torch.sub(u, self.k.v_reset, out=self.rooms("above", steps)), d, value=-1.0)
        return p

    def _carried(self, p: Number, num_steps: int) -> Sequence[Number]:
        """Return w for each step; p is used up."""
        if not isinstance(p, Tensor):
            return [self.k.a] * num_steps
        return (p.add_(self.k.a - 1.0) if self.late_subtract else p.mul_(self.k.a)).unbind()

    def _add_sums(self, steps: slice, u: Tensor, gy: Tensor, d: Tensor | None, later: Tensor) -> None:
        """Add the gradients of the coefficients; `later` is the gradient of u one step later."""
        k, rule, sums = self.k, self.rule, self.sums
        s = fire(u, k, rule, torch.empty_like(u))
        if "a" in sums:
            changes = rule.reset != "none" and not self.late_subtract
            sums.add("a", later * (reset(u, s, k, rule, torch.empty_like(u)) if changes else u))
        if d is None or not rule.spikes:
            return
        # What arrives at the result of the reset.
        arriving = later if self.late_subtract else later * k.a
        if not rule.reset_delay:
            add_at_ends(arriving, self.gv, 1.0, self.ends, steps)
        if rule.reset == "subtract" and "r" in sums:
            sums.add("r", -s * arriving)
        if rule.reset == "value" and "v_reset" in sums:
            sums.add("v_reset", s * arriving)
        if "v_threshold" in sums:
            spiked = gy + arriving * (k.v_reset - u if rule.reset == "value" else -k.r) if self.attached else gy
            sums.add("v_threshold", -spiked * d)
