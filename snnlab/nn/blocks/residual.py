"""Layers with a way around them.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames
from snnlab.nn.blocks.within import Context, Layers, children, concat, cure, fit, last_shape
from snnlab.nn.build import Shape
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.network import Network, NetworkState, zero_past_end
from snnlab.nn.temporal import Counts
from snnlab.settings import checks_arguments

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
    """Join what layers make of an input with the input itself.

        y = x + layers(x)           connect "add"
          | x * layers(x)           connect "and"
          | x * (1 - layers(x))     connect "iand"
          | [x, layers(x)]          connect "concat", along the channels

    Where there is a shortcut, x on the right is shortcut(x). With spikes on both sides `and` and `iand` give spikes;
    `add` gives 0, 1 or 2.

    Args:
        layers: Layers by name.
        connect: How the two sides are joined.
        shortcut: Applied to x on its way around the layers.
        kinds: See `Network`.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name.

    Raises:
        ConfigError: if a name cannot be used, such as `shortcut`, which is taken, or `connect` is another word.

    Source: Fang et al., Deep residual learning in spiking neural networks (SEW-ResNet), NeurIPS 2021.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        connect: Connect = "add",
        shortcut: nn.Module | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(layers, kinds=kinds, beside={} if shortcut is None else {SHORTCUT: shortcut})
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
        way = [(name, self.get_submodule(name)) for name in self._beside]
        x = self.run_line(way, x, state or {}, after, lengths, counts)
        return zero_past_end(_JOIN[self.connect](x, branch), lengths), after


@LAYERS.register("residual")
def residual(
    in_shape: Shape,
    dt: float | None,
    num_steps: int | None,
    *,
    connect: Connect = "add",
    layers: Layers,
    shortcut: Layers | None = None,
) -> Residual:
    """Join what layers make of an input with the input itself.

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        num_steps: Steps of a recording.
        connect: `add`: x + layers(x); `and`: their product; `iand`: x where the layers give 0; `concat`: both, along
            the channels.
        layers: Named layers, as those of a model.
        shortcut: Named layers that x goes through on its way around, such as a 1x1 convolution.

    Raises:
        ConfigError: naming a layer, if it is wrong or does not fit its input.
        ConfigError: if the two sides have shapes that cannot be joined.
    """
    context = Context(dt, num_steps)
    built = context.build(layers, in_shape)
    around = context.build(shortcut, in_shape, SHORTCUT) if shortcut else None
    _require_fit(connect, in_shape, in_shape if around is None else last_shape(around), last_shape(built))
    kinds = {**built.network.kinds, SHORTCUT: "shortcut"}
    return Residual(children(built), connect, None if around is None else around.network, kinds=kinds)


def _require_fit(connect: Connect, in_shape: Shape, x: Shape, branch: Shape) -> None:
    if fit([x, branch], channels_too=connect != "concat"):
        return
    wanted = branch if connect != "concat" else (x[0], *branch[1:])
    layers = cure(in_shape, wanted)
    otherwise = f", such as {layers}" if layers else ", or layers that keep the size, such as those with padding: same"
    raise ConfigError(
        "connect",
        f"{connect} cannot join x of shape {list(x)} with layers that give {list(branch)}",
        f"set a shortcut that ends with {list(wanted)}{otherwise}",
    )
