"""A stranger adds a command: one file, and no other line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import snnlab.cli
from snnlab.cli.command_files import commands
from snnlab.cli.usage import reference_text

# It cannot be imported: help, completion and the checks of words do not.
FILE = '''
"""Count things."""

from __future__ import annotations

from typing import Annotated, Literal

import a_package_that_is_not_installed

from snnlab.cli.command import command
from snnlab.spec.interval import above

Sign = Literal["plus", "minus"]
SMALLEST = above(0)


@command("count spikes", page="energy")
def count_spikes(*overrides: str, scale: Annotated[float, "ms", SMALLEST] = 2.5, sign: Sign = "plus") -> None:
    """Count the spikes of a network. It takes a while.

    Args:
        scale: width of a window

    Examples:
        snnlab count spikes neuron=lif --scale 3
    """
    print(overrides, scale, sign)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "counting.py").write_text(FILE)
    return tmp_path


def snnlab_with(folder: Path, *words: str, line: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SNNLAB_COMMANDS": str(folder), "COMP_LINE": line}
    command = [sys.executable, "-m", "snnlab", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)


def test_a_command_is_one_file(folder: Path):
    assert "  count       count things\n" in snnlab_with(folder, "--help").stdout
    shown = snnlab_with(folder, "count", "--help").stdout
    assert shown.startswith("usage: snnlab count spikes [OVERRIDES] [OPTIONS]\n")
    assert "  --scale MS          width of a window (> 0; default 2.5)\n" in shown
    assert shown.endswith("  snnlab count spikes neuron=lif --scale 3\n\nmore: snnlab docs energy\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("snnlab cou", "count"),
        ("snnlab count ", "spikes"),
        ("snnlab count spikes --s", "--scale --sign"),
        ("snnlab count spikes --sign ", "plus minus"),
        ("snnlab count spikes neuron=cuba_l", "neuron=cuba_li neuron=cuba_lif"),
    ],
)
def test_its_words_are_completed(folder: Path, line: str, words: str):
    assert snnlab_with(folder, "-sc", "query=bash", line=line).stdout == f"{words}\n"


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("--scale", "-1e-3"), ("count spikes: --scale: ", "> 0", "-0.001")),
        (("--scale", "wide"), ("count spikes: --scale: ", "a number", "wide")),
        (("--sign", "minsu"), ("count spikes: --sign: ", "plus, minus", "'minus'")),
        (("--scal", "1"), ("count spikes: ", "--scal", "'--scale'")),
    ],
)
def test_its_options_are_checked_before_it_is_imported(folder: Path, words: tuple[str, ...], facts: tuple[str, ...]):
    done = snnlab_with(folder, "count", "spikes", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"snnlab: {facts[0]}")
    assert all(fact in done.stderr for fact in facts)


def test_it_is_called_with_what_was_typed(folder: Path):
    path = folder / "counting.py"
    path.write_text(FILE.replace("import a_package_that_is_not_installed\n", ""))
    done = snnlab_with(folder, "count", "spikes", "a=1", "--scale=3", "~b")
    assert (done.stdout, done.stderr) == ("('a=1', '~b') 3 plus\n", "")


def test_it_is_in_the_reference(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snnlab.cli, "__path__", [*snnlab.cli.__path__, str(folder)])
    page = reference_text(commands())
    assert "\n## snnlab count\n" in page
    assert "--scale MS" in page


@pytest.mark.long
def test_the_command_of_the_documentation_runs(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
    text = page.partition("```python\n# my_commands/parameters.py\n")[2].partition("```")[0]
    (tmp_path / "parameters.py").write_text(text)
    done = snnlab_with(tmp_path, "parameters", "model=mlp_lif", "--least", "1000")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["fc1.weight", "out.weight"]
    assert snnlab_with(tmp_path, "parameters", "--least", "-1").returncode == 2
