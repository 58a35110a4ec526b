"""What `snnlab watch` reads of a run: while it is written, when it has ended, and when it is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch.utils.tensorboard.writer import SummaryWriter

from snnlab.errors import RunFolderError
from snnlab.runs.run_folder import locked
from snnlab.runs.watched_run import WatchedRun

from ..refusals import assert_raises, assert_text_has

RUN = Path(__file__).parents[1] / "fixtures" / "runs_dd700d9" / "conv_lif"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run whose training has begun."""
    folder = tmp_path / "NAME" / "TIME"
    folder.mkdir(parents=True)
    shutil.copy(RUN / "config.yaml", folder)
    return folder


def epochs(run: Path, number: int) -> None:
    head = "epoch,step,lr,train/loss,val/accuracy,val/rate_hz/lif1\n"
    rows = [f"{n},{10 * n + 9},0.01,{1 / (n + 1)},0.5,\n" for n in range(number)]
    (run / "metrics.csv").write_text(head + "".join(rows))
    line = "2026-11-28 04:46:{:02d},388 INFO snnlab.training.progress: epoch {}/6  train loss 1.254\n"
    warning = "2026-11-28 04:46:00,388 WARNING snnlab.data.store: \x1b is red\n"
    (run / "log.txt").write_text(warning + "".join(line.format(7 * n + 1, n + 1) for n in range(number)))


def test_a_training_that_runs_has_its_epochs_steps_and_time_left(run: Path) -> None:
    reader = WatchedRun(run)
    with locked(run):
        values, arrays = reader.read()
        assert (values["status"], values["left_s"], arrays.keys()) == ("running", None, {"steps", "steps_loss"})
        before = reader.signature()
        assert reader.signature() == before
        epochs(run, 3)
        writer = SummaryWriter(str(run / "tensorboard"))
        writer.add_scalar("train/loss_step", 2.5, 9)
        writer.add_scalar("lr", 0.1, 9)
        writer.flush()
        assert reader.signature() != before
        values, arrays = reader.read()
        assert (values["num_epochs"], values["epoch_s"]) == (6, 7.0)
        assert values["left_s"] == 0  # the log is of a day that has passed
        assert arrays["train/loss"].tolist() == [1, 1 / 2, 1 / 3]
        assert arrays["steps_loss"].tolist() == [2.5]
        assert_text_has(values["problems"][0], "red")
        assert "\x1b" not in values["problems"][0]
        (events,) = (run / "tensorboard").iterdir()
        whole = events.read_bytes()
        writer.add_scalar("train/loss_step", 1.5, 19)
        writer.close()
        later = events.read_bytes()
        events.write_bytes(later[: len(whole) + 5])  # half of an event is there
        assert reader.read()[1]["steps"].tolist() == [9]
        events.write_bytes(later)
        assert reader.read()[1]["steps"].tolist() == [9, 19]
    assert reader.read()[0]["status"] == "stopped"


def test_steps_csv_is_read_where_it_is(run: Path) -> None:
    (run / "steps.csv").write_text("step,name,value\n9,train/loss_step,2.5\n9,lr,1.0\n19,train/loss_step,1.2\n29,tra")
    assert WatchedRun(run).read()[1]["steps_loss"].tolist() == [2.5, 1.2]


def test_a_run_that_has_ended_has_its_result(tmp_path: Path) -> None:
    values, arrays = WatchedRun(RUN).read()
    assert (values["status"], values["problem"]) == ("completed", None)
    assert 0 <= values["test"]["test/accuracy"] <= 1
    assert arrays["epoch"].size > 0


@pytest.mark.parametrize("content", ["hello\n", "epoch,step\n0,1,2,3\n", "epoch\nx\n", "\x00\xff"])
def test_a_damaged_file_is_a_line_of_the_page(run: Path, content: str) -> None:
    (run / "metrics.csv").write_text(content)
    (run / "log.txt").write_bytes(b"\xff\xfe 2026-99-99")
    values, arrays = WatchedRun(run).read()
    assert_text_has(values["problem"], "metrics.csv")
    assert arrays["steps"].size == 0


def test_other_folders_are_refused(tmp_path: Path, run: Path) -> None:
    with assert_raises(RunFolderError, tmp_path, "config.yaml"):
        WatchedRun(tmp_path)
    shutil.copy(RUN / "result.json", run)
    with assert_raises(RunFolderError, run, "metrics.csv"):
        WatchedRun(run)
