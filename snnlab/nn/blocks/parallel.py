"""Several ways through which an input goes at once.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames
from snnlab.nn.blocks.within import Context, Layers, concat, fit, last_shape
from snnlab.nn.build import Shape
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.network import Network, NetworkState, zero_past_end
from snnlab.nn.temporal import Counts
from snnlab.settings import checks_arguments

Join = Literal["concat", "add"]


@checks_arguments
class Parallel(Network):
    """Send the input through several branches and join what they give.

        y = [a(x), b(x), ...]       join "concat", along the channels
          | a(x) + b(x) + ...       join "add"

    Args:
        branches: Branches by name, each a network or a layer.
        join: How the branches are joined.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by branch.

    Raises:
        ConfigError: if a name cannot be used, there is no branch, or `join` is another word.
    """

    def __init__(self, branches: Mapping[str, nn.Module], join: Join = "concat") -> None:
        if not branches:
            raise ConfigError("branches", "a parallel block has some")
        super().__init__({}, kinds=dict.fromkeys(branches, "branch"), beside=branches)
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
        """Run all steps; see `TemporalLayer`."""
        before = self.known(state)
        after: NetworkState = {}
        parts = [self.run_line([branch], x, before, after, lengths, counts) for branch in self.named_children()]
        y = concat(parts) if self.join == "concat" else sum(parts[1:], parts[0])
        return zero_past_end(y, lengths), after


@LAYERS.register("parallel")
def parallel(
    in_shape: Shape,
    dt: float | None,
    num_steps: int | None,
    *,
    branches: Mapping[str, Layers],
    join: Join = "concat",
) -> Parallel:
    """Send the input through several branches and join what they give.

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        num_steps: Steps of a recording.
        branches: For each name the named layers of a branch, as those of a model.
        join: `concat`: along the channels; `add`: their sum.

    Raises:
        ConfigError: naming a layer, if it is wrong or does not fit its input.
        ConfigError: if the branches have shapes that cannot be joined.
    """
    context = Context(dt, num_steps)
    built = {name: context.build(_layers(branches, name), in_shape, f"branches.{name}") for name in branches}
    shapes = {name: last_shape(branch) for name, branch in built.items()}
    if not shapes:
        raise ConfigError("branches", "needs at least one, such as {a: {fc: {type: linear, out_features: 32}}}")
    if not fit(list(shapes.values()), channels_too=join == "add"):
        given = ", ".join(f"{name} gives {list(shape)}" for name, shape in shapes.items())
        alike = "all axes but the first" if join == "concat" else "all axes"
        raise ConfigError("join", f"{join} needs branches alike in {alike}", given)
    return Parallel({name: branch.network for name, branch in built.items()}, join)


def _layers(branches: Mapping[str, Layers], name: str) -> Layers:
    layers = branches[name]
    if not isinstance(layers, Mapping):
        raise ConfigError(
            f"branches.{name}", f"expected named layers, such as {{fc: {{type: linear}}}}, got {layers!r}"
        )
    return layers
