"""A step of the engine against one of ONNX Runtime, another feature: skipped where one of the two is missing."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.streaming.event_stream import EventStream

from .grid_networks import LAYERS, SHAPE, grid_network
from .test_event_loops import (
    GRAPH_KINDS,
    GRAPHS,
    KINDS,
    NEURONS,
    POOLINGS,
    frame_of,
    random_network,
    random_steps,
    shape_of,
)

pytest.importorskip("onnxruntime", reason="onnx and onnxruntime are not installed")
onnx = pytest.importorskip("snnlab.interop.onnx_network", reason="the feature interop is not there")
onnx_run = pytest.importorskip("snnlab.interop.onnx_run")

# Averages over nine outputs are no multiples of a power of two.
EXACT_POOLINGS = ("max", "sum", "overlapping", "gaps")
LI = {"type": "li"}


@pytest.mark.parametrize("kind", [pytest.param("all", marks=pytest.mark.long), *KINDS])
def test_onnx_runtime_runs_the_same_step(kind: str) -> None:
    """On a grid its sums have the same bits, and its neurons' operations are those of the engine."""
    if kind == "all":
        network = grid_network()
    else:
        pool = EXACT_POOLINGS[len(kind) % len(EXACT_POOLINGS)]
        layers = {name: LAYERS[name] for name in ("conv", "flatten", "out")}
        conv, *end = layers.items()
        network = grid_network(dict([conv, ("lif", NEURONS[kind]), ("pool", POOLINGS[pool]), *end, ("li", LI)]))
    stream = EventStream(network)
    other = onnx_run.OnnxSteps(onnx.onnx_network(stream.form))
    for _ in range(2):
        for number, columns in enumerate(random_steps(SHAPE, 30, 12)):
            other.frame[0] = frame_of(columns, SHAPE)
            assert np.array_equal(stream.step(*columns).ravel(), other.step().ravel()), number
            for name, states in stream.states().items():
                for state, values in states.items():
                    assert np.array_equal(values.ravel(), other.states()[name][state].ravel()), f"{name}, step {number}"
        stream.reset()
        other.reset()


@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_onnx_runtime_runs_branches_and_feedback(kind: str) -> None:
    shape = shape_of(kind)
    network = random_network(GRAPHS[kind], shape)
    stream = EventStream(network, shape)
    other = onnx_run.OnnxSteps(onnx.onnx_network(stream.form))
    for columns in random_steps(shape, 3, 20):
        other.frame[:] = frame_of(columns, shape).reshape(other.frame.shape)
        y = stream.step(*columns).ravel()
        np.testing.assert_allclose(other.step().ravel(), y, atol=1e-5)
    for name, states in stream.states().items():
        np.testing.assert_allclose(other.states()[name]["v"].ravel(), states["v"].ravel(), atol=1e-5)
