"""The check of a suite's records: each number that a table or a comparison reads, and what is missing or damaged."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from snnlab.cli.main import run
from snnlab.errors import ConfigError, RunFolderError, SnnlabError
from snnlab.experiments.cli import bench_suite
from snnlab.experiments.session import suite_check, suite_records
from snnlab.experiments.session.seed_check import has_default
from snnlab.experiments.session.suite_check import check_suite
from snnlab.experiments.suite_table import read_table, table_text
from snnlab.experiments.verdicts import read_method
from snnlab.files import write_npz
from snnlab.runs.provenance import ComparedItem
from snnlab.safe_tensors import read_safe_tensors, write_safe_tensors

from ...refusals import assert_raises

pytestmark = pytest.mark.long  # trains a suite, and checks its records many times

SUITE = """
datasets:
  points: [data=yin_yang, data.num_train=128, data.num_val=32, data.num_test=32, data.num_bins=8]
methods:
  lif: [model=mlp_lif, model.layers.fc1.out_features=6]
  linear: {overrides: [model=linear_counts], role: baseline, note: 18 numbers}
seeds: [0, 1, 2, 3]
common: [trainer.max_epochs=2, trainer.accelerator=cpu, monitors=null, plots=null, threads=1, optimizer.lr=0.02]
match: {by: params, within: 0.1}
energy: {mac_pj: 5.0}
published:
  - {dataset: points, name: other, accuracy: 97.5, architecture: one layer, steps: 8, params: 963, protocol: one seed}
engine: here
"""
FILES = ("config.yaml", "result.json", "metrics.csv", "weights.safetensors", "predictions.npz")


class Check(NamedTuple):
    """The folder of a suite's file and records, and its check."""

    root: Path
    run: Callable[..., list[ComparedItem]]

    def copy(self, to: Path) -> tuple[Path, Path]:
        """Return a copy of the records, and the folder of the row of lif."""
        shutil.copytree(self.root / "records", to / "records")
        return to / "records", to / "records" / "points" / "lif"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a suite's YAML, its runs and its records."""
    root = tmp_path_factory.mktemp("check")
    (root / "suite").mkdir()
    (root / "suite" / "points.yaml").write_text(SUITE)
    bench_suite.suite("suite=points", f"folder={root / 'runs'}", config_dir=root)
    bench_suite.write_records(root / "runs", str(root / "records"))
    return root


@pytest.fixture(scope="module")
def known() -> dict[Any, Any]:
    """Return what the tests and trainings of all networks gave."""
    return {}


