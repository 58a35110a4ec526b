"""Tests and times snnlab on a machine with an NVIDIA GPU, and writes one page: `make gpu` runs it.

    python scripts/gpu_report.py
    python scripts/gpu_report.py --page outputs/gpu/report.json     # only the page, from the record

First the tests marked `gpu`: every neuron, Triton's kernels against the plain loop on the device. Then a training step
(`bench_step.py`) compared with SpikingJelly's own CUDA kernels, its Triton kernels, and the CuPy kernels of its version
0.0.0.0.14, with the peak memory. It writes report.md, report.png and report.json (with every outcome and time) after
each part, so that an interruption keeps the finished parts. A part that exceeds its share of --minutes is stopped, and
the page says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpureport.page import joined_cases, page

ROOT = Path(__file__).parents[1]
PACKAGES = ("snnlab-train", "torch", "triton", "numba", "spikingjelly", "snntorch", "cupy-cuda12x", "cupy-cuda13x")
# The share of the time for the tests; the bench has the rest.
TESTS_SHARE = 0.6
# The folder in which `make gpu` installs the version of SpikingJelly with CuPy kernels.
OLD_JELLY = Path(sys.prefix) / "spikingjelly_cupy"
_OUTCOME = re.compile(r"^(?:\[gw\d+\] \[ *\d+%\] )?(PASSED|FAILED|ERROR|SKIPPED|XFAIL) (tests/.*?)(?: - .*)?$")
_OUTCOMES = {"PASSED": "passed", "XFAIL": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}


class Bench(NamedTuple):
    """A run of the bench: its methods, and additional environment variables."""

    methods: list[str]
    environment: dict[str, str]


BENCHES = {
    "SpikingJelly 2, its CUDA kernels": Bench(
        ["snnlab", "snnlab_cuba", "snnlab_reference", "spikingjelly", "snntorch", "relu", "convs"], {}
    ),
    "SpikingJelly 2, its Triton kernels": Bench(
        ["snnlab", "spikingjelly_triton"], {"SJ_LIF_CUDA_IMPLEMENTATION": "triton"}
    ),
    "SpikingJelly 0.0.0.0.14, CuPy": Bench(["snnlab", "spikingjelly_cupy"], {"PYTHONPATH": str(OLD_JELLY)}),
}


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("gpu_report.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("--minutes", type=float, default=20.0, help="total time limit (default 20)")
    add("--processes", type=int, default=min(8, os.cpu_count() or 1), help="of the tests (default: cores, at most 8)")
    add("--steps", nargs="+", default=["10", "30", "100", "300"], metavar="T", help="(default 10 30 100 300)")
    add("--page", type=Path, metavar="JSON", help="write the page from this record; run nothing")
    add(
        "--rehearse",
        action="store_true",
        help="test of this script on the CPU: a few tests in Triton's\ninterpreter and small steps; no verdict",
    )
    add("--out", type=Path, default=Path("outputs/gpu"), metavar="FOLDER", help="(default outputs/gpu)")
    return made


def outcomes(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the ids of tests with their outcomes, parsed from the output of `pytest -v` with several processes."""
    for line in lines:
        if found := _OUTCOME.match(line.rstrip()):
            yield found[2], _OUTCOMES[found[1]]


def streamed(command: list[str], seconds: float, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the output lines of a command, and kill its process group when its time is over."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield from process.stdout
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        process.stdout.close()
        process.wait()


def run_tests(report: dict[str, Any], seconds: float, processes: int, which: list[str]) -> None:
    """Run the tests and record the outcome of each; tests beyond the time limit stay `not run`."""
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *which]
    ids = [line.strip() for line in streamed([*pytest, "-q", "--collect-only"], seconds) if line.startswith("tests/")]
    report["tests"] = dict.fromkeys(ids, "not run")
    say(f"{len(ids)} tests")
    started = time.monotonic()
    running = [*pytest, "-v", "--tb=line", "--numprocesses", str(processes), "--dist", "load"]
    seen = 0
    for name, outcome in outcomes(streamed(running, seconds - 5.0)):
        seen += report["tests"].get(name) == "not run"
        report["tests"][name] = outcome
        if outcome == "failed":
            say(f"FAILED {name}")
        if seen % 25 == 0:
            say(f"{seen} of {len(ids)} tests, {time.monotonic() - started:.0f} s")


def run_bench(
    report: dict[str, Any], label: str, bench: Bench, arguments: list[str], seconds: float, out: Path
) -> None:
    """Time the methods and record the bench's results; if it fails, record its last line."""
    command = [sys.executable, str(ROOT / "scripts" / "bench_step.py"), "--methods", *bench.methods, *arguments]
    said = ""
    for line in streamed([*command, "--out", str(out)], seconds, bench.environment):
        said = line.strip() or said
        say(line.rstrip())
    written = out / "bench_step.json"
    if written.exists():
        report["bench"][label] = json.loads(written.read_text())
    if not said.startswith("written:"):
        report["notes"].append(f"{label}: stopped or refused; the last line was: {said}")


def write(report: dict[str, Any], folder: Path) -> None:
    """Write the record, the page and the figure."""
    from stepbench.report import draw

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(page(report))
    if joined := joined_cases(report["bench"]):
        draw(joined, folder / "report.png")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    settings = parser().parse_args()
    if settings.page:
        write(json.loads(settings.page.read_text()), settings.out)
        return 0
    import torch
    from surroundings import about

    if not settings.rehearse and not torch.cuda.is_available():
        say(f"gpu_report: PyTorch {torch.__version__} finds no GPU; nothing was run")
        return 2
    started = time.monotonic()
    given = argparse.Namespace(**{name: value for name, value in vars(settings).items() if name != "page"})
    device = "cpu" if settings.rehearse else "cuda"
    report: dict[str, Any] = {"about": about(given, PACKAGES, device), "tests": {}, "bench": {}, "notes": []}
    report["rehearsal"] = settings.rehearse

    def left() -> float:
        return 60.0 * settings.minutes - (time.monotonic() - started)

    def keep() -> None:
        report["minutes"] = (time.monotonic() - started) / 60.0
        write(report, settings.out)

    interpreted = ["tests/kernels/test_gpu.py", "-m", "not gpu", "-k", "every_preset and adlif"]
    which = interpreted if settings.rehearse else ["tests/kernels", "tests/nn", "tests/training", "-m", "gpu"]
    run_tests(report, TESTS_SHARE * left(), settings.processes, which)
    keep()
    sizes = ["4"] if settings.rehearse else settings.steps
    arguments = ["--device", device, "--steps", *sizes, *(["--batch", "2"] if settings.rehearse else [])]
    for at, (label, bench) in enumerate(BENCHES.items()):
        out = settings.out / f"bench_{at}"
        run_bench(report, label, bench, [*arguments, "--rounds", "3"], left() / (len(BENCHES) - at), out)
        keep()
    say(f"written: {settings.out / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
