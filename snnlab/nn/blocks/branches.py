"""Blocks of layers: in sequence, repeated, in parallel branches, or with a shortcut.

Axes: T steps, B samples, C channels or features, the first axis of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames
from snnlab.nn.layer import LAYERS, Counts, Dt, InShape, NumSteps
from snnlab.nn.network import BuiltNetwork, Network, NetworkState, Shape, build_network, zero_past_end
from snnlab.spec.interval import Count
from snnlab.spec.signatures import checks_arguments

Layers = Mapping[str, Any]


class Context(NamedTuple):
    """Length and number of steps, passed from a network to the layers of a block."""

    dt: float | None
    num_steps: int | None

    def build(self, layers: Layers, in_shape: Shape, place: str = "layers") -> BuiltNetwork:
        """Build the layers of a block; `place`: their key in the block's node."""
        if not layers:
            raise ConfigError(place, "needs at least one layer, such as {fc: {type: linear, out_features: 32}}")
        return build_network(layers, in_shape=in_shape, dt=self.dt, num_steps=self.num_steps, place=place)


def children(built: BuiltNetwork) -> dict[str, nn.Module]:
    """Return the layers of a network by name."""
    return dict(built.network.named_children())


def last_shape(built: BuiltNetwork) -> Shape:
    """Return the output shape of a network with at least one layer."""
    return next(reversed(built.shapes.values()))


