from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from snnlab.cli.main import COMMANDS
from snnlab.cli.options import OPTIONS, figure_file, split_options
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_options_stand_anywhere_in_both_spellings() -> None:
    options, others = split_options("show", ["a=1", "--figure", "x.png", "~b", "--plan", "--config-dir=mine"])
    assert options == {"--figure": "x.png", "--config-dir": "mine", "--plan": ""}
    assert others == ["a=1", "~b"]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--figur", "x"], ("show", "--figur", "--figure")),
        (["-m"], ("show", "-m", "--figure", "--config-dir", "--plan", "--kernels")),
        (["--pla"], ("show", "--pla", "--plan")),
        (["--figure"], ("--figure",)),
        (["--figure", "a.png", "--figure=b.png"], ("--figure", "a.png", "b.png")),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        split_options("show", arguments)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"train"}))
def test_help_names_each_option_of_a_command(command: str) -> None:
    file = "import_network" if command == "import" else command
    usage = importlib.import_module(f"snnlab.cli.{file}").USAGE
    usage += importlib.import_module("snnlab.cli.bench_table").USAGE if command == "bench" else ""
    own = [both for name, both in OPTIONS.items() if name.split()[0] == command]
    known = {option for with_value, without in own for option in (*with_value, *without)}
    assert {option for option in known if option not in usage} <= {"--config-dir"}


@pytest.mark.parametrize("name", ["net", "net.gif", "nowhere/net.png", ""])
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with assert_raises(ConfigError, "--figure"):
        figure_file({"--figure": name})
