from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snnlab.cli import COMMANDS
from snnlab.commands.completion import overrides_of, own_words, read_line
from snnlab.config.folders import config_folder
from snnlab.nn import LAYERS

MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))


def query(line: str) -> list[str]:
    environment = {**os.environ, "COMP_LINE": line}
    command = [sys.executable, "-m", "snnlab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("snnlab tr", ["train"]),
        ("snnlab train --con", ["--config-dir"]),
        ("snnlab show --fi", ["--figure"]),
        ("snnlab predict --f", ["--format"]),
        ("snnlab cp mod", [f"model/{name}" for name in MODELS]),
        ("snnlab train mod", None),
        ("snnlab train ", None),
        ("snnlab find ", ["lr", "batch_size"]),
        ("snnlab find b", ["batch_size"]),
        ("snnlab find lr mod", None),
        ("snnlab data in", ["inspect"]),
        ("snnlab runs ", ["list", "compare", "delete", "archive"]),
        ("snnlab runs delete ", []),
        ("snnlab list sur", ["surrogates"]),
        ("snnlab list layers conv", [name for name in LAYERS if name.startswith("conv")]),
        ("snnlab list models c", [name for name in MODELS if name.startswith("c")]),
        ("snnlab train model=", [f"model={name}" for name in MODELS]),
        ("snnlab show --figure a.png model=g", ["model=gru"]),
        ("snnlab show --figure ", []),
        ("snnlab evaluate ", []),
        (
            "snnlab train model.layers.lif1.type=cub",
            ["model.layers.lif1.type=cuba_li", "model.layers.lif1.type=cuba_lif"],
        ),
        ("snnlab train neuron.surrogate.type=at", ["neuron.surrogate.type=atan"]),
        ("snnlab train neuron.tau_mem=", None),
    ],
)
def test_words_files_and_types_are_ours_and_keys_are_hydras(line: str, words: list[str] | None):
    assert own_words(read_line(line)) == words


def test_every_command_is_offered_first():
    assert own_words(read_line("snnlab ")) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_options_offered(command: str):
    assert "--help" in (own_words(read_line(f"snnlab {command} --")) or [])


@pytest.mark.parametrize("named", ["--config-dir mine", "--config-dir=mine", ""])
def test_the_users_own_files_are_offered(workplace: Path, monkeypatch: pytest.MonkeyPatch, named: str):
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "hands.yaml").write_text("# @package _global_\n")
    if not named:
        monkeypatch.setenv("SNNLAB_CONFIG_DIR", "mine")
    assert own_words(read_line(f"snnlab train {named} experiment=h")) == ["experiment=hands"]


def test_hydra_sees_the_overrides_alone():
    assert overrides_of(read_line("snnlab train model=c")) == "snnlab model=c"
    assert overrides_of(read_line("snnlab train ")) == "snnlab "
    assert (
        overrides_of(read_line("snnlab find lr --figure a.png --config-dir mine model=c data."))
        == "snnlab model=c data."
    )


def test_groups_files_and_keys_are_completed(workplace: Path):
    (workplace / "mine" / "model").mkdir(parents=True)
    (workplace / "mine" / "model" / "net.yaml").write_text("layers: {mine: {type: flatten}}\n")
    assert "neuron=" in query("snnlab train neu")
    assert "data.num_bins=" in query("snnlab train data.num_b")
    assert query("snnlab train --config-dir mine model=net model.layers.m") == ["model.layers.mine."]


def test_a_mistake_in_a_file_says_nothing_on_the_line(workplace: Path):
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "bad.yaml").write_text("# @package _global_\nseed: [\n")
    assert query("snnlab train --config-dir mine experiment=bad seed") == []


def test_the_script_for_bash_completes_snnlab():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['snnlab', '-sc', 'install=bash']; from snnlab.cli import main; main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("hydra_bash_completion snnlab")


def test_zsh_is_told_to_take_the_script_of_bash():
    done = subprocess.run(
        [sys.executable, "-m", "snnlab", "-sc", "install=zsh"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("autoload -Uz compinit bashcompinit && compinit && bashcompinit\n")
    assert "hydra_bash_completion" in done.stdout


def test_a_wrong_request_says_how_it_is_installed():
    done = subprocess.run([sys.executable, "-m", "snnlab", "-sc", "bash"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "install=bash" in done.stderr
