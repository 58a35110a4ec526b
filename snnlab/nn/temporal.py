"""The contract of layers that know time, and the folding of time for those that do not.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from torch import Tensor, nn

from snnlab.compat import BatchNormNd
from snnlab.errors import SnnlabError
from snnlab.kernels.reference import valid_steps

__all__ = ["ASIDE", "OWN", "Counts", "Reach", "TemporalLayer", "fold_time", "only_spikes", "reach_of", "valid_steps"]

Counts = dict[str, Tensor]

# The key under which a layer counts its own spikes; the network around it puts the layer's name in its place.
OWN = ""
# Keys that begin with it hold what else a layer counts, not spikes; no layer's name does.
ASIDE = "@"


# What a layer's output at a step depends on: that step alone; the steps before too, carried on by the state, so that
# pieces of time give what the whole gives; which steps it is given at once, for statistics or draws; or all steps of
# the recording, which in training it has to be given at once.
Reach = Literal["step", "past", "given", "recording"]


class TemporalLayer(nn.Module):
    """A layer that sees all steps at once and carries a state, given and returned, never kept.

    A subclass defines `forward(x, state=None, *, lengths=None, counts=None) -> (y, state)`:

    Args:
        x: Input of all steps.
        state: What an earlier call returned; None is rest.
        lengths: Valid steps of each sample; later steps give zeros and leave the state where it was.
        counts: A dict to fill: a spiking layer puts each neuron's spikes, summed over the valid steps, under `OWN`.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64; y: `[T, B, ...]`; counts: `[B, ...]`.
    """

    reach: Reach = "given"
    """What an output depends on."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """Return the output of all steps and the state after the last.

        Raises:
            ValueError: if there is no step.
        """
        x = args[0] if args else kwargs.get("x")
        if x is not None and x.shape[0] == 0:
            raise ValueError(f"{type(self).__name__} needs 1 step or more, x is [T, B, ...], got {list(x.shape)}")
        return super().__call__(*args, **kwargs)

    def __prepare_scriptable__(self) -> None:
        """Refuse `torch.jit.script`, which asks this first.

        Raises:
            SnnlabError: always.
        """
        raise SnnlabError(
            "",
            f"torch.jit.script cannot read {type(self).__name__}, whose states are NamedTuples in dicts",
            "use torch.export.export(network, (x,))",
        )


def reach_of(layers: Iterable[nn.Module]) -> Reach:
    """Return the widest reach of some layers; one without time sees a step by itself, unless it takes statistics."""
    known: tuple[Reach, ...] = get_args(Reach)
    found = ((layer, "given" if isinstance(layer, BatchNormNd) else "step") for layer in layers)
    return known[max((known.index(getattr(layer, "reach", own)) for layer, own in found), default=0)]


def only_spikes(counts: Counts) -> Counts:
    """Return the counts without what else layers have counted."""
    return {key: n for key, n in counts.items() if not key.rpartition(".")[2].startswith(ASIDE)}


def fold_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer without time to all steps at once, as one batch of T*B samples.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]`.
    """
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
