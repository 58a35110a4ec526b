"""A block that goes on with its own output as input, after the last step that is given.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.blocks.branches import Context, Layers, children, last_shape, suggest_layers
from snnlab.nn.blocks.loop import keep_ended, valid_in_step
from snnlab.nn.layer import LAYERS, Counts, add_counts, copy_to, in_host_memory, reach_of
from snnlab.nn.network import Network, NetworkState, Shape, zero_past_end
from snnlab.nn.neurons.base import plain_loops
from snnlab.settings import Count

_STATE = "generated"


class GeneratedState(NamedTuple):
    """State of an autoregressive block beside that of its layers.

    Attributes:
        step: Number of steps so far, int64 `[B]`, in host memory.
        y: Last output, `[B, ...]`.
    """

    step: Tensor
    y: Tensor


class Autoregressive(Network):
    """Apply layers in order; after `known_steps` steps, the input of a step is the output of the step before.

        input at t = x[t] if t < known_steps, else y[t-1]

    A network that is trained to predict its next input generates a sequence in this way; x is not read from
    `known_steps` on. The known steps run at once, the generated ones step by step.

    Args:
        layers: Layers by name; the shape of their output is that of their input.
        known_steps: Number of steps whose input is given.
        detach: Whether no gradient passes through an output that is fed back.
        layer_types: Types of the layers by name, for summaries.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name, with a `GeneratedState` under
        `generated`.

    Raises:
        ConfigError: if a name is not allowed.

    Source: detached, as in the prediction of oscillations of Baronig et al., Nature Communications 16, 2025.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        known_steps: int,
        *,
        detach: bool = True,
        layer_types: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(layers, layer_types=layer_types, extra_layers={_STATE: nn.Identity()})
        self.known_steps, self.detach = known_steps, detach

    def connection(self) -> str:
        return f"from step {self.known_steps} on, its output is its next input"

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run the known steps at once, then the others one by one."""
        x, layers = dense(x), [*self.layers()]
        now = dict(self.check_state(state))
        start = torch.zeros(x.shape[1], dtype=torch.int64, device="cpu")
        last: GeneratedState = now.pop(_STATE, GeneratedState(start, torch.zeros_like(x[0])))
        lengths, before = in_host_memory(lengths), last.step.cpu()
        known = len(x) if state is None else max(0, self.known_steps - int(before.max()))
        known = min(known, self.known_steps, len(x))
        valid = valid_in_step(lengths, len(x))
        parts = [(x[:known], None if lengths is None else lengths.clamp(max=known))] if known else []
        parts += [(None, own) for own in valid[known:]]
        outputs, y = [], last.y
        for given, own in parts:
            inner: Counts | None = None if counts is None else {}
            after: NetworkState = {}
            fed = given if given is not None else (y.detach() if self.detach else y)[None]
            # The call of a compiled loop takes longer than the few operations of one step.
            with plain_loops() if given is None else nullcontext():
                part = self.run_layers(layers, fed, now, after, own, inner)
            y, now = _last_valid(part, y, own), after
            outputs.append(part)
            add_counts(counts, inner or {})
        outputs += [torch.zeros_like(outputs[-1][:1])] * (len(x) - sum(map(len, outputs)))  # all samples have ended
        now[_STATE] = GeneratedState(before + (len(x) if lengths is None else lengths.clamp(max=len(x))), y)
        return zero_past_end(
            torch.cat([part.flatten(0, 1) for part in outputs]).unflatten(0, x.shape[:2]), lengths
        ), now


def _last_valid(part: Tensor, old: Tensor, lengths: Tensor | None) -> Tensor:
    """Return each sample's last valid output, or the old one if it has ended; `part [t, B, ...]`."""
    if lengths is None:
        return part[-1]
    index = copy_to(part.device, lengths.clamp(1, len(part)) - 1)
    return keep_ended(part[index, torch.arange(len(index), device=index.device)], old, lengths.clamp(0, 1))


@LAYERS.register("autoregressive")
def autoregressive(
    in_shape: Shape,
    dt: float | None,
    num_steps: int | None,
    *,
    layers: Layers,
    known_steps: Count,
    detach: bool = True,
) -> Autoregressive:
    """Apply layers in order; after `known_steps` steps, the input of a step is the output of the step before.

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        num_steps: Steps of a recording.
        layers: Named layers, like those of a model; the shape of their output is that of their input.
        known_steps: Number of steps whose input is given.
        detach: Whether no gradient passes through an output that is fed back.

    Raises:
        ConfigError: at the place of a layer that is invalid, or if input and output have different shapes.
        ConfigError: if a layer needs whole recordings, since generated steps run one by one.
    """
    built = Context(dt, num_steps).build(layers, in_shape)
    if (shape := last_shape(built)) != in_shape:
        like = suggest_layers(shape, in_shape)
        raise ConfigError(
            "layers",
            f"their output has shape {list(shape)}, but their input, which it becomes, has {list(in_shape)}",
            f"add layers that output it{f', such as {like}' if like else ''}",
        )
    block = Autoregressive(children(built), known_steps, detach=detach, layer_types=built.network.layer_types)
    for name, layer in block.layers():
        if reach_of([layer]) == "recording":
            raise ConfigError(
                f"layers.{name}",
                "needs all steps at once (per_step of batch_norm, psn), but generated steps run one by one",
                "choose another layer",
            )
    return block
