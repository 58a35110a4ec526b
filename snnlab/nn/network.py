"""The network: named layers in order, each applied to all steps at once.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.compat import has_no_hooks, traced_by_torch
from snnlab.errors import ConfigError, error_context, one_line, out_of_memory
from snnlab.event_frames import EventFrames, dense
from snnlab.features import provided
from snnlab.nn.checkpointing import run_in_segments
from snnlab.nn.delays import longest_delay
from snnlab.nn.layer import (
    LAYERS,
    OWN_SPIKES,
    Counts,
    Reach,
    TemporalLayer,
    fold_time,
    in_host_memory,
    reach_of,
    short_lengths,
    valid_steps,
)
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.plan import InputSpec, Plan, PlanCache, RunSettings, SparseInput, first_layers_accept_events
from snnlab.nn.stages import NamedLayers, Stage, run_stages
from snnlab.spec.interval import at_least
from snnlab.spec.signatures import check_settings, has_parameter

NetworkState = dict[str, Any]
Shape = tuple[int, ...]


class BuiltFrom(NamedTuple):
    """The arguments of `build_network` that a network was built from."""

    layers: Mapping[str, Mapping[str, Any]]
    in_shape: Shape
    dt: float | None
    num_steps: int | None


class Network(TemporalLayer):
    """Apply named layers in order; a temporal layer itself, so networks nest.

    A layer without time gets all T*B steps as one batch; a temporal layer gets `[T, B, ...]` and its part of the
    state. Blocks are networks whose layers are connected in another way.

    Args:
        layers: Layers by name; the names are the keys of the state dict, of the state and of the counts.
        layer_types: Registry names of the layers' types, by layer name, for `snnlab show`.
        extra_layers: Layers that are not applied in order, such as the shortcut of a residual block.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        *,
        layer_types: Mapping[str, str] | None = None,
        extra_layers: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.layer_types = dict(layer_types or {})
        self.run_settings = RunSettings()
        self.built_from: BuiltFrom | None = None
        self._plans = PlanCache()
        self._extra_layers = frozenset(extra_layers or ())
        for name, layer in (*layers.items(), *(extra_layers or {}).items()):
            if not str(name).isidentifier() or hasattr(self, name):
                such = f", such as '{name}1'" if str(name).isidentifier() else ""
                raise ConfigError("", f"'{name}' cannot be a layer's name", f"use letters, digits and _{such}")
            self.add_module(name, layer)

    def connection(self) -> str:
        """Return how the layers are connected, as text for `snnlab show`; empty for a plain sequence."""
        return ""

    def configure(
        self,
        *,
        fuse: bool | None = None,
        sparse_input: SparseInput | None = None,
        checkpoint_segments: Annotated[int | None, at_least(0)] = None,
    ) -> None:
        """Change how the network runs; an argument of None changes nothing.

        Args:
            fuse: Fuse neurons with the pooling after them, let neurons work in the memory of their input, and let
                convolutions of spikes process only the spikes; also applies to nested networks.
            sparse_input: Whether a first convolution on the CPU sums its input event by event: `always`, `never`, or
                `auto` (if few input cells hold events).
            checkpoint_segments: Number of segments of time for gradient checkpointing: the backward pass recomputes
                activations segment by segment, and layer by layer if there are fewer than 20 segments. 0 turns it off.
                More segments take less memory, until the neurons' states between the segments take more. A training
                step takes 1.5 times as long.
        """
        wanted = {"fuse": fuse, "sparse_input": sparse_input, "checkpoint_segments": checkpoint_segments}
        check_settings(Network.configure, wanted, "", "configure", supplied=("self",))
        changes = {key: value for key, value in wanted.items() if value is not None and key != "fuse"}
        self.run_settings = self.run_settings._replace(**changes)
        for network in self.modules() if fuse is not None else ():
            if isinstance(network, Network):
                network.run_settings = network.run_settings._replace(fuse=fuse)

    @property
    def accepts_event_lists(self) -> bool:
        """Whether the input may be event lists: the first layer accepts them, and nothing else reads the input."""
        settings = self.run_settings
        always = settings.sparse_input == "always" and settings.checkpoint_segments == 0
        return (
            always
            and type(self) is Network
            and has_no_hooks(self)
            and first_layers_accept_events([*self.layers()], settings)
        )

    @property
    def reach(self) -> Reach:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The widest reach of the layers; at least `given` for a block, which is not split in time."""
        found = reach_of(self.children())
        return found if type(self) is Network or found == "recording" else "given"

    def plan(self, x: Tensor | EventFrames) -> Plan:
        """Return the execution plan for an input like x."""
        return self._plan([*self.layers()], InputSpec.of(x), x_is_input=True)

    def _plan(self, layers: NamedLayers, spec: InputSpec, *, x_is_input: bool) -> Plan:
        first = x_is_input and type(self) is Network
        return self._plans.get(layers, spec, self.run_settings, first=first)

    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layers that are applied in order, with their names."""
        return ((name, layer) for name, layer in self.named_children() if name not in self._extra_layers)

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Apply the layers in order to all steps."""
        before = self.check_state(state)
        after: NetworkState = {}
        lengths = short_lengths(in_host_memory(lengths), x.shape[0])
        y = self.run_layers([*self.layers()], x, before, after, lengths, counts, x_is_input=True)
        return zero_past_end(y, lengths), after

    def run_layers(
        self,
        layers: NamedLayers,
        x: Tensor | EventFrames,
        before: NetworkState,
        after: NetworkState,
        lengths: Tensor | None,
        counts: Counts | None,
        *,
        x_is_input: bool = False,
    ) -> Tensor:
        """Apply some layers in order to all steps and return the output of the last.

        Args:
            layers: The layers with their names.
            x: Input of the first layer, `[T, B, ...]`.
            before: State before the first step, by layer.
            after: A dict to fill with the state after the last step, by layer.
            lengths: Valid steps of each sample, `[B]`.
            counts: A dict to fill with spike counts, or None.
            x_is_input: Whether x is the network's input and `layers` are all of its layers.
        """
        if traced_by_torch():  # torch's tools trace each layer by itself
            return run_stages([Stage(*each) for each in layers], x, before, after, lengths, counts)
        plan = self._plan(layers, InputSpec.of(x), x_is_input=x_is_input)
        segments = self.run_settings.checkpoint_segments
        if segments and x_is_input and torch.is_grad_enabled():
            return run_in_segments(plan.stages, dense(x), before, after, lengths, counts, num_segments=segments)
        return run_stages(plan.stages, x, before, after, lengths, counts)

    def to_nir(
        self, *, in_shape: Shape | None = None, dt: float | None = None, lossy: bool = False, fold_norm: bool = False
    ) -> Any:
        """Return the network as a `nir.NIRGraph`, in evaluation mode, with metadata to read it back exactly.

        Args:
            in_shape: Shape of one sample at one step; not needed after `build_network`.
            dt: Length of a step, ms; not needed after `build_network`.
            lossy: Write what NIR cannot say as the nearest that it can; the metadata has the rest.
            fold_norm: Fold batch normalizations into the convolution or linear layer before them.
        """
        return provided("Network.to_nir")(self, in_shape=in_shape, dt=dt, lossy=lossy, fold_norm=fold_norm).graph

    def check_state(self, state: NetworkState | None) -> NetworkState:
        """Return the state by layer name, empty for None; raise a ValueError for a name that is no layer."""
        if state is None:
            return {}
        if unknown := state.keys() - self._modules.keys():
            raise ValueError(f"the state holds {sorted(unknown)}, which are no layers of this network")
        return state


def zero_past_end(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return x with zeros at the steps past each sample's length."""
    valid = valid_steps(lengths, x.shape[0], x)
    return x if valid is None else torch.where(valid, x, 0)


