"""Layers with feedback from later to earlier layers, run step by step.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.compat import traced_by_torch
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.event_frames import EventFrames
from snnlab.nn.blocks.branches import Context, Layers, children, last_shape, suggest_layers
from snnlab.nn.layer import LAYERS, Counts, Dt, InShape, NumSteps, add_counts, copy_to, reach_of
from snnlab.nn.network import BuiltNetwork, Network, NetworkState, Shape, zero_past_end
from snnlab.nn.stages import Stage, run_stage
from snnlab.spec.field import Field
from snnlab.spec.signatures import check_known

_SETTINGS = {
    "from": Field("from", str | None, "", None),
    "to": Field("to", str | None, "", None),
    "layers": Field("layers", Mapping[str, Any] | None, "", None),
}


class FeedbackState(NamedTuple):
    """State of a feedback between two steps.

    Attributes:
        y: Last output of its source layer, `[B, ...]`.
        layers: State of the feedback's own layers, if they have one.
    """

    y: Tensor
    layers: Any


class LoopFeedback(NamedTuple):
    """A feedback from one layer to the same or an earlier layer.

    Attributes:
        source: Name of its source layer.
        target: Name of the layer whose input it is added to.
        shape: Output shape of the source, of one sample at one step; before the first step the output is 0.
        layer: Module applied to the source's output.
    """

    source: str
    target: str
    shape: Shape
    layer: nn.Module

    @property
    def name(self) -> str:
        """Its name among the loop's layers."""
        return f"{self.source}_to_{self.target}"


def build_feedback(node: Any, place: str, built: BuiltNetwork, in_shape: Shape, context: Context) -> LoopFeedback:
    """Build one feedback from its node `{from: ..., to: ..., layers: {...}}`.

    Args:
        node: The node; by default from the loop's last layer to its first.
        place: Its place in the loop's node.
        built: The loop's layers.
        in_shape: Input shape of the first of them.
        context: Length and number of steps.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{from: lif2, to: lif1}}, got {node!r}")
    check_known(_SETTINGS, node, place, "feedback")
    names = list(built.shapes)
    source = _layer_name(node.get("from"), names[-1], names, f"{place}.from")
    target = _layer_name(node.get("to"), names[0], names, f"{place}.to")
    if names.index(target) > names.index(source):
        raise ConfigError(
            place,
            f"{target} comes after {source}, so this is not a feedback",
            f"swap them (from: {target}, to: {source}), or use a residual block",
        )
    shape, wanted = built.shapes[source], [in_shape, *built.shapes.values()][names.index(target)]
    layers: Layers | None = node.get("layers")
    inner = context.build(layers, shape, f"{place}.layers") if layers else None
    fed_back = shape if inner is None else last_shape(inner)
    if fed_back != wanted:
        like = suggest_layers(fed_back, wanted)
        raise ConfigError(
            place,
            f"the feedback of {source} has shape {list(fed_back)}, but the input of {target} has {list(wanted)}",
            f"add feedback layers that output it{f', such as {like}' if like else ''}",
        )
    return LoopFeedback(source, target, shape, nn.Identity() if inner is None else inner.network)


def feedback_nodes(feedback: Any) -> Sequence[tuple[str, Any]]:
    """Return the nodes of one feedback, or of a list of feedbacks, each with its place."""
    if isinstance(feedback, Sequence) and not isinstance(feedback, str):
        return [(f"feedback.{number}", node) for number, node in enumerate(feedback)]
    return [("feedback", {} if feedback is None else feedback)]


def _layer_name(name: str | None, default: str, names: Collection[str], place: str) -> str:
    if name is None:
        return default
    if name not in names:
        near = did_you_mean(name, names)
        raise ConfigError(place, f"there is no layer '{name}' in this loop", near, () if near else names)
    return name


class _FeedbackPath(NamedTuple):
    """A feedback without its module, which is a child of the loop."""

    name: str
    source: str
    target: str
    shape: Shape


class _SpannedLayer(NamedTuple):
    """A layer that a feedback spans, with the feedbacks that end at its input and start at its output."""

    stage: Stage
    ends: list[Stage]
    begins: list[str]


class Loop(Network):
    """Add a layer's output of the step before to the input of the same or an earlier layer.

        input of `target` at t = (output of the layer before it at t) + feedback(output of `source` at t-1)

    The output before the first step is 0. This is feedback around one or more layers; `recurrent: true` of a neuron is
    the feedback of one population to itself, through its own weights. The layers from target to source run step by
    step, with T = 1, so that a normalization over the batch there has single steps; the layers before and after them
    run all steps at once.

    Args:
        feedback: The feedbacks.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name; that of a feedback is a
        `FeedbackState` under the name `source_to_target`.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        feedback: Sequence[LoopFeedback],
        *,
        layer_types: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(layers, layer_types=layer_types, extra_layers={path.name: path.layer for path in feedback})
        names = list(layers)
        ends = [(names.index(path.target), names.index(path.source)) for path in feedback]
        if not ends or any(target > source for target, source in ends):
            raise ConfigError("feedback", "a loop needs one, and each must lead to the same or an earlier layer")
        self.feedback_paths = tuple(_FeedbackPath(path.name, path.source, path.target, path.shape) for path in feedback)
        self._first, self._last = min(target for target, _ in ends), max(source for _, source in ends)

    def connection(self) -> str:
        return join_names(f"{path.source} → {path.target}" for path in self.feedback_paths)

    def step_by_step_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layers that run step by step, with names: those that feedbacks span, and those of feedbacks."""
        yield from list(self.layers())[self._first : self._last + 1]
        yield from ((path.name, self.get_submodule(path.name)) for path in self.feedback_paths)

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps."""
        layers, before = list(self.layers()), self.check_state(state)
        after: NetworkState = {}
        x = self.run_layers(layers[: self._first], x, before, after, lengths, counts)
        x, inner = self._run_steps(layers[self._first : self._last + 1], x, before, lengths, counts)
        after |= inner
        x = self.run_layers(layers[self._last + 1 :], x, before, after, lengths, counts)
        return zero_past_end(x, lengths), after

    def _run_steps(
        self,
        layers: list[tuple[str, nn.Module]],
        x: Tensor,
        before: NetworkState,
        lengths: Tensor | None,
        counts: Counts | None,
    ) -> tuple[Tensor, NetworkState]:
        """Run the layers that feedbacks span step by step; return their output and state."""
        spanned = self._spanned_layers(layers)
        state = {name: before[name] for name, _ in layers if name in before}
        for path in self.feedback_paths:
            rest = FeedbackState(x.new_zeros(x.shape[1], *path.shape), None)
            state[path.name] = before.get(path.name, rest)
        outputs = []
        for x_t, valid in zip(x.split(1), _valid_in_step(lengths, x.shape[0]), strict=False):
            own: Counts | None = None if counts is None else {}
            outputs.append(_run_step(spanned, x_t, state, valid, own)[0])
            add_counts(counts, own or {})
        outputs += [torch.zeros_like(outputs[0])] * (len(x) - len(outputs))  # after the end of all samples
        # Concatenation along the folded axis keeps channels-last memory.
        return torch.cat(outputs).unflatten(0, x.shape[:2]), state

    def _spanned_layers(self, layers: list[tuple[str, nn.Module]]) -> list[_SpannedLayer]:
        """Return the layers that feedbacks span, each with the feedbacks that end and start at it."""
        return [
            _SpannedLayer(
                Stage(name, layer),
                [
                    Stage(path.name, self.get_submodule(path.name))
                    for path in self.feedback_paths
                    if path.target == name
                ],
                [path.name for path in self.feedback_paths if path.source == name],
            )
            for name, layer in layers
        ]


