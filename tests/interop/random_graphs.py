"""Random NIR graphs of all primitives: branches, sums, cycles, graphs within graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnlab.spec.signatures import has_parameter

nir: Any = pytest.importorskip("nir")

Rng = np.random.Generator
Shape = tuple[int, ...]
STEP = 1e-3  # s
BACK = 0.05  # gain of feedback; with several spikes a step more of it explodes


def random_graph(seed: int) -> Any:
    """Return a graph with populations, maps, branches that join, a cycle, and a graph within it."""
    rng = np.random.default_rng(seed)
    make = _Maker(rng)
    shape: Shape = [(2, 9, 8), (3, 12), (7,)][seed % 3]
    ends = make.start(shape)
    if len(shape) > 1:
        ends, shape = make.spatial(ends, shape)
        ends, shape = (
            make.add(ends, nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)),
            (int(np.prod(shape)),),
        )
    for _ in range(rng.integers(2, 5)):
        part = rng.integers(0, 5)
        ends, shape = [make.linear, make.branches, make.cycle, make.long_cycle, make.within][part](ends, shape)
    ends = make.add(ends, make.affine(shape, (5,)))
    ends = make.add(ends, make.population((5,), rng.choice(["LIF", "IF", "CubaLIF", "LI", "I"])))
    make.nodes["output"] = nir.Output(np.array([5]))
    make.edges.append((ends, "output"))
    order = rng.permutation(len(make.edges))
    return graph_of(make.nodes, [make.edges[at] for at in order])


def graph_of(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    unchecked = {"type_check": False} if has_parameter(nir.NIRGraph, "type_check") else {}
    return nir.NIRGraph(nodes=nodes, edges=edges, **unchecked)


class _Maker:
    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def start(self, shape: Shape) -> str:
        self.nodes["input"] = nir.Input(np.array(shape))
        return "input"

    def put(self, node: Any) -> str:
        name = f"{type(node).__name__.lower()}.{len(self.nodes)}" if self.rng.random() < 0.3 else str(len(self.nodes))
        self.nodes[name] = node
        return name

    def add(self, before: str, node: Any) -> str:
        name = self.put(node)
        self.edges.append((before, name))
        return name

    def values(self, shape: Shape, low: float, high: float, *special: Any) -> np.ndarray:
        """Return one value for all neurons, or one for each; often a special one, such as 0, 1 or a default."""
        size = (1,) * len(shape) if self.rng.random() < 0.5 else shape
        found = self.rng.uniform(low, high, size)
        if special and self.rng.random() < 0.7:
            one = np.broadcast_to(special[self.rng.integers(len(special))], size if size == shape else shape)
            chosen = one if size == shape else one.flat[:1].reshape(size)
            found = np.where(self.rng.random(size) < 0.7, chosen, found)
        return np.array(np.broadcast_to(found, shape))

    def affine(self, shape: Shape, out: Shape, gain: float = 1.0) -> Any:
        weight = (gain * self.rng.normal(0.1, 1.5 / np.sqrt(shape[0]), (*out, *shape))).astype(np.float32)
        if self.rng.random() < 0.3:
            return nir.Linear(weight)
        return nir.Affine(weight, self.rng.normal(0, 0.1, out).astype(np.float32))

    def population(self, shape: Shape, kind: str) -> Any:
        # A step, 2 and 4 of them, and the defaults of the neurons here, 20 and 10 ms.
        tau = self.values(shape, 3e-3, 2e-2, STEP, 2 * STEP, 4 * STEP, 0.02)
        r = self.values(shape, 0.8, 3.0, 0.0, 1.0, -1.0, tau / STEP)
        threshold = self.values(shape, 0.3, 1.0, 1.0)
        leak = self.values(shape, -0.1, 0.1, 0.0, -1.0, 1.7 * threshold)  # at the threshold rounding would decide
        if kind in ("I", "IF"):
            return nir.I(r) if kind == "I" else nir.IF(r, threshold)
        if kind in ("LI", "LIF"):
            return nir.LI(tau, r, leak) if kind == "LI" else nir.LIF(tau, r, leak, threshold)
        tau_syn = self.values(shape, 2e-3, 1e-2, STEP, 2 * STEP, 0.01)
        w_in = self.values(shape, 0.5, 2.0, 0.0, 1.0, -1.0, tau_syn / STEP)
        return nir.CubaLIF(tau_syn=tau_syn, tau_mem=tau, r=r, v_leak=leak, v_threshold=threshold, w_in=w_in)

    def spiking(self) -> str:
        return str(self.rng.choice(["LIF", "IF", "CubaLIF"]))

    def spatial(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        rng, (channels, *size) = self.rng, shape
        out = 4
        groups = int(rng.choice([1, channels])) if out % channels == 0 else 1
        weight = rng.normal(0, 0.7, (out, channels // groups, *[3] * len(size))).astype(np.float32)
        bias = rng.normal(0, 0.1, out).astype(np.float32)
        padding: Any = rng.choice([0, 1])
        padding = "same" if rng.random() < 0.2 and len(size) == 2 else int(padding)  # nir fails on one axis
        stride = 1 if padding == "same" else int(rng.choice([1, 2]))
        if len(size) == 1:
            node = nir.Conv1d(size[0], weight, stride, padding, 1, groups, bias)
        else:
            pad = padding if padding == "same" else (padding, padding)
            node = nir.Conv2d(np.array(size), weight, (stride, stride), pad, (1, 1), groups, bias)
        p = 1 if padding == "same" else padding
        ends = self.add(ends, node)
        shape = (out, *[(n + 2 * p - 3) // stride + 1 for n in size])
        ends = self.add(ends, self.population(shape, self.spiking()))
        if len(size) == 2:
            kind = nir.SumPool2d if rng.random() < 0.5 else nir.AvgPool2d
            ends = self.add(ends, kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
            shape = (out, *[n // 2 for n in shape[1:]])
        return ends, shape

    def linear(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        out = (int(self.rng.integers(4, 9)),)
        ends = self.add(self.add(ends, self.affine(shape, out)), self.population(out, self.spiking()))
        if self.rng.random() < 0.4:
            ends = self.add(ends, nir.Delay(STEP * self.rng.integers(0, 4, out).astype(float)))
        if self.rng.random() < 0.4:
            ends = self.add(ends, nir.Scale(self.rng.uniform(0.5, 2.0, out).astype(np.float32)))
        if self.rng.random() < 0.3:
            ends = self.add(self.add(ends, self.population(out, "LI")), nir.Threshold(self.values(out, 0.05, 0.3)))
        return ends, out

    def branches(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        out = (6,)
        one = self.add(self.add(ends, self.affine(shape, out)), self.population(out, self.spiking()))
        other = self.add(ends, self.affine(shape, out))
        joined = self.add(one, self.population(out, self.spiking()))
        self.edges.append((other, joined))
        return joined, out

    def cycle(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        out = (6,)
        lif = self.add(self.add(ends, self.affine(shape, out)), self.population(out, self.spiking()))
        back = self.add(lif, self.affine(out, out, BACK))
        self.edges.append((back, lif))
        return lif, out

    def long_cycle(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        out = (5,)
        one = self.add(self.add(ends, self.affine(shape, out)), self.population(out, self.spiking()))
        other = self.add(self.add(one, self.affine(out, (4,), 0.5)), self.population((4,), self.spiking()))
        back = self.add(other, self.affine((4,), out, BACK))
        if self.rng.random() < 0.5:
            back = self.add(back, nir.Delay(np.full(out, 2 * STEP)))
        self.edges.append((back, one))
        return other, (4,)

    def within(self, ends: str, shape: Shape) -> tuple[str, Shape]:
        inner = _Maker(self.rng)
        end, out = inner.linear(inner.start(shape), shape)
        inner.nodes["output"] = nir.Output(np.array(out))
        inner.edges.append((end, "output"))
        return self.add(ends, graph_of(inner.nodes, inner.edges)), out
