"""The words of a command line are read, and checked, by the signature of the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from snnlab.cli import command_files
from snnlab.cli.command import Call
from snnlab.cli.command_files import commands
from snnlab.cli.main import run
from snnlab.cli.words import choose, parameters_of, read_words
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def arguments_of(monkeypatch: pytest.MonkeyPatch, *typed: str) -> tuple[str, Sequence[Any], dict[str, Any]]:
    """Return the name of the command that is called, and its arguments, without those for `Call`."""
    called: list[tuple[str, Sequence[Any], dict[str, Any]]] = []

    def load(command: command_files.Command):
        def function(*words: Any, **options: Any) -> None:
            options.pop("call", None)
            called.append((command.name, words, options))

        return function

    monkeypatch.setattr(command_files.Command, "load", load)
    word, *words = typed
    forms = commands()[word]
    command, rest = choose(forms, words)
    assert command is not None
    read_words(command, rest, forms, Call(words, 0.0))()
    return called[0]


@pytest.mark.parametrize(
    ("line", "name", "words", "options"),
    [
        ("show a=1 --figure x.png ~b", "show", (None, "a=1", "~b"), {"figure": "x.png"}),
        ("show --config-dir=mine RUN", "show", ("RUN",), {"config_dir": "mine"}),
        ("show --plan a=1", "show", (None, "a=1"), {"plan": True}),
        ("show --equations a=1", "show", (None, "a=1"), {"equations": "text"}),
        ("show --equations=latex a=1", "show", (None, "a=1"), {"equations": "latex"}),
        ("show RUN a=1", "show", ("RUN", "a=1"), {}),
        ("show a=1 RUN", "show", ("RUN", "a=1"), {}),
        ("find lr --from 1e-3 a=1 --to=1", "find lr", ("a=1",), {"from_": 1e-3, "to": 1}),
        ("import a.nir --out b --floor -1e-3 --dt 2", "import", ("a.nir",), {"out": "b"}),
        ("stream RUN --page one.npy", "stream", ("RUN", "one.npy"), {"page": 0}),
        ("stream RUN --page 8000 one.npy", "stream", ("RUN", "one.npy"), {"page": 8000}),
        ("stream RUN - --max-wait 5", "stream", ("RUN", "-"), {"max_wait": 5}),
        ("predict plugins=[a,b] RUN one.npy two.npy", "predict", ("RUN", "one.npy", "two.npy"), {"plugins": "[a,b]"}),
        ("export RUN --what spikes,v --out a.npz", "export", ("RUN",), {"what": ["spikes", "v"], "out": "a.npz"}),
        ("doctor RUN --stream one.npy", "doctor --stream", ("RUN", "one.npy"), {}),
        ("doctor a=1", "doctor", (None, "a=1"), {}),
        ("runs", "runs list", ("outputs",), {}),
        ("runs list elsewhere --sort x", "runs list", ("elsewhere",), {"sort": "x"}),
        ("bench suite=a --dry-run", "bench", ("suite=a",), {"dry_run": True}),
        ("train -m seed=1,2 -cd=mine", "train", ("seed=1,2",), {"multirun": True, "config_dir": "mine"}),
        ("train hydra/launcher=joblib --cfg job", "train", ("hydra/launcher=joblib",), {"cfg": "job"}),
    ],
)  # fmt: skip
def test_options_stand_anywhere_in_both_spellings(
    monkeypatch: pytest.MonkeyPatch, line: str, name: str, words: tuple, options: dict[str, Any]
) -> None:
    called, positional, given = arguments_of(monkeypatch, *line.split())
    reading = given.pop("reading", None)
    assert (called, tuple(positional), given) == (name, words, options)
    assert reading is None or (reading.floor, reading.dt) == (-1e-3, 2)


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("show --figur x", ("show", "--figur", "--figure")),
        ("show -m", ("show", "-m", "--figure", "--config-dir", "--plan", "--kernels", "--equations")),
        ("show --lr 0.1", ("show", "--lr", "optimizer.lr=0.1")),
        ("show --figure", ("show: --figure",)),
        ("show --plan=1", ("show: --plan",)),
        ("show --equations latex", ("show: --equations", "--equations=latex")),
        ("show --figure a.png --figure=b.png", ("show: --figure", "a.png", "b.png")),
        ("show --plan --kernels", ("show", "--plan", "--kernels")),
        ("show --figure net", ("show: --figure", ".png", "net")),
        ("show --figure nowhere/net.png", ("show: --figure", "nowhere")),
        ("find lr --steps 3", ("find lr: --steps", 10, 3)),
        ("find lr --steps 10.5", ("find lr: --steps", 10.5)),
        ("find lr --from -1e-3", ("find lr: --from", 0, -0.001)),
        ("find lr --from 2", ("find lr: --from", "--to", 1, 2)),
        ("import a.nir --out b --dt 1e-300", ("import: --dt", 1e-06, "1e-300")),
        ("import a.nir --out b --reset none", ("import: --reset", "subtract", "zero", "none")),
        ("import a.nir --out b --dt 1 model=x", ("import: --dt", "model=NAME")),
        ("import a.nir", ("import", "--out")),
        ("import a.nir b.nir --out c", ("b.nir", "override")),
        ("validate a b x=1", ("b", "override")),
        ("evaluate RUN --split tset", ("evaluate: --split", "'test'", "tset")),
        ("evaluate RUN --accuracy 1.5", ("evaluate: --accuracy", 0, 1, 1.5)),
        ("evaluate a=1", ("evaluate", "RUN", "outputs/NAME/TIME_SEED")),
        ("stream RUN --page 99999", ("stream: --page", "65,535", 99999)),
        ("export RUN --lossy", ("export", "--lossy", "--nir")),
        ("doctor --strem x", ("doctor", "--strem", "--stream")),
        ("export RUN --nri a.nir", ("export", "--nri", "--nir")),
        ("data clean --figure a.png", ("data clean", "--figure", "data inspect")),
        ("runs compare a", ("runs compare", "RUN RUN", "a")),
        ("list layers conv2d more", ("list", "KIND NAME", "more")),
        ("bench smoke", ("bench", "'smoke'", "suite=NAME", "table")),
        ("data inspekt", ("data", "'inspect'")),
        ("train --resume", ("train", "--resume", "resume=RUN")),
        ("train --resolve", ("train: --resolve", "--cfg")),
        ("train -m seed=1 --cfg job", ("train", "--cfg", "--multirun")),
        ("train --cfg jo", ("train: --cfg", "jo", "'job'")),
        ("train seed =3", ("seed", "override")),
    ],
)
def test_a_mistake_is_named_with_its_place(line: str, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts) as caught:
        run(*line.split())
    assert "null" not in str(caught.value)


@pytest.mark.parametrize(("typed", "place"), [("", "''"), (" ", " "), ("seed =", "seed ="), ("'seed=3'", "'seed=3'")])
@pytest.mark.parametrize("option", [[], ["-m"]])
def test_what_a_shell_has_made_of_an_override_is_none(typed: str, place: str, option: list[str]) -> None:
    with assert_raises(ConfigError, place, "override"):
        run("train", *option, typed)


def test_a_path_with_an_equals_sign_is_no_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "lr=0.1").mkdir(parents=True)
    (tmp_path / "a" / "lr=0.1" / "config.yaml").write_text("")
    with assert_raises(ConfigError, "a/lr=0.1", "a/lr=0.1/config.yaml"):
        run("train", "a/lr=0.1")


@pytest.mark.parametrize("command", commands())
def test_help_names_each_word_and_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    for form in commands()[command]:
        assert [word.names[0] for word in parameters_of(form).words.values() if word.names[0] not in shown] == []