def _run_step(
    spanned: list[_SpannedLayer], x: Tensor, state: NetworkState, valid: Tensor | None, counts: Counts | None
) -> Tensor:
    """Run one step `[1, B, ...]` through the layers, and update the state in place."""
    for stage, ends, begins in spanned:
        for path in ends:
            last: FeedbackState = state[path.name]
            back, inner = run_stage(path, last.y[None], last.layers, valid, counts)
            x, state[path.name] = x + back, last._replace(layers=inner)
        x, after = run_stage(stage, x, state.get(stage.name), valid, counts)
        if after is not None:
            state[stage.name] = after
        for path in begins:
            state[path] = state[path]._replace(y=keep_ended(x[0], state[path].y, valid))
    return x


def keep_ended(new: Tensor, old: Tensor, valid: Tensor | None) -> Tensor:
    """Return the new output, or the old one for samples that have ended."""
    if valid is None:
        return new
    kept = copy_to(new.device, valid).bool()
    return torch.where(kept.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def _valid_in_step(lengths: Tensor | None, num_steps: int) -> list[Tensor | None]:
    """Return for each step until the longest sample's end the lengths 0 or 1 of samples, or None if all are valid.

    Shape:
        lengths: `[B]`; returns 1 to `num_steps` items, each `[B]`.
    """
    if lengths is None:
        return [None] * num_steps
    if traced_by_torch():
        return list((lengths - torch.arange(num_steps, device=lengths.device)[:, None]).clamp(0, 1))
    lengths = lengths.cpu()
    ends = [min(end, num_steps) for end in lengths.tolist()]
    steps = torch.arange(min(ends), max(1, *ends), device="cpu")
    return [None] * min(ends) + list((lengths - steps[:, None]).clamp(0, 1))


@LAYERS.register("loop")
def loop(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    layers: Layers,
    feedback: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
) -> Loop:
    """Add a layer's output of the step before to the input of the same or an earlier layer.

    Args:
        layers: Named layers, like those of a model.
        feedback: `{from: lif2, to: lif1, layers: {...}}`, or a list of these; by default from the last layer to the
            first, without layers.
    """
    context = Context(dt, num_steps)
    built = context.build(layers, in_shape)
    paths: dict[str, LoopFeedback] = {}
    if feedback == []:
        raise ConfigError("feedback", "needs at least one, such as {from: lif2, to: lif1}")
    for place, node in feedback_nodes(feedback):
        path = build_feedback(node, place, built, in_shape, context)
        if path.name in paths:
            raise ConfigError(place, f"there is already a feedback from {path.source} to {path.target}", "keep one")
        paths[path.name] = path
    layer_types = {**built.network.layer_types, **dict.fromkeys(paths, "feedback")}
    block = Loop(children(built), list(paths.values()), layer_types=layer_types)
    _require_single_steps(block)
    return block


def _require_single_steps(block: Loop) -> None:
    """Raise a ConfigError if a layer that runs step by step needs whole recordings in training."""
    for name, layer in block.step_by_step_layers():
        if reach_of([layer]) == "recording":
            raise ConfigError(
                "feedback" if name in (path.name for path in block.feedback_paths) else f"layers.{name}",
                f"{name} needs all steps at once (per_step of batch_norm, psn), but runs step by step",
                "put it before or after the layers that the feedback spans",
            )
