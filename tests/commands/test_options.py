from __future__ import annotations

import pytest

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError


def test_options_stand_anywhere_in_both_spellings() -> None:
    options, others = split_options("show", ["a=1", "--figure", "x.png", "~b", "--config-dir=mine"], OPTIONS)
    assert options == {"--figure": "x.png", "--config-dir": "mine"}
    assert others == ["a=1", "~b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figur", "x"], "show: there is no option --figur. Did you mean '--figure'?"),
        (["-m"], "show: there is no option -m. It takes --figure, --config-dir, --wide."),
        (["--wid"], "show: there is no option --wid. Did you mean '--wide'?"),
        (["--figure"], "show: --figure needs a value behind it"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_options("show", arguments, OPTIONS, ["--wide"])
    assert str(caught.value) == message


OPTIONS = ("--figure", "--config-dir")
