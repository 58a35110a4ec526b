"""The records of a suite: written, checked, and found to differ."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from snnlab.cli.main import run
from snnlab.config.recorded_run import compose_run
from snnlab.errors import ConfigError, RunFolderError, UnknownSettingError
from snnlab.experiments.cli import bench_suite
from snnlab.experiments.row_record import RowRecord
from snnlab.experiments.session import suite_records
from snnlab.experiments.session.experiment_files import read_suite
from snnlab.experiments.session.suite_check import check_suite
from snnlab.experiments.suite_reading import GIVEN
from snnlab.experiments.suite_settings import GIVEN_WEIGHTS, parse_settings
from snnlab.experiments.suite_table import FORMATS, read_table, table_text
from snnlab.experiments.verdicts import read_methods
from snnlab.runs.provenance import ComparedItem
from snnlab.runs.public_parts import public_result
from snnlab.runs.recorded import read_run
from snnlab.session.weights import checkpoint_file
from snnlab.spec.override_texts import key_of

from ...refusals import assert_raises

pytestmark = pytest.mark.long  # trains suites

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "results"
NAMES = sorted(path.name for path in PUBLISHED.iterdir())
SUITE = """
datasets:
  points: [data=yin_yang, data.num_train=128, data.num_val=32, data.num_test=32, data.num_bins=20]
methods:
  linear: {overrides: [model=linear_counts], role: baseline}
seeds: [0, 3]
common: [data.representation=time_surface, trainer.max_epochs=2, trainer.accelerator=cpu, monitors=null, threads=1]
engine: here
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a suite's YAML, its runs and its records."""
    root = tmp_path_factory.mktemp("records")
    (root / "suite").mkdir()
    (root / "suite" / "points.yaml").write_text(SUITE)
    bench_suite.suite("suite=points", f"folder={root / 'runs'}", config_dir=root)
    bench_suite.write_records(root / "runs", str(root / "records"))
    return root


# Networks of another record, which are not trained.
WHOLE = f"""
datasets:
  points: [experiment=yin_yang, "init_from={PUBLISHED}/yin_yang/yin_yang/lif"]
methods:
  whole: [quantize=int8, quantize.weight_bits=4]
seeds: [0, 7]
common: [trainer.max_epochs=0, trainer.accelerator=cpu, monitors=null, plots=null, threads=1]
engine: here
"""


def test_networks_of_a_record_are_tested_without_a_training_and_their_record_has_no_weights(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "points.yaml").write_text(WHOLE)
    bench_suite.suite("suite=points", f"folder={tmp_path / 'runs'}", config_dir=tmp_path)
    bench_suite.write_records(tmp_path / "runs", str(tmp_path / "records"))
    row = RowRecord.read(tmp_path / "records" / "points" / "whole")
    assert not any(one["has_weights"] for one in row.runs)
    accuracies = [one["result"]["metrics"]["test/accuracy"] for one in row.runs]
    assert all(0.8 < accuracy < 0.98 for accuracy in accuracies)
    assert accuracies[0] != accuracies[1]
    assert [one["result"]["selection"]["trained_before"]["test"] for one in row.runs] == [0, 0]
    found = checked(tmp_path, tmp_path / "records")
    assert [(one.what.partition(": ")[2], one.same) for one in found] == [("test", True)] * 2, found


def checked(root: Path, records: Path, *overrides: str) -> list[ComparedItem]:
    wanted = bench_suite.read_bench_request(["suite=points", *overrides], root)
    return list(check_suite(*bench_suite.plan_suite(wanted._replace(folder=root / "none"), ""), records))


def copied(root: Path, to: Path) -> tuple[Path, Path]:
    """Return a copy of the records, and the folder of its row."""
    shutil.copytree(root / "records", to)
    return to, to / "points" / "linear"


