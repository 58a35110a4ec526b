"""Checks out another commit, compares its results with those of this code, times both in turn, and makes a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from kernelbench.cases import CASES, SHAPES
from stepbench.work import BenchError, UsageError

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
REPEATED = 5  # times in a turn
TOLERANCE = 1e-4  # of gradients, in the largest value
# Keeps freed memory in glibc's heap, as a training does.
HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}

Times = dict[str, list[float]]


@dataclass
class Measured:
    """A case in one size.

    Attributes:
        other: The seconds of the other code, `forward` and `backward`.
        this: The same of this code.
        lacks: Why there are none: the case that a code lacks.
    """

    other: Times = field(default_factory=lambda: {"forward": [], "backward": []})
    this: Times = field(default_factory=lambda: {"forward": [], "backward": []})
    lacks: str | None = None

    def ratio(self, of: Any) -> float:
        """Return the ratio of this code's time to the other's, of forward plus backward.

        Args:
            of: `min` or `median`.
        """
        this, other = (sum(of(seconds) for seconds in times.values()) for times in (self.this, self.other))
        return this / other


class Worker:
    """The process that runs one of the codes."""

    def __init__(self, code: Path) -> None:
        self.code = code
        places = os.pathsep.join(map(str, (code, SCRIPTS)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kernelbench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=code,
            env={**os.environ, **HEAP, "PYTHONPATH": places},
        )

    def request(self, **what: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            BenchError: if the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(what), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.close()
            status = self._process.returncode
            raise BenchError(f"the process with the code in {self.code} ended with {status}; see above") from None

    def close(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.communicate()


def run(settings: argparse.Namespace) -> None:
    """Check out, compare, measure, print and write.

    Raises:
        BenchError: if the commit cannot be checked out, a result differs, or a process ends.
    """
    wanted = [(name, shape) for name in settings.cases for shape in settings.shapes if shape in CASES[name].shapes]
    found = {each: Measured() for each in wanted}
    with checkout_of(settings.against, settings.checkout) as other, TemporaryDirectory() as results:
        for number in range(settings.pairs):
            say(f"processes {number + 1} of {settings.pairs}")
            workers = [Worker(other), Worker(ROOT)]
            try:
                for (name, shape), measured in found.items():
                    measure(name, shape, measured, workers, Path(results), settings)
            finally:
                for worker in workers:
                    worker.close()
    text = table(found, settings)
    print(text)
    if settings.out is not None:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        settings.out.write_text(text + "\n", encoding="utf-8")


@contextmanager
def checkout_of(commit: str, folder: Path | None, root: Path = ROOT) -> Iterator[Path]:
    """Provide a folder with a commit's code.

    Args:
        commit: The commit.
        folder: A permanent folder for it; None: a temporary one.
        root: The repository.

    Raises:
        UsageError: if there is no such commit, or the folder holds another.
    """
    full = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if full is None:
        raise UsageError(f"--against {commit}: there is no such commit in {root}")
    if folder is not None and folder.exists():
        if _git(folder, "rev-parse", "HEAD") != full:
            raise UsageError(f"--checkout {folder}: is not a checkout of {commit}")
        yield folder.resolve()
        return
    with TemporaryDirectory(prefix="bench_kernels_") as temporary:
        place = Path(temporary) / "code" if folder is None else folder.resolve()
        if _git(root, "worktree", "add", "--detach", "--quiet", str(place), full) is None:
            raise BenchError(f"git worktree add {place} {commit} failed")
        try:
            yield place
        finally:
            if folder is None:
                _git(root, "worktree", "remove", "--force", str(place))


def measure(
    name: str,
    shape: str,
    measured: Measured,
    workers: list[Worker],
    results: Path,
    settings: argparse.Namespace,
) -> None:
    """Compare the results of a case, then time the workers in turn, in alternating order.

    Args:
        name: The case.
        shape: The shape of its input.
        measured: The times, extended in place.
        workers: With the other code and with this.
        results: A folder for the case's results.
        settings: Number of rounds, batch size and steps.

    Raises:
        BenchError: if a result differs.
    """
    steps = CASES[name].steps or settings.steps
    what = {"case": name, "shape": SHAPES[shape], "steps": steps, "batch": settings.batch}
    for worker, file in zip(workers, (results / "other.npz", results / "this.npz"), strict=True):
        answer = worker.request(**what, results=str(file))
        if Path(answer["code"]) != worker.code:
            raise BenchError(f"the code of {answer['code']} ran instead of that of {worker.code}")
        if "lacks" in answer:
            whose = "this code" if worker is workers[1] else settings.against
            measured.lacks = f"{whose}: {answer['lacks']}"
            return
    require_equal(f"{CASES[name].title}, {shape}", results / "other.npz", results / "this.npz")
    for number in range(settings.rounds):
        turns = list(zip(workers, (measured.other, measured.this), strict=True))
        for worker, times in turns if number % 2 == 0 else reversed(turns):
            for part, seconds in worker.request(**what, repeat=REPEATED).items():
                times[part] += seconds


def require_equal(title: str, other: Path, this: Path) -> None:
    """Refuse outputs or states that are not the same bit for bit, and gradients that differ by more than rounding.

    Raises:
        BenchError: naming the first difference.
    """
    with np.load(other) as before, np.load(this) as after:
        if set(before.files) != set(after.files):
            names = ", ".join(sorted(set(before.files) ^ set(after.files)))
            raise BenchError(f"{title}: only one of the codes returns {names}; nothing was timed")
        for name in before.files:
            one, two = before[name], after[name]
            if np.array_equal(one, two):
                continue
            error = np.abs(one - two).max() / np.abs(one).max() if one.shape == two.shape else np.inf
            if not name.startswith("gradient") or not error <= TOLERANCE:
                raise BenchError(f"{title}: {name} differs by {error:.1e} of the largest; nothing was timed")


def table(found: dict[tuple[str, str], Measured], settings: argparse.Namespace) -> str:
    """Return the table in Markdown: of each code the minimum and the median, ms, and the ratios of their sums."""
    shapes = list(dict.fromkeys(shape for _, shape in found))
    head = [f"case (T={settings.steps}, B={settings.batch})"]
    for shape in shapes:
        head += [f"{shape} forward", "backward", "ratio of the sums"]
    lines = [_row(head), _row(["---", *(["---", "---", "--:"] * len(shapes))])]
    for name in dict.fromkeys(name for name, _ in found):
        cells = [CASES[name].title]
        for shape in shapes:
            cells += _cells(found[name, shape]) if (name, shape) in found else [""] * 3
        lines.append(_row(cells))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba"))
    about = [
        f"`scripts/bench_kernels.py --against {settings.against}`: {settings.against} -> this code, min/median of"
        f" {settings.pairs * settings.rounds * REPEATED}, ms of CPU time of one thread; ratios of min / median."
        f" {versions}.",
        "",
        _summary(found),
        "",
    ]
    return "\n".join([*about, *lines])


def _cells(measured: Measured) -> list[str]:
    if measured.lacks is not None:
        return ["-", "-", measured.lacks.replace("|", "/")]
    parts = [f"{_least(measured.other[part])} -> {_least(measured.this[part])}" for part in ("forward", "backward")]
    return [*parts, f"{measured.ratio(min):.2f} / {measured.ratio(median):.2f}"]


def _least(seconds: list[float]) -> str:
    return f"{1e3 * min(seconds):.3g}/{1e3 * median(seconds):.3g}"


def _summary(found: dict[tuple[str, str], Measured]) -> str:
    timed = {key: each.ratio(median) for key, each in found.items() if each.lacks is None}
    if not timed:
        return "Nothing was timed."
    slower = [f"{CASES[name].title} {shape} {ratio:.2f}" for (name, shape), ratio in timed.items() if ratio > 1.0]
    span = f"Ratios of the medians: {min(timed.values()):.2f} to {max(timed.values()):.2f} in {len(timed)} cases"
    return f"{span}; above 1: {', '.join(slower)}." if slower else f"{span}; none above 1."


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def say(line: str) -> None:
    """Print progress to stderr."""
    print(line, file=sys.stderr, flush=True)
