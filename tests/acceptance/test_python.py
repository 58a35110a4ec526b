"""Python's names, `snnlab.train`, `load`, `stream`: what README, docs/runs.md and docs/train.md promise."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import snnlab
from snnlab.data.events import Events
from snnlab.errors import ConfigError, DataError, UnknownSettingError
from snnlab.runs.run_folder import Result
from snnlab.session import Session

from ..refusals import assert_raises, assert_text_has
from .conftest import FAST


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on user-defined recordings of two named classes."""
    place = tmp_path_factory.mktemp("python")
    rng = np.random.default_rng(0)
    for number in range(24):
        path = place / "mine" / ("left", "right $")[number % 2] / f"{number:02d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y = rng.integers(0, 8, 200) + 8 * (number % 2), rng.integers(0, 8, 200)
        np.save(path, np.stack([x, y, np.sort(rng.integers(0, 260, 200)), rng.integers(0, 2, 200)], 1))
    data = ("data.sensor_size=[16,8,2]", "data.num_classes=2", "data.duration_ms=100", "data.num_bins=5")
    where = (f"data.root={place / 'mine'}", f"data.store_dir={place}", f"output_dir={place / 'outputs'}")
    network = ("model=mlp_lif", "model.layers.fc1.out_features=16", "neuron.v_threshold=0.2", "optimizer.lr=0.01")
    short = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "plots=null", "monitors=null")
    return snnlab.train("data=folder", "data.time_unit=ms", *data, *where, *network, *short).folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Any:
    return snnlab.load(folder)


