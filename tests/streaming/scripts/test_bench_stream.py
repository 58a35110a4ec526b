"""The bench of the event-driven engine runs all methods on the same network, and finds no difference on a grid."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from snnlab.interop.onnx_network import HAS_ONNX
from snnlab.nn import build_network

SCRIPTS = Path(__file__).parents[3] / "scripts"
SHAPE = (2, 6, 8)
LAYERS = {
    "conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": "same"},
    "pool": {"type": "max_pool", "kernel_size": 2},
    "lif": {"type": "lif", "v_threshold": 0.3, "reset_delay": True},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 3, "bias": False},
    "iaf": {"type": "iaf", "spikes": "several", "floor": -1.0},
}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
def test_all_methods_run_and_are_equal_on_a_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    bench_stream, bench, work = map(importlib.import_module, ("bench_stream", "streambench.bench", "streambench.work"))
    random = np.random.default_rng(0)
    p, y, x = (random.integers(0, size, 400) for size in SHAPE)
    recording = work.Recording("noise", (x, y, p), np.sort(random.integers(0, 20, 400)))
    network = build_network(LAYERS, in_shape=SHAPE, dt=1.0).network.eval()
    monkeypatch.setattr(bench, "works", lambda settings: [work.Work("small", network, SHAPE, 1.0, [recording])])
    monkeypatch.setattr(bench, "start", lambda settings: {})
    methods = ["engine", "onnx", "torch", "network"]
    arguments = ["--data", str(tmp_path), "--rounds", "2", "--out", str(tmp_path), "--methods", *methods]
    monkeypatch.setattr(sys, "argv", ["bench_stream.py", *arguments])
    bench.run(bench_stream.parser().parse_args())
    found = json.loads((tmp_path / "bench_stream.json").read_text())["small"]
    (steps,) = found["steps"]
    assert steps["num_steps"] == 20
    assert steps["events a step"] == 20
    assert all(0 < steps[name]["min p50"] <= steps[name]["all p50"] for name in methods)
    grid = found["grid"]["noise"]
    assert grid["spikes"] > 20
    assert {name: sum(counts.values()) for name, counts in grid["differences"].items()} == dict.fromkeys(methods[1:], 0)
    assert "| noise | 20.0 |" in capsys.readouterr().out
