"""A way back within a loop: from a layer's last output to the next input of the same or an earlier one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn.blocks.within import Context, Layers, cure, last_shape
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.settings import Setting, check_known

_SETTINGS = {
    "from": Setting("from", str | None, "", None),
    "to": Setting("to", str | None, "", None),
    "layers": Setting("layers", Mapping[str, Any] | None, "", None),
}


class FeedbackState(NamedTuple):
    """What a feedback carries to the next step.

    Attributes:
        y: Last output of the layer that it comes from, `[B, ...]`.
        layers: State of its own layers, where they have one.
    """

    y: Tensor
    layers: Any


class LoopFeedback(NamedTuple):
    """A way back from one layer to the same or an earlier one.

    Attributes:
        source: The layer that it comes from.
        target: The layer to whose input it is added.
        shape: Output of the source, of one sample at one step: zeros of this shape come before the first step.
        layer: What the source's output goes through.
    """

    source: str
    target: str
    shape: Shape
    layer: nn.Module

    @property
    def name(self) -> str:
        """What it is called among the loop's layers."""
        return f"{self.source}_to_{self.target}"


def build_feedback(node: Any, place: str, built: BuiltNetwork, in_shape: Shape, context: Context) -> LoopFeedback:
    """Build one way back from its node `{from: ..., to: ..., layers: {...}}`.

    Args:
        node: The node; by default the way leads from the loop's last layer to its first.
        place: Where it stands in the loop's node.
        built: The loop's layers.
        in_shape: Input of the first of them.
        context: What the layers within are told.

    Raises:
        ConfigError: naming the place, if a name is unknown, the way does not lead back, or a shape does not fit.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{from: lif2, to: lif1}}, got {node!r}")
    check_known(_SETTINGS, node, place, "feedback")
    names = list(built.shapes)
    source = _layer(node.get("from"), names[-1], names, f"{place}.from")
    target = _layer(node.get("to"), names[0], names, f"{place}.to")
    if names.index(target) > names.index(source):
        raise ConfigError(
            place,
            f"{target} comes after {source}, so this leads forward",
            f"turn it round (from: {target}, to: {source}), or use a residual block",
        )
    shape, wanted = built.shapes[source], [in_shape, *built.shapes.values()][names.index(target)]
    layers: Layers | None = node.get("layers")
    inner = context.build(layers, shape, f"{place}.layers") if layers else None
    given = shape if inner is None else last_shape(inner)
    if given != wanted:
        like = cure(given, wanted)
        raise ConfigError(
            place,
            f"shape {list(given)} comes back from {source}, but the input of {target} is {list(wanted)}",
            f"add feedback layers that end with it{f', such as {like}' if like else ''}",
        )
    return LoopFeedback(source, target, shape, nn.Identity() if inner is None else inner.network)


def as_nodes(feedback: Any) -> Sequence[tuple[str, Any]]:
    """Return each feedback's node with its place: one node, or a list of several."""
    if isinstance(feedback, Sequence) and not isinstance(feedback, str):
        return [(f"feedback.{number}", node) for number, node in enumerate(feedback)]
    return [("feedback", {} if feedback is None else feedback)]


def _layer(name: str | None, default: str, names: Collection[str], place: str) -> str:
    if name is None:
        return default
    if name not in names:
        near = did_you_mean(name, names)
        raise ConfigError(place, f"there is no layer '{name}' in this loop", near, () if near else names)
    return name