def test_a_row_has_the_files_of_all_seeds_and_no_folder_of_this_machine(suite: Path) -> None:
    row = RowRecord.read(suite / "records" / "points" / "linear")
    assert row.seeds == [0, 3]
    assert row.runs[1]["differs"] == {"seed": 3}
    assert [one["test_reads"]["evaluations"] for one in row.runs] == [0, 0]
    assert row.arrays["answer"].shape == (2, 32)
    assert row.arrays["answer"].dtype == np.uint8
    right = (row.arrays["answer"] == row.arrays["target"]).mean(1)
    assert right == pytest.approx([one["result"]["metrics"]["test/accuracy"] for one in row.runs])
    of_seed = row.run(3)
    assert len(of_seed.epoch_rows()) == 2
    assert (of_seed.config["seed"], of_seed.settings["seed"]) == (3, 3)
    assert of_seed.config["data"]["type"] == of_seed.settings["data.type"] == "yin_yang"
    for path in (suite / "records").rglob("*.*"):
        assert str(suite).encode() not in path.read_bytes()


def test_on_another_processor_a_first_epoch_is_compared_with_those_of_all_seeds(suite: Path, tmp_path: Path) -> None:
    records, row = copied(suite, tmp_path / "records")
    text = (row / "result.json").read_text()
    for one in json.loads(text)["runs"]:
        text = text.replace(one["result"]["provenance"]["device"], "another processor")
    (row / "result.json").write_text(text)
    (records / "table.txt").write_text(table_text(records))
    text = (row / "metrics.csv").read_text()
    losses = [one["train/loss"] for one in csv.DictReader(text.splitlines()) if one["epoch"] == "0"]
    (row / "metrics.csv").write_text(text.replace(losses[0], "0.001"))
    assert [one.same for one in checked(suite, records)] == [True] * 3
    (row / "metrics.csv").write_text(text.replace(losses[0], "0.001").replace(losses[1], "0.001"))
    found = checked(suite, records, "seeds=[0]")
    assert [one.same for one in found] == [True, False]
    assert "train/loss 0.001 then" in found[1].text


def test_record_takes_settings_that_moved_runs_need_again(suite: Path, tmp_path: Path) -> None:
    shutil.copytree(suite / "runs", tmp_path / "moved")
    moved, to = str(tmp_path / "moved"), str(tmp_path / "records")
    assert run("bench", "record", moved, "data.num_workers=0", "--records", to) == 0
    assert RowRecord.read(tmp_path / "records" / "points" / "linear").seeds == [0, 3]
    with assert_raises(UnknownSettingError, "data.nothing", "nothing"):
        run("bench", "record", moved, "data.nothing=1", "--records", to)


def test_the_table_and_the_verdicts_of_a_record_are_those_of_its_runs(suite: Path, tmp_path: Path) -> None:
    runs, records = read_table(suite / "runs"), read_table(suite / "records")
    (row,), (recorded,) = runs.parts[0].rows, records.parts[0].rows
    assert recorded.values == row.values
    assert (recorded.role, recorded.seeds, recorded.flags) == (row.role, row.seeds, row.flags)
    own, of_record = read_methods([suite / "runs/runs/points/linear", suite / "records/points/linear"])
    np.testing.assert_array_equal(own.right, of_record.right)
    np.testing.assert_array_equal(own.recordings, of_record.recordings)
    assert own._replace(right=None, recordings=None, clusters=None) == of_record._replace(
        right=None, recordings=None, clusters=None
    )
    assert run("bench", "compare", str(suite / "runs/runs/points/linear"), str(suite / "records/points/linear")) == 0


