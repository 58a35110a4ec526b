"""Linear layers and convolutions whose connections have delays.

Axes: T steps, B samples, M steps of the longest delay, C channels, K weights of a connection.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.compat import ConvNd
from snnlab.nn.delays import Delays, DelayState, last_steps, make_delays, with_past
from snnlab.nn.layer import Counts, Reach, TemporalLayer, copy_to, valid_steps

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class DelayedConnections(TemporalLayer):
    """Connections that each have one or more weights with delays.

        y[t] = b + sum over m, k of W[k] * taps[k][m] x[t - m],   x[t < 0] = 0

    Args:
        module: The layer without delays; its shapes are used, but not its values.
        delay: Settings of the delays.
        dt: Length of a step, ms.

    Shape:
        x: `[T, B, ...]`; state: `DelayState(x [B, M, ...])`; weight: that of the layer without delays, and K.
    """

    reach: Reach = "past"

    def __init__(self, module: nn.Linear | ConvNd, delay: Mapping[str, Any], dt: float | None) -> None:
        super().__init__()
        shape = tuple(module.weight.shape)
        delays = make_delays(delay, shape, dt, with_count=True)
        self.weight = nn.Parameter(torch.empty(*shape, delays.fraction.shape[-1]))
        self.bias = None if module.bias is None else nn.Parameter(torch.empty(shape[0]))
        self.delays: Delays = delays
        bound = self.weight[0].numel() ** -0.5
        with torch.no_grad():
            for part in (self.weight, self.bias):
                if part is not None:
                    part.uniform_(-bound, bound)  # torch's default

    def forward(
        self,
        x: Tensor,
        state: DelayState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, DelayState]:
        number = self.delays.max_steps
        x_all = with_past(x, state, number)
        y = self.convolve_time(x_all, self.delays.kernel(self.weight))
        valid = valid_steps(lengths, y.shape[0], y)
        y = y if valid is None else torch.where(valid, y, 0)
        return y, DelayState(last_steps(x_all, number, lengths).transpose(0, 1))

    @abstractmethod
    def convolve_time(self, x_all: Tensor, kernel: Tensor) -> Tensor:
        """Return the outputs of all steps after the first M."""

    @abstractmethod
    def without_delays(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the output for another weight, without delays and bias, x: `[N, ...]`; to count operations."""


class EveryState(NamedTuple):
    """The last inputs, the oldest first, `[B, M, ...]`, and the number of steps since the last output, `[B]`."""

    x: Tensor
    steps: Tensor


