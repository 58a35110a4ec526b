"""The arguments of `snnlab train`."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.overrides import Arguments, read_arguments
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_options_flags_and_overrides_are_separated():
    typed = ["-m", "seed=0,1", "--config-dir", "mine", "~model.layers.pool1", "+a.b={c: 1}", "--cfg", "job"]
    with assert_raises(ConfigError, "train", "-m"):
        read_arguments(typed)
    assert read_arguments(typed[:6]) == Arguments(["seed=0,1", "~model.layers.pool1", "+a.b={c: 1}"], "mine", True)
    assert read_arguments(["-cd=mine", "--cfg=job", "--resolve"]).flags == {"--cfg": "job", "--resolve": ""}


def test_a_path_with_an_equals_sign_is_no_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "lr=0.1").mkdir(parents=True)
    (tmp_path / "a" / "lr=0.1" / "config.yaml").write_text("")
    with assert_raises(ConfigError, "a/lr=0.1", "a/lr=0.1/config.yaml"):
        read_arguments(["a/lr=0.1"])
    assert read_arguments(["hydra/launcher=joblib"]).overrides == ["hydra/launcher=joblib"]


@pytest.mark.parametrize(
    ("typed", "place"), [([""], "''"), ([" "], " "), (["seed =", "3"], "seed ="), (["'seed=3'"], "'seed=3'")]
)
def test_what_a_shell_has_made_of_an_override_is_none(typed: list[str], place: str):
    with assert_raises(ConfigError, place, "override"):
        read_arguments(typed)