@pytest.fixture
def remembered(made: Path, known: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return the check of a suite that tests and trains each network once, for records with the same weights."""

    def once(function: Any, key_of: Callable[..., Any]) -> Any:
        def call(*args: Any) -> Any:
            key = (function.__name__, *key_of(*args))
            return known[key] if key in known else known.setdefault(key, function(*args))

        return call

    def trained(session: Any, started: float) -> Any:
        key = str(session.experiment.record["model"])
        if key not in known:
            known[key] = suite_check_run(session, started), (session.folder / "metrics.csv").read_bytes()
        session.folder.mkdir(parents=True, exist_ok=True)
        (session.folder / "metrics.csv").write_bytes(known[key][1])
        return known[key][0]

    suite_check_run = suite_check.run
    wanted = bench_suite.read_bench_request(["suite=points"], made)
    planned = bench_suite.plan_suite(wanted._replace(folder=made / "none"), "")

    def run(
        records: Path, *, methods: tuple[str, ...] = ("lif", "linear"), seeds: tuple[int, ...] = (0, 1, 2, 3), **more
    ):
        plan, specs = planned
        chosen = [spec for spec in specs if spec.method in methods and spec.seed in seeds]
        return list(check_suite(plan, chosen, records, more.get("allowed", ()), wanted.suite, more.get("every", True)))

    composed = once(suite_check._compose, lambda plan, spec, record, folder: (spec,))
    monkeypatch.setattr(suite_check, "_compose", composed)
    tested = once(suite_check.evaluate_test, lambda one, folder: (str(one.record["model"]), one.seed))
    monkeypatch.setattr(suite_check, "evaluate_test", tested)
    monkeypatch.setattr(suite_check, "run", trained)
    return Check(made, run)


def failed(found: list[ComparedItem]) -> set[str]:
    return {one.what for one in found if one.same is False}


def test_unchanged_records_pass(remembered: Check) -> None:
    found = remembered.run(remembered.root / "records")
    assert len(found) == 9
    assert all(one.same for one in found), found


# Each number of a record is edited alone, in turn.

# Statements of a record that nothing recorded gives again, as docs/benchmarks.md names them.
STATED = (
    *("wall_s", "test_reads.evaluations", "result.timing.", "result.provenance.", "result.metrics.val/recordings"),
    *("result.metrics.last/test/", "looks."),
)
# Settings of a machine, which a record does not fix; numbers that no table of records reads.
UNREAD = ("threads", "data.num_workers", "seeds.", "line 1: train/", "line 1: lr", "line 1: step", "line 1: learned")


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested mappings and lists with its place."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, node


def replaced(node: Any, place: str, value: Any, at: str = "") -> Any:
    """Return nested mappings and lists with another value at a place."""
    if at == place:
        return value
    if isinstance(node, dict):
        return {key: replaced(each, place, value, f"{at}.{key}" if at else str(key)) for key, each in node.items()}
    if isinstance(node, list):
        return [replaced(each, place, value, f"{at}.{key}" if at else str(key)) for key, each in enumerate(node)]
    return node


def edited(value: Any) -> Any:
    """Return another value of the same type; None for a text."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 1.5 + 0.25 if isinstance(value, float) else None


Edit = tuple[str, Callable[[], Any]]


def edits_of_text(path: Path, prefix: str, new_value: Callable[[Any], Any]) -> Iterator[Edit]:
    """Yield the places of a JSON or YAML file whose values get new ones, and functions that write them."""
    read, write = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    content = read(path.read_text())
    for place, value in leaves(content):
        if place.startswith(prefix) and (new := new_value(value)) is not None:
            text = write(replaced(content, place, new))
            yield place.removeprefix(prefix), lambda text=text: path.write_text(text)


def edits_of_csv(path: Path) -> Iterator[Edit]:
    """Yield the places of the first two lines of a CSV file, of the first seed, and functions that edit them."""
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    for number, name in product((0, 1), rows[0]):
        new = [dict(one) for one in rows]
        new[number][name] = str(edited(json.loads(new[number][name])))
        yield f"line {number}: {name}", lambda new=new: path.write_text(suite_records._csv_text(new))


def edits_of_arrays(path: Path) -> Iterator[Edit]:
    """Yield the names of the arrays of a file, and functions that edit a value of the first seed."""
    with np.load(path) as stored:
        arrays = dict(stored)
    for name, values in arrays.items():
        new = values.copy()
        new.flat[5 if values.size > 5 else 0] += 1 if new.dtype.kind in "iu" else 0.25
        yield name, lambda name=name, new=new: write_npz(path, {**arrays, name: new})


def all_edits(records: Path, row: Path) -> Iterator[Edit]:
    yield from edits_of_text(row / "result.json", "runs.0.", edited)
    for path in (records / "suite.json", records / "suite.yaml", row / "config.yaml"):
        yield from edits_of_text(path, "", edited)
    yield from edits_of_csv(row / "metrics.csv")
    yield from edits_of_arrays(row / "predictions.npz")


@pytest.mark.long
def test_each_edited_number_fails_or_is_a_named_statement(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    (records / "table.txt").unlink()  # it has most numbers, and could be made anew
    before = {path: path.read_bytes() for path in records.rglob("*.*")}
    passed, places = set(), 0
    for place, edit in all_edits(records, row):
        edit()
        places += 1
        try:
            if not failed(remembered.run(records, methods=("lif",), seeds=(0,), allowed=("table.txt",), every=False)):
                passed.add(place)
        except RunFolderError:
            pass  # not as a comparison, but as a damaged file
        for path, content in before.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
    assert places > 150
    assert {place for place in passed if not place.startswith((*STATED, *UNREAD))} == set()


def test_what_a_record_states_cannot_be_edited_without_its_table(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    for place in ("wall_s", "result.timing.samples_per_s", "result.metrics.last/test/accuracy"):
        text = (row / "result.json").read_text()
        dict(edits_of_text(row / "result.json", "runs.0.", edited))[place]()
        assert "table.txt" in failed(remembered.run(records, methods=("lif",), seeds=(0,), every=False)), place
        (row / "result.json").write_text(text)


@pytest.mark.parametrize("wrong", ["a text", 10**400], ids=["text", "long"])
def test_values_of_another_type_are_one_line(remembered: Check, tmp_path: Path, wrong: Any) -> None:
    records, row = remembered.copy(tmp_path)
    files = (("runs.0.", row / "result.json"), ("", records / "suite.json"), ("", records / "suite.yaml"))
    for prefix, path in files:
        text = path.read_text()
        for _, edit in edits_of_text(path, prefix, lambda value: wrong):
            edit()
            with suppress(RunFolderError):
                read_table(records, best_on_test=True)
                read_method(row)
            path.write_text(text)


DAMAGES = ("gone", "empty", "half", "rubbish", "pipe")


# Each file with two damages, so that each damage is done to two files; the other pairs are slow.
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, marks=pytest.mark.slow if (second - first) % 5 > 1 else ())
        for first, name in enumerate(FILES)
        for second, damage in enumerate(DAMAGES)
    ],
)
def test_a_damaged_file_is_one_line_everywhere(
    remembered: Check, tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records, row = remembered.copy(tmp_path)
    content = (row / name).read_bytes()
    (row / name).unlink()
    if damage == "pipe":
        os.mkfifo(row / name)
    elif damage != "gone":
        new = {"empty": b"", "half": content[: len(content) // 2], "rubbish": b"\x00\xff{[:" * 50}[damage]
        (row / name).write_bytes(new)
    if damage in ("gone", "pipe") and name == "weights.safetensors":
        assert "lif on points, seed 2: weights" in failed(remembered.run(records))
        return
    if damage == "half" and name in ("metrics.csv", "config.yaml"):  # perhaps of whole lines
        text = (row / name).read_text()
        (row / name).write_text(text[: text.rindex("," if name == "metrics.csv" else ":")])
    with pytest.raises(SnnlabError) as caught:
        remembered.run(records)
    assert str(row) in str(caught.value)
    assert "\n" not in str(caught.value)
    if name == "weights.safetensors":  # nothing else reads it
        return
    with pytest.raises(RunFolderError, match="lif"):
        run("bench", "table", str(records))
    with pytest.raises(RunFolderError, match="lif"):
        run("bench", "compare", str(row), str(records / "points" / "linear"))
    with pytest.raises(RunFolderError, match="lif"):
        run("report", str(records))


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": 1, "looks": 3}', b"\xff"])
def test_a_damaged_description_is_one_line(remembered: Check, tmp_path: Path, damage: bytes) -> None:
    records, _ = remembered.copy(tmp_path)
    for name in ("suite.json", "suite.yaml"):
        content = (records / name).read_bytes()
        (records / name).write_bytes(damage)
        for call in (lambda: remembered.run(records), lambda: read_table(records)):
            with pytest.raises(RunFolderError) as caught:
                call()
            assert name in str(caught.value)
        (records / name).write_bytes(content)


def test_what_is_missing_fails_unless_it_is_named(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    edit_record(row, lambda runs: runs[:3], {"seed", "answer", "accuracy_over_time"}, slice(3))
    (records / "table.txt").write_text(table_text(records))
    assert failed(remembered.run(records)) == {"lif on points, seed 3"}
    for name in ("lif/3", "points/lif/3", "lif", "points/lif"):
        assert not failed(remembered.run(records, allowed=[name]))
    shutil.rmtree(row)
    (records / "table.txt").write_text(table_text(records))
    assert {f"lif on points, seed {seed}" for seed in range(4)} <= failed(remembered.run(records, allowed=["linear"]))
    shutil.copytree(remembered.root / "records" / "points" / "lif", row)
    for name in ("table.txt", "suite.json", "suite.yaml"):
        content = (records / name).read_bytes()
        (records / name).unlink()
        assert name in failed(remembered.run(records))
        (records / name).write_bytes(content)
    with assert_raises(ConfigError, "--allow-missing", "lif/7", "lif/3"):
        remembered.run(records, allowed=["lif/7"])


def edit_record(row: Path, of_runs: Callable[[list[Any]], list[Any]], names: set[str], part: Any) -> None:
    """Edit the entries of a record's seeds, and the parts of its arrays."""
    content = json.loads((row / "result.json").read_text())
    (row / "result.json").write_text(json.dumps({**content, "runs": of_runs(content["runs"])}))
    with np.load(row / "predictions.npz") as stored:
        arrays = {name: values[part] if name in names else values for name, values in stored.items()}
    write_npz(row / "predictions.npz", arrays)
    seeds = {str(one["seed"]) for one in of_runs(content["runs"])}
    rows = [one for one in csv.DictReader(io.StringIO((row / "metrics.csv").read_text())) if one["seed"] in seeds]
    (row / "metrics.csv").write_text(suite_records._csv_text(rows))
    weights = read_safe_tensors(row / "weights.safetensors")
    kept = {name: value for name, value in weights.items() if name.partition("/")[0] in seeds}
    write_safe_tensors(row / "weights.safetensors", kept)


def test_a_lost_curve_is_found_by_the_table_and_a_record_may_have_none(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    with np.load(row / "predictions.npz") as stored:
        arrays = {name: values for name, values in stored.items() if name != "accuracy_over_time"}
        assert len(arrays) < len(stored.files)
    write_npz(row / "predictions.npz", arrays)
    assert failed(remembered.run(records)) == {"table.txt"}
    (records / "table.txt").write_text(table_text(records))
    assert not failed(remembered.run(records))


def test_a_seed_that_is_there_twice_is_refused(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    of_seeds = {"seed", "answer", "accuracy_over_time"}
    edit_record(row, lambda runs: [*runs, runs[0]], of_seeds, np.array([0, 1, 2, 3, 0]))
    for call in (lambda: remembered.run(records), lambda: read_table(records), lambda: read_method(row)):
        with assert_raises(RunFolderError, str(row), "seed 0"):
            call()


def test_weights_may_only_be_missing_because_of_the_size_of_the_file(
    remembered: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, row = remembered.copy(tmp_path)
    weights = read_safe_tensors(row / "weights.safetensors")
    own = {name: value for name, value in weights.items() if not name.startswith("2/")}
    write_safe_tensors(row / "weights.safetensors", own)
    assert failed(remembered.run(records, seeds=(2,), every=False)) == {"lif on points, seed 2: weights"}
    content = json.loads((row / "result.json").read_text())
    content["runs"][2]["has_weights"] = False
    (row / "result.json").write_text(json.dumps(content))
    assert failed(remembered.run(records, seeds=(2,), every=False)) == {"lif on points, seed 2: test"}
    assert not failed(remembered.run(records, seeds=(2,), every=False, allowed=["lif/2"]))
    size = sum(value.numel() * value.element_size() for name, value in weights.items() if name[0] in "01")
    monkeypatch.setattr(suite_records, "MOST_BYTES", size + 1)
    found = remembered.run(records, methods=("lif",), seeds=(2,), every=False)
    assert [one.same for one in found] == [None, True]
    # The answers and the curves still bind its numbers.
    content["runs"][2]["result"]["metrics"]["test/accuracy"] = 0.999
    (row / "result.json").write_text(json.dumps(content))
    assert "lif on points, seed 2: result" in failed(remembered.run(records, seeds=(2,), every=False))


@pytest.mark.parametrize("name", ["0/junk", "9/fc1.weight", "junk"])
def test_weights_that_no_network_has_fail(made: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(made / "records", records := tmp_path / "records")
    row = records / "points" / "lif"
    weights = read_safe_tensors(row / "weights.safetensors")
    write_safe_tensors(row / "weights.safetensors", {**weights, name: torch.ones(3)})
    wanted = bench_suite.read_bench_request(["suite=points", "methods=[lif]", "seeds=[0]"], made)
    plan, specs = bench_suite.plan_suite(wanted._replace(folder=made / "none"), "")
    try:
        found = failed(list(check_suite(plan, specs, records)))
    except SnnlabError as error:
        found = set(str(error).splitlines())
    assert len(found) == 1


def test_a_wrong_hash_of_the_outputs_fails_where_another_seed_of_the_processor_is_equal(
    remembered: Check, tmp_path: Path
) -> None:
    records, row = remembered.copy(tmp_path)
    content = json.loads((row / "result.json").read_text())
    content["runs"][2]["readout_sha256"] = "0" * 64
    (row / "result.json").write_text(json.dumps(content))
    assert failed(remembered.run(records)) == {"lif on points, seed 2: outputs"}
    # One that another processor has made is within the tolerances, which are small where the losses are equal.
    content["runs"][2]["result"]["provenance"]["device"] = "another processor"
    (row / "result.json").write_text(json.dumps(content))
    (records / "table.txt").write_text(table_text(records))
    assert not failed(remembered.run(records))
    with np.load(row / "predictions.npz") as stored:
        arrays = dict(stored)
    arrays["answer"][2][:2] = (arrays["answer"][2][:2] + 1) % 3
    write_npz(row / "predictions.npz", arrays)
    (records / "table.txt").write_text(table_text(records))
    assert failed(remembered.run(records)) == {"lif on points, seed 2: test"}


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [("loss.from_step", 0, True), ("optimizer.lr", 0.02, False), ("data.val_fraction", 0.1, True)],
)
def test_a_setting_that_a_record_lacks_counts_as_its_default(
    remembered: Check, tmp_path: Path, key: str, value: float, same: bool
) -> None:
    records, row = remembered.copy(tmp_path)
    config = yaml.safe_load((row / "config.yaml").read_text())
    assert has_default(config, key, value) is same
    group, _, name = key.partition(".")
    assert config[group].pop(name) == value
    (row / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (records / "table.txt").write_text(table_text(records))
    found = failed(remembered.run(records, methods=("lif",)))
    assert found == (set() if same else {f"lif on points, seed {seed}: settings" for seed in range(4)})


def test_a_table_of_names_counts_as_none_unless_there_is_a_file() -> None:
    config: dict[str, Any] = {"model": {"weights": {"file": None, "rename": {"hidden": "fc1"}}}}
    assert has_default(config, "model.weights.rename.hidden", "fc1")
    config["model"]["weights"]["file"] = "theirs.pt"
    assert not has_default(config, "model.weights.rename.hidden", "fc1")


def test_values_of_tuning_that_the_suite_does_not_try_are_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "records", tmp_path / "records")
    row = tmp_path / "records" / "points" / "lif"
    content = json.loads((row / "result.json").read_text())
    content["runs"][0]["tuned"] = {"trials": 3, "val_size": 32, "values": {"optimizer._target_": "os.system"}}
    (row / "result.json").write_text(json.dumps(content))
    wanted = bench_suite.read_bench_request(["suite=points", "methods=[lif]", "seeds=[0]"], made)
    with assert_raises(RunFolderError, str(row), "seed 0", "optimizer._target_"):
        list(check_suite(*bench_suite.plan_suite(wanted._replace(folder=made / "none"), ""), tmp_path / "records"))


def test_a_row_and_a_seed_that_the_suite_does_not_have(remembered: Check, tmp_path: Path) -> None:
    records, row = remembered.copy(tmp_path)
    shutil.copytree(row, records / "points" / "best")
    (records / "table.txt").write_text(table_text(records))
    assert failed(remembered.run(records)) == {"best on points"}
    shutil.rmtree(records / "points" / "best")
    (records / "table.txt").write_text(table_text(records))
    assert [one.what for one in remembered.run(records, methods=("lif",), seeds=(0, 1))] == [
        *(f"lif on points, seed {seed}: test" for seed in range(4)),
        "lif on points, seed 0: first epoch",
    ]


def test_a_suite_names_runs_that_its_records_may_lack(made: Path, tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "points.yaml").write_text(f"{SUITE}allow_missing: [linear/7, lif/9]\n")
    check = partial(bench_suite.check, "suite=points", config_dir=tmp_path, records=made / "records")
    assert check("methods=[linear]", "seeds=[0,7]") == 0
    assert check("methods=[linear]", "seeds=[0,9]") == 1
    with assert_raises(ConfigError, "suite.allow_missing: lfi/9", "lfi", "lif"):
        check("allow_missing=[lfi/9]")


def test_the_options_of_the_command_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(made / "records", tmp_path / "records")
    own = ["suite=points", "methods=[linear]", "--config-dir", str(made), "--records", str(tmp_path / "records")]
    (tmp_path / "records" / "table.txt").unlink()
    assert run("bench", *own, "--check") == 1
    assert run("bench", *own, "--check", "--allow-missing", "table.txt") == 0
    assert "table.txt" in capsys.readouterr().out
    with assert_raises(ConfigError, "bench", "--check", "--records"):
        run("bench", *own, "--allow-missing", "table.txt")
