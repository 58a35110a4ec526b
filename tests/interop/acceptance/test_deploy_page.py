"""The blocks of docs/deploy.md run one after another, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab.interop.c99.c_folder import compiler
from snnlab.interop.onnx_network import HAS_ONNX

from ...pages import BLOCKS, Block, commands_of
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
OWN = [block for block in BLOCKS if block.page == Path("docs/deploy.md")]


def first(language: str, text: str) -> Block:
    """Return the first block of a language with a text."""
    return next(block for block in OWN if block.language == language and text in block.text)


def exported(option: str, snnlab: Snnlab) -> str:
    """Run the command of the page with an option in this folder; return what it prints."""
    (command,) = [one for block in OWN for one in commands_of(block) if option in shlex.split(one)]
    done = snnlab(*shlex.split(command)[1:])
    assert done.status == 0, done.err
    return done.out


@pytest.mark.long
@pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")
def test_from_a_run_to_a_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snnlab: Snnlab) -> None:
    monkeypatch.chdir(tmp_path)
    assert ": 0 differ from plain dense loops" in exported("--c", snnlab)
    events = np.zeros(2000, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"), ("unused", "V3")])
    rng = np.random.default_rng(0)
    events["t"], events["x"], events["y"] = np.sort(rng.integers(0, 100_000, 2000)), *rng.integers(0, 34, (2, 2000))
    os.mkfifo("events.fifo")
    lines = first("sh", "network.py").text
    with subprocess.Popen(lines, shell=True, stdout=subprocess.PIPE, text=True) as pi:
        Path("events.fifo").write_bytes(events.tobytes())
        out, _ = pi.communicate(timeout=100)
    assert pi.returncode == 0
    assert len(re.findall(r'"answer": \d', out)) == 10
    shown = first("python", "EVENT").text
    subprocess.run([sys.executable, "-c", shown], cwd=tmp_path / "pi", check=True)


@pytest.mark.long
@pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
def test_from_a_run_to_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snnlab: Snnlab) -> None:
    monkeypatch.chdir(tmp_path)
    assert ": 0 are farther than" in exported("--onnx", snnlab)
    frames = "import numpy\nframes = numpy.ones((3, 1, 2, 34, 34), numpy.float32)\n"
    shown = frames + first("python", "onnxruntime").text
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert len(re.findall(r"\[\[", done.stdout)) == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs Debian's gcc-arm-none-eabi")
def test_from_a_run_to_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snnlab: Snnlab) -> None:
    monkeypatch.chdir(tmp_path)
    exported("--c", snnlab)
    done = subprocess.run(first("sh", "arm-none-eabi").text, shell=True, capture_output=True, text=True, check=True)
    text, *_ = done.stdout.splitlines()[-1].split()
    assert 72_800 < int(text) < 72_800 + 24_000  # with the weights
