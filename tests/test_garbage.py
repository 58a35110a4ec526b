"""Python looks for garbage rarely while a command starts, and as usual once it trains."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from snnlab import train
from snnlab.process import collect_as_usual, collect_rarely

from .cli.conftest import FAST

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def _threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    collect_as_usual()
    gc.set_threshold(*before)


def test_it_is_rare_until_it_is_as_usual_again() -> None:
    collect_rarely()
    assert gc.get_threshold()[0] > 10 * USUAL[0]
    assert gc.get_threshold()[1:] == USUAL[1:]
    kept = gc.get_freeze_count()
    collect_as_usual()
    assert gc.get_threshold() == USUAL
    assert gc.get_freeze_count() > kept


def test_the_threshold_of_a_program_stays() -> None:
    gc.set_threshold(123, 4, 5)
    collect_as_usual()
    assert gc.get_threshold() == (123, 4, 5)


def test_a_training_begins_it(tmp_path: Path, digits_folder: Path) -> None:
    collect_rarely()
    train(*FAST, f"data.store_dir={digits_folder}", f"output_dir={tmp_path}", "plots=null", "monitors=null")
    assert gc.get_threshold() == USUAL
