"""A network in whole numbers has the same bits in compiled loops, dense loops, the stream, C and ONNX Runtime."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.interop.c99.c_folder import certify_c, compiler
from snnlab.interop.c99.c_network import c_network
from snnlab.interop.onnx_network import HAS_ONNX, onnx_network
from snnlab.interop.onnx_run import certify_onnx
from snnlab.nn import INTEGER_TARGETS
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.network_form import Currents, network_form
from snnlab.nn.neurons.base import plain_loops
from snnlab.streaming.event_stream import EventStream

from ..nn.test_quantization import SHAPE, draw, frames, whole_network
from .forms import recorded, sensor

DELAYED: dict[str, dict[str, Any]] = {
    "c1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "delay": {"max": "3 steps"}},
    "n1": {"type": "lif", "tau_mem": 5.0},
    "flatten": {"type": "flatten"},
    "l2": {"type": "linear", "out_features": 3, "bias": False, "delay": {"max": "4 steps"}},
    "n2": {"type": "cuba_li"},
}
ADAPTIVE = DELAYED | {"n1": {"type": "alif", "adaptation": 0.5, "tau_adapt": 30.0, "adaptive": 3, "tau_mem": 5.0}}

OSCILLATOR = {"type": "brf", "equation_dt": 10.0, "input_gain": 60.0, "omega": [2.0, 12.0], "recurrent": True}


@pytest.mark.long
@pytest.mark.parametrize(
    "drawn",
    [
        *(pytest.param(draw(seed), id=str(seed), marks=[pytest.mark.slow] if seed > 3 else []) for seed in (3, 14, 17)),
        pytest.param((DELAYED, INTEGER_TARGETS.build("int8", {}, "quantize")), id="delayed", marks=pytest.mark.slow),
        pytest.param((ADAPTIVE, INTEGER_TARGETS.build("int8", {}, "quantize")), id="adaptive", marks=pytest.mark.slow),
        pytest.param(
            (DELAYED | {"n1": OSCILLATOR}, INTEGER_TARGETS.build("int8", {}, "quantize")),
            id="oscillators",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_compiled_loops_dense_loops_stream_c_and_onnx_have_the_same_bits(
    drawn: tuple[dict[str, Any], IntegerTarget],
) -> None:
    (layers, target), seed = drawn, 3
    network, x = whole_network(layers, target, seed), frames(seed)
    with torch.no_grad(), plain_loops():
        expected = network(x)[0]
    with torch.no_grad():
        assert torch.equal(network(x)[0], expected)
    form = network_form(network, SHAPE)
    dense, stream = DenseLoops(form), EventStream(network, SHAPE, dt=1.0)
    for step, frame in enumerate(x[:, 0].numpy()):
        assert np.array_equal(dense.step(frame).reshape(-1), expected[step, 0].numpy())
        p, y, column = np.repeat(np.argwhere(frame), frame[frame > 0].astype(int), 0).T
        assert np.array_equal(np.asarray(stream.step(column, y, p)).reshape(-1), expected[step, 0].numpy())
    written = c_network(form, "net", sensor(form), "random")
    weights = re.findall(r"static const (\w+) w\d+_\d+\[(\d+)\]", written.source)
    assert {kind for kind, _ in weights} == {"int8_t"}
    maps = [part for one in form.operations if isinstance(one, Currents) for part in one.maps]
    assert sum(int(size) for _, size in weights) == sum(part.weight.size for part in maps)
    if (cc := compiler()) is not None:
        assert certify_c(written, form, [recorded(form, 0.3, 20)], cc).differ == 0
    if HAS_ONNX:
        compared = certify_onnx(onnx_network(form, with_neurons=True), [recorded(form, 0.3, 20).frames])
        assert (compared.largest, compared.spikes_differ) == (0.0, 0)
