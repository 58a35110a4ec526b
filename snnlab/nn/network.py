"""Named layers, one after the other, over all steps at once.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.compat import bare
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.fusion import Fused, OnSpikes, begins_on_events, fuse
from snnlab.nn.temporal import OWN, Counts, TemporalLayer, fold_time, valid_steps

NetworkState = dict[str, Any]
RunLine = Callable[
    [Iterable[tuple[str, nn.Module]], Tensor, NetworkState, NetworkState, Tensor | None, Counts | None], Tensor
]
# Sees a layer with its input, its output, the state before, the lengths, and its own counts.
Watch = Callable[[nn.Module | Fused, Tensor, Tensor, Any, Tensor | None, Counts | None], None]
_WATCHES: list[Watch] = []


class Network(TemporalLayer):
    """Apply named layers in order; a temporal layer itself, so networks nest.

    A layer without time sees all T*B steps as one batch; a temporal layer sees `[T, B, ...]` and its part of the
    state. Blocks are networks whose layers are connected in another way.

    Args:
        layers: Layers by name; the names are the keys of the state dict, of the state and of the counts.
        kinds: What layers are called in the registry, by name, for `snnlab show`.
        beside: Further layers, which are not among those applied in order: a block's own way around them.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name.

    Raises:
        ValueError: if a name cannot be used, or the state holds a name that is no layer.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        *,
        kinds: Mapping[str, str] | None = None,
        beside: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.kinds = dict(kinds or {})
        # What takes all steps through the layers; see `recompute` for another way.
        self.run: RunLine = run_line
        self._beside = frozenset(beside or ())
        for name, layer in (*layers.items(), *(beside or {}).items()):
            if not str(name).isidentifier() or hasattr(self, name):
                such = f", such as '{name}1'" if str(name).isidentifier() else ""
                raise ValueError(f"'{name}' cannot be a layer's name; use letters, digits and _{such}")
            self.add_module(name, layer)

    def connection(self) -> str:
        """Return how the layers are connected, in words for `snnlab show`; nothing where one follows the other."""
        return ""

    @property
    def takes_lists(self) -> bool:
        """Whether the input may be lists of events: the first layer takes them, and nobody else looks."""
        return type(self) is Network and self.run is run_line and bare(self) and begins_on_events(self.line())

    def line(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layers that are applied in order, with their names."""
        return ((name, layer) for name, layer in self.named_children() if name not in self._beside)

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps through each layer in turn."""
        before = self.known(state)
        after: NetworkState = {}
        lengths = None if valid_steps(lengths, x.shape[0], x if isinstance(x, Tensor) else x.like) is None else lengths
        if self.run is run_line:
            y = run_line(self.line(), x, before, after, lengths, counts)
        else:
            y = self.run(self.line(), dense(x), before, after, lengths, counts)
        return zero_past_end(y, lengths), after

    def known(self, state: NetworkState | None) -> NetworkState:
        """Return the state by layer name, empty at rest, or raise a ValueError for a name that is no layer."""
        if state is None:
            return {}
        if unknown := state.keys() - self._modules.keys():
            raise ValueError(f"the state holds {sorted(unknown)}, which are no layers of this network")
        return state


def run_line(
    layers: Iterable[tuple[str, nn.Module]],
    x: Tensor | EventFrames,
    before: NetworkState,
    after: NetworkState,
    lengths: Tensor | None,
    counts: Counts | None,
    *,
    preceding: Sequence[tuple[str, nn.Module]] = (),
) -> Tensor:
    """Run all steps through named layers in turn and return the output of the last.

    Args:
        layers: The layers with their names.
        x: Input of the first; lists of events only where that takes them.
        before: State before the first step, by layer.
        after: A dict to fill with the state after the last step.
        lengths: See `TemporalLayer`, as `counts`.
        counts: A dict to fill, or None.
        preceding: Layers whose output x is, in order, as far as they are known.
    """
    # The compiler sees through the layers, and fuses by itself.
    for name, layer in layers if torch.compiler.is_compiling() else fuse(layers, preceding):
        x, state = run_layer(name, layer, x, before.get(name), lengths, counts)
        if state is not None:
            after[name] = state
    return dense(x)


def run_layer(
    name: str,
    layer: nn.Module | Fused | OnSpikes,
    x: Tensor | EventFrames,
    state: Any,
    lengths: Tensor | None,
    counts: Counts | None,
) -> tuple[Tensor, Any]:
    """Run all steps through one layer, with or without time; its counts stand under its name."""
    own: Counts | None = None if counts is None else {}
    if isinstance(layer, Fused):
        y, after = layer(x, state, lengths=lengths, counts=own)
    elif isinstance(layer, TemporalLayer):
        y, after = layer(dense(x), state, lengths=lengths, counts=own)
    else:
        y, after = fold_time(layer, dense(x)), None
    seen = layer.convolution if isinstance(layer, OnSpikes) else layer
    for watch in _WATCHES:
        watch(seen, dense(x), y, state, lengths, own)
    if counts is not None:
        counts.update({f"{name}.{key}" if key != OWN else name: n for key, n in (own or {}).items()})
    return y, after


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let every layer of every network be seen, those in blocks too, as it runs: unlike a hook, this unfuses nothing.

    Args:
        watch: What sees them; it must change nothing. A neuron that does its neighbours' work is seen as `Fused`.
    """
    _WATCHES.append(watch)
    try:
        yield
    finally:
        _WATCHES.remove(watch)


def zero_past_end(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return x with zeros at the steps past each sample's length."""
    valid = valid_steps(lengths, x.shape[0], x)
    return x if valid is None else torch.where(valid, x, 0)
