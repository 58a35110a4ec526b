"""An interpreter of NIR graphs in double precision, written from NIR's definitions; it shares nothing with snnlab.

It advances a graph step by step. Within a step each neuron solves its differential equation for an input that is
constant (a current) or arrives at the step's end (an impulse); `euler` takes one forward Euler step instead.

Axes: T steps, B samples, then the node's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray


@dataclass(frozen=True)
class Reading:
    """What a graph leaves open.

    Attributes:
        dt: Length of a step, in the unit of the graph's time constants.
        euler: Whether a step is one of forward Euler, in place of the exact solution.
        spikes: `impulse` or `current`; None: an impulse for IF and I, a current for leaky neurons.
        reset: `subtract`, `value` (to v_reset, zero where there is none).
        strict: Whether a membrane at the threshold does not spike.
        several: Whether a neuron spikes once for each multiple of its threshold.
        floor: Lower bound of the membranes after the reset.
        cycle_delay: Steps of a cycle.
        synapse: When the input of a step reaches the synaptic current: `end` of the step, or its `start`, so that it
            decays for a step before the membrane reads it; `late`: at the end, and the membrane reads the current of
            the step before.
    """

    dt: float = 1.0
    euler: bool = False
    spikes: str | None = None
    reset: str = "subtract"
    strict: bool = True
    several: bool = False
    floor: float | None = None
    cycle_delay: int = 1
    synapse: str = "end"


@dataclass
class Trace:
    """Outputs of all nodes, and the membranes before their reset, by path: `[T, B, ...]`."""

    y: dict[str, Array]
    u: dict[str, Array]


def interpret(graph: Any, x: Array, reading: Reading) -> Trace:
    """Run a graph for all steps of an input `[T, B, ...]`."""
    nodes, edges = flat(graph)
    (first,) = [name for name, node in graph.nodes.items() if type(node).__name__ == "Input"]
    delays = cycle_delays(first, nodes, edges, reading)
    order = sorted_nodes(nodes, [edge for edge in edges if not delays.get(edge)])
    machines = {name: Machine(node, reading, broken(name, node, delays, reading)) for name, node in nodes.items()}
    rest = zero_inputs(first, nodes, edges, x[0], reading)
    y: dict[str, list[Array]] = {name: [] for name in nodes}
    u: dict[str, list[Array]] = {name: [] for name in nodes}
    for t in range(x.shape[0]):
        for name in order:
            if name == first:
                y[name].append(x[t].astype(np.float64))
                continue
            parts = []
            for edge in edges:
                if edge[1] == name:
                    at = t - delays.get(edge, 0)
                    parts.append(y[edge[0]][at] if at >= 0 else None)
            known = [part for part in parts if part is not None]
            drive = sum(known[1:], known[0]) if known else rest[name]
            y[name].append(machines[name].step(drive))
            if (membrane := machines[name].u) is not None:
                u[name].append(membrane)
    return Trace(
        {name: np.stack(np.broadcast_arrays(*ys)) for name, ys in y.items()},
        {name: np.stack(us) for name, us in u.items() if us},
    )


def zero_inputs(
    first: str, nodes: dict[str, Any], edges: list[tuple[str, str]], x: Array, reading: Reading
) -> dict[str, Array]:
    """Return zeros of the shape of each node's input."""
    found = {first: np.zeros(x.shape)}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        y = Machine(nodes[name], reading, False).step(found[name])
        for edge in edges:
            if edge[0] == name and edge[1] not in found:
                found[edge[1]] = np.zeros(y.shape)
                waiting.append(edge[1])
    return found


