"""What is missing is run, what is done stays, and what fails is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnlab.errors import Interrupted, RunFolderError, UnknownSettingError
from snnlab.experiments import suite_runner
from snnlab.experiments.suite_state import load_suite_state

from ..refusals import assert_raises, assert_text_has
from .conftest import Stub, settings_of, write_run


def page(stub: Stub) -> dict[str, Any]:
    return json.loads((stub.folder / "suite.json").read_text())


def statuses(stub: Stub) -> dict[str, str]:
    return {cell["folder"]: cell["status"] for cell in page(stub)["cells"]}


def test_each_method_is_trained_on_each_dataset_with_each_seed_and_each_dataset_is_checked_once(stub: Stub):
    stub.run()
    assert stub.surveyed == 2
    assert [Path(task.folder).relative_to(stub.folder).as_posix() for task in stub.trained] == [
        f"runs/{dataset}/{method}/{seed}"
        for seed in (0, 1)
        for dataset in ("digits", "patterns")
        for method in ("a", "b")
    ]
    first = settings_of(stub.trained[1])
    expected = {"data": "saccade_digits", "neuron": "cuba_lif", "seed": "0", "test": "true"}
    assert {key: first[key] for key in expected} == expected
    assert set(statuses(stub).values()) == {"completed"}


def test_gpus_are_shared_out_on_the_datasets_whose_trainings_take_one(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    original = stub.preflight
    monkeypatch.setattr(
        stub, "preflight", lambda *given: replace(original(*given), gpus=2 if "digits" in given[0][0][0] else 0)
    )
    stub.run(engine="joblib")
    shared = {Path(task.folder).parts[-3]: settings_of(task).get("trainer.devices") for task in stub.trained}
    assert shared == {"digits": "[0]", "patterns": None}


def test_what_is_done_is_not_done_again_and_more_seeds_are_added(stub: Stub):
    stub.run()
    stub.trained.clear()
    stub.run()
    assert not stub.trained
    stub.run(seeds=[0, 1, 2])
    assert {settings_of(task)["seed"] for task in stub.trained} == {"2"}
    assert len(stub.trained) == 4


def test_a_failed_run_is_recorded_the_others_continue_and_it_is_tried_again(stub: Stub):
    stub.broken = lambda task: "broken" if "/b/1" in task.folder else None
    stub.run()
    failed = [cell for cell in page(stub)["cells"] if cell["status"] == "failed"]
    assert [(cell["folder"], cell["error"]) for cell in failed] == [
        ("runs/digits/b/1", "broken"),
        ("runs/patterns/b/1", "broken"),
    ]
    assert list(statuses(stub).values()).count("completed") == 6
    stub.trained.clear()
    stub.broken = lambda task: None
    stub.run()
    assert len(stub.trained) == 2
    assert set(statuses(stub).values()) == {"completed"}


def test_a_dataset_without_recordings_leaves_a_gap_and_the_rest_runs(stub: Stub, caplog: pytest.LogCaptureFixture):
    stub.gaps = {"saccade_digits": "data.root: missing\n  fetch it"}
    with caplog.at_level("INFO", "snnlab"):
        stub.run()
    counts = [line.rpartition("| ")[2].partition(",")[0] for line in caplog.messages if "  | " in line]
    assert counts == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    missing = [cell for cell in page(stub)["cells"] if cell["status"] == "missing"]
    assert {(cell["dataset"], cell["error"]) for cell in missing} == {("digits", "data.root: missing")}
    assert len(missing) == 4
    assert len(stub.trained) == 4


def test_a_stopped_suite_says_so_and_continues(stub: Stub):
    stub.broken = lambda task: "ctrl-c" if len(stub.trained) == 3 else None
    with assert_raises(Interrupted, 2, 8):
        stub.run()
    assert list(statuses(stub).values()) == ["completed"] * 2 + ["missing"] * 6
    stub.broken = lambda task: None
    stub.run()
    assert len(stub.trained) == 3 + 6


@pytest.mark.parametrize("text", ['{"status": "comp', "[]"])
def test_half_a_result_is_none(stub: Stub, text: str):
    stub.run()
    stub.trained.clear()
    (stub.folder / "runs/digits/a/0/result.json").write_text(text)
    stub.run()
    assert [Path(task.folder).relative_to(stub.folder).as_posix() for task in stub.trained] == ["runs/digits/a/0"]


def test_a_result_of_another_schema_is_left_alone_and_shown(stub: Stub):
    stub.run()
    path = stub.folder / "runs/digits/a/0/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 7}))
    stub.trained.clear()
    stub.run()
    assert not stub.trained
    assert_text_has(
        page(stub)["cells"][0]["error"], "runs/digits/a/0/result.json", 7, "reads 1", "remove runs/digits/a/0"
    )


def test_a_damaged_suite_json_is_made_again_from_the_runs(stub: Stub):
    stub.run()
    stub.trained.clear()
    (stub.folder / "suite.json").write_text("{")
    stub.run()
    assert not stub.trained
    assert set(statuses(stub).values()) == {"completed"}
    assert (stub.folder / "suite_damaged.json").is_file()


def test_a_suite_json_of_another_version_is_refused(stub: Stub):
    stub.run()
    (stub.folder / "suite.json").write_text('{"schema": 9}')
    with assert_raises(RunFolderError, "suite_s/suite.json", "written"):
        stub.run()


def test_methods_that_do_not_match_are_flagged_and_stay(stub: Stub):
    stub.run()
    for seed in (0, 1):
        write_run(stub.folder / f"runs/digits/b/{seed}", params=150.0)
    found = stub.run(match={"by": "params", "within": 0.2}).match["digits"]
    assert found["a"] == {"value": 100.0, "off": 1.0, "beyond": False}
    assert found["b"] == {"value": 150.0, "off": 1.5, "beyond": True}
    steps = stub.run(match={"by": "steps", "within": 0.2}).match["digits"]
    assert steps["b"] == {"value": 24.0, "off": 1.0, "beyond": False}
    assert stub.run(match={"by": "synops"}).match == {}
    assert stub.run(match={"by": "wall_time"}).match["digits"]["b"]["value"] == 2.0


def test_an_intermediate_table_flags_methods_off_their_budget(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    seen: list[dict[str, Any]] = []
    stub.tables = lambda: seen.append(page(stub)["match"])
    monkeypatch.setattr(suite_runner, "_TABLE_TIME_FRACTION", 1e9)  # a table after each training
    stub.run(match={"by": "params"})
    assert seen[0] == {"digits": {"a": {"value": 100.0, "off": 1.0, "beyond": False}}}
    assert load_suite_state(stub.folder, []).match == page(stub)["match"] == seen[-1]


def test_controls_are_trained_with_the_first_method_and_judged(stub: Stub):
    stub.accuracy = lambda task: 0.27 if "shuffled" in task.folder else 0.9
    suite_state = stub.run(controls=["shuffled_labels", "shuffled_time"])
    controls = [settings_of(task) for task in stub.trained if "control" in settings_of(task)]
    assert [(one["control"], one["neuron"], one["seed"]) for one in controls] == [
        ("shuffled_labels", "lif", "0"),
        ("shuffled_time", "lif", "0"),
    ] * 2
    said = {one["name"]: one for one in suite_state.controls if one["dataset"] == "digits"}
    assert said["shuffled_labels"]["passed"] is True
    assert_text_has(said["shuffled_labels"]["said"], "27.0%", "chance", "25.0%")
    assert said["shuffled_time"]["passed"] is None
    assert_text_has(said["shuffled_time"]["said"], "27.0%", "90.0%", "+63.0 points")
    assert said["duplicates"]["passed"] is True


def test_a_control_without_a_test_has_no_verdict(stub: Stub):
    stub.run(controls=["shuffled_labels"])
    for path in stub.folder.glob("controls/*/*/*/*/result.json"):
        page = json.loads(path.read_text())
        del page["metrics"]["test/accuracy"]
        path.write_text(json.dumps(page))
    (stub.folder / "suite.json").unlink()
    said = {one["said"] for one in stub.run(controls=["shuffled_labels"]).controls if one["name"] != "duplicates"}
    assert [text.partition(":")[0] for text in said] == ["not tested"]


def test_a_control_of_which_a_file_is_missing_is_not_judged(stub: Stub):
    stub.run(controls=["shuffled_labels", "permuted_test_labels"])
    for path in stub.folder.glob("controls/*/digits/*/*/predictions.npz"):
        path.unlink()
    (stub.folder / "suite.json").unlink()
    suite_state = stub.run(controls=["shuffled_labels", "permuted_test_labels"])
    said = {one["name"]: one["said"] for one in suite_state.controls if one["dataset"] == "digits"}
    assert_text_has(said["shuffled_labels"], "not judged", "predictions.npz")
    assert_text_has(said["shuffled_labels"], "predictions.npz")
    assert_text_has(said["permuted_test_labels"], "not judged")  # stubs write no checkpoint


def test_a_dry_run_leaves_a_damaged_suite_json_where_it_is(stub: Stub):
    stub.run()
    (stub.folder / "suite.json").write_text("{")
    before = sorted(stub.folder.iterdir())
    load_suite_state(stub.folder, [])
    assert sorted(stub.folder.iterdir()) == before


def test_a_mistake_that_all_trainings_have_is_the_users(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    from snnlab.experiments.suite_plan import PreflightResult

    monkeypatch.setattr(
        stub, "preflight", lambda *_: PreflightResult(mistake=UnknownSettingError("trainer", "max_epoch"))
    )
    with assert_raises(UnknownSettingError, "trainer.max_epoch"):
        stub.run()
    assert not stub.trained


def test_training_time_and_overhead_are_separated_and_added_up(stub: Stub):
    first = stub.run().spent
    assert 0 < first.trainings_s < first.trainings_s + first.overhead_s
    again = stub.run().spent
    assert vars(again) == vars(first)  # nothing was missing
    more = stub.run(seeds=[0, 1, 2]).spent
    assert more.trainings_s > first.trainings_s
