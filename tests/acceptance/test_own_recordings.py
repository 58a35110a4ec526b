"""Recordings of one's own: what docs/data.md promises of parts, people, windows and refused evaluations."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ..fixtures.camera_files import COLUMNS, write_aedat4
from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
NAMES = ("left", "right")
SETTINGS = (
    "data.sensor_size=[8,6,2]",
    "data.num_classes=2",
    "data.duration_ms=100",
    "data.num_bins=4",
    "data.batch_size=8",
    "model=mlp_lif",
    "model.layers.fc1.out_features=8",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "plots=null",
    "monitors=null",
    "logger=csv",
)


def write(root: Path) -> Path:
    """Write recordings of 6 people, 2 gestures, 2 takes, 300 ms each, and tables with one person as test split."""
    rng = np.random.default_rng(0)
    recordings = [(person, name, take) for person in range(6) for name in NAMES for take in range(2)]
    for person, name, take in recordings:
        t = np.sort(rng.integers(0, 300_000, 300))
        columns = [4 * (name == "left") + rng.integers(0, 4, 300), rng.integers(0, 6, 300), t, rng.integers(0, 2, 300)]
        np.save(root / f"p{person}_{name}_{take}.npy", np.array(columns).T)
    for tested in (5, 1):
        lines = [
            f"p{person}_{name}_{take}.npy,{name},user{person},{'test' if person == tested else 'train'}"
            for person, name, take in recordings
        ]
        (root / f"user{tested}.csv").write_text("\n".join(["path,label,group,split", *lines]) + "\n")
    return root


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the recordings."""
    return write(tmp_path_factory.mktemp("hands"))


