"""Recurrent layers that do not spike, as baselines: torch's GRU and LSTM.

Axes: T steps, B samples, F features, L layers, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from snnlab.errors import ConfigError
from snnlab.nn.layer import LAYERS, Counts, InShape, TemporalLayer, copy_to, in_host_memory, valid_steps
from snnlab.spec.interval import Count, UnitInterval


class GRUState(NamedTuple):
    """Hidden state of each layer, `[B, L, H]`."""

    h: Tensor


class LSTMState(NamedTuple):
    """Hidden state and cell of each layer, `[B, L, H]`."""

    h: Tensor
    c: Tensor


class RecurrentLayer(TemporalLayer, nn.RNNBase):
    """Base that makes torch's recurrent modules temporal layers; the state dict is torch's.

    Shape:
        x: `[T, B, F]`; state: a NamedTuple of `[B, L, H]`; returns `[T, B, H]` and the state.
    """

    State: ClassVar[type[GRUState] | type[LSTMState]]

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        if state is None:
            rest = x.new_zeros(x.shape[1], self.num_layers, self.hidden_size)
            state = self.State(*(rest for _ in self.State._fields))
        lengths = in_host_memory(lengths)
        valid = valid_steps(lengths, x.shape[0], x)
        if lengths is None or valid is None:
            return self._run(x, state)
        # A packed sequence needs at least one step of each sample; the step of empty samples is undone below. Samples
        # are sorted here, since torch's own order is on the device, where `pad_packed_sequence` reads it.
        sizes, order = lengths.clamp(1, x.shape[0]).sort(descending=True)
        order, back, empty = (
            copy_to(x.device, each) for each in (order, order.argsort(), (lengths == 0)[:, None, None])
        )
        packed = pack_padded_sequence(x.index_select(1, order), sizes)
        outputs, after = self._run(packed, self.State(*(part.index_select(0, order) for part in state)))
        y = pad_packed_sequence(outputs, total_length=x.shape[0])[0].index_select(1, back)
        kept = (torch.where(empty, old, new.index_select(0, back)) for old, new in zip(state, after, strict=True))
        return torch.where(valid, y, 0), self.State(*kept)

    def _run(self, x: Any, state: Any) -> tuple[Any, Any]:
        """Call torch's module, whose state has the layer axis first and is a tensor if it has one part."""
        before: tuple[Tensor, ...] = tuple(part.transpose(0, 1).contiguous() for part in state)
        y, after = super().forward(x, before[0] if len(before) == 1 else before)
        parts = after if isinstance(after, tuple) else (after,)
        return y, self.State(*(part.transpose(0, 1) for part in parts))


class GRU(RecurrentLayer, nn.GRU):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Gated recurrent units, with the arguments of torch's GRU."""

    State = GRUState


class LSTM(RecurrentLayer, nn.LSTM):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Long short-term memory, with the arguments of torch's LSTM."""

    State = LSTMState


def _recurrent(kind: str, module: type[GRU] | type[LSTM]) -> Callable[..., RecurrentLayer]:
    def build(
        in_shape: InShape, *, hidden_size: Count, num_layers: Count = 1, bias: bool = True, dropout: UnitInterval = 0.0
    ) -> RecurrentLayer:
        """Run torch's recurrent layers of this name over all steps, as a baseline that does not spike.

        Args:
            hidden_size: Units of each layer.
            num_layers: Number of stacked layers.
            bias: Whether the gates have a bias.
            dropout: Probability of a zero between two layers in training, drawn at each step.

        Shape:
            `[T, B, F]` to `[T, B, hidden_size]`.
        """
        if len(in_shape) != 1:
            raise ConfigError(
                "", f"{kind} needs an input of 1 axis [F], got {list(in_shape)}", "put a flatten before it"
            )
        if dropout and num_layers == 1:
            raise ConfigError("dropout", "acts between layers, and num_layers is 1", "put a dropout layer after it")
        return module(in_shape[0], hidden_size, num_layers, bias, dropout=dropout)

    build.__name__ = kind
    return build


gru = LAYERS.register("gru")(_recurrent("gru", GRU))
lstm = LAYERS.register("lstm")(_recurrent("lstm", LSTM))
