"""Every command in any environment: streams, working folders, encodings, memory; what a mistake imports."""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..marks import one_long
from ..refusals import assert_error_has, assert_lines_have, assert_raises, assert_text_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]
SCIPY = ("scipy.linalg", "scipy.optimize", "scipy.stats", "scipy.signal")  # half a second together


def started(*arguments: str, options: tuple[str, ...] = (), **surroundings: Any) -> subprocess.CompletedProcess[Any]:
    command = [sys.executable, *options, "-m", "snnlab", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, **{**streams, "text": True, "timeout": 120, **surroundings})  # type: ignore[call-overload]


def open_unread_pipe() -> int:
    """Return the writing end of a pipe whose reading end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.long
def test_a_training_with_a_closed_stdout_completes_its_run(workplace: Path, digits_store: str):
    writer = open_unread_pipe()
    closed = {"stdout": writer, "stderr": None, "preexec_fn": lambda: (os.close(0), os.close(2))}
    done = started("train", *FAST, digits_store, "logger=none", **closed)
    os.close(writer)
    assert done.returncode in (0, 141)
    (result,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["status"] == "completed"


def mostly_long(*given: Any) -> list[Any]:
    """Return cases of which each starts a process: the first is always run, the second with the longer half."""
    marks = ((), pytest.mark.long, *[pytest.mark.slow] * len(given))
    cases = ([one] if type(one) is not list else one for one in given)
    return [pytest.param(*case, marks=mark) for case, mark in zip(cases, marks, strict=False)]


@pytest.mark.parametrize("arguments", mostly_long(("train", "--cfg", "job"), ("list", "models"), ("--version",)))
def test_a_closed_stdout_ends_nothing(arguments: tuple[str, ...]):
    done = started(*arguments, stdout=None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", mostly_long(("train", "--help"), ("list", "models"), ("runs", "--help")))
def test_help_and_tables_end_quietly_with_a_closed_stdout(arguments: tuple[str, ...]):
    writer = open_unread_pipe()
    done = started(*arguments, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) in [(0, ""), (141, "")]


@pytest.mark.parametrize("arguments", mostly_long(("--version",), ("list", "models"), ("show",)))
def test_a_full_stdout_is_reported(arguments: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        done = started(*arguments, stdout=full)
    assert done.returncode == 2
    assert_text_has(done.stderr, "snnlab: stdout", "space")


@pytest.mark.parametrize("encoding", one_long(["cp1252", "ascii"]))
def test_tables_go_to_a_stdout_of_any_encoding(encoding: str):
    done = started("show", env={**os.environ, "PYTHONIOENCODING": encoding}, text=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"conv_lif_saccade_digits: saccade_digits, 34 ")


@pytest.mark.long
def test_warnings_of_other_packages_are_no_errors_of_ours(workplace: Path):
    data = ("data=nmnist", "data.root=nowhere", "data.download=false")
    done = started("train", *data, options=("-W", "error"))
    assert done.returncode == 2
    assert_text_has(f"\n{done.stderr}", "\nsnnlab: data.root", "nowhere")


def test_too_little_address_space_is_reported(snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch):
    def no_memory(*_: object) -> None:
        raise OSError("Could not find/load shared object file 'libllvmlite.so'")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_200_000_000, 1_200_000_000))
    monkeypatch.setattr(importlib, "import_module", no_memory)
    done = snnlab("show")
    assert done.status == 2
    assert_text_has(done.err, "snnlab", "1.2 GB")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with assert_raises(OSError, "libllvmlite"):
        snnlab("show")


@pytest.mark.parametrize(
    ("command", "threads"), mostly_long(["evaluate", "0"], ["show", "-1"], ["show", "many"], ["evaluate", ""])
)
def test_a_number_of_threads_that_numba_cannot_have_is_reported(command: str, threads: str):
    done = started(command, "run", env={**os.environ, "NUMBA_NUM_THREADS": threads})
    assert done.returncode == 2
    assert_lines_have(done.stderr.splitlines(), ("snnlab", f"NUMBA_NUM_THREADS={threads}", 0))


@pytest.mark.parametrize(
    ("name", "value"),
    mostly_long(["NUMBA_CPU_FEATURES", "avx2"], ["NUMBA_CACHE_LOCATOR_CLASSES", "nowhere.Locator"]),
)
def test_a_variable_that_would_end_numba_is_reported(name: str, value: str):
    done = started("show", env={**os.environ, name: value})
    assert done.returncode == 2
    assert_lines_have(done.stderr.splitlines(), ("snnlab",))
    assert name in done.stderr
    assert value in done.stderr


@pytest.mark.parametrize("command", ["show", "validate", "train"])
def test_a_missing_working_folder_is_reported(workplace: Path, snnlab: Snnlab, command: str):
    (workplace / "gone").mkdir()
    os.chdir(workplace / "gone")
    (workplace / "gone").rmdir()
    done = snnlab(command)
    assert done.status == 2
    assert_lines_have(done.err.splitlines(), ("snnlab", "deleted", "cd"))


def test_a_working_folder_with_a_reference_for_its_name_is_no_reference(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SNNLAB_ELSEWHERE", str(workplace / "elsewhere"))
    place = workplace / "${oc.env:SNNLAB_ELSEWHERE}"
    place.mkdir()
    monkeypatch.chdir(place)
    done = snnlab("train", "-m", *FAST, digits_store, "logger=none", "seed=1,2", "test=false")
    assert done.status == 0, done.err
    assert len(list(place.glob("outputs/*/*/*/result.json"))) == 2
    assert not (workplace / "elsewhere").exists()


def test_a_working_folder_that_is_half_a_reference_is_named(
    workplace: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
):
    (workplace / "${x").mkdir()
    monkeypatch.chdir(workplace / "${x")
    done = snnlab("train")
    assert done.status == 2
    assert_error_has(done.error, "hydra.runtime.cwd", "${")


def test_a_folder_whose_name_is_no_utf8_is_refused_before_the_training(workplace: Path, snnlab: Snnlab):
    place = Path(os.fsdecode(os.fsencode(workplace) + b"/caf\xe9"))
    place.mkdir()
    os.chdir(place)
    done = snnlab("train")
    assert done.status == 2
    assert_error_has(done.error, "output_dir", 8, "output_dir=FOLDER")
    assert not list(place.iterdir())


def test_a_command_leaves_without_taking_the_interpreter_apart():
    held = "class Held:\n    def __del__(self, write=os.write):\n        write(2, b'taken apart')\nsys.held = Held()"
    program = "sys.argv = ['snnlab', '--version']\nrunpy.run_module('snnlab', {}, '__main__')"
    code = f"import os, runpy, sys\n{held}\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "heavy"),
    mostly_long(
        ["trainer.epochs=5", ("torch",)],
        ["optimizer.lr=abc", ("lightning", "torchmetrics", "tonic", "sklearn", "matplotlib", "optuna", *SCIPY)],
        ["neuron.taumem=3", ("torch",)],
        ["loss=mse", ("lightning", "torchmetrics")],
        ["callbacks=early_stopping callbacks.early_stopping.monitor=val/los", ("lightning", "torchmetrics")],
    ),
)
def test_a_simple_mistake_is_reported_without_heavy_imports(workplace: Path, typed: str, heavy: tuple[str, ...]):
    arguments = ["snnlab", "train", *typed.split(" ")]
    code = f"import sys; sys.argv = {arguments}; from snnlab.cli.main import main; print(main(), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    status, *modules = done.stdout.split()
    assert status == "2", done.stderr
    assert_text_has(done.stderr, f"snnlab: {re.split('[.=]', typed)[0]}")
    assert not set(heavy) & set(modules)