@pytest.fixture(scope="module")
def people(hands: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the overrides for these recordings, with user5 as test split."""
    stores = tmp_path_factory.mktemp("stores")
    return ["data=folder", f"data.root={hands}", "data.labels=user5.csv", *SETTINGS, f"data.store_dir={stores}"]


@pytest.fixture(scope="module")
def run(people: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a run on windows of these recordings."""
    from snnlab import train

    folder = tmp_path_factory.mktemp("runs")
    return train(*people, "data.stride_ms=100", "data.val_fraction=0.2", f"output_dir={folder}")


def test_a_wrong_number_of_classes_or_sensor_is_named(people: list[str], workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", *people, "data.num_classes=3")
    assert done.status == 2
    assert_error_has(done.error, "data.num_classes", 3, 2)
    done = snnlab("train", *people, "data.sensor_size=[8,4,2]")
    assert done.status == 2
    assert_error_has(done.error, "", "spans")


def test_windows_recordings_and_groups_are_counted(run: Any) -> None:
    with np.load(run.folder / "predictions.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    people = np.repeat(np.arange(6), 4)
    for part, person in (("val", 1), ("test", 1)):
        assert found[f"{part}_recording"].size == run.metrics[f"{part}/windows"] == 12
        assert run.metrics[f"{part}/recordings"] == 4
        assert np.unique(found[f"{part}_group"]).size == person
        assert np.unique(people[found[f"{part}_recording"]]).size == person
    assert set(found["val_group"].tolist()).isdisjoint(found["test_group"].tolist())
    sizes = {key: value for key, value in run.selection.items() if key.endswith(("_size", "_windows", "_groups"))}
    assert sizes == {
        "train_size": 16, "train_windows": 48, "train_groups": 4,
        "val_size": 4, "val_windows": 12, "val_groups": 1,
        "test_size": 4, "test_windows": 12, "test_groups": 1,
    }  # fmt: skip


def test_windows_are_called_windows(run: Any, snnlab: Snnlab, capfd: pytest.CaptureFixture[str]) -> None:
    from snnlab.runs.run_folder import print_result

    print_result(run)
    assert_text_has(capfd.readouterr().out, "12 windows", "4 recordings")
    done = snnlab("evaluate", str(run.folder))
    assert_text_has(done.out, "12 windows", "4 test")
    page = json.loads((Path(done.out.splitlines()[-1]) / "result.json").read_text())
    assert (page["recordings"], page["windows"]) == (4, 12)
    page = Path(snnlab("report", str(run.folder)).out.splitlines()[-1]).read_text()
    assert_text_has(page, "12 windows", "4 recordings")


def test_each_wrong_answer_is_named_with_its_file(run: Any, hands: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    mislabelled = (hands / "user5.csv").read_text().replace("p5_left_1.npy,left", "p5_left_1.npy,right")
    (hands / "mislabelled.csv").write_text(mislabelled)
    words = ("data.labels=mislabelled.csv", "--mistakes", "--out", str(tmp_path))
    done = snnlab("evaluate", str(run.folder), *words)
    assert done.status == 0, done.err
    with (tmp_path / "mistakes.csv").open() as file:
        rows = list(csv.DictReader(file))
    with np.load(tmp_path / "predictions.npz") as arrays:
        odds = np.exp(arrays["test_readout"]) / np.exp(arrays["test_readout"]).sum(1, keepdims=True)
        places = zip(arrays["test_recording"].tolist(), arrays["test_start_us"] / 1000, odds.max(1), strict=True)
    number = 4 * 5 + 1
    expected = sorted((start, round(float(p), 4)) for recording, start, p in places if recording == number)
    assert sorted((float(row["start_ms"]), float(row["probability"])) for row in rows) == expected
    assert {(row["recording"], row["file"]) for row in rows} == {(str(number), str(hands / "p5_left_1.npy"))}
    assert {(row["part"], row["class"], row["answer"]) for row in rows} == {("test", "right", "left")}
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(f"{probability:.4f}".rstrip("0") in done.out for probability in probabilities)
    done = snnlab("evaluate", str(run.folder), "--mistakes")
    assert "no mistakes" in done.out


def test_a_run_on_a_folder_of_relative_name_opens_from_any_folder(
    people: list[str], hands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snnlab: Snnlab
) -> None:
    def in_folder(name: Path, *words: str) -> Path:
        monkeypatch.chdir(name)
        done = snnlab(*words)
        assert done.status == 0, done.err
        return Path(done.out.splitlines()[-1])

    relative = [f"data.root={hands.name}" if word.startswith("data.root=") else word for word in people]
    in_folder(hands.parent, "train", *relative, f"hydra.run.dir={tmp_path / 'first'}")
    in_folder(tmp_path, "evaluate", "first")
    again = ("train", str(tmp_path / "first" / "config.yaml"), f"data.root={hands.name}", f"output_dir={tmp_path}")
    second = in_folder(hands.parent, *again)
    for run in (tmp_path / "first", second):
        assert yaml.safe_load((run / "config.yaml").read_text())["data"]["root"] == str(hands)
    in_folder(tmp_path, "evaluate", str(second))


def test_validation_recordings_of_another_split_are_refused_where_they_were_trained_on(
    run: Any, people: list[str], hands: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    done = snnlab("evaluate", str(run.folder), "--split", "val")
    assert done.status == 0, done.err
    for changes in (["data.split_seed=1"], ["data.val_fraction=0.5"], ["data.folds=3", "data.fold=1"]):
        done = snnlab("evaluate", str(run.folder), "--split", "val", *changes)
        assert done.status == 2
        assert_error_has(done.error, "evaluate", "trained")
    # Another test person: other parts, and another store with the same events.
    done = snnlab("evaluate", str(run.folder), "data.labels=user1.csv")
    assert done.status == 2
    assert_error_has(done.error, "evaluate", 4)
    assert snnlab("evaluate", str(run.folder), "--split", "train", "data.split_seed=1").status == 0
    # Recordings that the run has not seen are allowed in any part.
    path = tmp_path / "split.csv"
    lines = [f"p{person}_{name}_{take}.npy," + ("val" if person == 5 else "train") for person in (0, 5)
             for name in NAMES for take in range(2)]  # fmt: skip
    path.write_text("recording,split\n" + "\n".join(lines) + "\n")
    tables = (hands / "user5.csv").read_text().replace(",test", ",").replace(",train", ",")
    (tmp_path / "all.csv").write_text(tables)
    given = [f"data.split_file={path}", f"data.labels={tmp_path / 'all.csv'}"]
    done = snnlab("evaluate", str(run.folder), "--split", "val", *given)
    assert done.status == 0, done.err
    assert "trained and tested" not in done.err  # the files have not changed: other ones were named


def test_a_threshold_is_not_chosen_on_training_recordings(run: Any, snnlab: Snnlab) -> None:
    done = snnlab("evaluate", str(run.folder), "--accuracy", "0.1", "data.split_seed=1")
    assert done.status == 2
    assert_error_has(done.error, "evaluate", "split")


def test_init_from_a_run_trained_on_the_test_recordings_is_refused(
    run: Any, people: list[str], tmp_path: Path, snnlab: Snnlab
) -> None:
    from snnlab import train

    again = [*people, f"output_dir={tmp_path / 'runs'}", f"init_from={run.folder}"]
    other = [*again, "data.labels=user1.csv"]
    done = snnlab("train", *other)
    assert done.status == 2
    assert_error_has(done.error, "init_from", "of", 4, "data.split_file", run.folder)
    assert not (tmp_path / "runs").exists()
    # The same split is no leak.
    same = train(*again, "data.val_fraction=0.2")
    assert same.selection["trained_before"] == {"run": str(run.folder), "val": 0, "test": 0}
    # The record is passed on: the second run has seen user1 only through its initial weights.
    split = json.loads((run.folder / "split.json").read_text())
    test = {"train": split["train"][-2:], "val": split["val"], "test": split["test"]}
    (tmp_path / "split.json").write_text(json.dumps(test))
    second = train(*again, f"data.split_file={tmp_path / 'split.json'}")
    third = [*people, f"output_dir={tmp_path / 'third'}", f"init_from={second.folder}", "data.labels=user1.csv"]
    assert snnlab("train", *third).status == 2


def test_inspect_counts_people_and_windows(people: list[str], workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", *people, "data.stride_ms=100", "data.val_fraction=0.2")
    assert done.status == 0, done.err
    assert "6 groups: 4 / 1 / 1 (train / val / test)" in done.out
    assert_text_has(done.out, "72 windows", "48 / 12 / 12", "train / val / test", "every 100 ms")
    assert "warning" not in done.out


def test_missing_classes_of_a_part_are_a_warning(hands: Path, workplace: Path, snnlab: Snnlab, store_dir: Path) -> None:
    names = sorted(path.name for path in hands.glob("*.npy"))
    (workplace / "all.csv").write_text("path,label\n" + "".join(f"{name},{name[3:-6]}\n" for name in names))
    parts = ["val" if name.startswith("p0_left") else "train" for name in names]
    rows = "".join(f"{name},{part}\n" for name, part in zip(names, parts, strict=True))
    (workplace / "split.csv").write_text("recording,split\n" + rows)
    given = ["data=folder", f"data.root={hands}", f"data.labels={workplace / 'all.csv'}", *SETTINGS]
    given += ["data.split_file=split.csv", "data.test_fraction=0", f"data.store_dir={store_dir}", "test=false"]
    expected = ("validation", "1 of 2 classes", "right")
    assert_text_has(snnlab("data", "inspect", *given).out, "warning", *expected)
    done = snnlab("train", *given, f"output_dir={workplace / 'runs'}")
    assert done.status == 0, done.err
    assert_text_has(done.err, *expected)


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1e-3), pytest.param("s", 1e-6, marks=pytest.mark.long)])
def test_times_in_another_unit_are_noticed(
    unit: str, factor: float, workplace: Path, snnlab: Snnlab, store_dir: Path
) -> None:
    root = workplace / "mine"
    root.mkdir()
    write(root)
    for path in root.glob("*.npy"):
        columns = np.load(path).astype(np.float64)
        columns[:, 2] *= factor
        np.save(path, columns)
    given = ["data=folder", f"data.root={root}", "data.labels=user5.csv", *SETTINGS]
    given += [f"data.store_dir={store_dir}", f"output_dir={workplace / 'runs'}"]
    done = snnlab("train", *given)
    assert done.status == 2
    assert_error_has(done.error, "data.time_unit", "files", unit, unit)
    assert not (workplace / "runs").exists()
    assert_text_has(snnlab("data", "inspect", *given).out, f"set data.time_unit={unit}")
    assert snnlab("train", *given, f"data.time_unit={unit}", "test=false").status == 0


def test_own_recordings_are_called_as_their_yaml(people: list[str], workplace: Path, snnlab: Snnlab) -> None:
    (workplace / "mine" / "data").mkdir(parents=True)
    (workplace / "mine" / "data" / "hands.yaml").write_text("defaults: [folder]\n")
    others = [text for text in people if text != "data=folder"]
    done = snnlab("data", "inspect", "--config-dir", "mine", "data=hands", *others)
    assert done.status == 0, done.err
    first, second, *_ = done.out.splitlines()
    assert_text_has(first, "hands: 24 recordings")
    assert second.startswith("hands: 24 recordings, ")
    assert done.out.splitlines()[-1] == "outputs/data_hands.png"
    assert (workplace / "outputs" / "data_hands.png").is_file()


@pytest.mark.long
def test_pixels_outside_of_all_frames_are_explained(people: list[str], workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", *people, "data.downsample=3")
    assert_text_has(done.out, "last 2 columns", "data.downsample=3")
    done = snnlab("data", "inspect", *people, "data.crop=[0,0,4,6]")
    assert_text_has(done.out, "outside data.crop")


def test_a_complete_split_file_is_used_for_a_dataset_without_a_test_split(
    hands: Path, workplace: Path, snnlab: Snnlab, store_dir: Path
) -> None:
    names = sorted(path.name for path in hands.glob("*.npy"))
    (workplace / "all.csv").write_text("path,label\n" + "".join(f"{name},{name[3:-6]}\n" for name in names))
    parts = [("train", "val", "test")[number % 3] for number in range(len(names))]
    rows = "".join(f"{name},{part}\n" for name, part in zip(names, parts, strict=True))
    (workplace / "split.csv").write_text("recording,split\n" + rows)
    given = ["data=folder", f"data.root={hands}", f"data.labels={workplace / 'all.csv'}", *SETTINGS]
    done = snnlab("data", "inspect", *given, "data.split_file=split.csv", f"data.store_dir={store_dir}")
    assert done.status == 0, done.err
    found = [
        line.split()[1] for line in done.out.splitlines() if line.split()[:1] in (["train"], ["validation"], ["test"])
    ]
    assert found == ["8", "8", "8"]


def test_a_split_file_does_not_divide_groups(people: list[str], hands: Path, workplace: Path, snnlab: Snnlab) -> None:
    names = sorted(path.name for path in hands.glob("p[0-4]*.npy"))
    parts = "".join(f"{name},{'val' if name.endswith('1.npy') else 'train'}\n" for name in names)
    (workplace / "split.csv").write_text("recording,split\n" + parts)
    given = [*people, "data.split_file=split.csv", f"output_dir={workplace / 'runs'}"]
    done = snnlab("train", *given)
    assert done.status == 2
    assert_error_has(done.error, "data.split_file", "p0_left_0.npy", 5)
    done = snnlab("train", *given, "data.on_bad=skip")
    assert done.status == 2
    assert_error_has(done.error, "data.split_file", "training")
    parts = "".join(f"{name},{'test' if name.startswith('p4') else 'train'}\n" for name in [*names[1:], names[0]])
    (workplace / "split.csv").write_text("recording,split\n" + parts.removesuffix("train\n") + "val\n")
    done = snnlab("data", "inspect", *given, "data.on_bad=skip")
    assert done.status == 0, done.err
    assert_text_has(done.out, "3 / 1 / 1")


def test_fewer_recordings_than_processes_are_refused_before_the_training(
    people: list[str], workplace: Path, snnlab: Snnlab
) -> None:
    several = [*people, "trainer=ddp", "trainer.devices=5", f"output_dir={workplace / 'runs'}", "data.val_fraction=0.2"]
    done = snnlab("train", *several)
    assert done.status == 2
    assert_error_has(done.error, "trainer.devices", 4, 5)
    assert not (workplace / "runs").exists()


@pytest.mark.long
def test_the_density_of_frames_is_that_of_the_training_windows(people: list[str], workplace: Path) -> None:
    from snnlab.config.compose import compose_experiment
    from snnlab.session import Session
    from snnlab.session.computation import event_density

    for stride in (None, 50.0):
        more = [] if stride is None else [f"data.stride_ms={stride}"]
        experiment, _ = compose_experiment([*people, *more, "data.val_fraction=0"], None)
        session = Session(experiment)
        store, data = session.store, session.data
        events = windows = 0
        for index in data.split.train.tolist():
            t = store[index].t
            for start in [0] if stride is None else range(0, 1000, round(stride)):
                if start == 0 or int(t[-1]) >= 1000 * (start - 50 + 100):
                    events += int(((t >= 1000 * start) & (t < 1000 * start + 100_000)).sum())
                    windows += 1
        assert event_density(data) == pytest.approx(events / (windows * 8 * 6 * 2 * 4))


@pytest.mark.long
@pytest.mark.parametrize(("duration", "unit"), [(0.1, "ns"), (100, None)])
def test_the_doctor_and_inspect_name_a_window_that_loses_most_events(
    duration: float, unit: str | None, people: list[str], snnlab: Snnlab
) -> None:
    given = [word for word in people if not word.startswith("data.duration_ms")]
    given += [f"data.duration_ms={duration}", "neuron.tau_mem='2 steps'", "model.layers.readout.tau_mem='2 steps'"]
    for command, status in ((["data", "inspect"], 0), (["doctor"], 1)):
        done = snnlab(*command, *given)
        assert done.status == status, done.err
        assert_text_has(done.out, "of 7,200 events (", f"duration_ms = {duration:g}", "298.5 ms", "data.duration_ms")
        assert ("data.time_unit=" in done.out) == (unit is not None)
        assert f"data.time_unit={unit or ''}" in done.out or unit is None
        assert "Nothing is wrong with it" not in done.out


@pytest.mark.long
@pytest.mark.parametrize("parts", ["group", "group,split"])
def test_inspect_shows_recordings_with_groups_of_which_one_cannot_be_read(
    parts: str, workplace: Path, snnlab: Snnlab, store_dir: Path
) -> None:
    root = workplace / "mine"
    root.mkdir()
    write(root)
    (root / "p3_left_1.npy").write_bytes(b"broken")
    if parts == "group":
        rows = [line.rpartition(",")[0] for line in (root / "user5.csv").read_text().splitlines()]
        (root / "user5.csv").write_text("\n".join(rows) + "\n")
    given = ["data=folder", f"data.root={root}", "data.labels=user5.csv", *SETTINGS, f"data.store_dir={store_dir}"]
    done = snnlab("data", "inspect", *given)
    assert done.status == 0, done.err
    assert_text_has(done.out, "6 groups")
    assert "p3_left_1.npy" in done.out
    assert_error_has(snnlab("train", *given).error, "", "p3_left_1.npy", "data.on_bad=skip")
    skipped = snnlab("train", *given, "data.on_bad=skip", f"output_dir={workplace / 'runs'}")
    assert skipped.status == 0, skipped.err


def test_a_package_that_was_missing_is_no_property_of_a_recording(
    workplace: Path, snnlab: Snnlab, store_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for name in NAMES:
        (workplace / "mine" / name).mkdir(parents=True)
        for number in range(6):
            events = np.zeros(50, COLUMNS)
            events["t"], events["x"] = np.sort(rng.integers(0, 90_000, 50)), rng.integers(0, 8, 50)
            if number % 2:
                write_aedat4(workplace / "mine" / name / f"{number}.aedat4", events, size=(8, 6))
            else:
                np.save(workplace / "mine" / name / f"{number}.npy", events)
    given = ["data=folder", "data.root=mine", *SETTINGS, f"data.store_dir={store_dir}"]
    with monkeypatch.context() as missing:
        missing.setattr("snnlab.data.reading_process.find_spec", lambda _: None)
        for more in ([], ["data.on_bad=skip"]):
            done = snnlab("data", "prepare", *given, *more)
            assert done.status == 2
            assert_text_has(done.err, ".aedat4", "pip install", "snnlab-train[formats]")
    done = snnlab("data", "prepare", *given)
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1].startswith("12 recordings, 600 events")