class BuiltNetwork(NamedTuple):
    """A network and the shapes of its layers, each of one sample at one step.

    Attributes:
        network: The network.
        shapes: Output shape of each layer, by name.
        spiking: Shape of each spiking layer's neurons, by the key of its counts.
        num_steps: Number of steps of a valid test input: some layers need a fixed number of steps.
    """

    network: Network
    shapes: dict[str, Shape]
    spiking: dict[str, Shape]
    num_steps: int


def build_network(
    layers: Mapping[str, Mapping[str, Any]],
    *,
    in_shape: Shape,
    dt: float | None,
    num_steps: int | None = None,
    place: str = "model.layers",
) -> BuiltNetwork:
    """Build layers in order, infer their shapes, and check that each layer fits its input.

    Args:
        layers: A node `{type: ..., settings}` for each name.
        in_shape: Shape of one sample at one step, for instance (P, H, W).
        dt: Length of a step, ms; None if steps have no length.
        num_steps: Steps of a recording, for layers with parameters for each step; None if unknown.
        place: Path of the layers in the YAML.
    """
    built: dict[str, nn.Module] = {}
    shapes: dict[str, Shape] = {}
    spiking: dict[str, Shape] = {}
    layer_types: dict[str, str] = {}
    shape, most_tried = in_shape, 1
    for name, node in layers.items():
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}.{name}", f"expected a mapping such as {{type: lif}}, got {node!r}")
        settings = dict(node)
        kind = settings.pop("type", None)
        layer = LAYERS.build(kind, settings, f"{place}.{name}", in_shape=shape, dt=dt, num_steps=num_steps)
        _require_shorter_delays(layer, num_steps, f"{place}.{name}")
        tried = num_steps or 1 if has_parameter(LAYERS.get(kind, place), "num_steps") else 1
        shape, counts = _probe(layer, shape, tried, f"{place}.{name}", str(kind))
        built[name], shapes[name], layer_types[name] = layer, shape, str(kind)
        spiking.update(
            {name if key == OWN_SPIKES else f"{name}.{key}": tuple(n.shape[1:]) for key, n in counts.items()}
        )
        most_tried = max(most_tried, tried)
    with error_context(place):
        network = Network(built, layer_types=layer_types)
    network.built_from = BuiltFrom(layers, in_shape, dt, num_steps)
    return BuiltNetwork(network, shapes, spiking, most_tried)


