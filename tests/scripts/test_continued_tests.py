"""A run of tests that was cut goes on with those that are left, in as many processes as it likes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import os, pytest

@pytest.mark.parametrize("k", range(4))
def test_one(k):
    assert k != 2 or os.environ["WHOLE"] == "yes"

def test_skipped():
    pytest.skip("not here")
"""


def start(folder: Path, whole: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), str(folder)]
    plugins = ["-p", "xdist", "-p", "scripts.continued_tests", "--continue", str(folder / "passed.txt")]
    environment = {**os.environ, "WHOLE": whole, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([*command, *plugins, *options], cwd=ROOT, env=environment, text=True, capture_output=True)


def run(folder: Path, whole: str, *options: str) -> tuple[list[int], list[str]]:
    """Return how many passed before, how many now, and how many are left; and the names of these."""
    done = start(folder, whole, *options)
    found = re.search(r"(\d+) passed before, (\d+) now; (\d+) left", done.stdout)
    assert found, done.stdout + done.stderr
    return [int(text) for text in found.groups()], re.findall(r"left: test_some\.py::(\S+)", done.stdout)


@pytest.mark.long
def test_a_run_goes_on_with_the_tests_that_have_not_passed_and_names_them(tmp_path: Path):
    (tmp_path / "test_some.py").write_text(TESTS)
    left = ["test_one[2]"]
    assert run(tmp_path, "no") == ([0, 3, 1], left)
    assert run(tmp_path, "no", "-n", "2") == ([3, 0, 1], left)
    assert run(tmp_path, "yes") == ([3, 1, 0], [])


@pytest.mark.long
def test_tests_run_again_with_other_code(tmp_path: Path):
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "passed.txt").write_text("hash of other code\ntest_some.py::test_one[0]\n")
    assert run(tmp_path, "yes")[0] == [0, 4, 0]


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two"])
def test_a_run_of_which_nothing_is_left_succeeds_and_names_the_file_to_delete(tmp_path: Path, options: tuple[str, ...]):
    (tmp_path / "test_some.py").write_text("def test_one():\n    pass\n")
    assert start(tmp_path, "yes").returncode == 0
    again = start(tmp_path, "yes", *options)
    assert again.returncode == 0
    assert "passed.txt" in again.stdout
    assert start(tmp_path, "yes", "-k", "no_such_test", *options).returncode == 5
