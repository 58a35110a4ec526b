"""What snnlab writes beside the nodes of a NIR graph, so that it reads its own graphs back exactly.

Other readers ignore the graph's metadata. There are two entries, since some versions of `nir` give metadata only to the
graph, and not to every node:

    graph.metadata["snnlab"]        JSON, the fields of `Metadata` except `state`, and `format`, 1
    graph.metadata["snnlab_state"]  {key: array}: the entries of the network's state dict that are in no node, such as
                                    learned time constants

The other entries of the state dict are arrays of the nodes; `weights` says of which: {"conv1.weight": ["conv1",
"weight"], ...}. `digests` has a hash of each node without these arrays, and "" has one of the edges, so that a reader
sees whether another program has changed the graph since: new weights are read, other changes make `layers` useless, and
the graph is then read by NIR's own meaning.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from snnlab.errors import one_line
from snnlab.interop.nir_graphs import MOST_VALUES, require_size
from snnlab.interop.nir_tree import NIRError
from snnlab.printable import is_printable, printable

FORMAT = 1
KEY, STATE_KEY = "snnlab", "snnlab_state"
EDGES = ""

_SAID = ("discretization", "spikes", "cycle_delay")

TimeUnit = Literal["s", "steps"]
# The node and the field of an array.
Where = tuple[str, str]


@dataclass(frozen=True)
class Metadata:
    """Everything needed to build the network of a graph again.

    Attributes:
        version: Version of snnlab that wrote it.
        dt: Length of a step, ms; None where steps have no length.
        time_unit: Unit of the time constants in the nodes; a step where steps have no length.
        in_shape: Shape of one sample at one step.
        num_steps: Steps of a recording, where a layer depends on it; None if unknown.
        layers: The layers as in a model's YAML; None for a network that was not built from one.
        readout: The loss's readout, which makes one answer of all steps; None if unknown.
        nodes: The path of the layer in the network, such as `block1.lif`, for each node.
        weights: The node and its field, for each entry of the state dict that is an array of a node.
        lost: What the nodes do not say, each as one line.
        units: What one unit of the whole numbers of each layer of neurons, and of the weights before it, is.
        digests: A hash of each node, and of the edges under the empty name.
        state: The other entries of the state dict.
    """

    version: str
    dt: float | None
    time_unit: TimeUnit
    in_shape: tuple[int, ...]
    num_steps: int | None = None
    layers: Mapping[str, Any] | None = None
    readout: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Where] = field(default_factory=dict)
    lost: Sequence[str] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)

    # How the nodes' numbers are meant; the importer's options have the same names for other files.
    discretization = "euler"  # dv = dt / tau * (...), the synapse before the membrane
    spikes = "current"  # an input of 1 is a current of 1 during the step
    cycle_delay = 1  # steps

    def meaning(self, *, has_reset: bool) -> dict[str, Any]:
        """Return how the nodes' numbers are meant, as the importer's options.

        Args:
            has_reset: Whether nodes have a v_reset; older versions of `nir` write none, and it is 0 then.
        """
        step = {"time_unit": self.time_unit} | ({} if self.dt is None else {"dt": self.dt})
        said = {name: getattr(self, name) for name in _SAID}
        return step | said | ({} if has_reset else {"reset": "zero"})


def attach(graph: Any, metadata: Metadata) -> None:
    """Write metadata into a graph, with the digests of its nodes."""
    values = asdict(metadata)
    state = values.pop("state")
    values |= {"format": FORMAT, "digests": node_digests(graph, metadata.weights)}
    values |= {name: getattr(metadata, name) for name in _SAID}
    graph.metadata[KEY] = json.dumps(values)
    graph.metadata.pop(STATE_KEY, None)
    if state:
        graph.metadata[STATE_KEY] = dict(state)


def read(graph: Any, place: str = "graph") -> Metadata | None:
    """Return the metadata of a graph that snnlab wrote; None for any other graph.

    Args:
        graph: A `nir.NIRGraph`.
        place: The file, for errors.

    Raises:
        NIRError: if a newer version of snnlab wrote it, or it is damaged.
    """
    text = graph.metadata.get(KEY)
    if text is None:
        return None
    try:
        values = json.loads(text)
        version = values.pop("format")
        if version > FORMAT:
            raise NIRError(
                f"{place}: metadata",
                f"is of format {version}, this version of snnlab reads {FORMAT}",
                "upgrade snnlab",
            )
        for name in _SAID:
            values.pop(name)
        _require_types(values)
        values["in_shape"] = tuple(int(size) for size in values["in_shape"])
        require_size(values["in_shape"], f"{place}: metadata")
        values["weights"] = {key: (str(node), str(name)) for key, (node, name) in values["weights"].items()}
        state = {str(key): np.asarray(value) for key, value in graph.metadata.get(STATE_KEY, {}).items()}
        return Metadata(**values, state=state)
    except NIRError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(place, one_line(error)) from error


def damaged(place: str, why: str) -> NIRError:
    """Return the error for metadata of snnlab that were changed."""
    hint = "--ignore-metadata reads the nodes alone"
    return NIRError(f"{place}: metadata", f"snnlab's is damaged ({printable(why)})", hint)


def _require_types(values: Mapping[str, Any]) -> None:
    """Raise a TypeError for a field of another type than snnlab writes, or a text with control characters."""
    layers, dt, steps = values["layers"], values["dt"], values["num_steps"]
    texts = [values["version"], values["readout"] or "", *values["lost"]]
    for name, good in {
        "layers": layers is None or (isinstance(layers, dict) and all(isinstance(n, dict) for n in layers.values())),
        "dt": dt is None or (type(dt) in (int, float) and 0 < dt < math.inf),
        "num_steps": steps is None or (type(steps) is int and 0 < steps <= MOST_VALUES),
        "nodes": all(isinstance(text, str) for text in values["nodes"].items() for text in text),
        "units": all(type(unit) is float and unit > 0 for unit in values.get("units", {}).values()),
        "digests": isinstance(values["digests"], dict),
        "version, readout or lost": all(isinstance(text, str) and is_printable(text) for text in texts),
    }.items():
        if not good:
            raise TypeError(name)


def changes(graph: Any, metadata: Metadata) -> list[str]:
    """Return the nodes that are not as snnlab wrote them, apart from new weights; `edges` for changed edges."""
    found = node_digests(graph, metadata.weights)
    names = [*found, *(name for name in metadata.digests if name not in found)]
    return [name or "edges" for name in names if found.get(name) != metadata.digests.get(name)]


def full_state(graph: Any, metadata: Metadata) -> dict[str, np.ndarray]:
    """Return the state dict of the network: the arrays of the nodes, and those beside them.

    Raises:
        NIRError: if a node lacks an array.
    """
    found = dict(metadata.state)
    for key, (node, name) in metadata.weights.items():
        value = getattr(graph.nodes.get(node), name, None)
        if not isinstance(value, np.ndarray):
            raise NIRError(printable(node), f"has no {printable(name)}")
        found[key] = value
    return found


def node_digests(graph: Any, weights: Mapping[str, Where]) -> dict[str, str]:
    """Return a hash of each node without its arrays among `weights`, and of the edges under the empty name."""
    skipped = set(weights.values())
    found = {name: _digest(name, node.to_dict(), skipped) for name, node in graph.nodes.items()}
    edges = sorted(f"{source}\0{target}" for source, target in graph.edges)
    return found | {EDGES: hashlib.sha256("\1".join(edges).encode()).hexdigest()}


def _digest(node: str, fields: Mapping[str, Any], skipped: set[Where]) -> str:
    """Return a hash of a node's fields that does not depend on the version of `nir`, nor on writing and reading."""
    total = hashlib.sha256()
    for name in sorted(fields):
        value = fields[name]
        if name == "metadata" or value is None or (node, name) in skipped:
            continue
        array = np.asarray(value)
        if name == "v_reset" and not array.any():  # older versions of nir have no such field, newer ones add zeros
            continue
        array = array.astype(np.int64) if array.dtype.kind in "iub" else array
        text = str(value) if array.dtype.kind not in "if" else f"{array.dtype}{array.shape}"
        total.update(f"{name}\0{text}\0".encode())
        if array.dtype.kind in "if":
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