class DelayedLinear(DelayedConnections):
    """A linear layer whose connections have delays; see `DelayedConnections`.

    Args:
        every: Steps from one output to the next, the first after as many steps; 0 between them.

    Shape:
        x: `[T, B, ..., F]`; state: `DelayState(x)`, or `EveryState(x, steps)` where `every` is above 1.
    """

    def __init__(self, module: nn.Linear, delay: Mapping[str, Any], dt: float | None, every: int = 1) -> None:
        super().__init__(module, delay, dt)
        self.every = every

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        if self.every == 1:
            return super().forward(x, state, lengths=lengths)
        number, num_steps = self.delays.max_steps, x.shape[0]
        kernel, valid = self.delays.kernel(self.weight), valid_steps(lengths, num_steps, x)
        before = torch.zeros(x.shape[1], dtype=torch.int64, device=x.device) if state is None else state.steps
        if state is None and num_steps >= self.every:
            y = self._strided(x, kernel)
        else:  # the samples may be at different steps
            step = before + 1 + torch.arange(num_steps, device=x.device)[:, None]
            due = (step % self.every == 0).reshape(*step.shape, *[1] * (x.dim() - 2))
            y = torch.where(due, self.convolve_time(with_past(x, state, number), kernel), 0)
        y = y if valid is None else torch.where(valid, y, 0)
        own = num_steps if lengths is None else copy_to(x.device, lengths.clamp(max=num_steps))
        after = (before + own) % self.every
        if lengths is None and num_steps >= number:
            last = x[num_steps - number :]
        else:
            last = last_steps(with_past(x, state, number), number, lengths)
        return y, EveryState(last.transpose(0, 1), after)

    def _strided(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return the outputs from rest, a matrix product of only the steps that count: several times faster."""
        every, spacing = self.every, self.delays.spacing
        step = math.gcd(every, spacing)
        # All steps that count end a group of `step`; one slice, since its gradient is as large as the whole input.
        x_some, kernel = x[step - 1 :: step], kernel[..., ::spacing]
        stride, space, taps = every // step, spacing // step, kernel.shape[-1]
        missing = space * (taps - 1) - stride + 1  # zeros before the first step, or steps that no output needs
        x_some = torch.cat([x.new_zeros(missing, *x.shape[1:]), x_some]) if missing > 0 else x_some[-missing:]
        outputs = x.shape[0] // every
        windows = [x_some[space * tap : space * tap + stride * (outputs - 1) + 1 : stride] for tap in range(taps)]
        y = functional.linear(torch.cat(windows, -1), kernel.transpose(1, 2).flatten(1), self.bias)
        axes = [0, 0] * (x.dim() - 1)
        y = functional.pad(y[:, None], [*axes, every - 1, 0]).flatten(0, 1)
        return functional.pad(y, [*axes, 0, x.shape[0] % every]) if x.shape[0] % every else y

    def convolve_time(self, x_all: Tensor, kernel: Tensor) -> Tensor:
        x, spacing = x_all.flatten(1, -2).permute(1, 2, 0), self.delays.spacing
        y = functional.conv1d(x, kernel[..., ::spacing], self.bias, dilation=spacing)
        return y.permute(2, 0, 1).unflatten(1, x_all.shape[1:-1])

    def without_delays(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight.sum(-1)) / self.every


class DelayedConv(DelayedConnections):
    """A convolution whose kernel's cells have delays; see `DelayedConnections`."""

    def __init__(self, module: ConvNd, delay: Mapping[str, Any], dt: float | None) -> None:
        super().__init__(module, delay, dt)
        self.stride, self.dilation, self.groups = tuple(module.stride), tuple(module.dilation), module.groups
        self.padding = _padding(module)
        self.padding_mode: Any = "constant" if module.padding_mode == "zeros" else module.padding_mode

    def convolve_time(self, x_all: Tensor, kernel: Tensor) -> Tensor:
        x = self._pad(x_all.flatten(0, 1)).unflatten(0, x_all.shape[:2])
        if len(self.stride) < 3:
            settings = ((1, *self.stride), 0, (1, *self.dilation), self.groups)
            convolve = _CONVOLVE[len(self.stride) + 1]
            return convolve(x.movedim(0, 2), kernel.movedim(-1, 2), self.bias, *settings).movedim(2, 0)
        num_steps = len(x) - self.delays.max_steps  # torch has no convolution over four axes
        parts = [self._convolve(x[m : m + num_steps].flatten(0, 1), tap) for m, tap in enumerate(kernel.unbind(-1))]
        y = torch.stack(parts).sum(0).unflatten(0, (num_steps, -1))
        return y if self.bias is None else y + self.bias.reshape(-1, 1, 1, 1)

    def without_delays(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._convolve(self._pad(x), weight.sum(-1))

    def _pad(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.padding, self.padding_mode) if any(self.padding) else x

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return _CONVOLVE[len(self.stride)](x, weight, None, self.stride, 0, self.dilation, self.groups)


def _padding(module: ConvNd) -> list[int]:
    """Return the cells that a convolution pads before and after each axis, from the last axis to the first."""
    if not isinstance(module.padding, str):
        return [size for size in reversed(module.padding) for _ in range(2)]
    totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    totals = totals if module.padding == "same" else [0] * len(totals)
    return [part for total in reversed(totals) for part in (total // 2, total - total // 2)]
