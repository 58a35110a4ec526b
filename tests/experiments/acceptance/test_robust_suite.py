"""A suite that measures its networks under disturbances, as docs/robustness.md promises: areas, verdicts, check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from snnlab.experiments.suite_table import read_table, remarks, tables
from snnlab.files import load_arrays
from snnlab.runs.robustness import RobustnessCurve
from snnlab.runs.statistics import mean_interval

from ...acceptance.calling import call
from ...acceptance.conftest import Outcome
from ...refusals import assert_text_has

pytestmark = pytest.mark.long  # trains two suites

SUITE = """# snnlab bench suite=points
# Points.
datasets:
  points: [data=yin_yang, data.num_train=64, data.num_val=32, data.num_test=64, data.num_bins=8]
methods:
  lif: [model=mlp_lif, model.layers.fc1.out_features=6]
  noisy: [model=mlp_lif, model.layers.fc1.out_features=6, model.noise=0.3]
  linear: {overrides: [model=linear_counts], role: baseline}
seeds: [0, 1, 2, 3]
common: [trainer.max_epochs=1, trainer.accelerator=cpu, monitors=null, plots=null, threads=1]
engine: here
robustness:
  levels: {weight_noise: [0, 0.5, 1], spikes_deleted: null}
  repetitions: 2
  recordings: 40
"""
GIVEN = """# snnlab bench suite=again
# A recorded network.
datasets:
  points: [data=yin_yang, data.num_train=64, data.num_val=32, data.num_test=64, data.num_bins=8]
methods:
  lif: {overrides: [model=mlp_lif, model.layers.fc1.out_features=6, init_from=records/points/lif/2], role: given}