def test_later_seeds_and_rows_join_an_earlier_record(suite: Path, tmp_path: Path) -> None:
    records, row = copied(suite, tmp_path / "records")
    (tmp_path / "suite").mkdir()
    other = SUITE.replace("seeds: [0, 3]", "seeds: [3, 1]").replace("linear: {", "linear: &l {")
    (tmp_path / "suite" / "points.yaml").write_text(other.replace("role: baseline}", "role: baseline}\n  again: *l"))
    bench_suite.suite("suite=points", f"folder={tmp_path / 'runs'}", "methods=[linear]", config_dir=tmp_path)
    bench_suite.write_records(tmp_path / "runs", str(records))
    before, now = RowRecord.read(suite / "records" / "points" / "linear"), RowRecord.read(row)
    assert now.seeds == [0, 1, 3]
    assert [one["differs"] for one in now.runs] == [{}, {"seed": 1}, {"seed": 3}]
    for name in ("answer", "accuracy_over_time"):
        np.testing.assert_array_equal(now.array(name, 0), before.array(name, 0))
    assert sum(one.same is True for one in checked(tmp_path, records, "seeds=[0,1,3]")) == 4
    bench_suite.suite("suite=points", f"folder={tmp_path / 'runs'}", "methods=[again]", config_dir=tmp_path)
    shutil.rmtree(tmp_path / "runs" / "runs" / "points" / "linear")
    bench_suite.write_records(tmp_path / "runs", str(records))
    assert {one.method: one.seeds for one in read_table(records).parts[0].rows} == {
        "linear": [0, 1, 3],
        "again": [1, 3],
    }


def test_the_looks_of_all_folders_stay(suite: Path, tmp_path: Path) -> None:
    records, _ = copied(suite, tmp_path / "records")
    state = json.loads((records / "suite.json").read_text())
    (records / "suite.json").write_text(json.dumps({**state, "looks": {"points": [{"linear": 1}]}}))
    own = json.loads((suite / "runs" / "suite.json").read_text()).get("looks") or {}
    bench_suite.write_records(suite / "runs", str(records))
    looks = json.loads((records / "suite.json").read_text())["looks"]["points"]
    assert looks == [{"linear": 1}, *own.get("points", [])]


def test_earlier_seeds_with_other_settings_are_left_out(suite: Path, tmp_path: Path) -> None:
    records, row = copied(suite, tmp_path / "records")
    bench_suite.suite("suite=points", f"folder={tmp_path / 'runs'}", "seeds=[1]", "optimizer.lr=0.02", config_dir=suite)
    bench_suite.write_records(tmp_path / "runs", str(records))
    assert RowRecord.read(row).seeds == [1]


def test_mistakes_are_one_line(suite: Path, tmp_path: Path) -> None:
    records, row = copied(suite, tmp_path / "records")
    (row / "result.json").write_text(json.dumps({"schema": 9, "runs": []}))
    with assert_raises(RunFolderError, str(row), "schema 1"):
        checked(suite, records)
    with assert_raises(RunFolderError, str(tmp_path / "none")):
        bench_suite.check("suite=points", config_dir=suite, records=tmp_path / "none")
    with assert_raises(RunFolderError, str(tmp_path / "records"), "DATASET/METHOD"):
        run("bench", "compare", str(tmp_path / "records"), str(row))
    with assert_raises(RunFolderError, str(suite / "records"), "outputs/suite_NAME"):
        bench_suite.write_records(suite / "records", str(tmp_path / "again"))
    with assert_raises(RunFolderError, str(suite / "records/points/linear"), str(suite / "records")):
        read_table(suite / "records/points/linear")
    with assert_raises(RunFolderError, "folder", str(suite / "records")):
        bench_suite.suite("suite=points", f"folder={suite / 'records'}", config_dir=suite)
    with assert_raises(RunFolderError, str(suite / "records/points/linear"), "bench compare"):
        read_run(suite / "records/points/linear")
    with assert_raises(ConfigError, "bench", "--check"):
        run("bench", "suite=points", "--records", "x")
    assert public_result({"error": "in /home/me/runs/a.csv: 1/2"}) == {"error": "in FOLDER: 1/2"}


def test_of_values_at_each_step_a_record_has_each_recordings_error() -> None:
    targets, readout = (np.random.default_rng(seed).standard_normal((3, 7, 2)).astype(np.float32) for seed in (0, 1))
    np.testing.assert_allclose(
        suite_records.answers_of(targets, readout), ((readout - targets) ** 2).mean((1, 2)), 1e-6
    )
    np.testing.assert_allclose(suite_records.targets_of(targets), (targets**2).mean((1, 2)), 1e-6)
    assert suite_records.targets_of(targets[:, 0, 0].astype(int)).shape == (3,)