def test_settings_can_be_given_as_python_values(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    experiments: list[Any] = []

    def record_session(session: Session, started: float) -> Result:
        experiments.append(session.experiment)
        return Result(session.folder, "completed", session.experiment.seed)

    monkeypatch.setattr("snnlab.session.training.run", record_session)
    snnlab.train(
        "data.batch_size=8",
        {"trainer.max_epochs": 3, "model.layers.fc1.out_features": 16},
        model="mlp_lif",
        neuron={"tau_mem": 12.5},
        optimizer={"lr": np.float64(0.25)},
        plots={"recordings": 1},
        logger=None,
        output_dir=workplace / "a=b",
        seed=3,
    )
    (experiment,) = experiments
    assert (experiment.name, experiment.seed) == ("mlp_lif_saccade_digits", 3)
    assert experiment.model["layers"]["fc1"]["out_features"] == 16
    assert experiment.model["layers"]["lif1"]["tau_mem"] == 12.5
    assert (experiment.optimizer["lr"], experiment.data["batch_size"]) == (0.25, 8)
    assert (experiment.plots.recordings, experiment.logger) == (1, None)
    assert experiment.output_dir == str(workplace / "a=b")
    assert experiment.trainer["max_epochs"] == 3


def test_a_mistake_in_a_value_is_named_as_on_the_command_line():
    with assert_raises(UnknownSettingError, "neuron.taumem", "tau_mem"):
        snnlab.train(neuron={"taumem": 5})
    with assert_raises(TypeError, "overrides"):
        snnlab.train(["model=mlp_lif"])  # type: ignore[arg-type]


@contextmanager
def no_logging() -> Iterator[logging.Logger]:
    """Provide snnlab's logger without any logging set up; a fixture would have pytest's handlers."""
    logger = logging.getLogger("snnlab")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [], False
    logger.setLevel(logging.NOTSET)
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def test_a_training_logs_its_progress(workplace: Path, digits_store: str, capsys: pytest.CaptureFixture[str]):
    with no_logging():
        result = snnlab.train(*FAST, digits_store, "logger=none", "trainer.max_epochs=2")
    printed = capsys.readouterr()
    epochs = [line.split("  ")[0] for line in printed.err.splitlines() if line.startswith("epoch")]
    assert epochs == ["epoch 1/2", "epoch 2/2"]
    assert printed.err.splitlines()[-1] == result.summary
    assert printed.out == ""


def test_logging_that_a_program_has_set_up_is_left_alone(
    workplace: Path, digits_store: str, capsys: pytest.CaptureFixture[str]
):
    with no_logging() as logger:
        logger.setLevel(logging.WARNING)
        snnlab.train(*FAST, digits_store, "logger=none")
    assert "epoch" not in capsys.readouterr().err


def test_a_run_and_a_result_are_shown_in_a_line(run: Any, folder: Path):
    shown = repr(run)
    assert_text_has(shown, "Run(mlp_lif_folder", "seed 0: completed", "accuracy")
    assert str(folder) in shown
    assert len(shown) < 200 + len(str(folder))
    assert len(repr(run.recorded)) < 100 + len(str(folder))
    again = snnlab.train(resume=folder)
    assert_text_has(repr(again), "Result(mlp_lif_folder", "seed 0: completed", "accuracy")
    assert len(repr(again)) < 200 + len(str(folder))


def test_batches_are_those_of_the_evaluation(run: Any):
    batch = run.batch("test", range(3))
    assert batch.x.shape == (5, 3, 2, 8, 16)
    assert batch.index.tolist() == run.data.split.test[:3].tolist()
    assert torch.equal(run.batch("test", slice(1, 3)).x, batch.x[:, 1:])
    assert torch.equal(run.batch("test", 2).x, batch.x[:, 2:])
    assert run.batch("val").targets.tolist() == run.data.store.targets[run.data.split.val].tolist()
    y, _ = run.network(batch.x, lengths=batch.lengths)
    answers = run.predictions["test_answers"][:3, -1]
    assert y.mean(0).argmax(-1).tolist() == answers.tolist()


def test_a_missing_split_or_index_is_named(run: Any):
    with assert_raises(ConfigError, "", "test"):
        run.batch("tset")
    with assert_raises(IndexError, "recordings", run.data.split.test.size):
        run.batch("test", 99)


def recordings(run: Any) -> list[Events]:
    return [run.data.store[place] for place in run.data.split.test.tolist()]


def test_events_become_the_frames_of_the_network(run: Any):
    frames = run.frames(recordings(run))
    assert torch.equal(frames, run.batch("test").x)
    one = recordings(run)[0]
    assert torch.equal(run.frames(one), frames[:, :1])
    assert run.record(frames).spikes["lif1"].shape[:2] == frames.shape[:2]


def test_predictions_are_those_of_the_run_for_all_event_formats(run: Any):
    given = recordings(run)
    rows = run.predict(given)
    readout = run.predictions["test_readout"]
    assert [row["answer"] for row in rows] == readout.argmax(1).tolist()
    assert {row["name"] for row in rows} <= {"left", "right $"}
    events, row = given[0], {**rows[0], "file": "events"}
    assert events.y is not None
    table = np.stack([events.x, events.y, events.t, events.p], 1)
    kinds = [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", bool)]
    fields = np.array(list(zip(events.t, events.x, events.y, events.p, strict=True)), kinds)
    assert run.predict(events) == [row]
    for same in (table, fields, {"t": events.t, "x": events.x, "y": events.y, "p": events.p}):
        assert run.predict(same, time_unit="us", time_origin="zero") == [row]
    swapped = run.predict(table[:, [2, 0, 1, 3]], time_unit="us", time_origin="zero", columns=["t", "x", "y", "p"])
    assert swapped == [row]
    file = Path(run.config["data"]["root"]) / "left" / "00.npy"
    assert run.predict(file)[0]["file"] == str(file)
    assert (
        run.predict(np.load(file))[0]["probability"] == run.predict(file)[0]["probability"]
    )  # in ms, as the run's own


def test_invalid_events_are_refused(run: Any):
    with assert_raises(TypeError, "array"):
        run.predict(3)
    with assert_raises(DataError, "events", 0):
        run.predict(np.array([[0, 0, 0, 1], [99, 0, 1, 1]]))


def test_an_evaluation_gives_what_the_run_recorded(run: Any, tmp_path: Path):
    found = run.evaluate(out=tmp_path / "out")
    assert found["metrics"]["test/accuracy"] == run.metrics["test/accuracy"]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["metrics"] == found["metrics"]
    assert found["folder"] == tmp_path / "out"
    with assert_raises(ConfigError, "evaluate", "folder"):
        run.evaluate(out=run.folder)


def test_every_named_figure_is_drawn_and_can_be_written(run: Any, tmp_path: Path):
    assert {"loss", "rate_hz", "confusion", "accuracy_over_time", "events", "raster/lif1"} <= set(run.figures)
    for name in run.figures:
        figure = run.figure(name, recording=1)
        assert figure.axes
        assert figure._repr_png_().startswith(b"\x89PNG")
    for part in ("val", "test"):
        for row in (0, 1):
            number, target = (int(run.predictions[f"{part}_{name}"][row]) for name in ("recording", "target"))
            (title,) = (axes.get_title(loc="left") for axes in run.figure("readout", recording=number).axes)
            assert title.startswith(f"class {run.class_names()[target]}:")
            assert ("wrong" in title) == (int(run.predictions[f"{part}_readout"][row].argmax()) != target)
    with pytest.raises(IndexError):
        run.figure("events", recording=len(run.data.store))
    run.figure("confusion", "val").savefig(tmp_path / "confusion.pdf")
    assert (tmp_path / "confusion.pdf").read_bytes().startswith(b"%PDF")
    with assert_raises(ConfigError, "figure", "confusion"):
        run.figure("confuson")


@pytest.mark.parametrize(
    ("name", "arguments", "facts"),
    [
        ("checkpoint", {"checkpoint": "plugins=[x]"}, ("best, last", 'overrides=["plugins=[x]"]')),
        ("checkpoint", {"checkpoint": "first"}, ("best, last",)),
        ("plugins", {"plugins": "my_layers"}, ("a list", "my_layers")),
        ("overrides", {"overrides": "data.root=/elsewhere"}, ("a list", 'overrides=["data.root=/elsewhere"]')),
    ],
)
def test_a_text_in_the_wrong_place_of_load_is_refused(
    folder: Path, name: str, arguments: dict[str, Any], facts: tuple[str, ...]
) -> None:
    with assert_raises(ConfigError, f"load: {name}", *facts):
        snnlab.load(folder, **arguments)
