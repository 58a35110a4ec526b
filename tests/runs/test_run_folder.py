from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnlab.errors import RunFolderError
from snnlab.runs.run_folder import (
    SCHEMA_VERSION,
    Result,
    config_text,
    create_run_folder,
    log_file,
)

from ..refusals import assert_raises, assert_text_has


def _read(folder: Path) -> dict[str, object]:
    return json.loads((folder / "result.json").read_text())


def test_warnings_are_those_of_snnlab_each_once(tmp_path: Path) -> None:
    found: list[str] = []
    logger, another = logging.getLogger("snnlab.test"), logging.getLogger("py.warnings")
    for _ in range(2):  # a run that is resumed appends
        with log_file(tmp_path, found):
            logger.warning("lif1: %s", "silent\nhere")
            logger.info("epoch 1")
            another.warning("torch: deprecated")
    with log_file(tmp_path, found):
        logger.warning("lif2: another")
    assert found == ["lif1: silent", "lif2: another"]


def test_result_json_has_exactly_the_documented_parts(tmp_path: Path) -> None:
    Result(
        tmp_path,
        "completed",
        7,
        metrics={"test/accuracy": 0.5, "val/loss": math.nan},
        selection={"rule": "last", "epoch": 1},
        timing={"fit_s": 1.5},
        provenance={"git": None},
    ).write()
    assert _read(tmp_path) == {
        "schema_version": SCHEMA_VERSION,
        "status": "completed",
        "seed": 7,
        "metrics": {"test/accuracy": 0.5, "val/loss": None},
        "selection": {"rule": "last", "epoch": 1},
        "timing": {"fit_s": 1.5},
        "provenance": {"git": None},
        "resumed": [],
        "control": None,
        "name": None,
        "search": None,
        "error": None,
        "warnings": [],
        "weights": {},
    }
    assert list(tmp_path.iterdir()) == [tmp_path / "result.json"]


def test_a_failed_run_has_the_same_parts(tmp_path: Path) -> None:
    Result(tmp_path, "completed", 0).write()
    whole = set(_read(tmp_path))
    Result(tmp_path, "failed", 0, error="ValueError: no").write()
    assert set(_read(tmp_path)) == whole
    assert _read(tmp_path)["error"] == "ValueError: no"


def test_the_configuration_is_written_and_read_back_as_it_is(tmp_path: Path) -> None:
    config = {"seed": 3, "data": {"num_classes": 10}, "model": {"layers": {"out": {"features": "${data.num_classes}"}}}}
    text = config_text(config)
    create_run_folder(tmp_path / "runs" / "a", text)
    assert (tmp_path / "runs" / "a" / "config.yaml").read_text() == text
    assert OmegaConf.to_container(OmegaConf.create(text)) == config  # the reference is not resolved
    assert list(OmegaConf.create(text)) == ["seed", "data", "model"]
    assert (tmp_path / "runs" / "a" / "checkpoints").is_dir()


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with assert_raises(RunFolderError, "output_dir", "file/run", "output_dir=FOLDER"):
        create_run_folder(tmp_path / "file" / "run", "")


@pytest.fixture
def snnlab_logger() -> Iterator[logging.Logger]:
    """Return snnlab's logger; a test may set its level."""
    logger = logging.getLogger("snnlab")
    before = logger.level
    yield logger
    logger.setLevel(before)


@pytest.mark.parametrize("name", ["snnlab.training", "lightning.pytorch.utilities", "lightning.fabric", "py.warnings"])
def test_log_messages_are_written_to_the_log_file(tmp_path: Path, name: str) -> None:
    with log_file(tmp_path, []):
        logging.getLogger(name).warning("something happened: τ")
    logging.getLogger(name).warning("afterwards")
    (line,) = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert_text_has(line, f"WARNING {name}", "τ")


@pytest.mark.parametrize("level", [logging.NOTSET, logging.INFO, logging.DEBUG])
def test_epochs_are_logged_whether_or_not_the_command_line_was_used(
    tmp_path: Path, level: int, snnlab_logger: logging.Logger
) -> None:
    snnlab_logger.setLevel(level)
    with log_file(tmp_path, []):
        logging.getLogger("snnlab.training").info("epoch 1/2")
    assert "epoch 1/2" in (tmp_path / "log.txt").read_text()
    assert snnlab_logger.level == level


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with log_file(tmp_path, []):
        for n in range(3):
            logging.getLogger("snnlab.test").warning("message %d", n)
    said = [record.getMessage() for record in caplog.records if "log.txt" in record.getMessage()]
    assert len(said) == 1
    assert "No space left" in said[0]
    assert "Traceback" not in capsys.readouterr().err


def test_the_log_is_closed_after_a_failure_too(tmp_path: Path) -> None:
    def fail() -> None:
        with log_file(tmp_path, []):
            raise ValueError("no")

    before = {name: list(logging.getLogger(name).handlers) for name in ("snnlab", "lightning.pytorch", "py.warnings")}
    with pytest.raises(ValueError, match="no"):
        fail()
    assert {name: logging.getLogger(name).handlers for name in before} == before
