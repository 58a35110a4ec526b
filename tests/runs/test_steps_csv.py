from __future__ import annotations

from pathlib import Path

from snnlab.runs.loggers import StepsCSV


def _lines(folder: Path) -> list[str]:
    return (folder / "steps.csv").read_text().splitlines()


def test_each_number_has_a_line(tmp_path: Path) -> None:
    logger = StepsCSV(str(tmp_path))
    logger.log_metrics({"train/loss": 0.5, "lr": 1e-3}, 0)
    logger.log_metrics({"train/loss": 0.25}, 7)
    assert _lines(tmp_path) == ["step,name,value", "0,train/loss,0.5", "0,lr,0.001", "7,train/loss,0.25"]


def test_nothing_is_written_before_something_is_logged(tmp_path: Path) -> None:
    StepsCSV(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_removes_repeated_steps_and_a_truncated_line(tmp_path: Path) -> None:
    first = StepsCSV(str(tmp_path))
    for step in (0, 1, 2, 3):
        first.log_metrics({"loss": step}, step)
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("1,lo")
    resumed = StepsCSV(str(tmp_path), purge_step=2)
    resumed.log_metrics({"loss": 9.0}, 2)
    assert _lines(tmp_path) == ["step,name,value", "0,loss,0.0", "1,loss,1.0", "2,loss,9.0"]
