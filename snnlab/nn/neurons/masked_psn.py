"""The masked parallel spiking neuron, whose every step sees the k last ones.

Axes: T steps, B samples, then the layer's own; S steps of a whole recording.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.layer import Reach, Scheduled, copy_to
from snnlab.nn.layers.elementwise import last_steps
from snnlab.nn.neurons.parallel import NumSteps, Order, ParallelNeuron, over_time
from snnlab.nn.neurons.psn import own_steps
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import Converted, no_setting, setting
from snnlab.spec.interval import UnitInterval, between


class MaskedPSNState(NamedTuple):
    """The last k - 1 inputs, the oldest first, `[B, k - 1, ...]`; each sample's steps, int64 `[B]`, in host memory."""

    x: Tensor
    step: Tensor


@NEURONS.register("masked_psn")
class MaskedPSN(ParallelNeuron, Scheduled):
    """Parallel spiking neuron whose step sees itself and the k - 1 steps before it, with weights for each step.

        M = masking * band + (1 - masking),   band[t, t'] = 1 for t - k < t' <= t, else 0

    In the paper `masking` grows from 0 to 1 during the training: set `masking: 0` and `masking_rise`. At 1 the neuron
    is causal, and in evaluation its recordings may come in pieces.

    Args:
        num_steps: S, the steps of a recording; given by the data.
        masking: Weight of the band, 0 (none, as `psn`) to 1 (the band alone); at first, if it rises.
        masking_rise: Fraction of a training's epochs in which masking rises linearly to 1; None: it stays.

    Shape:
        x: `[T, B, ...]`; state: `MaskedPSNState(x [B, k - 1, ...], step [B])`; returns spikes in {0, 1}, `[T, B, ...]`,
        and the state. The parameters `weight [S, S]` and `bias [S, 1]` are SpikingJelly's.

    Source: Fang et al., Parallel spiking neurons, NeurIPS 2023; SpikingJelly 2.0, neuron.MaskedPSN.
    """

    reach: Reach = no_setting("recording")
    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = sum over t' of M[t, t'] * weight[t, t'] * x[t'] + bias[t],   s[t] = H(u[t])     bias[t] = -1 at first",
    )

    num_steps: NumSteps = setting(default=None, kw_only=False)
    order: Order = 8
    masking: Annotated[Converted[float, Tensor], between(0, 1)] = setting(default=1.0)
    masking_rise: UnitInterval | None = None

    def prepare(self) -> None:
        super().prepare()
        steps = self.make_weights("masked_psn", self.num_steps)
        self.masking_start, self.schedule_fraction = float(vars(self).pop("masking")), self.masking_rise
        self.register_buffer("masking", torch.tensor(self.masking_start))
        self.register_buffer("band", torch.ones(steps, steps).tril().triu(1 - self.order), persistent=False)

    @property
    def whole_recording(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether a step sees later ones."""
        return bool(self.masking < 1.0)

    def masked_weight(self) -> Tensor:
        """Return M * weight."""
        return (self.masking * self.get_buffer("band") + (1.0 - self.masking)) * self.weight

    def set_progress(self, progress: float) -> None:
        self.masking.fill_(self.masking_start + (1.0 - self.masking_start) * progress)

    def initial_state(self, x: Tensor) -> MaskedPSNState:
        step = torch.zeros(x.shape[0], dtype=torch.int64, device="cpu")
        return MaskedPSNState(x.new_zeros(x.shape[0], self.order - 1, *x.shape[1:]), step)

    def drive(self, x: Tensor, state: MaskedPSNState | None, lengths: Tensor | None) -> tuple[Tensor, MaskedPSNState]:
        start = self.initial_state(x[0]) if state is None else state
        x_all, before = torch.cat([start.x.transpose(0, 1), x]), start.step.cpu()
        after = MaskedPSNState(
            last_steps(x_all, self.order - 1, lengths).transpose(0, 1), before + own_steps(x, lengths)
        )
        if x.shape[0] == self.num_steps and (state is None or not before.any()):
            return over_time(self.masked_weight(), x, self.bias), after
        self._require_pieces(x, after)
        return self._drive_piece(x_all, copy_to(x.device, before)), after

    def _require_pieces(self, x: Tensor, after: MaskedPSNState) -> None:
        """Raise a ConfigError if the input is neither a whole recording nor a piece of one."""
        if self.training or self.masking < 1.0:
            raise ConfigError(
                "", f"masked_psn needs all {self.num_steps} steps of a recording in one call, got {x.shape[0]}"
            )
        if after.step.numel() and after.step.max() > self.num_steps:
            raise ConfigError("", f"masked_psn was built for {self.num_steps} steps, got {int(after.step.max())}")

    def _drive_piece(self, x_all: Tensor, before: Tensor) -> Tensor:
        """Return the drive of a piece; each sample is at a step of its own, `before` `[B]`."""
        length, taps = x_all.shape[0] - self.order + 1, torch.arange(self.order, device=x_all.device)
        steps = before + torch.arange(length, device=x_all.device)[:, None]
        # Past its length a sample may be past the last step; its output there is replaced by zeros.
        rows = steps.clamp(max=self.num_steps - 1)
        columns = (steps - self.order + 1)[..., None] + taps
        inside = (columns >= 0) & (columns < self.num_steps)
        weights = self.weight[rows[..., None], columns.clamp(0, self.num_steps - 1)] * inside
        windows = x_all.unfold(0, self.order, 1)  # [T, B, ..., k]
        shape = (*steps.shape, *[1] * (windows.dim() - 3))
        weights = weights.to(x_all.dtype).reshape(*shape, self.order)
        return (windows * weights).sum(-1) + self.bias[rows, 0].to(x_all.dtype).reshape(shape)

    def extra_repr(self) -> str:
        """Return the settings that `print(network)` shows."""
        return f"num_steps={self.num_steps}, order={self.order}"
