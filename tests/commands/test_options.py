from __future__ import annotations

import pytest

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_options_stand_anywhere_in_both_spellings() -> None:
    options, others = split_options("show", ["a=1", "--figure", "x.png", "~b", "--config-dir=mine"], OPTIONS)
    assert options == {"--figure": "x.png", "--config-dir": "mine"}
    assert others == ["a=1", "~b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--figur", "x"], ("show", "--figur", "--figure")),
        (["-m"], ("show", "-m", "--figure", "--config-dir", "--wide")),
        (["--wid"], ("show", "--wid", "--wide")),
        (["--figure"], ("--figure",)),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], told: tuple) -> None:
    with assert_raises(ConfigError, *told):
        split_options("show", arguments, OPTIONS, ["--wide"])


OPTIONS = ("--figure", "--config-dir")