def test_a_record_is_refused_where_a_runs_weights_are_wanted() -> None:
    record = PUBLISHED / "few_recordings" / "nmnist_700" / "simulated_first"
    with assert_raises(RunFolderError, str(record)):
        checkpoint_file(record, "best")
    with assert_raises(RunFolderError, str(record), "bench compare"):
        compose_run(record)


def test_a_training_is_repeated_from_the_configuration_of_a_record() -> None:
    row = PUBLISHED / "few_recordings" / "nmnist_700" / "from_scratch"
    again = compose_run(row, ["data.root=data", "data.store_dir=null", "seed=1"], use="another")
    assert (again.name, again.seed, again.trainer["max_epochs"]) == ("nmnist_small", 1, 120)


@pytest.mark.parametrize("name", NAMES)
def test_published_records_have_three_seeds_of_every_row_and_weights_of_the_first(name: str) -> None:
    suite = parse_settings(read_suite(name, None))
    # A record may have some datasets of a suite, and has all rows of these.
    recorded = [one for one in suite.datasets if (PUBLISHED / name / one).is_dir()]
    assert recorded
    rows = [(one, method) for one in recorded for method in suite.methods if suite.trains(method, one)]
    for dataset, method in rows:
        record, given = RowRecord.read(PUBLISHED / name / dataset / method), suite.methods[method].role == GIVEN
        trained = record.run(0).selection["epochs"] > 0
        settings = {key_of(text) for text in (*suite.datasets[dataset], *suite.methods[method].overrides)}
        goes_on = bool(settings & set(GIVEN_WEIGHTS))
        # Recorded networks are those that there are, as are those that go on from them.
        wanted = [0, 1, 2] if trained and not goes_on else list(suite.seeds)[:3]
        assert record.seeds[:3] == ([0] if given else wanted)
        # Without a training the weights are those of another file.
        assert record.runs[0]["has_weights"] is trained
        assert all(one["result"]["provenance"]["git"]["dirty"] is False for one in record.runs)


@pytest.mark.parametrize("name", ["few_recordings", "yin_yang"])
def test_published_records_have_weights_of_every_seed(name: str) -> None:
    suite = parse_settings(read_suite(name, None))
    for dataset in suite.datasets:
        for record in (RowRecord.read(PUBLISHED / name / dataset / method) for method in suite.methods):
            assert record.seeds == list(suite.seeds)
            assert all(one["has_weights"] for one in record.runs)


def test_the_published_permutations_are_those_of_the_seeds() -> None:
    for method in ("ours", "brf_permuted", "gru_same_time_permuted", "gru_same_epochs_permuted"):
        record = RowRecord.read(PUBLISHED / "sequences" / "psmnist" / method)
        for seed in record.seeds:
            np.testing.assert_array_equal(
                record.array("permutation", seed), np.random.default_rng(seed).permutation(784)
            )


@pytest.mark.parametrize("name", NAMES)
def test_a_published_table_is_that_of_its_records(name: str) -> None:
    assert (PUBLISHED / name / "table.txt").read_text() == FORMATS["md"](read_table(PUBLISHED / name))


@pytest.mark.slow
def test_published_networks_answer_genuine_recordings_as_recorded(real_data: Path, store_dir: Path) -> None:
    own = [f"data.root={real_data}", f"data.store_dir={store_dir}", "seeds=[0]", "methods=[simulated_first]"]
    wanted = bench_suite.read_bench_request(["suite=few_recordings", *own], None)
    plan, specs = bench_suite.plan_suite(wanted._replace(folder=store_dir / "none"), "")
    found = list(check_suite(plan, specs, PUBLISHED / "few_recordings"))
    assert sum("test" in one.what for one in found if isinstance(one, ComparedItem)) == 1
    assert all(isinstance(one, ComparedItem) and one.same for one in found), found
