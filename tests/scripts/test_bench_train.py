"""The bench of whole trainings: its output, its errors, and that both train the same network."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from snnlab.data.events.frames import Batch
from snnlab.nn import build_network

from ..refusals import assert_text_has

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_train.py"
LIF = {"type": "lif", "tau_mem": 20.0, "surrogate": {"type": "atan", "alpha": 2.0}}
EPOCHS = [
    {"train_s": 3.0, "elapsed_s": 4.0, "val_accuracy": 0.5, "bare_s": 1.0},
    {"train_s": 2.0, "elapsed_s": 7.0, "val_accuracy": 0.9, "bare_s": 1.5},
    {"train_s": 2.5, "elapsed_s": 10.0, "val_accuracy": 0.8, "bare_s": 1.5},
]
SPEED = [{"epochs": EPOCHS, "selection": {"train_size": 300}}]


def bench(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with SNNLAB_DATA set to a folder."""
    environment = os.environ | {"SNNLAB_DATA": str(data)}
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)


@pytest.fixture
def load_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Return a function that imports a module of the bench by its name relative to the script."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    yield lambda name: importlib.import_module(f"trainbench.{name}")
    parts = ("bench_train", "bench_step", "trainbench", "stepbench", "surroundings")
    for name in [name for name in sys.modules if name.partition(".")[0] in parts]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.peers
def test_a_run_writes_every_epoch_and_a_figure_and_prints_tables(tmp_path: Path) -> None:
    pytest.importorskip("spikingjelly")
    out = tmp_path / "out"
    tiny = ["data.num_bins=4", "data.batch_size=128", "trainer.max_epochs=2", "plots=null"]
    done = bench("--threads", "1", "--out", out, *tiny, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nmnist" in done.stderr
    assert {path.name for path in out.iterdir()} == {"bench_train.json", "bench_train.png"}
    assert (out / "bench_train.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((out / "bench_train.json").read_text())
    assert found["threads"] == 1
    assert found["versions"]["spikingjelly"]
    (of_digits,) = found["experiments"].values()
    (round_,), (of_seed,) = of_digits["speed"], of_digits["accuracy"]
    assert [epoch["same_weights"] for epoch in round_["epochs"]] == [True, True]
    for of_method in (round_, of_seed["snnlab"], of_seed["spikingjelly"]):
        seconds = [epoch["train_s"] for epoch in of_method["epochs"]]
        assert len(seconds) == 2
        assert min(seconds) > 0
        assert sum(seconds) < of_method["epochs"][-1]["elapsed_s"] < of_method["wall_s"]
    # The same training: after so few steps rounding has not yet made them diverge.
    reached = [of_seed[method]["epochs"][0]["val_accuracy"] for method in ("snnlab", "spikingjelly")]
    assert reached[0] == pytest.approx(reached[1], abs=0.05)
    assert "| saccade_digits | 97% | 0 | spikingjelly |" in done.stdout


def test_missing_recordings_are_named_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    load_module: Callable[[str], ModuleType],
) -> None:
    script = importlib.import_module("bench_train")
    monkeypatch.setattr(os, "environ", os.environ | {"SNNLAB_DATA": str(tmp_path)})
    monkeypatch.setattr(sys, "argv", ["bench_train.py", "--experiments", "nmnist", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert_text_has(line, "bench_train: nmnist", "NMNIST")
    assert not (tmp_path / "out").exists()


@pytest.mark.peers
@pytest.mark.parametrize(("changed", "same"), [({}, True), ({"v_threshold": 1.02}, True), ({"reset": "value"}, False)])
def test_spikingjelly_is_timed_only_if_its_network_is_equal(
    load_module: Callable[[str], ModuleType], changed: dict[str, Any], same: bool
) -> None:
    pytest.importorskip("spikingjelly")
    spikingjelly = load_module("spikingjelly_training")
    nodes: dict[str, dict[str, Any]] = {
        "conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
        "lif": LIF | changed,
        "pool": {"type": "max_pool", "kernel_size": 2},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 3, "bias": False},
        "readout": {"type": "li", "tau_mem": 20.0},
    }
    torch.manual_seed(0)
    network = build_network(nodes, in_shape=(2, 8, 8), dt=10.0).network
    x = (torch.rand(12, 5, 2, 8, 8) < 0.4).float() * 2
    targets = torch.arange(5) % 3
    batch = Batch(x, torch.full((5,), 12), targets, targets)
    if same:
        errors = spikingjelly.check(spikingjelly.SpikingJellyNetwork(network), network, batch)
        assert list(errors) == ["outputs", "gradient 1", "gradient 2", "gradient 3"]
        assert max(errors.values()) < 1e-4
    else:
        with pytest.raises(spikingjelly.BenchError, match="SpikingJelly"):
            spikingjelly.check(spikingjelly.SpikingJellyNetwork(network), network, batch)


@pytest.mark.peers
def test_a_layer_that_spikingjelly_lacks_is_named(load_module: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("spikingjelly")
    spikingjelly = load_module("spikingjelly_training")
    with pytest.raises(spikingjelly.UsageError, match=r"^act:.*ReLU"):
        spikingjelly.convert_layer("act", torch.nn.ReLU())


def test_results_are_of_the_first_epoch_with_the_accuracy_and_of_warm_epochs(
    load_module: Callable[[str], ModuleType],
) -> None:
    report = load_module("report")
    assert report.until(EPOCHS, 0.8) == (5.0, 7.0, 2)
    assert report.until(EPOCHS, 0.95) is None
    assert report.ratios({"speed": SPEED}) == [1.5 / 2.0, 1.5 / 2.5]
    found = {"speed": SPEED, "accuracy": [{"seed": 3, "snnlab": {"epochs": EPOCHS, "wall_s": 12.0}}]}
    experiments = {"digits": found | {"target": 0.8, "goal_s": 5.5}}
    assert "| digits | 200 | 133 | 0.675 | 3.0 s | missed 0.9 |" in report.speed_table(experiments)
    assert "| digits | 80% | 3 | snnlab | 5.0 | 7.0 | 2 | 80.0% | 12.0 | reached 5.5 s |" in report.accuracy_table(
        experiments
    )


def test_results_of_two_networks_are_refused(
    load_module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = load_module("bench")
    monkeypatch.setattr(bench, "train_snnlab", lambda *_: {"epochs": [{"same_weights": True}, {"same_weights": False}]})
    settings = type("Settings", (), {"rounds": 1, "seeds": [0]})()
    with pytest.raises(bench.BenchError, match=r"^digits:"):
        bench.speed("digits", [], settings)