def flat(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return nodes by path and edges, with the graphs within replaced by their nodes."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[tuple[str, str], str] = {}
    pairs: list[tuple[str, str]] = list(graph.edges)
    for name, node in graph.nodes.items():
        path = prefix + name
        if type(node).__name__ == "NIRGraph":
            inner, inner_edges = flat(node, f"{path}.")
            nodes |= inner
            edges += inner_edges
            for part, child in node.nodes.items():
                if type(child).__name__ in ("Input", "Output"):
                    ends[path, type(child).__name__] = f"{path}.{part}"
        else:
            nodes[path] = node
    for a, b in pairs:
        source, target = (prefix + a, "Output"), (prefix + b, "Input")
        edges.append((ends.get(source, source[0]), ends.get(target, target[0])))
    return nodes, edges


MEMORY = ("LIF", "IF", "CubaLIF", "I", "LI", "CubaLI", "Delay")


def cycle_delays(
    first: str, nodes: dict[str, Any], edges: list[tuple[str, str]], reading: Reading
) -> dict[tuple[str, str], int]:
    """Return the delay of the edges that get one, so that no cycle is without.

    A Delay of a step or more in a cycle breaks it. Otherwise the edge that returns to a node on the path from the
    input, with neighbours in the order of their names; the delay stands behind the last node with memory before it.
    """
    delays: dict[tuple[str, str], int] = {}
    for name, node in nodes.items():
        if type(node).__name__ == "Delay" and np.rint(np.min(node.delay) / reading.dt) >= 1 and on_cycle(name, edges):
            delays |= {edge: 1 for edge in edges if edge[0] == name}
    returning: list[tuple[str, str]] = []
    seen: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        for edge in sorted(edge for edge in set(edges) if edge[0] == name and edge not in delays):
            if edge[1] in (*path, name):
                returning.append(edge)
            elif edge[1] not in seen:
                visit(edge[1], (*path, name))
        seen.add(name)

    visit(first, ())
    for edge in returning:
        while type(nodes[edge[0]]).__name__ not in MEMORY:
            before, after = [e for e in edges if e[1] == edge[0]], [e for e in edges if e[0] == edge[0]]
            if len(before) != 1 or len(after) != 1 or before[0] in delays:
                break
            edge = before[0]
        delays[edge] = reading.cycle_delay
    return delays


def on_cycle(name: str, edges: list[tuple[str, str]]) -> bool:
    """Return whether a path leads from a node to itself."""
    found: set[str] = set()
    waiting = [b for a, b in edges if a == name]
    while waiting:
        node = waiting.pop()
        if node == name:
            return True
        if node not in found:
            found.add(node)
            waiting += [b for a, b in edges if a == node]
    return False


def broken(name: str, node: Any, delays: dict[tuple[str, str], int], reading: Reading) -> bool:
    """Return whether a Delay breaks a cycle: its edges have one of its steps."""
    if type(node).__name__ != "Delay" or np.rint(np.min(node.delay) / reading.dt) < 1:
        return False
    return any(edge[0] == name for edge in delays)


def sorted_nodes(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> list[str]:
    """Return the nodes so that each follows its sources."""
    order: list[str] = []
    while len(order) < len(nodes):
        ready = [n for n in nodes if n not in order and all(a in order for a, b in edges if b == n)]
        assert ready, "a cycle without delay"
        order += ready
    return order


class Machine:
    """One node with its state."""

    def __init__(self, node: Any, reading: Reading, shorter: bool) -> None:
        self.node, self.reading, self.kind = node, reading, type(node).__name__
        self.shorter = shorter
        self.v: Any = None
        self.i: Any = 0.0
        self.u: Array | None = None
        self.past: list[Array] = []

    def step(self, x: Array) -> Array:
        """Return the output of one step."""
        return getattr(self, f"_{self.kind.lower()}")(x)

    def _get(self, name: str) -> Array:
        return np.asarray(getattr(self.node, name), np.float64)

    def _input(self, x: Array) -> Array:
        return x

    _output = _input

    def _affine(self, x: Array) -> Array:
        return x @ self._get("weight").T + self._get("bias")

    def _linear(self, x: Array) -> Array:
        return x @ self._get("weight").T

    def _scale(self, x: Array) -> Array:
        return x * self._get("scale")

    def _flatten(self, x: Array) -> Array:
        dims = x.ndim - 1
        start, end = (int(axis) % dims for axis in (self.node.start_dim, self.node.end_dim))
        return x.reshape(*x.shape[: start + 1], -1, *x.shape[end + 2 :])

    def _threshold(self, x: Array) -> Array:
        self.u = np.array(x - self._get("threshold"))
        return (self.u > 0 if self.reading.strict else self.u >= 0).astype(np.float64)

    def _delay(self, x: Array) -> Array:
        self.past.append(x)
        steps = np.broadcast_to(np.rint(self._get("delay") / self.reading.dt).astype(int) - self.shorter, x.shape[1:])
        found = np.zeros(x.shape)
        for number in np.unique(steps):
            if number < len(self.past):
                found = np.where(steps == number, self.past[-1 - number], found)
        return found

    def _conv2d(self, x: Array) -> Array:
        return self._convolve(x, 2)

    def _conv1d(self, x: Array) -> Array:
        return self._convolve(x, 1)

    def _convolve(self, x: Array, dims: int) -> Array:
        node, weight = self.node, self._get("weight")
        stride, dilation = per_axis(node.stride, dims), per_axis(node.dilation, dims)
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if isinstance(node.padding, str):
            pads = [(r // 2, r - r // 2) if node.padding == "same" else (0, 0) for r in reach]
        else:
            pads = [(p, p) for p in per_axis(node.padding, dims)]
        windows = windows_of(np.pad(x, [(0, 0), (0, 0), *pads]), weight.shape[2:], stride, dilation)
        groups = int(node.groups)
        size = windows.shape[2 : 2 + dims]
        parts = []
        for x_group, w_group in zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True):
            columns = np.moveaxis(x_group, 1, 1 + dims).reshape(len(x) * int(np.prod(size)), -1)
            y = columns @ w_group.reshape(len(w_group), -1).T
            parts.append(np.moveaxis(y.reshape(len(x), *size, -1), -1, 1))
        return np.concatenate(parts, 1) + self._get("bias").reshape(-1, *[1] * dims)

    def _sumpool2d(self, x: Array) -> Array:
        node = self.node
        kernel, stride, padding = (per_axis(getattr(node, n), 2) for n in ("kernel_size", "stride", "padding"))
        padded = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
        return windows_of(padded, tuple(kernel), stride, [1, 1]).sum((-1, -2))

    def _avgpool2d(self, x: Array) -> Array:
        return self._sumpool2d(x) / np.prod(per_axis(self.node.kernel_size, 2))

    def _advance(self, v: Any, tau: Array, target: Any, impulse: Any) -> Array:
        """Return v one step later, where tau dv/dt = target - v, and an impulse / tau arrives at the end."""
        if self.reading.euler:
            return v + self.reading.dt / tau * (target - v) + impulse / tau
        return target + (v - target) * np.exp(-self.reading.dt / tau) + impulse / tau

    def _leaky(self, x: Array) -> Array:
        leak, r = self._get("v_leak"), self._get("r")
        v = leak + np.zeros(x.shape) if self.v is None else self.v
        if self.reading.spikes == "impulse":
            return self._advance(v, self._get("tau"), leak, r * x)
        return self._advance(v, self._get("tau"), leak + r * x, 0.0)

    def _integrated(self, x: Array) -> Array:
        gain = self.reading.dt if self.reading.spikes == "current" else 1.0
        return (0.0 if self.v is None else self.v) + gain * self._get("r") * x

    def _filtered(self, x: Array) -> Array:
        leak, r, w_in = self._get("v_leak"), self._get("r"), self._get("w_in")
        before, tau = self.i, self._get("tau_syn")
        # The jump of the synaptic current by the input of a whole step.
        jump = w_in * x / tau if self.reading.spikes == "impulse" else self._advance(0.0, tau, w_in * x, 0.0)
        if self.reading.synapse == "start":
            self.i = self._advance(self.i + jump, tau, 0.0, 0.0)
        else:
            self.i = self._advance(self.i, tau, 0.0, 0.0) + jump
        v = leak + np.zeros(x.shape) if self.v is None else self.v
        current = before if self.reading.synapse == "late" else self.i
        return self._advance(v, self._get("tau_mem"), leak + r * current, 0.0)

    def _li(self, x: Array) -> Array:
        self.v = self._leaky(x)
        return self.v

    def _i(self, x: Array) -> Array:
        self.v = self._integrated(x)
        return self.v

    def _cubali(self, x: Array) -> Array:
        self.v = self._filtered(x)
        return self.v

    def _lif(self, x: Array) -> Array:
        return self._fire(self._leaky(x))

    def _if(self, x: Array) -> Array:
        return self._fire(self._integrated(x))

    def _cubalif(self, x: Array) -> Array:
        return self._fire(self._filtered(x))

    def _fire(self, u: Array) -> Array:
        reading, threshold = self.reading, self._get("v_threshold")
        self.u = u - threshold
        z = (u > threshold if reading.strict else u >= threshold).astype(np.float64)
        if reading.several:
            z = np.floor(np.maximum(u, 0.0) / threshold)
        reset = getattr(self.node, "v_reset", None)
        if reading.reset == "subtract":
            v = u - z * threshold
        else:
            v = np.where(z > 0, 0.0 if reset is None else np.asarray(reset, np.float64), u)
        self.v = v if reading.floor is None else np.maximum(v, reading.floor)
        return z


def per_axis(value: Any, dims: int) -> list[int]:
    """Return whole numbers per axis."""
    found = [int(n) for n in np.atleast_1d(value)]
    return found * dims if len(found) == 1 else found


def windows_of(x: Array, kernel: tuple[int, ...], stride: list[int], dilation: list[int]) -> Array:
    """Return the windows of the last axes, `[B, C, *out, *kernel]`."""
    dims = len(kernel)
    whole = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    found = sliding_window_view(x, whole, tuple(range(2, 2 + dims)))  # pyright: ignore[reportCallIssue, reportArgumentType]
    steps = (
        slice(None),
        slice(None),
        *[slice(None, None, s) for s in stride],
        *[slice(None, None, d) for d in dilation],
    )
    return found[steps]
