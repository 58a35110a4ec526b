"""A plugin of pytest for long runs: a run that was cut goes on, and says what is left.

    python -m pytest -p scripts.continued_tests --continue outputs/slow_tests.txt -m slow

The file has the hash of the code, and the tests that have passed with this code; those are left out. With other code
every test runs again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a test may depend on.
CODE = ("snnlab", "configs", "docs", "scripts", "tests", "pyproject.toml", "README.md")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--continue", dest="passed_file", type=Path, metavar="FILE", help="leave out what FILE lists")


def pytest_configure(config: pytest.Config) -> None:
    if (file := config.getoption("passed_file")) is None:
        return
    if (given := getattr(config, "workerinput", None)) is not None:  # a process of pytest-xdist
        config.pluginmanager.register(_LeaveOut(given["passed"]))
        return
    run = _ContinuedRun(file, code_hash())
    config.pluginmanager.register(run)
    config.pluginmanager.register(_LeaveOut(run.before, run))


class _LeaveOut:
    """Leaves out the tests that have passed before, and tells the run whether there are any."""

    def __init__(self, passed: list[str], run: _ContinuedRun | None = None) -> None:
        self.passed = set(passed)
        self.run = run

    @pytest.hookimpl(trylast=True)  # what -k and -m deselect is not left out here
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if item.nodeid in self.passed]
        items[:] = [item for item in items if item.nodeid not in self.passed]
        config.hook.pytest_deselected(items=left_out)
        if self.run is not None:
            self.run.has_left_out = bool(left_out)
        elif left_out:
            config.workeroutput["left_out"] = True  # type: ignore[attr-defined]


class _ContinuedRun:
    """Writes each test that has passed, as soon as it has; at the end it prints what is left.

    Attributes:
        before: The tests that had passed before this run.
        has_left_out: Whether some of the tests that this run chose are among them.
    """

    def __init__(self, file: Path, code: str) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        self.before = lines[1:] if lines[:1] == [code] else []
        self.has_left_out = False
        self.chosen: set[str] = set()
        self.done: set[str] = set()
        self.skipped: set[str] = set()
        self.failed: set[str] = set()
        if not self.before:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{code}\n", encoding="utf-8")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process of pytest-xdist what to leave out: all must collect the same tests."""
        node.workerinput["passed"] = self.before

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.has_left_out |= "left_out" in getattr(node, "workeroutput", ())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self.chosen.update(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.chosen.update(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)
        elif report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "teardown" and report.nodeid not in self.failed | self.skipped:
            self.done.add(report.nodeid)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.has_left_out:
            session.exitstatus = pytest.ExitCode.OK  # nothing is left: all have passed before

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        left = sorted(self.chosen - self.done - self.skipped)
        terminalreporter.section("continued run")
        terminalreporter.line(
            f"{len(self.before)} passed before, {len(self.done)} now; {len(left)} left, {len(self.skipped)} skipped"
        )
        for name in left:
            terminalreporter.line(f"  left: {name}")
        if self.has_left_out and not self.chosen:
            terminalreporter.line(f"all have passed with this code; delete {self.file} to run them again")


def code_hash() -> str:
    """Return the hash of every file that a test may depend on, apart from the recordings."""
    found = hashlib.sha256()
    for path in _files():
        found.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _files() -> Iterator[Path]:
    for name in CODE:
        path = ROOT / name
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (one for one in found if one.is_file() and "__pycache__" not in one.parts)
