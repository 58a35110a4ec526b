"""`snnlab predict`: what docs/runs.md and its `--help` promise."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train
from snnlab.data.data_settings import build_dataset
from snnlab.runs.early_exit import StepTime

from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


def _trained(folder: Path, *more: str, hot: int = 0) -> Path:
    """Return a run on recordings of two classes, on the left and on the right of the sensor, some with a hot pixel."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / "mine" / ("left", "right")[number % 2] / f"{number:02d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y = rng.integers(0, 8, 200) + 8 * (number % 2), rng.integers(0, 8, 200)
        x[:hot], y[:hot] = 3, 5
        np.save(path, np.stack([x, y, np.sort(rng.integers(0, 260, 200)), rng.integers(0, 2, 200)], 1))
    data = ("data.sensor_size=[16,8,2]", "data.num_classes=2", "data.duration_ms=100", "data.num_bins=5")
    where = (f"data.root={folder / 'mine'}", f"data.store_dir={folder}", f"output_dir={folder / 'outputs'}")
    network = ("model=mlp_lif", "model.layers.fc1.out_features=16", "trainer.max_epochs=3", "trainer.accelerator=cpu")
    loud = ("model.layers.lif1.v_threshold=0.2", "optimizer.lr=0.01")  # so that the answers differ
    quiet = ("plots=null", "monitors=null", "logger=none")
    return train("data=folder", "data.time_unit=ms", *data, *where, *network, *loud, *quiet, *more).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(tmp_path_factory.mktemp("predict"))


@pytest.fixture
def hot_run(tmp_path: Path) -> Path:
    return _trained(tmp_path, "data.hot_pixels_hz=100", "trainer.max_epochs=1", hot=60)


def _rows(done: Outcome) -> list[dict[str, str]]:
    assert done.status == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_the_answers_are_those_of_the_run(run: Path, snnlab: Snnlab) -> None:
    opened = load(run)
    dataset = build_dataset(opened.experiment.data)
    places = opened.predictions["test_recording"].tolist()
    rows = _rows(snnlab("predict", str(run), *(dataset.name(place) for place in places)))
    readout = opened.predictions["test_readout"]
    assert np.unique(readout).size == readout.size
    assert [int(row["answer"]) for row in rows] == readout.argmax(1).tolist()
    odds = np.exp(readout) / np.exp(readout).sum(1, keepdims=True)
    assert np.allclose([float(row["probability"]) for row in rows], odds.max(1), atol=1e-3)
    assert [row["name"] for row in rows] == [("left", "right")[int(row["answer"])] for row in rows]
    assert all(int(row["events"]) + int(row["left_out"]) == 200 for row in rows)
    assert all(float(row["start_ms"]) == 0 for row in rows)


def test_a_run_without_the_cameras_motion_answers_without_it(tmp_path: Path, snnlab: Snnlab) -> None:
    path = "data.camera_path=[[0,0,0],[100,6,3]]"
    run = _trained(tmp_path, path, "data.stabilize=true", "trainer.max_epochs=1")
    opened = load(run)
    dataset = build_dataset(opened.experiment.data)
    places = opened.predictions["test_recording"].tolist()
    rows = _rows(snnlab("predict", str(run), *(dataset.name(place) for place in places)))
    odds = np.exp(opened.predictions["test_readout"])
    odds /= odds.sum(1, keepdims=True)
    assert np.allclose([float(row["probability"]) for row in rows], odds.max(1), atol=1e-3)
    assert all(int(row["events"]) + int(row["left_out"]) < 200 for row in rows)


def test_files_of_another_kind_and_unit_and_lines_of_json(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    source = next((run.parents[2] / "mine" / "left").glob("*.npy"))
    x, y, t, p = np.load(source).T
    rows = "\n".join(f"{a},{b},{c},{d}" for a, b, c, d in zip(p, 1000 * (t - t[0]), y, x, strict=True))
    (tmp_path / "same.csv").write_text(rows)
    options = ("--columns", "p,t,y,x", "--time-unit", "us", "--format", "jsonl")
    done = snnlab("predict", str(run), str(tmp_path / "same.csv"), *options)
    assert done.status == 0, done.err
    (row,) = (json.loads(line) for line in done.out.splitlines())
    (same,) = _rows(snnlab("predict", str(run), str(source)))
    assert (row["answer"], row["events"]) == (int(same["answer"]), int(same["events"]))
    assert row["probability"] == float(same["probability"])


def _changed(run: Path, folder: Path, before: str, after: str) -> Path:
    """Return a copy of a run with a changed config.yaml."""
    text = (run / "config.yaml").read_text()
    assert before in text
    folder.mkdir()
    for path in run.iterdir():
        if path.name != "config.yaml":
            (folder / path.name).symlink_to(path)
    (folder / "config.yaml").write_text(text.replace(before, after))
    return folder


def test_a_user_defined_loss_has_its_own_readout(run: Path, snnlab: Snnlab, workplace: Path) -> None:
    (workplace / "my_reversed_loss.py").write_text(
        "from snnlab.nn.losses import LOSSES, CrossEntropy\n\n\n"
        "@LOSSES.register('reversed')\nclass Reversed(CrossEntropy):\n"
        "    def readout(self, y, lengths):\n        return -super().readout(y, lengths)\n"
    )
    own = _changed(run, workplace / "own", "plugins: []", "plugins: [my_reversed_loss]")
    reverse = _changed(own, workplace / "reverse", "type: cross_entropy", "type: reversed")
    source = str(next((run.parents[2] / "mine" / "left").glob("*.npy")))
    (row,) = _rows(snnlab("predict", str(run), source))
    (other,) = _rows(snnlab("predict", str(reverse), source, "plugins=[my_reversed_loss]"))
    assert {row["answer"], other["answer"]} == {"0", "1"}


def test_a_window_without_events_has_no_answer(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    path = tmp_path / "late.npy"
    np.save(path, np.array([[3, 3, 500, 1], [4, 4, 520, 0]]))
    for form in ([], ["--until", "0.3"], ["--pieces", "40"]):
        done = snnlab("predict", str(run), str(path), "--time-origin", "zero", *form)
        (row,) = _rows(done)
        assert (row["answer"], row["name"], row["probability"]) == ("", "", "")
        assert (row["events"], row["left_out"]) == ("0", "2")
        assert_text_has(done.err, path, "no events", "2 later", "--time-origin first")
    done = snnlab("predict", str(run), str(path), "--time-origin", "zero", "--format", "jsonl")
    assert json.loads(done.out)["answer"] is None


def test_equal_outputs_are_no_answer(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened, few = load(run), np.array([[3, 3, 10, 1], [12, 4, 20, 0]])  # no neuron spikes
    many = np.repeat(few, 100, 0)
    assert [opened.predict(few)[0][name] for name in ("answer", "name", "probability")] == [None] * 3
    assert_text_has(capfd.readouterr().err, "no answer", "equal")
    assert opened.predict(many)[0]["answer"] in (0, 1)
    assert capfd.readouterr().err == ""


def test_a_run_of_windows_answers_to_each(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    before, after = "  duration_ms: 100\n", "  duration_ms: 100\n  stride_ms: 50\n"
    windowed = _changed(run, tmp_path / "windowed", before, after)
    source = next((run.parents[2] / "mine" / "left").glob("*.npy"))
    rows = _rows(snnlab("predict", str(windowed), str(source)))
    assert [float(row["start_ms"]) for row in rows] == [0, 50, 100, 150, 200][: len(rows)]
    assert len(rows) >= 4
    (whole,) = _rows(snnlab("predict", str(run), str(source)))
    assert rows[0]["probability"] == whole["probability"]


@pytest.mark.parametrize("length", ["20", pytest.param("60", marks=pytest.mark.long), "1000"])
def test_in_pieces_the_answer_is_the_same(run: Path, snnlab: Snnlab, length: str) -> None:
    files = [str(path) for path in sorted((run.parents[2] / "mine" / "right").glob("*.npy"))[:3]]
    whole = _rows(snnlab("predict", str(run), *files))
    assert _rows(snnlab("predict", str(run), *files, "--pieces", length)) == whole
    done = snnlab("predict", str(run), *files, "--pieces", length, "--format", "jsonl")
    lines = [json.loads(line) for line in done.out.splitlines()]
    ends = [*range(int(length), 100, int(length)), 100]
    assert [(line["until_ms"], line["final"]) for line in lines] == 3 * [(end, end == 100) for end in ends]
    last = [{name: str(line[name]) for name in whole[0]} for line in lines if line["final"]]
    assert last == whole


def test_early_exit_answers_at_a_probability(run: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(path) for path in sorted((run.parents[2] / "mine").glob("*/*.npy"))]
    whole = _rows(snnlab("predict", str(run), *files))
    answers = [
        json.loads(line)
        for line in snnlab("predict", str(run), *files, "--pieces", "20", "--format", "jsonl").out.splitlines()
    ]
    sure = sorted(answer["probability"] for answer in answers)[len(answers) // 2]
    first_answers = _rows(snnlab("predict", str(run), *files, "--until", str(sure)))
    assert len(first_answers) == len(whole)
    for row in first_answers:
        of_file = [answer for answer in answers if answer["file"] == row["file"]]
        first = next(answer for answer in of_file if answer["probability"] >= sure or answer["final"])
        assert (row["answer"], float(row["until_ms"])) == (str(first["answer"]), first["until_ms"])
        assert int(row["events"]) == first["events"]
    assert len({row["until_ms"] for row in first_answers}) > 1
    never = _rows(snnlab("predict", str(run), *files, "--until", "1", "--pieces", "40"))
    assert [{name: row[name] for name in whole[0]} for row in never] == whole
    assert_error_has(snnlab("predict", str(run), files[0], "--until", "2").error, "--until")
    monkeypatch.setattr("snnlab.session.prediction.step_time", lambda settings: StepTime(settings.step_ms, 5.0))
    later = _rows(snnlab("predict", str(run), *files, "--until", str(sure)))  # frames that need later events
    assert [float(row["until_ms"]) for row in later] == [float(row["until_ms"]) + 5 for row in first_answers]


def test_hot_pixels_are_those_of_the_run(hot_run: Path, snnlab: Snnlab) -> None:
    assert json.loads((hot_run / "hot_pixels.json").read_text()) == {"pixels": [5 * 16 + 3]}
    opened = load(hot_run)
    dataset = build_dataset(opened.experiment.data)
    files = [dataset.name(place) for place in opened.predictions["test_recording"].tolist()]
    rows = _rows(snnlab("predict", str(hot_run), *files))
    readout = opened.predictions["test_readout"]
    assert np.unique(readout).size == readout.size
    odds = np.exp(readout) / np.exp(readout).sum(1, keepdims=True)
    assert np.allclose([float(row["probability"]) for row in rows], odds.max(1), atol=1e-4)


@pytest.mark.long
def test_without_the_list_of_its_hot_pixels_a_run_answers_nothing(hot_run: Path, snnlab: Snnlab) -> None:
    file = next((hot_run.parents[2] / "mine" / "left").glob("*.npy"))
    (hot_run / "hot_pixels.json").unlink()
    done = snnlab("predict", str(hot_run), str(file))
    assert (done.status, done.out) == (2, "")
    assert_error_has(done.error, "hot_pixels.json", "missing")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("predict", "FILE")),
        (["none.npy"], ("predict", "none.npy")),
        (["FILE", "--format", "xml"], ("--format", "csv, jsonl", "xml")),
        (["FILE", "--time-unit", "min"], ("predict", "time_unit", "min")),
        (["FILE", "--checkpoint", "first"], ("--checkpoint", "first")),
        (["FILE", "--pieces", "30"], ("predict", "--pieces", 20, 30, 40)),
        (["FILE", "--pieces", "soon"], ("predict", "--pieces", "soon")),
        (["FILE", "--colums", "x"], ("predict", "--colums", "--columns")),
        (["/dev/null"], ("/dev/null", ".npy, .npz, .csv")),
        (["PICKLED"], ("pickled.npy", "array")),
        (["BAD"], ("bad.npy", "x", "0..99", "16 x 8")),
    ],
)
def test_a_mistake_is_named(run: Path, snnlab: Snnlab, tmp_path: Path, arguments: list[str], expected: tuple) -> None:
    source = next((run.parents[2] / "mine" / "left").glob("*.npy"))
    np.save(tmp_path / "bad.npy", np.array([[0, 0, 0, 1], [99, 0, 1, 1]]))
    (tmp_path / "pickled.npy").write_text("hello")
    places = {"FILE": str(source), "BAD": str(tmp_path / "bad.npy"), "PICKLED": str(tmp_path / "pickled.npy")}
    done = snnlab("predict", str(run), *(places.get(word, word) for word in arguments))
    assert done.status == 2
    assert not done.out  # no header without rows
    assert_error_has(done.error, *expected)
    assert "Traceback" not in done.err


def test_a_table_of_events_may_come_through_a_pipe(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    text = "1,2,0,1\n4,5,60,0\n"
    (tmp_path / "plain.csv").write_text(text)
    os.mkfifo(tmp_path / "pipe.csv")
    writer = threading.Thread(target=(tmp_path / "pipe.csv").write_text, args=(text,))
    writer.start()
    plain, piped = (_rows(snnlab("predict", str(run), str(tmp_path / f"{name}.csv"))) for name in ("plain", "pipe"))
    writer.join()
    assert [{**row, "file": ""} for row in plain] == [{**row, "file": ""} for row in piped]
    assert plain[0]["events"] == "2"
