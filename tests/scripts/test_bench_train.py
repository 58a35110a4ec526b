"""The bench of whole trainings runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_train.py"


def bench(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with SNNLAB_DATA set to a folder."""
    environment = os.environ | {"SNNLAB_DATA": str(data)}
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)


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
