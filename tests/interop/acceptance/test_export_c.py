"""`snnlab export RUN --c`: what docs/deploy.md and its `--help` promise; what `--c` and `--onnx` both refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from snnlab.interop.c99.c_folder import compiler
from snnlab.interop.onnx_network import HAS_ONNX

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")


@needs_compiler
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


HOSTILE_NAMES = {
    "the end of a comment": "*/\n#ifndef Q\n#define Q\nextern int system(const char *);"
    '__attribute__((constructor)) static void q(void) { system("touch PWNED"); }\n#endif\n/*',
    "assembly": '*/ __asm__(".globl q\\nq: ret"); /*',
    "the end of a line": "net\\",
    "a trigraph": "net ??/n",
    "markdown": "[net](javascript:alert) <script>alert(1)</script> `x`",
}


@needs_compiler
@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_strangers_name_of_an_experiment_is_no_code(
    digits_run: Path, tmp_path: Path, snnlab: Snnlab, name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"name": name}, sort_keys=False))
    done = snnlab("export", str(run), "--c", str(tmp_path / "board"), "--recordings", "1")
    assert done.status == 0, done.err
    assert not list(tmp_path.rglob("PWNED")) + list(Path.cwd().glob("PWNED"))
    for path in (tmp_path / "board").glob("*.[chm]*"):
        head = path.read_text().splitlines()[0]
        assert not set(head.removeprefix("/* ").removesuffix(" */")) & set('*"\\?<>[]`'), path


ALONE = """
import importlib.util, runpy, sys
from pathlib import Path
assert not [name for name in ("torch", "snnlab", "tonic") if importlib.util.find_spec(name)]
sys.argv = ["network.py", "events.fifo"]
runpy.run_path("network.py", run_name="__main__")
(line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
Path("peak").write_text(line.split()[1])
"""


@needs_compiler
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak of memory from /proc")
def test_where_numpy_is_all_there_is_events_from_a_fifo_become_the_answers_of_the_stream_in_60_mb(
    digits_run: Path, digit: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    board, packages = tmp_path / "board", tmp_path / "packages"
    assert snnlab("export", str(digits_run), "--c", str(board), "--recordings", "1").status == 0
    packages.mkdir()
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        (packages / path.name).symlink_to(path)
    for path in [*board.iterdir()]:  # what a Pi needs
        if path.suffix not in (".c", ".h") and path.name not in ("Makefile", "network.py"):
            path.unlink()
    subprocess.run(["make"], cwd=board, capture_output=True, check=True)
    table = np.load(digit)
    table["t"] -= table["t"].min()
    events = np.zeros(table.size, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"), ("unused", "V3")])
    for name in "txyp":
        events[name] = table[name]
    np.save(tmp_path / "one.npy", table)
    os.mkfifo(board / "events.fifo")
    own = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}  # -S: no other packages
    command = [sys.executable, "-S", "-c", ALONE]
    with subprocess.Popen(command, cwd=board, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as alone:
        with (board / "events.fifo").open("wb", buffering=0) as fifo:
            content = events.tobytes()
            for at in range(0, len(content), 1001):  # no whole number of events
                fifo.write(content[at : at + 1001])
        out, err = alone.communicate(timeout=60)
    assert alone.returncode == 0, err.decode()
    streamed = snnlab("stream", str(digits_run), str(tmp_path / "one.npy"), "--time-origin", "first", "--every", "20")
    expected = [json.loads(line) for line in streamed.out.splitlines()]
    found = [json.loads(line) for line in out.splitlines()]
    assert found == [{name: one[name] for name in ("t_ms", "answer")} for one in expected][: len(found)]
    assert len(found) == table["t"].max() // 20_000 + 1
    assert_text_has(err.decode(), f"{len(found)} steps; 0 events")
    assert int((board / "peak").read_text()) < 60_000  # kB


@pytest.mark.long
def test_a_network_that_cannot_be_expressed_is_refused_by_its_layer_and_nothing_is_written(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    given = ("model=mlp_lif", "model.layers.lif1={type: psn}", "trainer.max_epochs=1", "plots=null", "monitors=null")
    run = snnlab("train", *given, digits_store, "data.num_bins=4", "++trainer.limit_train_batches=2")
    assert run.status == 0, run.err
    for option, name in (("--c", "board"), *[("--onnx", "network.onnx")] * HAS_ONNX):
        done = snnlab("export", run.out.splitlines()[-1], option, name)
        assert done.status == 2
        assert_error_has(done.error, "model.layers.lif1")
        assert not (workplace / name).exists()
