"""What docs/train.md promises of Tab: commands, options, files, types and keys are completed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.cli import completion
from snnlab.cli.command_files import commands
from snnlab.cli.kinds import registry
from snnlab.config.catalogue import REGISTRIES, catalogue
from snnlab.config.folders import config_folder
from snnlab.nn import LAYERS

from ..refusals import assert_text_has

MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
Offered = Callable[[str], list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    """Return a function that returns the completions of a line."""

    def call(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr(sys, "argv", ["snnlab", "-sc", "query=bash"])
        assert completion.main(["query=bash"]) == 0
        captured = capsys.readouterr()
        assert not captured.err
        return captured.out.split()

    return call


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("snnlab tr", ["train"]),
        ("snnlab train --con", ["--config-dir"]),
        ("snnlab show --fi", ["--figure"]),
        ("snnlab predict --f", ["--format"]),
        ("snnlab cp model/", [f"model/{name}" for name in MODELS]),
        ("snnlab find ", ["lr"]),
        ("snnlab data in", ["inspect"]),
        ("snnlab runs ", ["list", "compare", "delete"]),
        ("snnlab runs delete ", []),
        ("snnlab new ex", ["experiment"]),
        ("snnlab list sur", ["surrogates"]),
        ("snnlab list layers conv", [name for name in LAYERS if name.startswith("conv")]),
        ("snnlab list models c", [name for name in MODELS if name.startswith("c")]),
        ("snnlab train model=", [f"model={name}" for name in MODELS]),
        ("snnlab data inspect data=nm", ["data=nmnist"]),
        ("snnlab show --figure a.png model=g", ["model=gru"]),
        ("snnlab show --figure ", []),
        ("snnlab evaluate ", []),
        ("snnlab train model.layers.lif1.type=cub", [f"model.layers.lif1.type=cuba_{kind}" for kind in ("li", "lif")]),
        ("snnlab train neuron.surrogate.type=at", ["neuron.surrogate.type=atan"]),
        ("snnlab train neu", ["neuron.", "neuron="]),
        ("snnlab find lr data.num_b", ["data.num_bins="]),
        ("snnlab new experiment mine data.num_b", ["data.num_bins="]),
        ("snnlab train neuron.decay=", ["neuron.decay=exact", "neuron.decay=euler"]),
        ("snnlab train model.layers.conv1.padding_m", ["model.layers.conv1.padding_mode="]),
        ("snnlab train model=dcls_shd model.layers.fc1.delay.sigma_d", ["model.layers.fc1.delay.sigma_decay="]),
        ("snnlab train neuron.recurrent.delay.le", ["neuron.recurrent.delay.learn="]),
        ("snnlab train optimizer=adamw optimizer.be", ["optimizer.betas="]),
        ("snnlab train scheduler=warmup_cosine scheduler.fi", ["scheduler.final="]),
        ("snnlab train data.simul", ["data.simulation_seed="]),
        ("snnlab train data.bin_by=c", ["data.bin_by=count"]),
    ],
)
def test_words_files_types_and_keys_are_completed(completed: Offered, line: str, words: list[str]):
    assert completed(line) == words


def test_every_command_is_completed_first(completed: Offered):
    assert completed("snnlab ") == list(commands())


@pytest.mark.parametrize("command", commands())
def test_every_command_has_its_options_completed(completed: Offered, command: str):
    assert "--help" in completed(f"snnlab {command} --")


@pytest.mark.parametrize("named", ["--config-dir mine", "--config-dir=mine", ""])
def test_the_users_files_and_their_keys_are_completed(
    completed: Offered, workplace: Path, monkeypatch: pytest.MonkeyPatch, named: str
):
    for name, text in (
        ("experiment/hands", "# @package _global_\n"),
        ("model/net", "layers: {mine: {type: flatten}}\n"),
    ):
        path = workplace / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    if not named:
        monkeypatch.setenv("SNNLAB_CONFIG_DIR", "mine")
    assert completed(f"snnlab train {named} experiment=h") == ["experiment=hands"]
    assert completed(f"snnlab train {named} model=net model.layers.m") == ["model.layers.mine."]


def test_a_mistake_in_a_file_prints_nothing(completed: Offered, workplace: Path):
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "bad.yaml").write_text("# @package _global_\nseed: [\n")
    assert completed("snnlab train --config-dir mine experiment=bad seed") == []


def test_an_installed_script_calls_the_program():
    environment = {**os.environ, "COMP_LINE": "snnlab train data.num_b"}
    command = [sys.executable, "-m", "snnlab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("data.num_bins=\n", "")


@pytest.mark.parametrize(
    "line", ["snnlab train model=conv_li", "snnlab train neuron.tau_m", "snnlab list layers conv2"]
)
def test_completion_waits_for_neither_hydra_nor_torch(line: str):
    code = "import sys; sys.argv = ['snnlab', '-sc', 'query=bash']; from snnlab.cli.main import main; main()"
    ask = [sys.executable, "-c", f"{code}; print({{'hydra', 'torch', 'numpy'}} & {{*sys.modules}}, file=sys.stderr)"]
    done = subprocess.run(ask, capture_output=True, text=True, env={**os.environ, "COMP_LINE": line}, timeout=60)
    assert len(done.stdout.split()) == 1
    assert done.stderr == "set()\n"


def test_completion_knows_the_entries_of_each_registry_and_their_settings():
    known = catalogue()
    for kind in REGISTRIES:
        packaged = [
            name for name in registry(kind) if registry(kind).get(name, kind).__module__.startswith("snnlab.")
        ]  # not of other tests
        assert known.names(kind) == packaged


@pytest.mark.parametrize("line", ["snnlab train model=conv_li", "snnlab train --config-dir=. model=conv_li more"])
def test_the_script_for_bash_completes_the_word_at_the_cursor(line: str):
    script = f"""snnlab() {{ {sys.executable} -m snnlab "$@"; }}
    eval "$(snnlab -sc install=bash)"
    COMP_LINE={line!r} COMP_WORDS=({line.removesuffix(" more")}) COMP_POINT={len(line.removesuffix(" more"))}
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _snnlab; echo "${{COMPREPLY[@]}}"; complete -p snnlab"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["model=conv_lif", "complete -o default -o nospace -F _snnlab snnlab"]


def test_a_name_that_a_shell_would_execute_is_not_proposed(completed: Offered, workplace: Path):
    (workplace / "mine" / "model").mkdir(parents=True)
    for name in ("net_$(touch x)", "net_1"):
        (workplace / "mine" / "model" / f"{name}.yaml").write_text("layers: {}\n")
    assert completed("snnlab train --config-dir mine model=net") == ["model=net_1"]


def test_zsh_runs_the_script_of_bash():
    done = subprocess.run(
        [sys.executable, "-m", "snnlab", "-sc", "install=zsh"], capture_output=True, text=True, check=True
    )
    assert_text_has(done.stdout.splitlines()[0], "compinit", "bashcompinit")
    assert "complete -o nospace" in done.stdout


def test_a_wrong_request_names_the_install_commands():
    done = subprocess.run([sys.executable, "-m", "snnlab", "-sc", "bash"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "install=bash" in done.stderr