def concat(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the channels.

    Shape:
        parts: each `[T, B, C, ...]`; returns `[T, B, sum of C, ...]`.
    """
    # Concatenation with time folded into the batch keeps channels-last memory.
    return torch.cat([x.flatten(0, 1) for x in parts], dim=1).unflatten(0, parts[0].shape[:2])


def shapes_match(shapes: Sequence[Shape], *, channels_too: bool) -> bool:
    """Return whether shapes are equal; without `channels_too` except for the channels."""
    return len({shape if channels_too else (len(shape), *shape[1:]) for shape in shapes}) == 1


def suggest_layers(shape: Shape, wanted: Shape) -> str | None:
    """Return layers in YAML syntax that convert one shape to another, or None if no simple layers do."""
    if len(shape) == len(wanted) == 1:
        return f"{{fc: {{type: linear, out_features: {wanted[0]}}}}}"
    if len(shape) != len(wanted) or len(shape) not in (2, 3, 4) or 0 in wanted:
        return None
    stride = -(-shape[1] // wanted[1])
    if tuple((n - 1) // stride + 1 for n in shape[1:]) != wanted[1:]:
        return None
    stepping = f", stride: {stride}" if stride > 1 else ""
    return f"{{conv: {{type: conv{len(shape) - 1}d, out_channels: {wanted[0]}, kernel_size: 1{stepping}}}}}"


@LAYERS.register("sequential")
def sequential(in_shape: InShape, dt: Dt, num_steps: NumSteps, *, layers: Layers) -> Network:
    """Apply layers in sequence, under one name.

    Args:
        layers: Named layers, like those of a model.
    """
    return Context(dt, num_steps).build(layers, in_shape).network


@LAYERS.register("repeat")
def repeat(in_shape: InShape, dt: Dt, num_steps: NumSteps, *, times: Count, layers: Layers) -> Network:
    """Apply several copies of layers in sequence, each with its own weights.

    The copies are called `copy1`, `copy2`, ...; each is built for the output shape of the copy before.

    Args:
        times: Number of copies.
        layers: Named layers, like those of a model.
    """
    context, copies = Context(dt, num_steps), dict[str, nn.Module]()
    for number in range(1, times + 1):
        built = _build_copy(context, layers, in_shape, number)
        copies[f"copy{number}"], in_shape = built.network, last_shape(built)
    return Network(copies, layer_types=dict.fromkeys(copies, "copy"))


def _build_copy(context: Context, layers: Layers, in_shape: Shape, number: int) -> BuiltNetwork:
    try:
        return context.build(layers, in_shape)
    except ConfigError as error:
        if number == 1:
            raise
        raise error.with_fields(message=f"{error.message} (copy {number})") from error


Join = Literal["concat", "add"]


@checks_arguments
class Parallel(Network):
    """Apply several branches to the input and join their outputs.

        y = [a(x), b(x), ...]       join "concat", along the channels
          | a(x) + b(x) + ...       join "add"

    Args:
        branches: Branches by name, each a network or a layer.
        join: `concat`: along the channels; `add`: their sum.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by branch.
    """

    def __init__(self, branches: Mapping[str, nn.Module], join: Join = "concat") -> None:
        if not branches:
            raise ConfigError("branches", "a parallel block needs at least one")
        super().__init__({}, layer_types=dict.fromkeys(branches, "branch"), extra_layers=branches)
        self.join: Join = join

    def connection(self) -> str:
        return self.join

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps."""
        before = self.check_state(state)
        after: NetworkState = {}
        parts = [self.run_layers([branch], x, before, after, lengths, counts) for branch in self.named_children()]
        y = concat(parts) if self.join == "concat" else sum(parts[1:], parts[0])
        return zero_past_end(y, lengths), after


@LAYERS.register("parallel")
def parallel(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    branches: Mapping[str, Layers],
    join: Join = "concat",
) -> Parallel:
    """Apply several branches to the input and join their outputs.

    Args:
        branches: Branches by name, each with named layers, like those of a model.
        join: `concat`: along the channels; `add`: their sum.
    """
    context = Context(dt, num_steps)
    built = {name: context.build(_branch_layers(branches, name), in_shape, f"branches.{name}") for name in branches}
    shapes = {name: last_shape(branch) for name, branch in built.items()}
    if not shapes:
        raise ConfigError("branches", "needs at least one, such as {a: {fc: {type: linear, out_features: 32}}}")
    if not shapes_match(list(shapes.values()), channels_too=join == "add"):
        shown = ", ".join(f"{name} gives {list(shape)}" for name, shape in shapes.items())
        axes = "all axes but the first" if join == "concat" else "all axes"
        raise ConfigError("join", f"{join} needs branches with equal {axes}", shown)
    return Parallel({name: branch.network for name, branch in built.items()}, join)


def _branch_layers(branches: Mapping[str, Layers], name: str) -> Layers:
    layers = branches[name]
    if not isinstance(layers, Mapping):
        raise ConfigError(
            f"branches.{name}", f"expected named layers, such as {{fc: {{type: linear}}}}, got {layers!r}"
        )
    return layers


Connect = Literal["add", "and", "iand", "concat"]
SHORTCUT = "shortcut"
_JOIN: dict[Connect, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, branch: x + branch,
    "and": lambda x, branch: x * branch,
    "iand": lambda x, branch: x * (1.0 - branch),
    "concat": lambda x, branch: concat((x, branch)),
}


@checks_arguments
class Residual(Network):
    """Join the output of layers with their input.

        y = x + layers(x)           connect "add"
          | x * layers(x)           connect "and"
          | x * (1 - layers(x))     connect "iand"
          | [x, layers(x)]          connect "concat", along the channels

    With a shortcut, the x outside of layers(x) is shortcut(x). If both operands are spikes, `and` and `iand` give
    spikes, and `add` gives 0, 1 or 2.

    Args:
        connect: How input and output are joined.
        shortcut: Module applied to x in parallel to the layers.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name.

    Source: Fang et al., Deep residual learning in spiking neural networks (SEW-ResNet), NeurIPS 2021.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        connect: Connect = "add",
        shortcut: nn.Module | None = None,
        *,
        layer_types: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(layers, layer_types=layer_types, extra_layers={} if shortcut is None else {SHORTCUT: shortcut})
        self.connect: Connect = connect

    def connection(self) -> str:
        return self.connect

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        branch, after = super().forward(x, state, lengths=lengths, counts=counts)
        shortcut = [(name, self.get_submodule(name)) for name in self._extra_layers]
        x = self.run_layers(shortcut, x, state or {}, after, lengths, counts)
        return zero_past_end(_JOIN[self.connect](x, branch), lengths), after


@LAYERS.register("residual")
def residual(
    in_shape: InShape,
    dt: Dt,
    num_steps: NumSteps,
    *,
    connect: Connect = "add",
    layers: Layers,
    shortcut: Layers | None = None,
) -> Residual:
    """Join the output of layers with their input.

    Args:
        connect: `add`: x + layers(x); `and`: their product; `iand`: x where the layers give 0; `concat`: both, along
            the channels.
        layers: Named layers, like those of a model.
        shortcut: Named layers that are applied to x in parallel, such as a 1x1 convolution.
    """
    context = Context(dt, num_steps)
    built = context.build(layers, in_shape)
    shortcut_branch = context.build(shortcut, in_shape, SHORTCUT) if shortcut else None
    _require_fit(
        connect, in_shape, in_shape if shortcut_branch is None else last_shape(shortcut_branch), last_shape(built)
    )
    layer_types = {**built.network.layer_types, SHORTCUT: "shortcut"}
    return Residual(
        children(built), connect, None if shortcut_branch is None else shortcut_branch.network, layer_types=layer_types
    )


def _require_fit(connect: Connect, in_shape: Shape, x: Shape, branch: Shape) -> None:
    if shapes_match([x, branch], channels_too=connect != "concat"):
        return
    wanted = branch if connect != "concat" else (x[0], *branch[1:])
    layers = suggest_layers(in_shape, wanted)
    hint = f", such as {layers}" if layers else ", or layers that keep the size, such as those with padding: same"
    raise ConfigError(
        "connect",
        f"{connect} cannot join x of shape {list(x)} with layers that give {list(branch)}",
        f"set a shortcut that ends with {list(wanted)}{hint}",
    )