def _require_shorter_delays(layer: nn.Module, num_steps: int | None, place: str) -> None:
    """Raise a ConfigError if a delay is not shorter than a recording: what it delays would never arrive."""
    longest = longest_delay(layer)
    if num_steps is not None and longest >= num_steps:
        raise ConfigError(
            place,
            f"its longest delay, {longest} steps, must be shorter than the window, {num_steps} steps",
            "shorten it",
        )


def from_nir(graph: Any, **options: Any) -> Network:
    """Return the network of a `nir.NIRGraph`, with its weights, in evaluation mode.

    A graph that `Network.to_nir` wrote gives the same network again. Others are read by NIR's equations; the options
    say what these leave open.

    Args:
        graph: The graph.
        options: Those of `snnlab import`, fields of `NIRReadOptions`, such as `time_unit="ms"`, `dt=0.1` (ms).

    Raises:
        NIRError: naming the node that cannot be read.
    """
    return provided("from_nir")(graph, options)


def _probe(layer: nn.Module, in_shape: Shape, num_steps: int, place: str, kind: str) -> tuple[Shape, Counts]:
    """Run a layer on zeros; return the shape of its output and its counts."""
    try:
        x = torch.zeros(num_steps, 1, *in_shape)
    except (RuntimeError, MemoryError, TypeError) as error:  # PyTorch raises TypeError for a number that is too large
        reason = out_of_memory(error) or one_line(error)
        raise ConfigError(place, f"{reason}, for an input of {list(in_shape)} in {num_steps} steps") from error
    counts: Counts = {}
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad(), plain_loops(), torch.random.fork_rng(devices=[]):
            y = layer(x, counts=counts)[0] if isinstance(layer, TemporalLayer) else fold_time(layer, x)
    except (RuntimeError, ValueError, MemoryError, OverflowError) as error:
        if reason := out_of_memory(error):
            raise ConfigError(place, f"{reason}, for an input of {list(in_shape)} in {num_steps} steps") from error
        reason = one_line(error)
        raise ConfigError(place, f"{kind} does not fit its input of shape {list(in_shape)}: {reason}") from error
    finally:
        layer.train(training)
    return tuple(y.shape[2:]), counts
