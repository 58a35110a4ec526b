"""`snnlab export RUN --c`: what docs/deploy.md and its `--help` promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.interop.c99.c_folder import compiler

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")
def test_a_run_becomes_c_that_is_compared_at_once_and_replays_its_recording(
    digits_run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    board = tmp_path / "board"
    done = snnlab("export", str(digits_run), "--c", str(board), "--recordings", "2")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(board)
    assert_text_has(done.out, "weights", "state", "2 recordings", "32 steps", ": 0 differ")
    assert {"Makefile", "README.md", "main.c", "network.py", "recording.bin"} < {path.name for path in board.iterdir()}
    checked = subprocess.run(["make", "check"], cwd=board, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert_text_has(checked.stdout, "16 steps", ": 0 of 160 outputs differ")
    subprocess.run(["make"], cwd=board, capture_output=True, check=True)
    code = "import sys, runpy; runpy.run_path('network.py', run_name='__main__')"
    alone = subprocess.run([sys.executable, "-c", code], cwd=board, capture_output=True, text=True, check=False)
    assert alone.stdout == "16 steps: 0 outputs differ\n"
    again = snnlab("export", str(digits_run), "--c", str(board))
    assert again.status == 2
    assert_error_has(again.error, "--c", board, "--force")
    assert snnlab("export", str(digits_run), "--c", str(board), "--force").status == 0


@pytest.mark.long
def test_a_network_that_cannot_be_expressed_is_refused_by_its_layer_and_nothing_is_written(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    given = ("model=mlp_lif", "model.layers.lif1={type: psn}", "trainer.max_epochs=1", "plots=null", "monitors=null")
    run = snnlab("train", *given, digits_store, "data.num_bins=4", "++trainer.limit_train_batches=2")
    assert run.status == 0, run.err
    done = snnlab("export", run.out.splitlines()[-1], "--c", "board")
    assert done.status == 2
    assert_error_has(done.error, "model.layers.lif1")
    assert not (workplace / "board").exists()
