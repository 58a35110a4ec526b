"""`snnlab export RUN --onnx`: what docs/deploy.md and its `--help` promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnlab import load
from snnlab.interop import onnx_network
from snnlab.interop.onnx_network import HAS_ONNX
from snnlab.interop.onnx_run import onnx_session

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
if TYPE_CHECKING or HAS_ONNX:
    import onnx


@needs_onnx
@pytest.mark.parametrize("options", [[], ["--all-steps"]], ids=["one step", "all steps"])
def test_a_run_becomes_an_onnx_model_that_is_compared_at_once_and_answers_as_the_run(
    options: list[str], digits_run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    path = tmp_path / "network.onnx"
    done = snnlab("export", str(digits_run), "--onnx", str(path), "--recordings", "2", *options)
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(path)
    assert_text_has(done.out, "opset 17", "2 recordings, 32 steps", ": 0 are farther", "spikes: 0 differ")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnx_session(model)
    frames, expected = frames_and_outputs(digits_run)
    about = session.get_modelmeta().custom_metadata_map
    assert float(about["step_ms"]) == 20.0
    start, names = json.loads(about["start"]), [one.name for one in session.get_outputs()]
    states = {
        one.name: np.full((frames.shape[1], *one.shape[1:]), start.get(one.name, 0.0), np.float32)
        for one in session.get_inputs()[1:]
    }
    if options:
        outputs = session.run(["output"], {"frames": frames, **states})[0]
    else:
        steps = []
        for frame in frames:
            found = dict(zip(names, session.run(names, {"frame": frame, **states}), strict=True))
            states = {name: found[f"{name}.after"] for name in states}
            steps.append(found["output"])
        outputs = np.stack(steps)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def frames_and_outputs(run: Path) -> tuple[np.ndarray, np.ndarray]:
    opened = load(run)
    x = opened.batch("test", slice(0, 3)).x.float()
    return x.numpy(), opened.record(x).y.numpy()


def test_without_the_package_one_line_says_how_to_install_it(
    digits_run: Path, tmp_path: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_network, "HAS_ONNX", False)
    done = snnlab("export", str(digits_run), "--onnx", str(tmp_path / "network.onnx"))
    assert done.status == 2
    assert_error_has(done.error, "--onnx", "pip install 'snnlab-train[onnx]'")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@needs_onnx
def test_a_network_that_cannot_be_expressed_is_refused_by_its_layer_and_nothing_is_written(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    given = ("model=mlp_lif", "model.layers.lif1={type: psn}", "trainer.max_epochs=1", "plots=null", "monitors=null")
    run = snnlab("train", *given, digits_store, "data.num_bins=4", "++trainer.limit_train_batches=2")
    assert run.status == 0, run.err
    done = snnlab("export", run.out.splitlines()[-1], "--onnx", "network.onnx")
    assert done.status == 2
    assert_error_has(done.error, "model.layers.lif1")
    assert not (workplace / "network.onnx").exists()