seeds: [0]
common: [trainer.accelerator=cpu, monitors=null, plots=null, threads=1]
engine: here
robustness: {levels: {weight_noise: [0, 0.5, 1]}, repetitions: 2, recordings: 40}
"""
OURS = ("bench", "suite=points", "--config-dir", "mine")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robust")
    (root / "mine" / "suite").mkdir(parents=True)
    (root / "mine" / "suite" / "points.yaml").write_text(SUITE)
    (root / "mine" / "suite" / "again.yaml").write_text(GIVEN)
    assert call(root, *OURS).status == 0
    assert call(root, "bench", "record", "outputs/suite_points", "--records", "records").status == 0
    return root


def check(root: Path, records: Path, *more: str) -> Outcome:
    return call(root, *OURS, "--check", "--records", str(records), *more)


def test_each_network_is_measured_once_at_the_levels_of_the_suite(made: Path) -> None:
    folder = made / "outputs" / "suite_points" / "runs" / "points"
    for method, names in (("lif", {"weight_noise", "spikes_deleted"}), ("linear", {"weight_noise"})):
        record = json.loads((folder / method / "3" / "robustness" / "robustness.json").read_text())
        assert set(record["disturbances"]) == names
        assert record["recordings"] == 40
        assert np.shape(record["disturbances"]["weight_noise"]["right"]) == (3, 2)
    before = (folder / "lif" / "3" / "robustness" / "robustness.json").stat().st_mtime_ns
    assert call(made, *OURS).status == 0
    assert (folder / "lif" / "3" / "robustness" / "robustness.json").stat().st_mtime_ns == before


def test_the_table_has_areas_with_intervals_and_verdicts_and_the_record_has_the_same(made: Path) -> None:
    folder, records = made / "outputs" / "suite_points", made / "records"
    parts = [read_table(place).parts[0] for place in (folder, records)]
    row = next(row for row in parts[0].rows if row.method == "lif")
    each = []
    for seed in range(4):
        with np.load(folder / f"runs/points/lif/{seed}/robustness/robustness.npz") as arrays:
            levels, right = (arrays[f"weight_noise/{what}"] for what in ("level", "right"))
            each.append(RobustnessCurve("", "", levels, right, np.ones((3, 2)), arrays["cluster"]).areas.mean(0))
    found = row.values["under_weight_noise"]
    assert found.mean == pytest.approx(np.mean(each))
    assert (found.low, found.high) == pytest.approx(mean_interval(np.stack(each)))
    said = [[line for line in remarks(part) if line.startswith("under ")] for part in parts]
    assert said[0] == said[1]
    assert sum("weight_noise" in line for line in said[0]) == 2
    shown = [[table for table in tables(part) if "disturbances" in table.title] for part in parts]
    assert shown[0][0].rows == shown[1][0].rows
    assert {"weight_noise", "spikes_deleted"} < set(shown[0][0].head)
    out = call(made, "bench", "table", str(records), "--columns", "test_accuracy,under_weight_noise")
    assert_text_has(out.out, "weight_noise", f"{100 * found.mean:.1f}")


def test_the_check_measures_again_and_refuses_other_answers_and_levels(made: Path, tmp_path: Path) -> None:
    done = check(made, made / "records", "methods=[lif]")
    assert done.status == 0, done.out
    assert done.out.count("under disturbances") == 1
    records = tmp_path / "records"
    shutil.copytree(made / "records", records)
    path = records / "points" / "lif" / "robustness.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "spikes_deleted/right": ~arrays["spikes_deleted/right"]})
    done = check(made, records, "methods=[lif]")
    assert done.status == 1
    assert_text_has(done.out, "under disturbances: differs: spikes_deleted")
    np.savez(path, **{**arrays, "weight_noise/level": arrays["weight_noise/level"] / 2})
    assert check(made, records, "methods=[lif]").status == 1
    path.unlink()
    assert_text_has(check(made, records, "methods=[lif]").out, "no answers")


@pytest.mark.parametrize("what", ["right", "level", "cluster", "cut"])
def test_a_damaged_file_of_answers_is_one_line(made: Path, tmp_path: Path, what: str) -> None:
    records = tmp_path / "records"
    shutil.copytree(made / "records", records)
    path = records / "points" / "lif" / "robustness.npz"
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        with np.load(path) as stored:
            arrays = dict(stored)
        name = "cluster" if what == "cluster" else f"weight_noise/{what}"
        np.savez(path, **{**arrays, name: arrays[name][..., :1]})
    done = call(made, "bench", "table", str(records))
    assert done.status == 2
    assert len(done.err.splitlines()) <= 2
    assert_text_has(done.err, "robustness.npz", "damaged")


def test_a_network_of_a_record_is_given_by_row_and_seed_and_answers_as_it_did(made: Path) -> None:
    assert call(made, "bench", "suite=again", "--config-dir", "mine").status == 0
    places = ("suite_points/runs/points/lif/2", "suite_again/runs/points/lif/0")
    first, again = (load_arrays(made / "outputs" / place / "robustness" / "robustness.npz") for place in places)
    assert np.array_equal(first["weight_noise/right"], again["weight_noise/right"])
    done = call(made, "train", "data=yin_yang", "model=mlp_lif", "init_from=records/points/lif/7", "data.num_bins=8")
    assert done.status == 2
    assert_text_has(done.err, "records/points/lif", "7", "0, 1, 2, 3")


def test_a_network_of_no_epoch_takes_all_its_weights_from_the_run(made: Path) -> None:
    more = ("model.layers.fc1.out_features=6", "model.layers.out.bias=true", "trainer.max_epochs=0", "data.num_bins=8")
    done = call(made, "train", "data=yin_yang", "model=mlp_lif", "init_from=records/points/lif/1", *more)
    assert done.status == 2
    assert_text_has(done.err, "init_from", "out.bias")


def test_an_unknown_disturbance_of_a_suite_is_one_line(made: Path) -> None:
    (made / "mine" / "suite" / "wrong.yaml").write_text(SUITE.replace("spikes_deleted", "spikes_deletd"))
    done = call(made, "bench", "suite=wrong", "--config-dir", "mine", "--dry-run")
    assert done.status == 2
    assert_text_has(done.err, "suite.robustness.levels", "spikes_deletd", "spikes_deleted")
