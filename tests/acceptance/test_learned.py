"""Trained time constants and thresholds of neurons are in all outputs of a run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load, train
from snnlab.files import load_arrays

from ..refusals import assert_text_has
from .conftest import DRAWN, Outcome

Snnlab = Callable[..., Outcome]
LEARNS = ("neuron.learn={tau_mem: channel, v_threshold: layer}", "optimizer.lr=0.1", "monitors.every_steps=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run whose 16 neurons have trained a time constant each, and a common threshold."""
    folder = tmp_path_factory.mktemp("learned")
    shown = ("logger=[tensorboard,csv]", "plots=null", "trainer.max_epochs=2", "selection=last")
    return train(*DRAWN, *LEARNS, *shown, digits_store, f"output_dir={folder}").folder


@pytest.fixture(scope="module")
def taus(run: Path) -> np.ndarray:
    """Return the time constants, ms, from their stored parameters."""
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    found = weights["network.lif1.learned.tau_mem"].double().exp().numpy().ravel()
    assert found.std() > 0.1
    return found


def test_show_prints_mean_and_range_of_the_chosen_epoch(run: Path, taus: np.ndarray, snnlab: Snnlab) -> None:
    done = snnlab("show", str(run))
    assert done.status == 0, done.err
    (row,) = [line.split() for line in done.out.splitlines() if re.match(r" +lif1 +tau_mem", line)]
    assert float(row[2]) == pytest.approx(taus.mean(), rel=1e-3)
    assert f"{taus.min():.4g} to {taus.max():.4g}" in " ".join(done.out.split())
    assert_text_has(done.out, "chosen epoch")


def test_show_of_a_run_without_a_checkpoint_prints_the_initial_values(
    run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    done = snnlab("show", str(tmp_path))
    assert done.status == 0, done.err
    assert_text_has(done.out, "initial values")


def test_export_has_them_in_ms_next_to_the_trained_parameter(
    run: Path, taus: np.ndarray, tmp_path: Path, snnlab: Snnlab
) -> None:
    out = tmp_path / "weights.npz"
    assert snnlab("export", str(run), "--what", "weights", "--out", str(out)).status == 0
    arrays = load_arrays(out)
    np.testing.assert_allclose(arrays["weights/lif1.tau_mem_ms"].ravel(), taus, rtol=1e-6)
    np.testing.assert_allclose(np.exp(arrays["weights/lif1.learned.tau_mem"]).ravel(), taus, rtol=1e-6)
    assert arrays["weights/lif1.v_threshold"] != 1.0


def test_logs_have_a_curve_of_each_and_the_result_the_chosen_epochs(run: Path, taus: np.ndarray) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = [f"learned/tau_mem_ms{end}/lif1" for end in ("", "_min", "_max")]
    expected = [taus.mean(), taus.min(), taus.max()]
    epochs, result = load(run).epochs, json.loads((run / "result.json").read_text())
    for name, value in zip(names, expected, strict=True):
        assert epochs[name][-1] == pytest.approx(value, rel=1e-5)
        assert result["metrics"][name] == pytest.approx(value, rel=1e-5)
    assert epochs["learned/v_threshold/lif1"][0] != epochs["learned/v_threshold/lif1"][1]
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "histograms": 0})
    events.Reload()
    assert len(events.Scalars(names[0])) == 2
    assert [event.step for event in events.Histograms("monitors/tau_mem_ms/lif1")] == [0, 1, 2, 3]
    assert not any("v_threshold" in tag for tag in events.Tags()["histograms"])
    with (run / "steps.csv").open() as file:
        assert {*names, "learned/v_threshold/lif1"} <= {row["name"] for row in csv.DictReader(file)}


def test_the_report_has_them(run: Path, taus: np.ndarray, snnlab: Snnlab) -> None:
    assert snnlab("report", str(run)).status == 0
    page = (run / "report.html").read_text()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page[page.index("Learned constants") :])
    assert cells[:4] == ["lif1", "tau_mem (ms)", f"{taus.mean():.4g}", f"{taus.min():.4g} to {taus.max():.4g}"]
    assert_text_has(page, "tau_mem (ms)", "by layer")


def test_in_python_a_setting_has_its_current_value(run: Path, taus: np.ndarray) -> None:
    lif: Any = load(run).network.get_submodule("lif1")
    np.testing.assert_allclose(lif.tau_mem.numpy().ravel(), taus, rtol=1e-6)
    assert f"tau_mem={taus.min():.4g} to {taus.max():.4g}, dt=80.0" in repr(lif)
